//! The control loop: what signals ask for, one thing at a time.

use super::Loader;
use super::handover::{self, Program};
use super::house::House;
use super::manager::Manager;
use super::reload;
use crate::inherit::{HandoverError, Link, Word};
use crate::telemetry::Logs;
use anyhow::Result;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Where a process ended that was told to, or was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Told,
    Replaced,
}

/// All that the loop acts on.
pub struct Control {
    pub house: Arc<House>,
    pub manager: Manager,
    pub program: Program,
    pub loader: Arc<Loader>,
    pub logs: Arc<Logs>,
}

/// What people, service managers and other processes of the same service ask a process for.
pub struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    usr2: Signal,
    /// To the process that this one has replaced, while that ends.
    pub older: Option<Link>,
    /// To the process that has replaced this one.
    pub newer: Option<Link>,
    /// A reload was asked for before the control loop ran.
    reload: bool,
    /// SIGHUP ends the process, as it does where a terminal is closed that a program was started at.
    hup_ends: bool,
}

enum Wish {
    End,
    Reload,
    Replace,
}

/// What takes its time, beside which signals are heard.
enum Work {
    Reload(JoinHandle<()>),
    Replace(JoinHandle<Result<Link, HandoverError>>),
}

enum Done {
    Wish(Wish),
    Reloaded,
    Replaced(Result<Link, HandoverError>),
}

/// What is to be done after what is on its way.
#[derive(Default)]
struct Next {
    reload: bool,
    replace: bool,
    /// Ends a replacement that is on its way.
    withdraw: Option<oneshot::Sender<()>>,
}

impl Signals {
    /// # Errors
    /// The system does not allow it.
    pub fn register(hup_ends: bool) -> Result<Signals> {
        Ok(Signals {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
            usr2: signal(SignalKind::user_defined2())?,
            older: None,
            newer: None,
            reload: false,
            hup_ends,
        })
    }

    /// Resolves when the process is to end. May be dropped, and called again for the next time that it is told to.
    pub async fn end(&mut self) {
        loop {
            let word = tokio::select! {
                _ = self.term.recv() => return,
                _ = self.int.recv() => return,
                _ = self.hup.recv() => Some(if self.hup_ends { Word::End } else { Word::Reload }),
                word = hear(&mut self.older) => word,
                word = hear(&mut self.newer) => word,
            };
            match (word, &self.newer) {
                (Some(Word::End), _) => return,
                (Some(Word::Reload), Some(newer)) => newer.say(Word::Reload),
                (Some(Word::Reload), None) => self.reload = true,
                (None, _) => {}
            }
        }
    }

    /// The process before this one is to end soon too.
    pub fn pass_on_the_end(&self) {
        if let Some(older) = &self.older {
            older.say(Word::End);
        }
    }

    /// Returns when the process before this one has ended: a service manager may take what is left for lost when its main process is
    /// gone (`KillMode=mixed`, systemd.kill(5)). At most `within`.
    pub async fn outlast_the_older(&mut self, within: Duration) {
        let outlasted = async {
            while self.older.is_some() {
                tokio::select! {
                    _ = hear(&mut self.older) => {}
                    _ = self.term.recv() => return,
                    _ = self.int.recv() => return,
                }
            }
        };
        let _ = tokio::time::timeout(within, outlasted).await;
    }

    async fn next(&mut self) -> Wish {
        if std::mem::take(&mut self.reload) {
            return Wish::Reload;
        }
        loop {
            let word = tokio::select! {
                _ = self.term.recv() => return Wish::End,
                _ = self.int.recv() => return Wish::End,
                _ = self.hup.recv() => return if self.hup_ends { Wish::End } else { Wish::Reload },
                _ = self.usr2.recv() => return Wish::Replace,
                word = hear(&mut self.older) => word,
            };
            match word {
                Some(Word::End) => return Wish::End,
                Some(Word::Reload) => return Wish::Reload,
                None => {}
            }
        }
    }
}

/// The next word of a process; none = it has ended, and there is nobody any more.
async fn hear(link: &mut Option<Link>) -> Option<Word> {
    let Some(process) = link else { return std::future::pending().await };
    let word = process.hear().await;
    if word.is_none() {
        *link = None;
    }
    word
}

impl Control {
    /// Until the process is to end.
    pub async fn run(&self, signals: &mut Signals) -> End {
        let mut work: Option<Work> = None;
        let mut next = Next::default();
        loop {
            let done = match &mut work {
                None => Done::Wish(signals.next().await),
                Some(Work::Reload(reload)) => tokio::select! {
                    wish = signals.next() => Done::Wish(wish),
                    _ = reload => Done::Reloaded,
                },
                Some(Work::Replace(replace)) => tokio::select! {
                    wish = signals.next() => Done::Wish(wish),
                    replaced = replace => Done::Replaced(replaced.unwrap_or(Err(HandoverError::Ended(None)))),
                },
            };
            match done {
                Done::Wish(Wish::End) => {
                    drop(next.withdraw.take());
                    if let Some(Work::Replace(replace)) = work
                        && let Ok(Ok(newer)) = replace.await
                    {
                        // The other one is the service by now: it is to end as this one was.
                        newer.say(Word::End);
                        signals.newer = Some(newer);
                        return End::Replaced;
                    }
                    return End::Told;
                }
                // What has changed since the last one began may not have been seen.
                Done::Wish(Wish::Reload) => next.reload = true,
                Done::Wish(Wish::Replace) if matches!(work, Some(Work::Replace(_))) => {
                    tracing::warn!("a process that is to take over is starting: no other one is started");
                }
                Done::Wish(Wish::Replace) => next.replace = true,
                Done::Reloaded => work = None,
                Done::Replaced(Ok(newer)) => {
                    if next.reload {
                        newer.say(Word::Reload);
                    }
                    signals.newer = Some(newer);
                    return End::Replaced;
                }
                Done::Replaced(Err(error)) => {
                    work = None;
                    tracing::error!(%error, "the process was not replaced, and serves on");
                    self.manager.status(&format!("{}; not replaced: {error}", self.house.status()));
                }
            }
            if work.is_none() && std::mem::take(&mut next.reload) {
                work = Some(Work::Reload(self.reload()));
            }
            if work.is_none() && std::mem::take(&mut next.replace) {
                let (withdraw, withdrawn) = oneshot::channel();
                next.withdraw = Some(withdraw);
                work = Some(Work::Replace(self.replace(withdrawn)));
            }
        }
    }

    fn reload(&self) -> JoinHandle<()> {
        self.manager.reloading();
        let (house, manager) = (Arc::clone(&self.house), self.manager.clone());
        let (loader, logs) = (Arc::clone(&self.loader), Arc::clone(&self.logs));
        tokio::spawn(async move {
            let status = match reload::reload(&house, loader, &logs).await {
                Ok(()) => house.status(),
                Err(error) => {
                    tracing::error!(error = format!("{error:#}"), "the reload failed");
                    format!("{}; the last reload failed: {error:#}", house.status())
                }
            };
            manager.ready(&status);
        })
    }

    fn replace(&self, withdrawn: oneshot::Receiver<()>) -> JoinHandle<Result<Link, HandoverError>> {
        self.manager.status(&format!("{}; a new process is starting", self.house.status()));
        let (house, manager, program) = (Arc::clone(&self.house), self.manager.clone(), self.program.clone());
        tokio::spawn(async move {
            // Its sender is dropped.
            let withdrawn = async { drop(withdrawn.await) };
            handover::hand_over(&house, &manager, &program, withdrawn).await
        })
    }
}

/// Tells the service manager twice in its limit that this process is alive: that it does what is to be done, and that the pool
/// decides. Whoever is stuck is ended by the manager (`WatchdogSec=`, systemd.service(5)).
pub async fn beat(house: Arc<House>, manager: Manager, limit: Duration) {
    let mut every = tokio::time::interval(limit / 2);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        // Not on this task: a thread that is stuck must not be the only one that is asked.
        let pool = Arc::clone(&house.site.pool);
        let decides = tokio::spawn(async move { pool.inspect(|_| ()) });
        if decides.await.is_ok() {
            manager.alive();
        }
    }
}
