//! The element that makes a page live.

use super::SCRIPT;
use crate::http::page::escape;
use std::fmt::Write;

/// What a page that is made now knows. The element of it is written with or without a nonce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// None = a page of no app.
    pub app: Option<String>,
    /// The number of the last change.
    pub change: u64,
    pub boot: String,
    /// What keeps its app from running now.
    pub fault: Option<u64>,
    /// The page says what went wrong, so that needs not to be shown over it.
    pub is_problem: bool,
}

impl Tag {
    /// `<script …></script>`, in letters that mean the same in every charset that extends ASCII: names of apps and versions have
    /// no others.
    pub fn element(&self, nonce: Option<&str>) -> String {
        let mut element = format!("<script async src=\"{SCRIPT}\"");
        // Writing to a String cannot fail.
        if let Some(nonce) = nonce {
            let _ = write!(element, " nonce=\"{}\"", escape(nonce));
        }
        if let Some(app) = &self.app {
            let _ = write!(element, " data-app=\"{}\"", escape(app));
        }
        if self.is_problem {
            element.push_str(" data-problem");
            if let Some(fault) = self.fault {
                let _ = write!(element, " data-fault=\"{fault}\"");
            }
        }
        let _ = write!(element, " data-seen=\"{}\" data-boot=\"{}\"></script>", self.change, self.boot);
        element
    }
}
