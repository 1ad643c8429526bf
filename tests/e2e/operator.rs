//! An operator of a supervisor: packs apps, and asks for things with the root key.

use super::api::packed;
use super::harness::{Answer, Apps, Client, Launch, Server};
use buntime::package::Kind;
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::Value;
use std::net::SocketAddr;
use std::pin::Pin;
use tokio::net::TcpStream;

/// What was asked, and nothing of whoever asked it.
type Asking<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A root key.
pub const KEY: &str = "btk_the-operator-of-the-tests-0123456789abc";

/// Whoever has the root key. Clones ask the same supervisor.
#[derive(Clone)]
pub struct Operator {
    pub address: SocketAddr,
}

impl Apps {
    /// Without spares, and with an operator.
    pub fn operated(self) -> Launch {
        self.launch().operated()
    }
}

impl Launch {
    pub fn operated(self) -> Launch {
        self.env("RUNTIME_ROOT_KEY", KEY).env("RUNTIME_SPARE_WORKERS", "0")
    }
}

impl Server {
    pub fn operator(&self) -> Operator {
        Operator { address: self.address }
    }
}

impl Operator {
    pub async fn connect(&self) -> Client {
        Client::over(TcpStream::connect(self.address).await.unwrap()).await
    }

    /// One request to `/api{path}` on a connection of its own.
    pub fn ask(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Asking<Answer> {
        let (operator, request) = (self.clone(), request(method, path, body));
        Box::pin(async move { operator.connect().await.send(request).await.unwrap() })
    }

    /// The same, which must be answered with `status`; gives the JSON.
    #[track_caller]
    pub fn must(&self, status: u16, method: Method, path: &str, body: impl Into<Bytes>) -> Asking<Value> {
        let caller = std::panic::Location::caller();
        let (asking, path) = (self.ask(method, path, body), path.to_owned());
        Box::pin(async move {
            let answer = asking.await;
            assert_eq!(answer.status(), status, "{path} at {caller}: {answer:?}");
            if answer.body.is_empty() { Value::Null } else { answer.json() }
        })
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Asking<Value> {
        self.must(200, Method::GET, path, "")
    }

    /// Deploys a package as `name@version`. `rest` is the rest of the query: `&replace=true`.
    #[track_caller]
    pub fn deploy(&self, name: &str, version: &str, package: Vec<u8>, rest: &str) -> Asking<Value> {
        self.must(201, Method::POST, &upload(name, version, rest), package)
    }

    /// The same, which must fail because it does not start.
    #[track_caller]
    pub fn fail(&self, name: &str, version: &str, package: Vec<u8>, rest: &str) -> Asking<Value> {
        self.must(422, Method::POST, &upload(name, version, rest), package)
    }

    /// Has an alias stand for this: `{"version": …}`, `{"weights": …}`.
    #[track_caller]
    pub fn alias(&self, name: &str, alias: &str, to: Value) -> Asking<Value> {
        self.must(200, Method::PUT, &format!("/apps/{name}/aliases/{alias}"), to.to_string())
    }

    #[track_caller]
    pub fn post(&self, status: u16, path: &str) -> Asking<Value> {
        self.must(status, Method::POST, path, "")
    }

    #[track_caller]
    pub fn delete(&self, status: u16, path: &str) -> Asking<Value> {
        self.must(status, Method::DELETE, path, "")
    }

    /// The workers that serve or will serve a version of this app.
    pub async fn workers(&self, name: &str) -> Vec<Value> {
        let all = self.get("/workers").await["workers"].as_array().unwrap().clone();
        all.into_iter().filter(|worker| worker["app"] == name && worker["draining"] == false).collect()
    }
}

/// Where a package goes; `rest` is the rest of the query: `&replace=true`.
pub fn upload(name: &str, version: &str, rest: &str) -> String {
    format!("/apps?name={name}&version={version}{rest}")
}

pub fn request(method: Method, path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let body = body.into();
    let kind = if body.first() == Some(&b'{') { "application/json" } else { "application/octet-stream" };
    let uri = format!("/api{path}");
    let request = Request::builder().method(method).uri(uri).header("x-api-key", KEY);
    request.header("content-type", kind).body(Full::new(body)).unwrap()
}

/// A package of these files.
pub fn tgz(files: &[(&str, &str)]) -> Vec<u8> {
    packed(Kind::TarGz, files)
}
