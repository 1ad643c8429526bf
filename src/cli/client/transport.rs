//! Carries requests: over the admin socket, or over TCP with or without TLS.

use super::ClientError;
use crate::tls;
use bytes::Bytes;
use http::header::HOST;
use http::{HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use hyperlocal::UnixConnector;
use std::error::Error;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub type Body = UnsyncBoxBody<Bytes, io::Error>;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A way to one runtime.
#[derive(Debug)]
pub struct Transport {
    way: Way,
    /// Where it leads, for messages.
    at: String,
    /// In front of each path.
    base: String,
    key: Option<HeaderValue>,
}

#[derive(Debug)]
enum Way {
    /// The socket's URI, which has its path in hexadecimal for an authority.
    Socket(Client<UnixConnector, Body>, Uri),
    /// The address, without a slash at its end.
    Web(Client<HttpsConnector<HttpConnector>, Body>, String),
}

impl Transport {
    /// `base` is what stands before `/apps` and the like.
    pub fn socket(path: &Path, base: &str) -> Transport {
        Transport {
            way: Way::Socket(
                Client::builder(TokioExecutor::new()).build(UnixConnector),
                hyperlocal::Uri::new(path, "/").into(),
            ),
            at: path.display().to_string(),
            base: base.to_owned(),
            key: None,
        }
    }

    /// `address` has no slash at its end.
    ///
    /// # Errors
    /// The system's certificates cannot be read, and there is nothing else to know the other side by.
    pub fn web(address: &str, base: &str, key: Option<HeaderValue>) -> io::Result<Transport> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = HttpsConnector::from((tcp, Arc::new(tls::client(address.starts_with("https:"))?)));
        Ok(Transport {
            way: Way::Web(Client::builder(TokioExecutor::new()).build(connector), address.to_owned()),
            at: address.to_owned(),
            base: base.to_owned(),
            key,
        })
    }

    pub fn at(&self) -> &str {
        &self.at
    }

    /// The address, where it is one on the network.
    pub fn address(&self) -> Option<&str> {
        match &self.way {
            Way::Socket(..) => None,
            Way::Web(_, address) => Some(address),
        }
    }

    /// `path` begins with a slash and stands behind the base.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Body,
    ) -> Result<Response<Incoming>, ClientError> {
        self.send_to(method, format!("{}{path}", self.base), headers, body).await
    }

    /// `path` begins with a slash and stands behind the address itself.
    pub async fn send_to(
        &self,
        method: Method,
        path: String,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Body,
    ) -> Result<Response<Incoming>, ClientError> {
        let uri = match &self.way {
            Way::Socket(_, socket) => {
                let parts = socket.clone().into_parts();
                Uri::builder()
                    .scheme(parts.scheme.as_ref().map_or("unix", |scheme| scheme.as_str()))
                    .authority(parts.authority.as_ref().map_or("", |authority| authority.as_str()))
                    .path_and_query(path)
                    .build()
            }
            Way::Web(_, address) => format!("{address}{path}").parse().map_err(http::Error::from),
        };
        let nonsense = |error: http::Error| ClientError::Nonsense {
            at: self.at.clone(),
            what: format!("the address cannot be made: {error}"),
        };
        let mut request = Request::builder().method(method).uri(uri.map_err(nonsense)?);
        if let Some(all) = request.headers_mut() {
            all.extend(headers);
            if let Some(key) = &self.key {
                all.insert(HeaderName::from_static("x-api-key"), key.clone());
            }
        }
        let sent = match &self.way {
            Way::Socket(client, _) => {
                // In its place hyper would send the path of the socket.
                client.request(request.header(HOST, "buntime").body(body).map_err(nonsense)?).await
            }
            Way::Web(client, _) => client.request(request.body(body).map_err(nonsense)?).await,
        };
        sent.map_err(|error| ClientError::Unreachable { at: self.at.clone(), why: innermost(&error) })
    }
}

pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

pub fn json(value: &impl serde::Serialize) -> Body {
    // The shapes of the API are maps of texts and numbers: they are always JSON.
    let bytes = serde_json::to_vec(value).unwrap_or_default();
    Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed_unsync()
}

/// What comes out of a channel, and an error that breaks the request off.
pub fn streamed(chunks: tokio::sync::mpsc::Receiver<io::Result<Bytes>>) -> Body {
    let stream = futures_util::stream::unfold(chunks, async |mut chunks| {
        let chunk = chunks.recv().await?;
        Some((chunk.map(Frame::data), chunks))
    });
    StreamBody::new(Box::pin(stream)).boxed_unsync()
}

/// The deepest cause says what happened; what stands above it only that something did.
fn innermost(error: &dyn Error) -> String {
    let mut deepest: &dyn Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
