//! What happens in a history: the limits, and a list of operations that the world interprets. An operation picks
//! its subject from whatever is there when its turn comes, so any part of the list can be left out.

use super::random::Random;
use crate::pool::core::{Limits, Policy};
use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub enum Op {
    Request {
        version: u64,
        count: u64,
    },
    Head {
        pick: u64,
    },
    Done {
        pick: u64,
        ok: bool,
    },
    Abandon {
        pick: u64,
    },
    Connect {
        pick: u64,
    },
    Load {
        pick: u64,
    },
    FailToLoad {
        pick: u64,
    },
    /// A process that was told to end does.
    Exit {
        pick: u64,
    },
    Crash {
        pick: u64,
    },
    /// The machine had nothing left for a process.
    Starve {
        pick: u64,
    },
    Memory {
        pick: u64,
        pss: u64,
    },
    Hang {
        pick: u64,
    },
    Garbage {
        pick: u64,
    },
    /// The link closes, and the process ends; in between it may turn out that it was Ready.
    Lose {
        pick: u64,
    },
    /// An event about something that is no more.
    Stray {
        pick: u64,
    },
    /// Time passes; ticks come when they are due.
    Wait {
        millis: u64,
    },
    WaitForDeadline,
    Add {
        seed: u64,
    },
    Prove {
        pick: u64,
    },
    Remove {
        pick: u64,
    },
    /// A new version takes over from one, or one that has been there for a while does.
    Replace {
        pick: u64,
        by_new: bool,
        seed: u64,
    },
    /// Somebody wants a worker to be Ready.
    Start {
        pick: u64,
    },
    AbandonStart {
        pick: u64,
    },
    Restart {
        pick: u64,
    },
    RestartWorker {
        pick: u64,
    },
    TerminateWorker {
        pick: u64,
    },
    Retire {
        pick: u64,
    },
    /// Holds a version, or lets go of it.
    Hold {
        pick: u64,
    },
    Shutdown {
        secs: u64,
    },
}

pub struct History {
    pub seed: u64,
    pub limits: Limits,
    pub ops: Vec<Op>,
}

impl History {
    pub fn new(seed: u64) -> History {
        let mut random = Random::new(seed);
        let limits = Limits {
            pool_size: random.one_of(&[1, 2, 3, 4, 6, 10]),
            spares: random.one_of(&[0, 0, 1, 2, 3]),
            spare_starts: random.one_of(&[1, 2]),
            seed: random.next(),
        };
        // Each history has its own weather: how often things go wrong, and how fast time flies.
        let trouble = random.one_of(&[0, 1, 4]);
        let deploys = random.one_of(&[0, 1, 5]);
        let waits = random.one_of(&[2, 8, 20]);
        let slow_starts = random.one_of(&[5, 25]);
        let orders = random.one_of(&[0, 0, 0, 2]);
        let weights: [(u64, Kind); 28] = [
            (20, |r| Op::Request { version: r.next(), count: r.one_of(&[1, 1, 1, 2, 8]) }),
            (12, |r| Op::Head { pick: r.next() }),
            (20, |r| Op::Done { pick: r.next(), ok: r.chance(80) }),
            (2, |r| Op::Abandon { pick: r.next() }),
            (slow_starts, |r| Op::Connect { pick: r.next() }),
            (slow_starts, |r| Op::Load { pick: r.next() }),
            (trouble, |r| Op::FailToLoad { pick: r.next() }),
            (10, |r| Op::Exit { pick: r.next() }),
            (trouble, |r| Op::Crash { pick: r.next() }),
            (1, |r| Op::Memory { pick: r.next(), pss: r.below(200) }),
            (trouble.div_ceil(2), |r| Op::Hang { pick: r.next() }),
            (trouble.div_ceil(2), |r| Op::Garbage { pick: r.next() }),
            (1, |r| Op::Stray { pick: r.next() }),
            (trouble.div_ceil(2), |r| Op::Lose { pick: r.next() }),
            (waits, |r| Op::Wait { millis: r.one_of(&[1, 1, 20, 20, 100, 300, 1_000, 3_000, 12_000]) }),
            (waits / 2, |_| Op::WaitForDeadline),
            (deploys, |r| Op::Add { seed: r.next() }),
            (deploys, |r| Op::Prove { pick: r.next() }),
            (deploys.div_ceil(3), |r| Op::Remove { pick: r.next() }),
            (deploys, |r| Op::Replace { pick: r.next(), by_new: r.chance(70), seed: r.next() }),
            (deploys, |r| Op::Start { pick: r.next() }),
            (deploys.div_ceil(5), |r| Op::AbandonStart { pick: r.next() }),
            (orders, |r| Op::Restart { pick: r.next() }),
            (orders.div_ceil(2), |r| Op::RestartWorker { pick: r.next() }),
            (orders.div_ceil(2), |r| Op::TerminateWorker { pick: r.next() }),
            (orders.div_ceil(2), |r| Op::Retire { pick: r.next() }),
            (deploys.div_ceil(2), |r| Op::Hold { pick: r.next() }),
            (trouble.div_ceil(4), |r| Op::Starve { pick: r.next() }),
        ];
        let total: u64 = weights.iter().map(|(weight, _)| weight).sum();
        let mut ops: Vec<Op> = (0..1 + random.below(3)).map(|_| Op::Add { seed: random.next() }).collect();
        for _ in 0..random.one_of(&[40, 100, 250]) {
            let mut at = random.below(total);
            for (weight, kind) in weights {
                if at < weight {
                    ops.push(kind(&mut random));
                    break;
                }
                at -= weight;
            }
        }
        if random.chance(30) {
            let at = ops.len() - random.below(30) as usize;
            ops.insert(at, Op::Shutdown { secs: random.one_of(&[0, 1, 10, 60]) });
        }
        History { seed, limits, ops }
    }
}

type Kind = fn(&mut Random) -> Op;

pub fn policy(seed: u64) -> Policy {
    let mut random = Random::new(seed);
    let secs = Duration::from_secs;
    let policy = Policy {
        ephemeral: random.chance(20),
        ttl: random.one_of(&[secs(2), secs(2), secs(2), secs(10), secs(600)]),
        idle_timeout: random.one_of(&[secs(1), secs(5), secs(60)]),
        start_timeout: random.one_of(&[secs(1), secs(5)]),
        drain_timeout: random.one_of(&[secs(1), secs(30)]),
        max_requests: random.one_of(&[0, 0, 1, 3, 20]),
        max_memory: random.one_of(&[None, Some(100)]),
        concurrency: random.one_of(&[1, 2, 5, 1_000]),
        min: random.one_of(&[0, 0, 0, 1, 2]),
        max: random.one_of(&[1, 1, 2, 4]),
        queue_size: random.one_of(&[0, 1, 3, 20]),
        queue_timeout: random.one_of(&[secs(0), secs(1), secs(10), secs(10)]),
        fresh: random.chance(25),
        pinned: random.chance(10),
    };
    match policy.pinned {
        true => Policy { ephemeral: false, min: 1, max: 1, ..policy },
        false => policy,
    }
}
