//! A plugin's routes: paths below its base, each with its methods.

use crate::{BoxFuture, Problem, Request, Response, Result};
use http::{HeaderValue, Method, StatusCode, header};
use std::collections::BTreeMap;
use std::sync::Arc;

type Handler<P> = Box<dyn Fn(Arc<P>, Request, Params) -> BoxFuture<'static, Result<Response>> + Send + Sync>;

/// What the `{name}` parts of a path have matched, percent-decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params(BTreeMap<String, String>);

/// Routes to handlers of a plugin `P`. Answers 404 for a path that it does not have, 405 with `Allow` for a method, and HEAD as GET.
pub struct Router<P> {
    paths: matchit::Router<Vec<(Method, Handler<P>)>>,
}

impl<P: Send + Sync + 'static> Router<P> {
    pub fn new() -> Router<P> {
        Router { paths: matchit::Router::new() }
    }

    /// `path` begins with `/`; `{name}` stands for a segment, `{*name}` for the rest.
    ///
    /// # Panics
    /// The path cannot stand beside those that are there: a fault of the program.
    pub fn on<F>(
        mut self,
        method: Method,
        path: &str,
        handler: impl Fn(Arc<P>, Request, Params) -> F + Send + Sync + 'static,
    ) -> Router<P>
    where
        F: Future<Output = Result<Response>> + Send + 'static,
    {
        let handler: Handler<P> =
            Box::new(move |plugin, request, params| Box::pin(handler(plugin, request, params)));
        match self.paths.at_mut(path) {
            Ok(found) if found.params.is_empty() => found.value.push((method, handler)),
            _ => {
                self.paths.insert(path, vec![(method, handler)]).expect("routes of one plugin do not collide")
            }
        }
        self
    }

    pub fn get<F>(
        self,
        path: &str,
        handler: impl Fn(Arc<P>, Request, Params) -> F + Send + Sync + 'static,
    ) -> Router<P>
    where
        F: Future<Output = Result<Response>> + Send + 'static,
    {
        self.on(Method::GET, path, handler)
    }

    pub async fn answer(&self, plugin: Arc<P>, request: Request) -> Result<Response> {
        let Ok(found) = self.paths.at(request.path()) else { return Ok(request.not_found()) };
        let wanted = match *request.method() {
            Method::HEAD => &Method::GET,
            ref method => method,
        };
        let Some((_, handler)) = found.value.iter().find(|(method, _)| method == wanted) else {
            return Ok(not_allowed(found.value.iter().map(|(method, _)| method)));
        };
        let decode = |(name, value): (&str, &str)| {
            (name.to_owned(), percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned())
        };
        let params = Params(found.params.iter().map(decode).collect());
        handler(plugin, request, params).await
    }
}

impl<P: Send + Sync + 'static> Default for Router<P> {
    fn default() -> Router<P> {
        Router::new()
    }
}

impl Params {
    /// What a part of the path has matched; empty where the path has no such part.
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}

fn not_allowed<'m>(methods: impl Iterator<Item = &'m Method>) -> Response {
    let mut names: Vec<&str> = methods.map(Method::as_str).collect();
    if names.contains(&"GET") {
        names.push("HEAD");
    }
    let allow = HeaderValue::try_from(names.join(", ")).unwrap_or(HeaderValue::from_static(""));
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed").header(header::ALLOW, allow).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Body;
    use crate::testkit::bytes;

    fn request(method: Method, path: &str) -> Request {
        let (mut head, ()) = http::Request::new(()).into_parts();
        (head.method, head.uri) = (method, path.parse().unwrap());
        Request::new(head, Body::Empty)
    }

    #[tokio::test]
    async fn routes_answer_by_path_and_method() {
        let answer = |text: &'static str| {
            move |_: Arc<()>, _: Request, params: Params| async move {
                Ok(Response::new(Body::from(format!("{text}{}", params.get("id")))))
            }
        };
        let router = Router::new()
            .get("/items", answer("list"))
            .on(Method::DELETE, "/items", answer("clear"))
            .get("/items/{id}", answer("item "));
        let plugin = Arc::new(());
        for (method, path, status, body) in [
            (Method::GET, "/items", 200, "list"),
            (Method::HEAD, "/items", 200, "list"),
            (Method::DELETE, "/items", 200, "clear"),
            (Method::GET, "/items/a%20b", 200, "item a b"),
            (Method::GET, "/other", 404, ""),
            (Method::PUT, "/items", 405, ""),
        ] {
            let response = router.answer(Arc::clone(&plugin), request(method.clone(), path)).await.unwrap();
            assert_eq!(response.status(), status, "{method} {path}");
            if status == 405 {
                let problem = response.extensions().get::<Problem>().unwrap();
                assert_eq!(problem.headers[0].1, "GET, DELETE, HEAD");
            }
            assert_eq!(bytes(response.into_body()).await, body, "{method} {path}");
        }
    }
}
