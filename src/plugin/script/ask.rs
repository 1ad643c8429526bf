//! One question to a script plugin: a request on its worker's link, and what comes back.

use super::flow;
use crate::model::App;
use crate::pool::{Lease, Pool};
use crate::wire::message::{AppError, ResponseHead, put_request};
use crate::worker::link::{Exchange, Failure, RequestBody, Upload};
use buntime_plugin::service::CallError;
use buntime_plugin::{Body, Error, Phase, Request, Response, Result};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt;
use std::sync::Arc;
use std::time::Instant;

/// A body that has arrived goes with its head up to this size.
const INLINE: usize = 64 * 1024;
/// Of a whole answer that is read at once.
const MAX_PLAIN: usize = 1 << 20;

/// Whom to ask.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    pub pool: &'a Arc<Pool>,
    pub app: &'a Arc<App>,
}

/// What to ask.
pub struct Asked {
    method: String,
    /// Absolute.
    url: String,
    headers: HeaderMap,
    /// Internal ones, which nothing from outside can have.
    own: Vec<(&'static str, String)>,
    id: HeaderValue,
    peer: String,
    /// What goes before the request's own body.
    pub body: Bytes,
    /// It may be answered with a WebSocket.
    upgrades: bool,
}

/// What a worker has answered, with what is still to come.
pub struct Answer {
    pub head: ResponseHead,
    exchange: Exchange,
    lease: Lease,
}

/// Why there is no answer.
enum Unanswered {
    Threw(Box<AppError>),
    Absent(Error),
}

impl Asked {
    /// About no request.
    pub fn own(hook: &'static str) -> Asked {
        Asked {
            method: "POST".to_owned(),
            url: "http://localhost/".to_owned(),
            headers: HeaderMap::new(),
            own: vec![("x-buntime-hook", hook.to_owned())],
            id: HeaderValue::from_static("plugin"),
            peer: String::new(),
            body: Bytes::new(),
            upgrades: false,
        }
    }

    pub fn request(request: &Request, headers: HeaderMap, phase: Phase) -> Asked {
        let mut asked = Asked::about(request, headers, "request");
        asked.own.push(("x-buntime-phase", phase.as_str().to_owned()));
        asked
    }

    pub fn response(request: &Request, headers: HeaderMap, response: &Response) -> Asked {
        let mut asked = Asked::about(request, headers, "response");
        // GET and HEAD have no bodies on the link.
        let method = std::mem::replace(&mut asked.method, "POST".to_owned());
        asked.own.push(("x-buntime-method", method));
        Asked { body: flow::head_of(response), ..asked }
    }

    pub fn answer(
        request: &Request,
        headers: HeaderMap,
        hook: &'static str,
        caller: Option<String>,
        upgrades: bool,
    ) -> Asked {
        let mut asked = Asked::about(request, headers, hook);
        asked.own.extend(caller.map(|caller| ("x-buntime-caller", caller)));
        if upgrades {
            asked.upgrades = true;
            asked.own.push(("x-buntime-upgrade", "websocket".to_owned()));
        }
        asked
    }

    pub fn service(service: &str, method: &str, arguments: Bytes) -> Asked {
        let mut asked = Asked::own("service");
        asked.own.push(("x-buntime-service", service.to_owned()));
        asked.own.push(("x-buntime-method", method.to_owned()));
        Asked { body: arguments, ..asked }
    }

    fn about(request: &Request, mut headers: HeaderMap, hook: &'static str) -> Asked {
        flow::keep_internal(&mut headers);
        flow::say_client(&mut headers, request);
        headers.insert(http::header::HOST, request.host.clone());
        let mut own = vec![("x-buntime-hook", hook.to_owned())];
        if let Some(app) = request.app() {
            own.push(("x-buntime-app", format!("{}@{}", app.name, app.version)));
        }
        let scheme = if request.https { "https" } else { "http" };
        let host = request.host.to_str().unwrap_or("localhost");
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        Asked {
            method: request.method().as_str().to_owned(),
            url: format!("{scheme}://{host}{path}"),
            headers,
            own,
            id: request.id.clone(),
            peer: request.client.map(|client| client.to_string()).unwrap_or_default(),
            body: Bytes::new(),
            upgrades: false,
        }
    }
}

impl Ask<'_> {
    /// Asks for an answer that is read as a whole.
    ///
    /// # Errors
    /// There is none.
    pub async fn plain(self, asked: Asked) -> Result<Bytes> {
        let (_, body) = self.streaming(asked, Body::Empty).await?;
        whole(body).await
    }

    /// Tells of something that is no request.
    ///
    /// # Errors
    /// It was not heard.
    pub async fn tell(self, hook: &'static str, what: &serde_json::Value) -> Result<()> {
        let mut asked = Asked::own(hook);
        asked.body = rmp_serde::to_vec_named(what)
            .map_err(|error| Error::new("what a plugin is told cannot be encoded").because(error))?
            .into();
        self.plain(asked).await.map(drop)
    }

    /// Calls a service. What the module throws is the caller's.
    ///
    /// # Errors
    /// What was thrown, or why nobody answered.
    pub async fn called(self, asked: Asked) -> Result<Bytes, CallError> {
        let unavailable = |error: Error| CallError::new("Unavailable", error.to_string());
        match self.exchange(asked, Body::Empty).await {
            Ok(answer) => whole(answer.streaming().1).await.map_err(unavailable),
            Err(Unanswered::Threw(error)) => Err(CallError::new(error.name, error.message)),
            Err(Unanswered::Absent(error)) => Err(unavailable(error)),
        }
    }

    /// Asks, with a body that is sent as it comes.
    ///
    /// # Errors
    /// The plugin has no worker, threw, or died.
    pub async fn streaming(self, asked: Asked, body: Body) -> Result<(ResponseHead, Body)> {
        self.answer(asked, body).await.map(Answer::streaming)
    }

    /// The same, where it is not known yet what the answer is.
    ///
    /// # Errors
    /// As [`Ask::streaming`].
    pub async fn answer(self, asked: Asked, body: Body) -> Result<Answer> {
        self.exchange(asked, body).await.map_err(|unanswered| match unanswered {
            Unanswered::Threw(error) => {
                let more = if error.stack.is_empty() { String::new() } else { format!("\n{}", error.stack) };
                Error::new(format!("it threw {}: {}{more}", error.name, error.message))
            }
            Unanswered::Absent(error) => error,
        })
    }

    async fn exchange(self, asked: Asked, body: Body) -> Result<Answer, Unanswered> {
        let mut body = Some(body);
        let mut second_try = false;
        loop {
            let leased = self.pool.checkout(self.app, false, || true).await;
            let mut lease = leased.map_err(|refused| {
                let failure = refused.failure.map(|failure| failure.summary.clone());
                let error = Error::new(format!("its process is not there ({:?})", refused.why));
                Unanswered::Absent(error.hint(failure.unwrap_or_else(|| "its log says why".to_owned())))
            })?;
            let Some(mut exchange) = begin(&lease, &asked, &mut body) else {
                lease.lost();
                continue;
            };
            match exchange.head().await {
                Ok(head) => {
                    lease.answered();
                    return Ok(Answer { head, exchange, lease });
                }
                Err(Failure::App(error)) => {
                    lease.answered();
                    return Err(Unanswered::Threw(error));
                }
                Err(failure) => {
                    if let Failure::Gone { .. } = failure {
                        lease.lost();
                    }
                    // It has not been seen by anybody, and its body is still here.
                    let again = matches!(failure, Failure::Gone { started: false }) && body.is_some();
                    if !again || std::mem::replace(&mut second_try, true) {
                        return Err(Unanswered::Absent(Error::new(failure.to_string())));
                    }
                }
            }
        }
    }
}

async fn whole(mut body: Body) -> Result<Bytes> {
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Error::new("the plugin's answer broke off").because(error))?;
        let Ok(piece) = frame.into_data() else { continue };
        if whole.len() + piece.len() > MAX_PLAIN {
            return Err(Error::new(format!("the plugin's answer has more than {MAX_PLAIN} bytes")));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.into())
}

/// Puts the question on the link. None = the worker is dead, and nothing was sent.
fn begin(lease: &Lease, asked: &Asked, body: &mut Option<Body>) -> Option<Exchange> {
    let whole = match body {
        None | Some(Body::Empty) => Some(Bytes::new()),
        Some(Body::Full(bytes)) if bytes.len() <= INLINE => Some(bytes.clone()),
        Some(_) => None,
    };
    let inline: Vec<&Bytes> =
        [&asked.body].into_iter().chain(&whole).filter(|bytes| !bytes.is_empty()).collect();
    let length: usize = inline.iter().map(|bytes| bytes.len()).sum();
    let exchange =
        lease.link().open(Instant::now(), &asked.id, length as u32, whole.is_some(), |out, stream| {
            let own = asked.own.iter().map(|(name, value)| (*name, value.as_bytes()));
            let headers = asked.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
            let url = [asked.url.as_bytes()];
            let headers = own.chain(headers);
            let fin = whole.is_some() && !asked.upgrades;
            put_request(out, stream, fin, &asked.method, &url, headers, (&asked.peer, 0), length);
            inline.iter().for_each(|bytes| out.extend_from_slice(bytes));
        })?;
    if let Some(body) = body.take_if(|_| whole.is_none()) {
        tokio::spawn(carry(body, exchange.upload()));
    }
    Some(exchange)
}

/// Sends a body as the plugin takes it.
async fn carry(mut body: Body, upload: Upload) {
    loop {
        let frame = tokio::select! {
            biased;
            () = upload.unwanted() => return,
            frame = body.frame() => frame,
        };
        match frame {
            None => return upload.finish(),
            Some(Err(_)) => return upload.fail(RequestBody::Broken),
            Some(Ok(frame)) => {
                let Ok(piece) = frame.into_data() else { continue };
                if !upload.send(piece).await {
                    return;
                }
            }
        }
    }
}

impl Answer {
    /// Head and body, as they go on to whoever has asked.
    pub fn streaming(self) -> (ResponseHead, Body) {
        let Answer { mut head, exchange, mut lease } = self;
        if head.fin {
            let body = Body::from(std::mem::take(&mut head.body));
            return (head, body);
        }
        lease.head_came();
        exchange.hold(Box::new(lease));
        (head, Body::stream(exchange))
    }

    /// Both directions, to be talked on.
    pub fn conversation(self) -> (ResponseHead, Exchange, Upload) {
        let Answer { head, exchange, mut lease } = self;
        let upload = exchange.converse();
        lease.head_came();
        exchange.hold(Box::new(lease));
        (head, exchange, upload)
    }
}
