//! Speaks with the management API: one method a route.

mod log;
mod plugins;
mod sse;
mod transport;

pub use log::KeptLog;
pub use sse::Event;
pub use transport::{Body, Transport, empty, json, streamed};

use crate::api::types::*;
use crate::model::{AppName, AppVersion};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Method, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::time::Duration;

/// Longest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 << 20;
/// For answers that come without work to wait for.
const PATIENCE: Duration = Duration::from_secs(60);
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'@');

/// Why there is no answer that is of use.
#[derive(Debug)]
pub enum ClientError {
    /// `at` is the address.
    Unreachable { at: String, why: String },
    /// What the runtime says is wrong.
    Problem(Box<ProblemDocument>),
    /// What answers is no runtime, or one that speaks otherwise.
    Nonsense { at: String, what: String },
}

/// What the runtime answered: the value, and the JSON that it was read from.
#[derive(Debug)]
pub struct Answer<T> {
    pub value: T,
    pub raw: Bytes,
}

pub type Result<T> = std::result::Result<T, ClientError>;

/// What is to be done with the package that is uploaded.
#[derive(Clone, Debug, Default)]
pub struct Upload {
    pub name: Option<String>,
    pub version: Option<String>,
    /// None = no alias.
    pub alias: Option<String>,
    pub replace: bool,
}

/// Which events are wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub types: &'static str,
    pub app: Option<AppName>,
    pub version: Option<AppVersion>,
    /// The stream does not end with what is kept.
    pub follow: bool,
}

/// A connection to one runtime.
#[derive(Debug)]
pub struct Client {
    transport: Transport,
}

/// Events as they come.
#[derive(Debug)]
pub struct Events {
    body: Incoming,
    parser: sse::Parser,
    ready: VecDeque<Event>,
    at: String,
}

impl Client {
    pub fn new(transport: Transport) -> Client {
        Client { transport }
    }

    /// The address, for messages.
    pub fn at(&self) -> &str {
        self.transport.at()
    }

    /// The address, where it is one on the network.
    pub fn address(&self) -> Option<&str> {
        self.transport.address()
    }

    pub async fn runtime(&self) -> Result<Answer<Runtime>> {
        self.get("/runtime").await
    }

    pub async fn apps(&self) -> Result<Answer<AppList>> {
        self.get("/apps").await
    }

    pub async fn deploy(
        &self,
        upload: &Upload,
        media_type: &'static str,
        package: Body,
    ) -> Result<Answer<Deployment>> {
        let query = query(&[
            ("name", upload.name.as_deref()),
            ("version", upload.version.as_deref()),
            ("alias", Some(upload.alias.as_deref().unwrap_or_default())),
            ("replace", upload.replace.then_some("true")),
        ]);
        let response = self.send(Method::POST, &format!("/apps{query}"), Some(media_type), package).await?;
        self.read(response).await
    }

    pub async fn delete_app(&self, app: &AppName) -> Result<Answer<Deleted>> {
        self.act(Method::DELETE, &format!("/apps/{app}")).await
    }

    pub async fn restart_app(&self, app: &AppName) -> Result<Answer<Affected>> {
        self.act(Method::POST, &format!("/apps/{app}/restart")).await
    }

    pub async fn rollback(&self, app: &AppName, alias: &str) -> Result<Answer<Alias>> {
        let body = Rollback { alias: Some(alias.to_owned()) };
        self.give(Method::POST, &format!("/apps/{app}/rollback"), &body).await
    }

    pub async fn versions(&self, app: &AppName) -> Result<Answer<VersionList>> {
        self.get(&format!("/apps/{app}/versions")).await
    }

    pub async fn delete_version(&self, app: &AppName, version: &AppVersion) -> Result<Answer<Deleted>> {
        self.act(Method::DELETE, &version_path(app, version, "")).await
    }

    pub async fn enable(&self, app: &AppName, version: &AppVersion) -> Result<Answer<Version>> {
        self.act(Method::POST, &version_path(app, version, "/enable")).await
    }

    pub async fn disable(&self, app: &AppName, version: &AppVersion) -> Result<Answer<Version>> {
        self.act(Method::POST, &version_path(app, version, "/disable")).await
    }

    pub async fn restart_version(&self, app: &AppName, version: &AppVersion) -> Result<Answer<Affected>> {
        self.act(Method::POST, &version_path(app, version, "/restart")).await
    }

    pub async fn aliases(&self, app: &AppName) -> Result<Answer<AliasList>> {
        self.get(&format!("/apps/{app}/aliases")).await
    }

    pub async fn set_alias(&self, app: &AppName, alias: &str, to: &SetAlias) -> Result<Answer<Alias>> {
        self.give(Method::PUT, &format!("/apps/{app}/aliases/{}", encoded(alias)), to).await
    }

    /// The body of the answer, which may be empty.
    pub async fn delete_alias(&self, app: &AppName, alias: &str) -> Result<Bytes> {
        self.remove(&format!("/apps/{app}/aliases/{}", encoded(alias))).await
    }

    pub async fn workers(&self) -> Result<Answer<WorkerList>> {
        self.get("/workers").await
    }

    pub async fn restart_worker(&self, id: &str) -> Result<Answer<Affected>> {
        self.act(Method::POST, &format!("/workers/{}/restart", encoded(id))).await
    }

    /// Returns only with an error.
    pub async fn wedge(&self) -> Result<()> {
        self.act::<Affected>(Method::POST, "/test/wedge").await.map(drop)
    }

    pub async fn keys(&self) -> Result<Answer<KeyList>> {
        self.get("/keys").await
    }

    pub async fn create_key(&self, key: &CreateKey) -> Result<Answer<CreatedKey>> {
        self.give(Method::POST, "/keys", key).await
    }

    pub async fn revoke_key(&self, id: &str) -> Result<Answer<Key>> {
        self.act(Method::DELETE, &format!("/keys/{}", encoded(id))).await
    }

    /// `last`: the id of the last event that was seen.
    pub async fn events(&self, wanted: &Wanted, last: Option<&str>) -> Result<Events> {
        let version = wanted.version.as_ref().map(AppVersion::to_string);
        let query = query(&[
            ("types", Some(wanted.types)),
            ("version", version.as_deref()),
            ("app", wanted.app.as_ref().map(AppName::as_str)),
            ("follow", (!wanted.follow).then_some("false")),
        ]);
        let path = format!("/events{query}");
        let sent = self.transport.send(Method::GET, &path, stream_headers(last), empty());
        self.follow(patient(self.at(), sent).await?).await
    }

    /// An answer that goes on and on.
    async fn follow(&self, response: Response<Incoming>) -> Result<Events> {
        let response = self.judge(response).await?;
        let at = self.at().to_owned();
        if media_type(&response) != "text/event-stream" {
            let what = format!("instead of events it sends `{}`", media_type(&response));
            return Err(ClientError::Nonsense { at, what });
        }
        Ok(Events { body: response.into_body(), parser: sse::Parser::default(), ready: VecDeque::new(), at })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Answer<T>> {
        let work = async { self.read(self.send(Method::GET, path, None, empty()).await?).await };
        patient(self.at(), work).await
    }

    /// Without a limit of time: what is asked for may wait for requests in flight.
    async fn act<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<Answer<T>> {
        self.read(self.send(method, path, None, empty()).await?).await
    }

    async fn give<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl serde::Serialize,
    ) -> Result<Answer<T>> {
        self.read(self.send(method, path, Some("application/json"), json(body)).await?).await
    }

    async fn remove(&self, path: &str) -> Result<Bytes> {
        let response = self.send(Method::DELETE, path, None, empty()).await?;
        self.collect(response).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        content: Option<&'static str>,
        body: Body,
    ) -> Result<Response<Incoming>> {
        let mut headers = vec![(ACCEPT, HeaderValue::from_static("application/json"))];
        headers.extend(content.map(|content| (CONTENT_TYPE, HeaderValue::from_static(content))));
        let response = self.transport.send(method, path, headers, body).await?;
        self.judge(response).await
    }

    /// Lets an answer pass that says yes.
    async fn judge(&self, response: Response<Incoming>) -> Result<Response<Incoming>> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let media = media_type(&response).to_owned();
        let location = response.headers().get("location").and_then(|to| to.to_str().ok()).map(str::to_owned);
        let raw = self.collect(response).await?;
        if media == "application/problem+json"
            && let Ok(problem) = serde_json::from_slice(&raw)
        {
            return Err(ClientError::Problem(Box::new(problem)));
        }
        if matches!(status.as_u16(), 502..=504) {
            // No runtime says that without a problem: a proxy does, of a runtime that it does not reach.
            let why = format!("a proxy before it answered {status}");
            return Err(ClientError::Unreachable { at: self.at().to_owned(), why });
        }
        let to = location.map(|to| format!(" (to {to})")).unwrap_or_default();
        Err(self.nonsense(format!("it answered {status}{to}")))
    }

    async fn read<T: DeserializeOwned>(&self, response: Response<Incoming>) -> Result<Answer<T>> {
        let raw = self.collect(response).await?;
        match serde_json::from_slice(&raw) {
            Ok(value) => Ok(Answer { value, raw }),
            Err(error) => Err(self.nonsense(format!("its answer cannot be read: {error}"))),
        }
    }

    async fn collect(&self, response: Response<Incoming>) -> Result<Bytes> {
        match Limited::new(response.into_body(), MAX_ANSWER).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) => Err(self.nonsense(format!("its answer ended too early: {error}"))),
        }
    }

    fn nonsense(&self, what: String) -> ClientError {
        ClientError::Nonsense { at: self.at().to_owned(), what }
    }
}

impl Events {
    /// The id to go on after when all that came was taken.
    pub fn last_id(&self) -> Option<&str> {
        self.parser.last_id()
    }

    /// The next one; none = the runtime ended the stream.
    pub async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            let lost = |why: String| ClientError::Unreachable { at: self.at.clone(), why };
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(lost(format!("the stream broke: {error}"))),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.ready.extend(self.parser.push(&data).map_err(|what| ClientError::Nonsense {
                            at: self.at.clone(),
                            what: what.to_owned(),
                        })?);
                    }
                }
            }
        }
    }
}

/// `last`: the id of the last event that was seen.
fn stream_headers(last: Option<&str>) -> Vec<(http::HeaderName, HeaderValue)> {
    let mut headers = vec![(ACCEPT, HeaderValue::from_static("text/event-stream"))];
    if let Some(last) = last.and_then(|last| HeaderValue::from_str(last).ok()) {
        headers.push((http::HeaderName::from_static("last-event-id"), last));
    }
    headers
}

async fn patient<T>(at: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| {
        let why = format!("it did not answer within {} seconds", PATIENCE.as_secs());
        Err(ClientError::Unreachable { at: at.to_owned(), why })
    })
}

fn version_path(app: &AppName, version: &AppVersion, what: &str) -> String {
    format!("/apps/{app}/versions/{}{what}", encoded(&version.to_string()))
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

/// `?a=1&b=2` of those that are there.
fn query(pairs: &[(&str, Option<&str>)]) -> String {
    let there = pairs.iter().filter_map(|(name, value)| Some(format!("{name}={}", encoded((*value)?))));
    let joined = there.collect::<Vec<_>>().join("&");
    if joined.is_empty() { joined } else { format!("?{joined}") }
}

fn media_type(response: &Response<Incoming>) -> &str {
    let value = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.split(';').next()).unwrap_or_default().trim()
}
