//! TEMPORARY
use super::body::Body; use http::*; use std::sync::Arc;
pub struct Injection; impl Injection { pub fn new(_: &str, _: &std::collections::BTreeMap<String,String>, _: &[String]) -> Self { Injection } }
pub fn apply(_: &Arc<Injection>, _: &Method, r: Response<Body>) -> Response<Body> { r }
