//! The control loop: what signals ask for, one thing at a time.

use super::Loader;
use super::handover::{self, Program};
use super::house::House;
use super::manager::Manager;
use super::reload;
use crate::inherit::HandoverError;
use crate::telemetry::Logs;
use anyhow::Result;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
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

/// What people and service managers ask a process for by signals.
pub struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    usr2: Signal,
}

enum Wish {
    End,
    Reload,
    Replace,
}

/// What takes its time, beside which signals are heard.
enum Work {
    Reload(JoinHandle<()>),
    Replace(JoinHandle<Result<(), HandoverError>>),
}

enum Done {
    Wish(Wish),
    Reloaded,
    Replaced(Result<(), HandoverError>),
}

impl Signals {
    /// # Errors
    /// The system does not allow it.
    pub fn register() -> Result<Signals> {
        Ok(Signals {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
            usr2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Resolves when the process is to end.
    pub async fn end(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }

    async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.term.recv() => Wish::End,
            _ = self.int.recv() => Wish::End,
            _ = self.hup.recv() => Wish::Reload,
            _ = self.usr2.recv() => Wish::Replace,
        }
    }
}

impl Control {
    /// Until the process is to end.
    pub async fn run(&self, signals: &mut Signals) -> End {
        let mut work: Option<Work> = None;
        let mut reload_again = false;
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
                    if let Some(Work::Replace(replace)) = work {
                        // Dropped, it ends the process that it has started.
                        replace.abort();
                        let _ = replace.await;
                    }
                    return End::Told;
                }
                // What has changed since the last one began may not have been seen.
                Done::Wish(Wish::Reload) if work.is_some() => reload_again = true,
                Done::Wish(Wish::Replace) if work.is_some() => {
                    tracing::warn!("a reload or a replacement is on its way: the process is not replaced");
                }
                Done::Wish(Wish::Reload) => work = Some(Work::Reload(self.reload())),
                Done::Wish(Wish::Replace) => work = Some(Work::Replace(self.replace())),
                Done::Reloaded => work = None,
                Done::Replaced(Ok(())) => return End::Replaced,
                Done::Replaced(Err(error)) => {
                    work = None;
                    tracing::error!(%error, "the process was not replaced, and serves on");
                    self.manager.status(&format!("{}; not replaced: {error}", self.house.status()));
                }
            }
            if work.is_none() && std::mem::take(&mut reload_again) {
                work = Some(Work::Reload(self.reload()));
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

    fn replace(&self) -> JoinHandle<Result<(), HandoverError>> {
        self.manager.status(&format!("{}; a new process is starting", self.house.status()));
        let (house, manager, program) = (Arc::clone(&self.house), self.manager.clone(), self.program.clone());
        tokio::spawn(async move { handover::hand_over(&house, &manager, &program).await })
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
