//! Speaks to the management API: with a key over the network, and over the admin socket. Makes the packages for it.

use super::harness::{Answer, Apps, Client, Launch, PATIENCE, Server};
use buntime::package::{self, Kind};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tokio::net::UnixStream;

/// The root key of the supervisors that are managed over the network.
pub const ROOT: &str = "a-root-key-for-tests-0123456789abcdef";

/// Asks the management API with one key, or none. Paths are those behind `/api`.
pub struct Api<'s> {
    server: &'s Server,
    key: Option<String>,
}

/// The events of one stream.
pub struct Events {
    body: Incoming,
    text: String,
    /// Where the stream began.
    pub place: Option<String>,
}

/// One event of a stream, as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub id: String,
    pub kind: String,
    pub data: Value,
}

impl Launch {
    /// Can be managed with the root key.
    pub fn managed(self) -> Launch {
        self.env("RUNTIME_ROOT_KEY", ROOT)
    }
}

impl Apps {
    /// A supervisor without spares that can be managed.
    pub async fn manage(self) -> Server {
        self.lean().managed().start().await
    }
}

impl Server {
    /// With the root key.
    pub fn api(&self) -> Api<'_> {
        self.api_with(ROOT)
    }

    pub fn api_with(&self, key: &str) -> Api<'_> {
        Api { server: self, key: Some(key.to_owned()) }
    }

    pub fn admin_socket(&self) -> PathBuf {
        self.state_dir().join("admin.sock")
    }

    /// A connection to the admin socket.
    pub async fn admin(&self) -> Client {
        Client::over(UnixStream::connect(self.admin_socket()).await.unwrap()).await
    }
}

impl Api<'_> {
    pub fn request(&self, method: &str, path: &str) -> http::request::Builder {
        let request = Request::builder().method(method).uri(format!("/api{path}"));
        match &self.key {
            Some(key) => request.header("x-api-key", key),
            None => request,
        }
    }

    pub async fn send(&self, request: http::request::Builder, body: impl Into<Bytes>) -> Answer {
        self.server.send(request.body(Full::new(body.into())).unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path), "").await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request("DELETE", path), "").await
    }

    /// POST without a body.
    pub async fn order(&self, path: &str) -> Answer {
        self.send(self.request("POST", path), "").await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.json(Method::POST, path, body).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.json(Method::PUT, path, body).await
    }

    async fn json(&self, method: Method, path: &str, body: Value) -> Answer {
        let request = self.request(method.as_str(), path).header("content-type", "application/json");
        self.send(request, body.to_string()).await
    }

    /// `query` as in `name=shop&version=1.0.0`.
    pub async fn deploy(&self, query: &str, package: impl Into<Bytes>) -> Answer {
        self.send(self.request("POST", &format!("/apps?{query}")), package).await
    }

    /// Has an alias stand for a version.
    pub async fn alias(&self, app: &str, alias: &str, version: &str) -> Answer {
        self.put(&format!("/apps/{app}/aliases/{alias}"), json!({ "version": version })).await
    }

    /// Makes a key; gives its secret and its id.
    pub async fn make_key(&self, wanted: Value) -> (String, String) {
        let answer = self.post("/keys", wanted).await;
        assert_eq!(answer.status(), 201, "{answer:?}");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&answer.json()["secret"]), text(&answer.json()["key"]["id"]))
    }

    /// What `path` has when `is` says yes to it.
    pub async fn until(&self, path: &str, is: impl Fn(&Value) -> bool) -> Value {
        let asking = async {
            loop {
                let said = self.get(path).await.json();
                if is(&said) {
                    return said;
                }
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("{path} never became so"))
    }

    /// Follows the events; `query` as in `?types=log`.
    pub async fn events(&self, query: &str) -> Events {
        self.events_after(query, None).await
    }

    /// The same behind the event with this id.
    pub async fn events_after(&self, query: &str, id: Option<&str>) -> Events {
        let mut request = self.request("GET", &format!("/events{query}"));
        if let Some(id) = id {
            request = request.header("last-event-id", id);
        }
        let mut client = self.server.connect().await;
        let response = client.begin(request.body(Full::default()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut events = Events { body: response.into_body(), text: String::new(), place: None };
        let first = events.block().await.unwrap();
        let place = first.strip_prefix("retry: 1000").expect("it says at once that it is there");
        events.place = place.strip_prefix("\nid: ").map(str::to_owned);
        events
    }
}

impl Events {
    /// The next event; none = the stream has ended, whole.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            let block = self.block().await?;
            if block == ":" {
                continue;
            }
            let field = |name: &str| {
                let mut found = block.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                let (first, second) = (found.next(), found.next());
                assert!(second.is_none(), "{block}");
                first.unwrap_or_else(|| panic!("no {name} in {block}")).to_owned()
            };
            assert_eq!(block.lines().count(), 3, "{block}");
            let data = serde_json::from_str(&field("data")).unwrap();
            return Some(Event { id: field("id"), kind: field("event"), data });
        }
    }

    /// The first event from here on that `is` says yes to.
    pub async fn find(&mut self, is: impl Fn(&Event) -> bool) -> Event {
        loop {
            let event = self.next().await.expect("the stream ended");
            if is(&event) {
                return event;
            }
        }
    }

    /// All up to the end of the stream.
    pub async fn rest(mut self) -> Vec<Event> {
        let mut all = Vec::new();
        while let Some(event) = self.next().await {
            all.push(event);
        }
        all
    }

    /// What stands before the next empty line.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                return Some(block);
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.expect("no event came");
            let Some(frame) = frame else {
                assert_eq!(self.text, "", "the stream ended in an event");
                return None;
            };
            self.text.push_str(std::str::from_utf8(&frame.unwrap().into_data().unwrap()).unwrap());
        }
    }
}

impl Event {
    /// Its number among those of its process.
    pub fn number(&self) -> u64 {
        self.id.rsplit_once('-').unwrap().1.parse().unwrap()
    }
}

/// An archive of these files.
pub fn packed(kind: Kind, files: &[(&str, &str)]) -> Vec<u8> {
    let dir = files.iter().fold(Apps::new(), |dir, (path, text)| dir.file(path, text));
    let mut bytes = Vec::new();
    package::pack(dir.path(), kind, &mut bytes).unwrap();
    bytes
}

/// A `.tgz` of an app that answers with this word.
pub fn says(word: &str) -> Vec<u8> {
    packed(Kind::TarGz, &[("index.ts", &source(word))])
}

pub fn source(word: &str) -> String {
    format!("export default {{ fetch: () => new Response({word:?}) }};")
}

/// A `.tgz` of a static site with this page.
pub fn page(text: &str) -> Vec<u8> {
    packed(Kind::TarGz, &[("index.html", text)])
}

/// What there is in a directory: kinds, modes and contents, by path. A staging directory in which nothing is, is nothing, and
/// so is what goes while it is looked at.
pub fn snapshot(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut left = vec![dir.to_owned()];
    while let Some(at) = left.pop() {
        for entry in std::fs::read_dir(&at).into_iter().flatten() {
            let path = entry.unwrap().path();
            let Ok(meta) = path.symlink_metadata() else { continue };
            if meta.is_dir() {
                let empty = std::fs::read_dir(&path).map_or(true, |mut entries| entries.next().is_none());
                if empty && path.ends_with(".buntime-staging") {
                    continue;
                }
                left.push(path.clone());
            }
            let content = if meta.is_file() { std::fs::read(&path).unwrap_or_default() } else { Vec::new() };
            let said = format!("{:o} {} {content:?}", meta.permissions().mode(), meta.nlink());
            let said = if meta.is_dir() { format!("{:o}", meta.permissions().mode()) } else { said };
            found.insert(path.strip_prefix(dir).unwrap().to_owned(), said);
        }
    }
    found
}
