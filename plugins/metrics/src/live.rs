//! One sampler for all who follow: it takes a snapshot, works the rates out once, and hands the same to everybody.

use crate::history::{History, Now};
use buntime_plugin::metrics::Source;
use buntime_plugin::{Body, BodyError, BoxFuture, Bytes, Caller, Problem, http::StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use serde_json::Value;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};
use tokio::time::{Instant, MissedTickBehavior};

/// Clients that may follow at once.
pub const FOLLOWERS: usize = 100;
/// Events that a client may be behind before it is given up.
const BEHIND: usize = 16;
/// Rates need a sample a second, whether somebody follows or not.
const AT_LEAST_EVERY: Duration = Duration::from_secs(1);
/// A comment goes out after such a silence, so that proxies keep the connection and a client that has gone is noticed.
const HEARTBEAT: Duration = Duration::from_secs(15);

pub struct Live {
    interval: Duration,
    places: Arc<Semaphore>,
    state: Mutex<State>,
}

struct State {
    history: History,
    latest: Arc<Event>,
    /// None: no more events come.
    sender: Option<broadcast::Sender<Arc<Event>>>,
}

/// What is told at a moment.
#[derive(Default)]
struct Event {
    /// Counts up from 1.
    id: u64,
    now: Now,
    /// As those get it who see everything: made once.
    whole: OnceLock<Bytes>,
}

/// Where a client may follow from.
pub struct Place {
    _permit: OwnedSemaphorePermit,
    /// What it is told first.
    first: Option<Arc<Event>>,
    events: broadcast::Receiver<Arc<Event>>,
}

struct Follower {
    place: Place,
    caller: Arc<dyn Caller>,
    revoked: BoxFuture<'static, ()>,
}

impl Live {
    pub fn new(interval: Duration) -> Live {
        let (sender, _) = broadcast::channel(BEHIND);
        let state = State { history: History::default(), latest: Arc::default(), sender: Some(sender) };
        Live { interval, places: Arc::new(Semaphore::new(FOLLOWERS)), state: Mutex::new(state) }
    }

    /// Takes samples until the plugin ends.
    pub async fn keep_sampling(self: Arc<Self>, source: Arc<dyn Source>) {
        let mut told: Option<Instant> = None;
        let mut sampled = Instant::now();
        let step = self.interval.min(AT_LEAST_EVERY);
        let mut ticks = tokio::time::interval(step);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let now = ticks.tick().await;
            let is_followed = self.places.available_permits() < FOLLOWERS;
            if told.is_some() && !is_followed && now.duration_since(sampled) + step / 2 < AT_LEAST_EVERY {
                continue;
            }
            sampled = now;
            let snapshot = source.snapshot().await;
            let mut state = self.lock();
            let now_shown = state.history.push(&snapshot, now);
            let event = Event { id: state.latest.id + 1, now: now_shown, whole: OnceLock::new() };
            state.latest = Arc::new(event);
            if told.is_none_or(|told| now.duration_since(told) + step / 2 >= self.interval) {
                told = Some(now);
                let State { sender, latest, .. } = &*state;
                if let Some(sender) = sender {
                    // Nobody may be there.
                    let _ = sender.send(Arc::clone(latest));
                }
            }
        }
    }

    /// How it was when it was last looked at.
    pub fn latest(&self, caller: &dyn Caller) -> Value {
        let latest = Arc::clone(&self.lock().latest);
        latest.now.shown(caller)
    }

    /// A place for a client.
    ///
    /// # Errors
    /// There are too many of them, or the plugin is ending.
    pub fn place(&self) -> Result<Place, Problem> {
        let busy = |detail| {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "followers_busy")
                .detail(detail)
                .retry_after(Duration::from_secs(5))
        };
        let permit = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| busy(format!("{FOLLOWERS} clients follow the metrics already.")))?;
        let state = self.lock();
        let Some(sender) = &state.sender else { return Err(busy("The plugin is ending.".to_owned())) };
        Ok(Place { _permit: permit, first: Some(Arc::clone(&state.latest)), events: sender.subscribe() })
    }

    /// A stream of events for one client, until its key is revoked or the plugin ends.
    pub fn follow(caller: Arc<dyn Caller>, place: Place) -> Body {
        let follower = Follower { revoked: caller.revoked(), caller, place };
        let frames = futures_util::stream::unfold(follower, |mut follower| async move {
            let text = follower.next().await?;
            Some((Ok::<_, BodyError>(Frame::data(text)), follower))
        });
        Body::stream(StreamBody::new(frames))
    }

    /// No more events: all streams end.
    pub fn end(&self) {
        self.lock().sender = None;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Follower {
    /// The next piece of the stream; none = it ends.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.place.first.take() {
            // Something at once, so that the client knows that it is connected.
            let shown = if first.id == 0 { Bytes::new() } else { first.shown(&*self.caller) };
            return Some([b"retry: 1000\n\n", &*shown].concat().into());
        }
        tokio::select! {
            biased;
            () = &mut self.revoked => None,
            event = self.place.events.recv() => match event {
                Ok(event) => Some(event.shown(&*self.caller)),
                // It is too slow for what it asked for, or the plugin ends.
                Err(_) => None,
            },
            () = tokio::time::sleep(HEARTBEAT) => Some(Bytes::from_static(b":\n\n")),
        }
    }
}

impl Event {
    fn shown(&self, caller: &dyn Caller) -> Bytes {
        let text = || {
            let json = self.now.shown(caller);
            Bytes::from(format!("id: {}\nevent: metrics\ndata: {json}\n\n", self.id))
        };
        match caller.sees_everything() {
            true => self.whole.get_or_init(text).clone(),
            false => text(),
        }
    }
}
