//! The core against a world of chance: thousands of seeded histories, with every rule checked after every step, and
//! wrong cores that the checks must notice.
//!
//! A failure prints the shortest history that was found to show it, and the seed it came from.

mod books;
mod check;
mod history;
mod random;
mod world;

use super::fault::Fault;
use crate::pool::core::types::Event;
use history::{History, Op};
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::{Tally, Verdict, World};

/// Says what is wrong unless it holds.
macro_rules! ensure {
    ($holds:expr, $($message:tt)+) => {
        if !$holds {
            return Err(format!($($message)+));
        }
    };
}

use ensure;

const HISTORIES: u64 = 10_000;

/// Every way to begin, to end and to be refused: histories without them would prove nothing about them.
const SEEN: &[&str] = &[
    "Creating Request",
    "Creating Minimum",
    "Creating Prove",
    "Creating Replacement",
    "Creating Spare",
    "Idle Idle",
    "Terminated Ttl",
    "Terminated ScaleDown",
    "Terminated Ephemeral",
    "Terminated Evicted",
    "Terminated MaxRequests",
    "Terminated Memory",
    "Terminated Deploy",
    "Terminated Removed",
    "Terminated Restart",
    "Terminated Operator",
    "Terminated Retired",
    "Terminated StartFailed",
    "Terminated StartTimeout",
    "Terminated Starved",
    "Terminated Unresponsive",
    "Terminated Protocol",
    "Terminated Crash",
    "Terminated Shutdown",
    "Refuse QueueFull",
    "Refuse QueueTimeout",
    "Refuse BackOff",
    "Refuse StartFailed",
    "Refuse StartTimeout",
    "Refuse Starved",
    "Refuse Gone",
    "Refuse ShuttingDown",
    "Started",
    "NotStarted QueueTimeout",
    "NotStarted BackOff",
    "NotStarted StartFailed",
    "NotStarted StartTimeout",
    "NotStarted Starved",
    "NotStarted Gone",
    "NotStarted ShuttingDown",
    "SendAhead",
    "RefuseSent StartFailed",
    "RefuseSent StartTimeout",
    "RefuseSent Starved",
    "Made again",
    "Stale",
    "Ready and lost",
];

/// Plays a history and then lets it come to rest.
fn play(history: &History, world: &mut World) -> Verdict {
    for op in &history.ops {
        world.apply(*op)?;
    }
    world.calm_down()?;
    if history.seed.is_multiple_of(2) && world.shutdown.is_none() {
        for version in world.versions.keys().copied().collect::<Vec<_>>() {
            if let Some(known) = world.versions.get_mut(&version) {
                known.removed = true;
                world.tell(Event::RemoveVersion { version, to: None })?;
            }
        }
        world.calm_down()?;
        if !world.versions.is_empty() {
            return Err(format!("removed versions are left over: {:?}", world.before));
        }
    }
    world.apply(Op::Shutdown { secs: 10 })?;
    world.calm_down()
}

fn judge(history: &History, fault: Option<Fault>) -> Verdict {
    judge_and_count(history, fault, &mut Tally::new())
}

fn judge_and_count(history: &History, fault: Option<Fault>, tally: &mut Tally) -> Verdict {
    let mut world = World::new(history, fault);
    world.tally = std::mem::take(tally);
    let verdict = catch_unwind(AssertUnwindSafe(|| play(history, &mut world)))
        .unwrap_or_else(|_| Err("it panics".into()));
    *tally = world.tally;
    verdict
}

/// Leaves out whatever the failure does not need.
fn shrink(mut history: History, fault: Option<Fault>) -> History {
    let mut chunk = history.ops.len() / 2;
    while chunk > 0 {
        let mut at = 0;
        while at < history.ops.len() {
            let end = (at + chunk).min(history.ops.len());
            let mut ops = history.ops.clone();
            ops.drain(at..end);
            let shorter = History { ops, ..history };
            if judge(&shorter, fault).is_err() {
                history = shorter;
            } else {
                at = end;
            }
        }
        chunk /= 2;
    }
    history
}

/// What went wrong, and the events and actions that led there.
fn report(history: History, fault: Option<Fault>) -> String {
    let history = shrink(history, fault);
    let mut world = World::new(&history, fault);
    world.log = Some(Vec::new());
    let verdict = catch_unwind(AssertUnwindSafe(|| play(&history, &mut world)));
    let log = world.log.unwrap_or_default().join("\n");
    format!("seed {}, {:?}\n{log}\n{verdict:?}", history.seed, history.limits)
}

#[test]
fn ten_thousand_histories_break_no_rule() {
    let mut tally = Tally::new();
    for seed in 0..HISTORIES {
        let history = History::new(seed);
        if judge_and_count(&history, None, &mut tally).is_err() {
            panic!("{}", report(history, None));
        }
    }
    for what in SEEN {
        assert!(tally.get(*what).is_some_and(|times| *times >= 40), "{what} hardly ever happens: {tally:#?}");
    }
}

/// The first complaint about a core with this fault.
fn complaint(fault: Fault) -> String {
    (0..HISTORIES)
        .find_map(|seed| judge(&History::new(seed), Some(fault)).err())
        .unwrap_or_else(|| panic!("{fault:?} goes unnoticed"))
}

/// Each wrong core is noticed, and by the check that is meant for it.
macro_rules! notices {
    ($($name:ident: $fault:ident => $complaint:literal,)+) => {
        $(#[test]
        fn $name() {
            let complaint = complaint(Fault::$fault);
            assert!(complaint.contains($complaint), "{complaint}");
        })+
    };
}

notices! {
    notices_a_core_that_chooses_draining_workers: ChoosesDraining => "retiring",
    notices_a_core_that_evicts_busy_workers: EvictsBusy => "is evicted",
    notices_a_core_that_starts_twice: StartsTwice => "would do",
    notices_a_core_that_forgets_waiters: ForgetsWaiters => "in queues",
    notices_a_core_that_leaks_in_flight: LeaksInFlight => "books differ",
    notices_a_core_that_never_expires_the_queue: NeverExpires => "has waited for",
    notices_a_core_that_ignores_concurrency: IgnoresConcurrency => "and full",
    notices_a_core_that_reuses_ephemeral_workers: ReusesEphemeral => "second request",
    notices_a_core_that_overfills_the_pool: Overfills => "in a pool of",
    notices_a_core_that_hoards_spares: HoardsSpares => "spares",
    notices_a_core_that_leaves_a_gap: LeavesGap => "without a worker",
    notices_a_core_that_forgets_room: ForgetsRoom => "waits beside",
    notices_a_core_that_drains_for_ever: DrainsForEver => "drains for too long",
    notices_a_core_that_sends_ahead_anyway: SendsAheadAnyway => "could go to another",
    notices_a_core_that_restarts_at_once: RestartsAtOnce => "before another worker",
    notices_a_core_that_retires_the_minimum: RetiresMinimum => "below its minimum",
    notices_a_core_that_starts_what_is_held: StartsHeld => "while it is held",
    notices_a_core_that_never_expires_starters: NeverExpiresStarters => "for a start",
    notices_a_core_that_forgets_who_was_sent_ahead: ForgetsSent => "hears nothing",
    notices_a_core_that_evicts_pinned_workers: EvictsPinned => "pinned",
    notices_a_core_that_keeps_pinned_versions_waiting: KeepsPinnedWaiting => "waits beside",
}
