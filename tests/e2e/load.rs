//! Many requests at once, one after the other on each of some connections.

use super::harness::{Answer, Client, PATIENCE, Server};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Requests that go on until they are told to end.
pub struct Load {
    workers: Vec<JoinHandle<Vec<Outcome>>>,
    plan: Arc<Plan>,
}

struct Plan {
    paths: RwLock<Vec<String>>,
    ends: AtomicBool,
    answered: watch::Sender<usize>,
}

/// What became of one request.
#[derive(Debug)]
pub struct Outcome {
    pub path: String,
    /// An error = the connection broke before the answer was whole.
    pub answer: hyper::Result<Answer>,
}

impl Load {
    /// Each connection asks for the paths in turn.
    pub async fn start(server: &Server, connections: usize, paths: &[&str]) -> Load {
        let plan = Arc::new(Plan {
            paths: RwLock::default(),
            ends: AtomicBool::new(false),
            answered: watch::Sender::new(0),
        });
        let mut load = Load { workers: Vec::new(), plan };
        load.turn_to(paths);
        for _ in 0..connections {
            let client = server.connect().await;
            load.workers.push(tokio::spawn(Arc::clone(&load.plan).carry_out(client)));
        }
        load
    }

    /// Asks for other paths from now on.
    pub fn turn_to(&self, paths: &[&str]) {
        *self.plan.paths.write().unwrap() = paths.iter().map(|path| (*path).to_owned()).collect();
    }

    /// Requests that were answered so far.
    pub fn answered(&self) -> usize {
        *self.plan.answered.borrow()
    }

    /// Waits until `more` further requests were answered.
    pub async fn answers(&self, more: usize) {
        let goal = self.answered() + more;
        let mut answered = self.plan.answered.subscribe();
        let reached = tokio::time::timeout(PATIENCE, answered.wait_for(|answered| *answered >= goal)).await;
        assert!(reached.is_ok(), "{} answers, {goal} expected", self.answered());
    }

    /// Begins no further request, and returns when all that were begun have their answers.
    pub async fn end(self) -> Vec<Outcome> {
        self.plan.ends.store(true, Ordering::Release);
        self.ends().await
    }

    /// Returns when all connections were closed by the server.
    pub async fn ends(self) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for worker in self.workers {
            outcomes.extend(worker.await.unwrap());
        }
        outcomes
    }
}

impl Plan {
    /// Until the end, or until the connection is closed.
    async fn carry_out(self: Arc<Self>, mut client: Client) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for turn in 0.. {
            if self.ends.load(Ordering::Acquire) {
                break;
            }
            let path = {
                let paths = self.paths.read().unwrap();
                paths[turn % paths.len()].clone()
            };
            let answer = client.send(Request::get(&path).body(Full::<Bytes>::default()).unwrap()).await;
            let broken = answer.is_err();
            outcomes.push(Outcome { path, answer });
            self.answered.send_modify(|answered| *answered += 1);
            if broken {
                break;
            }
        }
        outcomes
    }
}

/// How many outcomes there are of each kind: `200`, `502 worker_died`, `broken`.
pub fn tally(outcomes: &[Outcome]) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for outcome in outcomes {
        let kind = match &outcome.answer {
            Ok(answer) => {
                let (status, code) = answer.problem();
                format!("{status} {code}").trim_end().to_owned()
            }
            Err(_) => "broken".to_owned(),
        };
        *kinds.entry(kind).or_default() += 1;
    }
    kinds
}

/// Panics unless all requests were answered with 200.
#[track_caller]
pub fn assert_all_well(outcomes: &[Outcome]) {
    let well = |outcome: &&Outcome| outcome.answer.as_ref().is_ok_and(|answer| answer.status() == 200);
    let first = outcomes.iter().find(|outcome| !well(outcome));
    assert!(first.is_none(), "{:?}, for example {:?}", tally(outcomes), first);
}
