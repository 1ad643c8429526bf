//! Entries as they come: server-sent events (WHATWG HTML, section 9.2). Each client reads the ring at its own pace and holds no
//! more than one piece of it; one that falls out of the ring is sent away, and told how much it lost when it comes back.

use crate::query::{Query, Scope};
use crate::store::{Batch, Store};
use buntime_plugin::{Body, BoxFuture, Bytes};
use futures_util::FutureExt;
use http_body::Frame;
use http_body_util::StreamBody;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

/// Entries that are taken out of the ring at a time, and bytes of a piece of the stream.
const BATCH: usize = 256;
const PIECE: usize = 128 << 10;
/// How often a client that has not caught up yet is told that it lost something, before it is sent away.
const GAPS: u32 = 8;

/// Where a stream begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// With what happens from now on.
    Now,
    /// With the first one that is kept.
    Beginning,
    /// After this number.
    After(u64),
}

pub struct Opening {
    pub store: Arc<Store>,
    pub query: Query,
    pub scope: Scope,
    pub from: From,
    pub heartbeat: Duration,
    /// The plugin ends; up to, but not including, this number all is still told.
    pub ending: watch::Receiver<Option<u64>>,
    pub place: OwnedSemaphorePermit,
}

struct Follower {
    store: Arc<Store>,
    query: Query,
    scope: Scope,
    heartbeat: Duration,
    ending: watch::Receiver<Option<u64>>,
    revoked: BoxFuture<'static, ()>,
    _place: OwnedSemaphorePermit,
    /// The number to read next.
    next: u64,
    /// The first number that is not to be read.
    end: Option<u64>,
    /// What the stream begins with.
    head: Option<String>,
    /// How many gaps it may still be told of.
    gaps: u32,
    /// When the next heartbeat is due.
    due: Instant,
    over: bool,
}

enum Read {
    Text(String),
    /// There was something, but not for this client.
    Nothing,
    /// There is nothing more.
    All,
    End,
}

/// The stream as a body.
pub async fn follow(opening: Opening) -> Body {
    let follower = Follower::open(opening).await;
    let frames = futures_util::stream::unfold(follower, |mut follower| async move {
        let text = follower.next().await?;
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(text))), follower))
    });
    Body::stream(http_body_util::BodyExt::map_err(StreamBody::new(Box::pin(frames)), |never| match never {}))
}

impl Follower {
    async fn open(opening: Opening) -> Follower {
        let Opening { store, mut query, scope, from, heartbeat, ending, place } = opening;
        let now = store.next();
        let kept = || store.from(0, 0).from;
        let (mut next, reset) = match from {
            From::Now => (now, false),
            From::Beginning | From::After(0) => (kept(), false),
            From::After(last) if last.saturating_add(1) >= store.base() && last < now => (last + 1, false),
            // Of another run: nobody knows what was missed.
            From::After(_) => (kept(), true),
        };
        // The place in the ring says it already, and after a reset it is no number of this run.
        query.after = None;
        if let (Some(limit), From::Now | From::Beginning) = (query.limit, from) {
            next =
                last_few(&store, &query, &scope, limit).await.max(if from == From::Now { 0 } else { next });
        }
        let run = store.run();
        // Something at once, so that the client knows that it is connected, and where: what happens before its first event is not
        // lost if the connection breaks before that. But what is to be said of losses has to be said first.
        let lost = store.from(next, 0).lost > 0;
        let id = if reset || lost { String::new() } else { format!("id: {}\n", next - 1) };
        let mut head = format!("retry: 1000\nevent: run\n{id}data: {{\"run\":\"{run}\"}}\n\n");
        if reset {
            head += &format!("id: {}\nevent: reset\ndata: {{\"run\":\"{run}\"}}\n\n", next - 1);
        }
        Follower {
            end: query.before,
            revoked: scope.caller().revoked(),
            due: Instant::now() + heartbeat,
            head: Some(head),
            gaps: GAPS,
            over: false,
            _place: place,
            store,
            query,
            scope,
            heartbeat,
            ending,
            next,
        }
    }

    /// The next piece; none = the stream ends.
    async fn next(&mut self) -> Option<String> {
        if let Some(head) = self.head.take() {
            return Some(head);
        }
        let store = Arc::clone(&self.store);
        while !self.over {
            if let Some(end) = *self.ending.borrow() {
                self.end = Some(self.end.map_or(end, |own| own.min(end)));
            }
            // Before the look: what comes after it wakes.
            let mut changed = std::pin::pin!(store.changed.notified());
            changed.as_mut().enable();
            if (&mut self.revoked).now_or_never().is_some() {
                break;
            }
            match self.read() {
                Read::Text(text) => {
                    self.due = Instant::now() + self.heartbeat;
                    return Some(text);
                }
                Read::Nothing if Instant::now() < self.due => {
                    tokio::task::yield_now().await;
                    continue;
                }
                Read::Nothing => return Some(self.beat()),
                Read::End => break,
                Read::All => {}
            }
            if self.query.until.is_some_and(|until| until < SystemTime::now()) {
                break;
            }
            let is_ending = self.ending.borrow().is_some();
            let Follower { ending, revoked, due, .. } = self;
            let is_silent = tokio::select! {
                biased;
                () = revoked => break,
                () = &mut changed => false,
                Ok(_) = ending.wait_for(Option::is_some), if !is_ending => false,
                () = tokio::time::sleep_until(*due) => true,
            };
            if is_silent {
                return Some(self.beat());
            }
        }
        self.over = true;
        None
    }

    /// A comment, and the place, which moves on over what is not for this client.
    fn beat(&mut self) -> String {
        self.due = Instant::now() + self.heartbeat;
        format!(": heartbeat\nid: {}\n\n", self.next - 1)
    }

    fn read(&mut self) -> Read {
        if self.end.is_some_and(|end| self.next >= end) {
            return Read::End;
        }
        let Batch { lost, from, entries } = self.store.from(self.next, BATCH);
        let mut text = String::new();
        if lost > 0 {
            let Some(gaps) = self.gaps.checked_sub(1) else {
                // It comes back with the last id that it has, and is told then what it lost.
                self.over = true;
                return Read::Text(format!("event: slow\ndata: {{\"lost\":{lost}}}\n\n"));
            };
            self.gaps = gaps;
            text = format!("id: {}\nevent: gap\ndata: {{\"lost\":{lost}}}\n\n", from - 1);
        }
        self.next = from;
        if entries.is_empty() && text.is_empty() {
            // From now on it has to keep up.
            self.gaps = 0;
            return Read::All;
        }
        for (number, entry) in &entries {
            if self.end.is_some_and(|end| *number >= end) || text.len() > PIECE {
                break;
            }
            self.next = number + 1;
            if self.scope.sees(entry.app.as_deref()) && self.query.takes(*number, entry) {
                text.push_str("id: ");
                text.push_str(&number.to_string());
                text.push_str("\ndata: ");
                entry.write_json(*number, &mut text);
                text.push_str("\n\n");
            }
        }
        if text.is_empty() { Read::Nothing } else { Read::Text(text) }
    }
}

/// The number of the first of the last `limit` entries that are wanted, or of the next one if there is none.
async fn last_few(store: &Store, query: &Query, scope: &Scope, limit: usize) -> u64 {
    let mut first = store.next();
    let mut before = first;
    let mut left = limit;
    loop {
        let chunk = store.before(before, BATCH);
        let Some((oldest, _)) = chunk.last() else { return first };
        before = *oldest;
        for (number, entry) in &chunk {
            if scope.sees(entry.app.as_deref()) && query.takes(*number, entry) {
                first = *number;
                left -= 1;
                if left == 0 {
                    return first;
                }
            }
        }
        tokio::task::yield_now().await;
    }
}
