//! One request through a worker: its head and body onto the link, the app's answer back, and what is done when the
//! worker does not live to give one.

mod heads;
mod inbound;

pub use self::heads::REQUEST_ID;
use self::heads::{check_length, encode, narrow_scope, strip_response};
pub use self::inbound::{Inbound, Source};
use super::origin::Origin;
use crate::model::App;
use crate::pool::{Lease, Pool, Refused};
use crate::wire::message::ResponseHead;
use crate::worker::link::{Exchange, Failure, RequestBody};
use buntime_plugin::Body;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use std::sync::Arc;
use std::time::Instant;
use tokio::task::JoinHandle;

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
    /// What the app is told as its base.
    pub base: &'a str,
    pub origin: &'a Origin,
    pub peer_port: u16,
    pub request_id: &'a HeaderValue,
}

impl Outgoing<'_> {
    /// The paths of this host that are the app's: below its mount path, or below its base where nothing is taken off.
    fn scope(&self) -> &str {
        if self.mount.is_empty() { self.base.trim_end_matches('/') } else { self.mount }
    }
}

/// The task that carries a request body.
type Carrier = JoinHandle<Result<Inbound, RequestBody>>;

/// Sends a request to a worker of its app and returns the answer's head with its body. `inbound` is left as it was
/// where no worker could be had, so that another version can be asked. Where the request would have to wait, `is_meant` says
/// whether it still means this version.
///
/// # Errors
/// No worker could be had, or the one that was had did not answer.
pub async fn forward(
    pool: &Arc<Pool>,
    outgoing: &Outgoing<'_>,
    inbound: &mut Option<Inbound>,
    is_meant: impl Fn() -> bool,
) -> Result<Response<Body>, Unanswered> {
    // A request that certainly never reached the app is sent once more. A worker that is found dead before anything was
    // sent does not count; each time it is one worker less to be found.
    let mut second_try = false;
    loop {
        // The body of a request that goes ahead could come to be more than the app will say it wants.
        let leased = pool.checkout(outgoing.app, inbound.is_none(), &is_meant).await;
        let mut lease = leased.map_err(Unanswered::Refused)?;
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
            Failure::Gone { started: false } if !lease.link().is_loaded() => {
                if let Some(refused) = lease.not_loaded(outgoing.app).await {
                    return Err(Unanswered::Refused(refused));
                }
            }
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
    let inline = inbound.as_ref().map_or(Some(0), Inbound::inline);
    let (whole, inline) = (inline.is_some(), inline.unwrap_or(0));
    let exchange =
        lease.link().open(Instant::now(), outgoing.request_id, inline as u32, whole, |out, stream| {
            encode(out, stream, whole, inline, outgoing);
            if let Some(inbound) = inbound.as_ref().filter(|_| whole) {
                inbound.append_to(out);
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
    narrow_scope(response.headers_mut(), outgoing.scope());
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
    *response.body_mut() = Body::stream(exchange);
    response
}
