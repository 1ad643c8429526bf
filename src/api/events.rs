//! What happens, as server-sent events (WHATWG HTML, section 9.2).

use super::auth::Caller;
use super::error::{ApiError, Result};
use super::gate::{instant, until};
use super::input::{self, Query};
use super::{Api, Shared};
use crate::access::Permission;
use crate::events::{EventId, Filter, Item, Kind, Subscription};
use crate::model::{AppName, AppVersion};
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use buntime_plugin::answer::event_stream;
use bytes::Bytes;
use http::HeaderMap;
use http::header::HeaderName;
use http_body::Frame;
use serde::Deserialize;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;
use utoipa::IntoParams;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// A comment goes out after such a silence, so that proxies keep the connection and a client that has gone is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// Kinds, separated by commas: `worker`, `log`, `app`, `alias`, `deploy`, `key`, `plugin`, `server`; otherwise all.
    types: Option<String>,
    /// Only those of this app.
    app: Option<String>,
    /// Only those of this version.
    version: Option<String>,
    /// What comes after this event, as `Last-Event-ID`; `0` = all that is kept. Otherwise what happens from now on.
    after: Option<String>,
    /// `false` = end when all that is kept was sent.
    follow: Option<bool>,
}

/// What happens, as server-sent events
///
/// Each has an id; with `Last-Event-ID`, or `after`, the stream goes on behind it. Where events were lost in between, an
/// event `gap` says how many (`lost`), or an event `reset` that the runtime was restarted.
#[utoipa::path(
    get, path = "/events", tag = "events", operation_id = "streamEvents", params(Which),
    responses((status = 200, content_type = "text/event-stream", body = String)),
    extensions(("x-permission" = json!("events:read"))),
)]
pub async fn stream(
    State(api): Shared,
    caller: Caller,
    headers: HeaderMap,
    Query(which): Query<Which>,
) -> Result<Response> {
    let app = which.app.as_deref().map(input::app).transpose()?;
    caller.may(Permission::EventsRead, app.as_ref())?;
    let version = which.version.as_deref().map(input::version).transpose()?;
    let after =
        match headers.get(LAST_EVENT_ID).map(|id| id.to_str().unwrap_or("?")).or(which.after.as_deref()) {
            None => None,
            Some("0") => Some(api.hub.beginning()),
            Some(id) => {
                Some(id.parse::<EventId>().map_err(|error| ApiError::bad("event_id_invalid", error))?)
            }
        };
    let mut filter = Filter::all();
    if let Some(types) = &which.types {
        let kinds = types.split(',').map(|kind| kind.trim().parse()).collect::<Result<Vec<Kind>, String>>();
        filter = filter.kinds(kinds.map_err(|kind| {
            ApiError::bad("event_type_unknown", format_args!("`{kind}` is no kind of event."))
                .hint(format!("one of {}", Kind::ALL.map(Kind::as_str).join(", ")))
        })?);
    }
    let operator = caller.is_operator();
    let (everything, over) = (caller.sees_everything(), caller.grant.expires().map(instant));
    let whose = caller.clone();
    let sees = move |of: Option<&AppName>| match (of, &app) {
        (of, Some(app)) => of == Some(app),
        (Some(of), None) => caller.sees(of),
        // What belongs to no app: spares, keys, the runtime.
        (None, None) => everything,
    };
    let end = match which.follow {
        Some(false) => Some(api.hub.newest()),
        _ => None,
    };
    let after = after.or_else(|| end.is_some().then(|| api.hub.beginning()));
    let place = match operator {
        true => None,
        false => Some(Arc::clone(&api.followers).try_acquire_owned().map_err(|_| {
            let detail = format!("{} clients follow the events already.", super::FOLLOWERS);
            ApiError::later("followers_busy", detail, Duration::from_secs(5))
        })?),
    };
    let follower = Follower {
        _place: place,
        subscription: api.hub.subscribe(after, filter.apps(sees)),
        version,
        end,
        caller: whose,
        over,
        revocations: api.gate.revocations(),
        draining: api.draining.clone(),
        begun: false,
        api,
    };
    let frames = futures_util::stream::unfold(follower, |mut follower| async move {
        let text = follower.next().await?;
        Some((Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from(text))), follower))
    });
    Ok(event_stream(Body::new(http_body_util::StreamBody::new(frames))))
}

/// One client of the stream.
struct Follower {
    _place: Option<OwnedSemaphorePermit>,
    subscription: Subscription,
    version: Option<AppVersion>,
    /// The last event that is to be sent.
    end: Option<EventId>,
    /// Whose stream it is; it ends with the key.
    caller: Caller,
    over: Option<Instant>,
    revocations: watch::Receiver<()>,
    draining: watch::Receiver<bool>,
    begun: bool,
    api: Arc<Api>,
}

/// What a follower waits for.
enum Woken {
    Item(Item),
    Silence,
    /// Some key was revoked.
    Revocation,
}

impl Follower {
    /// The next piece of the stream; none = it ends.
    async fn next(&mut self) -> Option<String> {
        if !std::mem::replace(&mut self.begun, true) {
            // Something at once, so that the client knows that it is connected, and where: what happens before its
            // first event is not lost if the connection breaks before that.
            let place = self.subscription.resumable().map(|id| format!("id: {id}\n")).unwrap_or_default();
            return Some(format!("retry: 1000\n{place}\n"));
        }
        loop {
            if self.end.is_none() && *self.draining.borrow() {
                // What has happened by now is still told.
                self.end = Some(self.api.hub.newest());
            }
            let Follower { subscription, end, over, revocations, draining, .. } = self;
            let woken = tokio::select! {
                biased;
                () = until(*over) => return None,
                Ok(()) = revocations.changed() => Woken::Revocation,
                item = next(subscription, *end) => Woken::Item(item?),
                Ok(_) = draining.wait_for(|draining| *draining), if end.is_none() => continue,
                () = tokio::time::sleep(KEEP_ALIVE) => Woken::Silence,
            };
            let item = match woken {
                Woken::Item(item) => item,
                // It moves the client's place on over what is not for it.
                Woken::Silence => return Some(format!("id: {}\n\n", self.subscription.position())),
                Woken::Revocation if self.api.gate.still_known(&self.caller).await.is_ok() => continue,
                Woken::Revocation => return None,
            };
            match &item {
                Item::Event(event) if self.wants(&event.event) => {
                    return Some(told(&item, event.event.kind().as_str()));
                }
                Item::Event(_) => {}
                Item::Gap(_) => return Some(told(&item, "gap")),
                Item::Reset(_) => return Some(told(&item, "reset")),
            }
        }
    }

    fn wants(&self, event: &crate::events::Event) -> bool {
        self.version
            .as_ref()
            .is_none_or(|version| event.version().is_some_and(|of| of.identity() == version.identity()))
    }
}

/// An item as the stream has it.
fn told(item: &Item, kind: &str) -> String {
    let json = serde_json::to_string(item).unwrap_or_default(); // texts and numbers always serialize
    format!("id: {}\nevent: {kind}\ndata: {json}\n\n", item.id())
}

/// The next item; none = all up to `end` was read.
async fn next(subscription: &mut Subscription, end: Option<EventId>) -> Option<Item> {
    let at_end =
        |subscription: &Subscription| end.is_some_and(|end| subscription.position().number >= end.number);
    poll_fn(|context| {
        if at_end(subscription) {
            return Poll::Ready(None);
        }
        // Dropped, it loses nothing.
        let polled = pin!(subscription.next()).poll(context);
        match polled {
            Poll::Pending if at_end(subscription) => Poll::Ready(None),
            polled => polled.map(Some),
        }
    })
    .await
}
