//! Changes stand still while another process takes this one's place: what it has read of the store and of the disk stays true
//! until it serves. Reading goes on.

use super::error::ApiError;
use http::Method;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

#[derive(Debug, Default)]
pub struct Standstill {
    state: Mutex<State>,
    /// Told of every change of the state that somebody may wait for.
    told: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Changes that are on their way.
    going: usize,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    Still,
    /// Another process serves.
    Over,
}

/// A change is on its way.
#[derive(Debug)]
pub struct Going(Arc<Standstill>);

/// No change is on its way, and none begins. Dropped, they go on.
#[derive(Debug)]
pub struct Still(Arc<Standstill>);

impl Standstill {
    /// Begins a change, if the request is one; waits for the end of a standstill.
    ///
    /// # Errors
    /// Another process serves by now.
    pub(super) async fn enter(self: &Arc<Self>, method: &Method) -> Result<Option<Going>, ApiError> {
        if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
            return Ok(None);
        }
        loop {
            let told = self.told.notified();
            {
                let mut state = self.state();
                match state.phase {
                    Phase::Open => {
                        state.going += 1;
                        return Ok(Some(Going(Arc::clone(self))));
                    }
                    Phase::Still => {}
                    Phase::Over => return Err(over()),
                }
            }
            told.await;
        }
    }

    /// Goes on with a change that has begun, also when whoever began it leaves.
    pub(super) fn join(self: &Arc<Self>) -> Going {
        self.state().going += 1;
        Going(Arc::clone(self))
    }

    /// Lets no change begin, and waits for the end of those that are on their way. None = that takes longer than `within`, or it
    /// is so already.
    pub async fn hold(self: &Arc<Self>, within: Duration) -> Option<Still> {
        {
            let mut state = self.state();
            if state.phase != Phase::Open {
                return None;
            }
            state.phase = Phase::Still;
        }
        let still = Still(Arc::clone(self));
        let ended = async {
            loop {
                let told = self.told.notified();
                if self.state().going == 0 {
                    return;
                }
                told.await;
            }
        };
        tokio::time::timeout(within, ended).await.is_ok().then_some(still)
    }

    fn set(&self, phase: Phase) {
        self.state().phase = phase;
        self.told.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Still {
    /// Another process serves: what waits is refused, and what comes.
    pub fn over(self) {
        self.0.set(Phase::Over);
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        self.0.state().going -= 1;
        self.0.told.notify_waiters();
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        if self.0.state().phase == Phase::Still {
            self.0.set(Phase::Open);
        }
    }
}

fn over() -> ApiError {
    ApiError::later("handed_over", "Another process has taken over.", Duration::from_secs(1))
        .hint("send the request again, on a new connection")
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use http::StatusCode;
    use std::pin::pin;

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn changes_wait_while_all_stands_still_and_go_on_after_it() {
        let all = Arc::new(Standstill::default());
        let still = all.hold(LONG).await.unwrap();
        assert!(all.hold(LONG).await.is_none(), "one at a time");
        let mut waiting = pin!(all.enter(&Method::PUT));
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(all.enter(&Method::GET).await.unwrap().is_none(), "reading goes on");
        drop(still);
        assert!(waiting.await.unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn it_waits_for_what_is_on_its_way_and_for_what_that_became() {
        let all = Arc::new(Standstill::default());
        let change = all.enter(&Method::POST).await.unwrap().unwrap();
        let part = all.join();
        drop(change);
        assert!(all.hold(LONG).await.is_none(), "it takes too long");
        let next = all.enter(&Method::POST).await.unwrap();
        assert!(next.is_some(), "so changes go on");
        drop(next);
        let mut held = pin!(all.hold(LONG));
        assert!(held.as_mut().now_or_never().is_none());
        drop(part);
        assert!(held.await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_refused_when_another_process_serves() {
        let all = Arc::new(Standstill::default());
        let still = all.hold(LONG).await.unwrap();
        let mut waiting = pin!(all.enter(&Method::DELETE));
        assert!(waiting.as_mut().now_or_never().is_none());
        still.over();
        for error in [waiting.await.unwrap_err(), all.enter(&Method::PATCH).await.unwrap_err()] {
            assert_eq!((error.status, error.code), (StatusCode::SERVICE_UNAVAILABLE, "handed_over"));
        }
        assert!(all.hold(LONG).await.is_none());
    }
}
