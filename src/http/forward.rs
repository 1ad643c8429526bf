//! One request through a worker: its head and body onto the link, the app's answer back, and what is done when the
//! worker does not live to give one.

use super::body::{Body, BodyError};
use super::origin::Origin;
use crate::model::App;
use crate::pool::{Lease, Pool, Refused};
use crate::wire::message::{self, ResponseHead};
use crate::worker::link::{Exchange, Failure, RequestBody, Upload};
use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::collections::VecDeque;
use std::fmt::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::task::JoinHandle;

/// Request bodies up to this size travel with their head if they have already arrived.
const INLINE: usize = 64 * 1024;
/// How often the connection gets a turn to deliver a body that has already arrived.
const TURNS: usize = 2;

const BASE: HeaderName = HeaderName::from_static("x-base");
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
/// Headers of this prefix are ours alone.
const INTERNAL: &str = "x-buntime-";

/// Why a request got no answer of the app.
#[derive(Debug)]
pub enum Unanswered {
    Refused(Refused),
    Failed(Failure),
}

/// A request on its way to an app.
pub struct Outgoing<'a> {
    pub app: &'a App,
    pub head: &'a Parts,
    /// What the app sees of the path, with the query.
    pub path: &'a str,
    /// `/shop`; empty for an app at the root.
    pub mount: &'a str,
    pub origin: &'a Origin,
    pub peer_port: u16,
    pub request_id: &'a HeaderValue,
}

/// A request body between the client and a worker.
pub struct Inbound {
    body: Incoming,
    /// What was sent before the app had certainly seen the request.
    replay: VecDeque<Bytes>,
    /// Bytes that have come, and the most that may.
    come: u64,
    limit: u64,
    ended: bool,
}

/// The task that carries a request body.
type Carrier = JoinHandle<Result<Inbound, RequestBody>>;

/// The body of an answer, still coming from the worker.
struct Streaming {
    exchange: Exchange,
}

/// Sends a request to a worker of its app and returns the answer's head with its body. `inbound` is left as it was
/// where no worker could be had, so that another version can be asked.
///
/// # Errors
/// No worker could be had, or the one that was had did not answer.
pub async fn forward(
    pool: &Arc<Pool>,
    outgoing: &Outgoing<'_>,
    inbound: &mut Option<Inbound>,
) -> Result<Response<Body>, Unanswered> {
    // A request that certainly never reached the app is sent once more. A worker that is found dead before anything was
    // sent does not count; each time it is one worker less to be found.
    let mut second_try = false;
    loop {
        let mut lease = pool.checkout(outgoing.app).await.map_err(Unanswered::Refused)?;
        if inbound.as_ref().is_some_and(|inbound| inbound.exceeds(lease.link().body_limit())) {
            return Err(Unanswered::Failed(Failure::RequestBody(RequestBody::TooLarge)));
        }
        let (mut exchange, upload) = match begin(&lease, outgoing, inbound) {
            Some(begun) => begun,
            None => {
                lease.lost();
                continue;
            }
        };
        let failure = match exchange.head().await {
            Ok(head) => {
                lease.answered();
                return Ok(answer(outgoing, head, exchange, lease));
            }
            Err(failure) => failure,
        };
        if matches!(failure, Failure::App(_)) {
            lease.answered();
        }
        if matches!(failure, Failure::Gone { .. }) {
            lease.lost();
        }
        match failure {
            Failure::Gone { started: false } if !second_try => second_try = true,
            failure => return Err(Unanswered::Failed(failure)),
        }
        // The task that carries the body ends with its exchange.
        if let Some(upload) = upload {
            match upload.await {
                Ok(Ok(whole)) => *inbound = Some(whole),
                Ok(Err(why)) => return Err(Unanswered::Failed(why.into())),
                Err(_) => return Err(Unanswered::Failed(Failure::RequestBody(RequestBody::Broken))),
            }
        }
    }
}

/// Puts the request on the link. The body goes with it if it is whole, else a task of its own carries it.
/// `None` = the worker is dead and nothing was sent.
fn begin(
    lease: &Lease,
    outgoing: &Outgoing<'_>,
    inbound: &mut Option<Inbound>,
) -> Option<(Exchange, Option<Carrier>)> {
    let held: usize = inbound.iter().flat_map(|inbound| &inbound.replay).map(Bytes::len).sum();
    let whole = inbound.as_ref().is_none_or(|inbound| inbound.ended) && held <= 2 * INLINE;
    let inline = if whole { held } else { 0 };
    let exchange =
        lease.link().open(Instant::now(), outgoing.request_id, inline as u32, whole, |out, stream| {
            encode(out, stream, whole, inline, outgoing);
            if let Some(inbound) = inbound.as_ref().filter(|_| whole) {
                inbound.replay.iter().for_each(|piece| out.extend_from_slice(piece));
            }
        })?;
    let upload = if whole {
        None
    } else {
        let most = lease.link().body_limit();
        inbound.take().map(|inbound| tokio::spawn(inbound.carry(exchange.upload(), most)))
    };
    Some((exchange, upload))
}

fn encode(out: &mut BytesMut, stream: u32, fin: bool, inline: usize, outgoing: &Outgoing<'_>) {
    let origin = outgoing.origin;
    let mut client = Text::<48>::default();
    if let Some(address) = origin.client {
        // An address always fits.
        let _ = write!(client, "{address}");
    }
    let head = outgoing.head;
    let scheme = origin.scheme();
    let dropped = Dropped::of(&head.headers);
    let cookies = joined_cookies(&head.headers);
    let passed = head.headers.iter().filter(|(name, _)| !dropped.has(name, cookies.is_some()));
    let own = [
        ("host", origin.host.as_bytes()),
        ("x-request-id", outgoing.request_id.as_bytes()),
        ("x-forwarded-for", client.as_str().as_bytes()),
        ("x-forwarded-proto", scheme.as_bytes()),
        ("x-forwarded-host", origin.host.as_bytes()),
        ("x-forwarded-prefix", outgoing.mount.as_bytes()),
        ("x-base", outgoing.mount.as_bytes()),
    ];
    let headers = own
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .chain(cookies.iter().map(|cookies| (header::COOKIE.as_str(), cookies.as_slice())))
        .chain(passed.map(|(name, value)| (name.as_str(), value.as_bytes())));
    let path = ascii(outgoing.path);
    message::put_request(
        out,
        stream,
        fin,
        head.method.as_str(),
        &[scheme.as_bytes(), b"://", origin.host.as_bytes(), path.as_bytes()],
        headers,
        (client.as_str(), outgoing.peer_port),
        inline,
    );
}

/// Headers of a request that do not go on to the app: those of the hop (RFC 9110 §7.6.1), those that we say ourselves,
/// and those that nobody outside may say.
struct Dropped<'a> {
    headers: &'a HeaderMap,
    /// `Connection` names more than what is dropped anyway.
    names_others: bool,
}

impl<'a> Dropped<'a> {
    fn of(headers: &'a HeaderMap) -> Self {
        let names_others = connection_options(headers)
            .any(|option| !["keep-alive", "close"].iter().any(|usual| option.eq_ignore_ascii_case(usual)));
        Dropped { headers, names_others }
    }

    fn has(&self, name: &HeaderName, cookies_joined: bool) -> bool {
        if is_hop_by_hop(name) || *name == header::HOST || *name == header::EXPECT {
            return true;
        }
        if *name == header::COOKIE {
            return cookies_joined;
        }
        let text = name.as_str();
        if *name == header::FORWARDED
            || text.starts_with("x-")
                && (text.starts_with(INTERNAL)
                    || text.starts_with("x-forwarded-")
                    || *name == REQUEST_ID
                    || *name == BASE)
        {
            return true;
        }
        self.names_others
            && ![header::CONTENT_LENGTH, header::AUTHORIZATION].contains(name)
            && connection_options(self.headers).any(|option| option.eq_ignore_ascii_case(text))
    }
}

/// What `Connection` lists (RFC 9110 §7.6.1), over all its lines.
fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(header::CONNECTION).into_iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    *name == header::CONNECTION
        || *name == header::TRANSFER_ENCODING
        || *name == header::UPGRADE
        || *name == header::TE
        || *name == header::TRAILER
        || *name == header::PROXY_AUTHORIZATION
        || *name == header::PROXY_AUTHENTICATE
        || *name == KEEP_ALIVE
        || *name == PROXY_CONNECTION
}

/// HTTP/2 may split cookies into several fields (RFC 9113 §8.2.3): they go on as one.
fn joined_cookies(headers: &HeaderMap) -> Option<Vec<u8>> {
    let mut cookies = headers.get_all(header::COOKIE).into_iter();
    let (first, second) = (cookies.next()?, cookies.next()?);
    let mut joined = first.as_bytes().to_vec();
    for cookie in std::iter::once(second).chain(cookies) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(cookie.as_bytes());
    }
    Some(joined)
}

/// URLs on the wire are ASCII: other bytes are percent-encoded.
fn ascii(path: &str) -> std::borrow::Cow<'_, str> {
    if path.is_ascii() {
        return path.into();
    }
    let mut encoded = String::with_capacity(path.len() * 2);
    for byte in path.bytes() {
        if byte.is_ascii() {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}"); // writing to a String cannot fail
        }
    }
    encoded.into()
}

/// Turns the worker's head and body into the response.
fn answer(
    outgoing: &Outgoing<'_>,
    head: ResponseHead,
    exchange: Exchange,
    mut lease: Lease,
) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    strip_response(response.headers_mut());
    if let Some(reason) = head
        .reason
        .filter(|reason| head.status.canonical_reason().is_none_or(|usual| usual.as_bytes() != reason))
        && let Ok(reason) = hyper::ext::ReasonPhrase::try_from(reason)
    {
        response.extensions_mut().insert(reason);
    }
    let no_body = outgoing.head.method == Method::HEAD
        || head.status == StatusCode::NO_CONTENT
        || head.status == StatusCode::NOT_MODIFIED;
    if head.fin {
        if !no_body {
            response.headers_mut().remove(header::CONTENT_LENGTH);
            *response.body_mut() = Body::from(head.body);
        }
        return response;
    }
    if no_body {
        return response; // dropping the exchange tells the worker that its body is not wanted
    }
    lease.head_came();
    check_length(response.headers_mut());
    // A client that does not read must not keep the worker from resting.
    exchange.hold(Box::new(lease));
    *response.body_mut() = Body::stream(Streaming { exchange });
    response
}

fn strip_response(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = connection_options(headers)
        .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
        .filter(|name| *name != header::CONTENT_LENGTH && *name != header::SET_COOKIE)
        .collect();
    for name in &named {
        headers.remove(name);
    }
    for name in [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::TRAILER,
        KEEP_ALIVE,
        PROXY_CONNECTION,
    ] {
        if headers.contains_key(&name) {
            headers.remove(&name);
        }
    }
}

/// The length that the app announced for a body it streams goes on only if it is one number: hyper holds the body to it.
fn check_length(headers: &mut HeaderMap) {
    let mut values = headers.get_all(header::CONTENT_LENGTH).into_iter();
    let good = match (values.next(), values.next()) {
        (None, _) => true,
        (Some(value), None) => value.to_str().is_ok_and(|text| text.parse::<u64>().is_ok()),
        (Some(_), Some(_)) => false,
    };
    if !good {
        headers.remove(header::CONTENT_LENGTH);
    }
}

impl Inbound {
    /// A request's body of at most `limit` bytes, with what of it has already arrived. `None` = it is empty.
    ///
    /// # Errors
    /// It is, or announces that it is, larger than `limit`; or it broke off.
    pub async fn receive(body: Incoming, limit: u64) -> Result<Option<Inbound>, RequestBody> {
        if body.is_end_stream() {
            return Ok(None);
        }
        if body.size_hint().lower() > limit {
            return Err(RequestBody::TooLarge);
        }
        Inbound { body, replay: VecDeque::new(), come: 0, limit, ended: false }.arrived().await
    }

    async fn arrived(mut self) -> Result<Option<Self>, RequestBody> {
        let mut bytes = 0;
        for _ in 0..TURNS {
            while let Some(frame) = futures_util::FutureExt::now_or_never(self.body.frame()) {
                match frame {
                    None => {
                        self.ended = true;
                        return Ok((!self.replay.is_empty()).then_some(self));
                    }
                    Some(Err(_)) => return Err(RequestBody::Broken),
                    Some(Ok(frame)) => {
                        let Ok(piece) = frame.into_data() else { continue };
                        self.count(&piece)?;
                        bytes += piece.len();
                        self.replay.push_back(piece);
                    }
                }
                if bytes >= INLINE {
                    return Ok(Some(self));
                }
            }
            tokio::task::yield_now().await;
        }
        Ok(Some(self))
    }

    fn count(&mut self, piece: &Bytes) -> Result<(), RequestBody> {
        self.come += piece.len() as u64;
        if self.come > self.limit { Err(RequestBody::TooLarge) } else { Ok(()) }
    }

    /// Whether it is already known to be larger than `bytes`.
    fn exceeds(&self, bytes: u64) -> bool {
        self.come.saturating_add(self.body.size_hint().lower()) > bytes
    }

    /// Carries the body to the worker, which wants at most `limit` bytes. Returns itself, so that it can be carried to another
    /// worker if this one died before the app saw the request.
    ///
    /// # Errors
    /// The body is too large or broke off. The exchange has been told.
    async fn carry(mut self, upload: Upload, limit: u64) -> Result<Inbound, RequestBody> {
        self.limit = self.limit.min(limit);
        for index in 0..self.replay.len() {
            if !upload.send(self.replay[index].clone()).await {
                return Ok(self);
            }
        }
        loop {
            if self.ended {
                upload.finish();
                return Ok(self);
            }
            if upload.is_started() {
                self.replay.clear();
            }
            let frame = tokio::select! {
                biased;
                () = upload.unwanted() => return Ok(self),
                frame = self.body.frame() => frame,
            };
            let piece = match frame {
                None => {
                    self.ended = true;
                    continue;
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(piece) => self.count(&piece).map(|()| piece),
                    Err(_) => continue,
                },
                Some(Err(_)) => Err(RequestBody::Broken),
            };
            let piece = piece.inspect_err(|why| upload.fail(*why))?;
            if !upload.is_started() {
                self.replay.push_back(piece.clone());
            }
            if !upload.send(piece).await {
                return Ok(self);
            }
        }
    }
}

impl http_body::Body for Streaming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.exchange
            .poll_body(cx)
            .map(|piece| piece.map(|piece| piece.map(Frame::data).map_err(BodyError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.exchange.is_over()
    }
}

/// A short text on the stack.
struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Text { bytes: [0; N], len: 0 }
    }
}

impl<const N: usize> Text<N> {
    fn as_str(&self) -> &str {
        // Only whole strs were copied in.
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or("")
    }
}

impl<const N: usize> Write for Text<N> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.len + text.len();
        self.bytes.get_mut(self.len..end).ok_or(std::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
