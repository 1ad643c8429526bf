//! A connection that stops speaking HTTP: what a request offers, and the answer that takes it.

use crate::{Body, BoxFuture, Problem, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::request::Parts;
use http::{Method, StatusCode};
use std::fmt;
use std::io;
use tokio::io::{AsyncRead, AsyncWrite};

/// RFC 6455 §1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The bytes of a connection after its last HTTP answer.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// Why the runtime wants a connection to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// The server shuts down.
    Shutdown,
    /// The plugin is replaced or disabled.
    Replaced,
}

/// What the runtime offers with a request.
pub struct Offer {
    /// The connection, once 101 has gone out.
    pub connection: BoxFuture<'static, io::Result<Box<dyn Connection>>>,
    /// When the connection should end. A few seconds later the runtime ends it.
    pub ending: BoxFuture<'static, Ending>,
}

/// A request's connection, to be taken.
pub struct Upgrade {
    offer: Offer,
    protocol: HeaderValue,
    protocols: Vec<String>,
    accept: Result<HeaderValue, Problem>,
}

/// Marks an answer that takes a connection.
#[derive(Clone, Copy)]
struct Taken;

impl Ending {
    /// The status that a WebSocket ends with (RFC 6455 §7.4.1, and its registry).
    pub fn code(self) -> u16 {
        match self {
            Ending::Shutdown => 1001,
            Ending::Replaced => 1012,
        }
    }

    pub(crate) fn reason(self) -> &'static str {
        match self {
            Ending::Shutdown => "the server is shutting down",
            Ending::Replaced => "the service restarts",
        }
    }
}

impl Upgrade {
    pub(crate) fn new(head: &Parts, offer: Offer) -> Upgrade {
        let lists = head.headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter();
        let names = lists.filter_map(|list| list.to_str().ok()).flat_map(|list| list.split(','));
        Upgrade {
            offer,
            protocol: head.headers.get(UPGRADE).cloned().unwrap_or(HeaderValue::from_static("")),
            protocols: names.map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect(),
            accept: accept(head),
        }
    }

    /// What the client asks for: `websocket`.
    pub fn protocol(&self) -> &HeaderValue {
        &self.protocol
    }

    /// The WebSocket subprotocols that the client would speak, what it likes best first.
    pub fn protocols(&self) -> impl Iterator<Item = &str> {
        self.protocols.iter().map(String::as_str)
    }

    /// Whether the request opens a WebSocket as RFC 6455 §4.1 has it.
    pub fn is_websocket(&self) -> bool {
        self.accept.is_ok()
    }

    /// Takes the connection for any protocol. The plugin answers with the response, which may get headers, and has the connection
    /// when that has gone out. When `ending` comes the connection is to be ended; it is cut off a few seconds later.
    pub fn accept(self, protocol: HeaderValue) -> (Response, Offer) {
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
        response.headers_mut().insert(UPGRADE, protocol);
        response.extensions_mut().insert(Taken);
        (response, self.offer)
    }

    /// The answer to a WebSocket's handshake (RFC 6455 §4.2.2).
    ///
    /// # Errors
    /// The handshake is none, or the client does not speak `subprotocol`.
    pub(crate) fn shake(self, subprotocol: Option<HeaderValue>) -> Result<(Response, Offer), Problem> {
        let accept = self.accept.clone()?;
        let fits = |name: &HeaderValue| self.protocols.iter().any(|known| known == name);
        if subprotocol.as_ref().is_some_and(|name| !fits(name)) {
            return Err(bad("The client does not speak the subprotocol that the server has chosen."));
        }
        let (mut response, offer) = self.accept(HeaderValue::from_static("websocket"));
        response.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, accept);
        if let Some(name) = subprotocol {
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, name);
        }
        Ok((response, offer))
    }

    /// Of the runtime: whether an answer takes the connection.
    pub fn is_taken_by(response: &Response) -> bool {
        response.status() == StatusCode::SWITCHING_PROTOCOLS && response.extensions().get::<Taken>().is_some()
    }
}

pub(crate) fn is_websocket(head: &Parts) -> bool {
    accept(head).is_ok()
}

/// What proves that a handshake was understood, or what is wrong with it.
fn accept(head: &Parts) -> Result<HeaderValue, Problem> {
    if head.method != Method::GET || !has_token(&head.headers, &UPGRADE, "websocket") {
        return Err(bad("This address is a WebSocket."));
    }
    if head.headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        let problem = Problem::new(StatusCode::UPGRADE_REQUIRED, "websocket_version");
        return Err(problem
            .detail("The only version of WebSockets that is known here is 13.")
            .header(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")));
    }
    let mut keys = head.headers.get_all(SEC_WEBSOCKET_KEY).into_iter();
    let key = keys.next().filter(|_| keys.next().is_none());
    let key = key.filter(|key| STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16));
    let key = key.ok_or_else(|| bad("The key of the WebSocket is none."))?;
    let mut hash = sha1_smol::Sha1::new();
    hash.update(key.as_bytes());
    hash.update(GUID);
    let accept = STANDARD.encode(hash.digest().bytes());
    HeaderValue::try_from(accept).map_err(|_| bad("The key of the WebSocket is none."))
}

fn has_token(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    let lists = headers.get_all(name).into_iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|token| token.trim().eq_ignore_ascii_case(wanted))
}

fn bad(detail: &'static str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad_websocket").detail(detail)
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Offer")
    }
}

impl fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgrade").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(headers: &[(&'static str, &'static str)]) -> Parts {
        let mut head = http::Request::new(()).into_parts().0;
        for (name, value) in headers {
            head.headers.append(*name, HeaderValue::from_static(value));
        }
        head
    }

    const GOOD: [(&str, &str); 4] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    #[test]
    fn a_handshake_is_answered_as_the_standard_s_example_is() {
        assert_eq!(accept(&head(&GOOD)).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn what_is_no_handshake_is_refused() {
        let without =
            |name: &str| GOOD.iter().copied().filter(|(known, _)| *known != name).collect::<Vec<_>>();
        for (name, status) in [("upgrade", 400), ("sec-websocket-version", 426), ("sec-websocket-key", 400)] {
            assert_eq!(accept(&head(&without(name))).unwrap_err().status.as_u16(), status, "{name}");
        }
        let mut post = head(&GOOD);
        post.method = Method::POST;
        assert!(accept(&post).is_err());
        for key in ["dGhlIHNhbXBsZQ==", "no base64 at all", ""] {
            let mut other = head(&without("sec-websocket-key"));
            other.headers.append("sec-websocket-key", HeaderValue::from_static(key));
            assert!(accept(&other).is_err(), "{key}");
        }
        let mut twice = head(&GOOD);
        twice.headers.append("sec-websocket-key", HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
        assert!(accept(&twice).is_err());
    }
}
