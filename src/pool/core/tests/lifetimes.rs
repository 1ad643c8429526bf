//! How long a worker lives, and how it goes.

use super::*;

fn states(said: &Said) -> Vec<(State, Reason)> {
    said.pick(|action| match action {
        Action::Transition { to, reason, .. } => Some((*to, *reason)),
        _ => None,
    })
}

#[test]
fn a_worker_without_requests_goes_idle_then_ends_and_its_hook_runs_once() {
    let mut pool = Pool::with(1, &[(A, policy())]);
    let worker = pool.rested(A);
    assert!(pool.until(millis(59_999)).is_silent());
    let said = pool.until(secs(60));
    assert_eq!(states(&said), [(State::Idle, Reason::Idle)]);
    assert_eq!(said.0.last(), Some(&Action::IdleHook { worker }));
    assert!(pool.until(millis(599_999)).is_silent());
    assert_eq!(pool.until(secs(600)).terminated(), [(worker, Reason::Ttl)]);
    assert_eq!(states(&pool.exit(worker)), [(State::Terminated, Reason::Ttl)]);
}

#[test]
fn a_request_wakes_an_idle_worker_and_starts_its_times_over() {
    let mut pool = Pool::with(1, &[(A, policy())]);
    let worker = pool.rested(A);
    pool.until(secs(500));
    assert_eq!(states(&pool.request(A)), [(State::Active, Reason::Request)]);
    assert!(pool.until(secs(2_000)).is_silent(), "not while a request is in flight");
    pool.done(worker);
    assert!(pool.until(millis(2_059_999)).is_silent());
    assert_eq!(states(&pool.until(secs(2_060))), [(State::Idle, Reason::Idle)]);
    assert_eq!(pool.until(secs(2_600)).terminated(), [(worker, Reason::Ttl)]);
}

#[test]
fn surplus_instances_end_after_ttl_and_min_ones_stay() {
    let mut pool = Pool::with(3, &[(A, Policy { concurrency: 1, min: 1, max: 3, ..policy() })]);
    let one = WorkerId(1);
    pool.load(one);
    pool.request(A);
    let (two, three) = (pool.busy(A), pool.busy(A));
    for worker in [three, one, two] {
        pool.done(worker);
    }
    let said = pool.until(secs(10_000));
    let ended: Vec<_> = said.terminated().iter().map(|(_, reason)| *reason).collect();
    assert_eq!(ended, [Reason::ScaleDown, Reason::ScaleDown]);
    assert_eq!(pool.core.snapshot(pool.now).versions[0].serving, 1);
}

#[test]
fn workers_at_rest_need_no_ticks() {
    let versions: Vec<_> = (0..500).map(|n| (VersionKey(n), policy())).collect();
    let mut pool = Pool::with(500, &versions);
    for (version, _) in versions {
        pool.rested(version);
    }
    let mut ticks = 0;
    while let Some(due) = pool.core.next_deadline().filter(|due| *due < secs(600)) {
        pool.now = due;
        pool.tell(Event::Tick);
        ticks += 1;
    }
    assert!(
        ticks <= 4,
        "{ticks} ticks in ten minutes: the start timeouts and the idle timeouts, all at once"
    );
}

#[test]
fn workers_that_are_gone_need_no_ticks() {
    let mut pool = Pool::with(10, &[(A, Policy { ephemeral: true, ..policy() })]);
    for n in 0..1_000 {
        pool.now = millis(n);
        let worker = pool.rested(A);
        pool.exit(worker);
    }
    let mut ticks = 0;
    while let Some(due) = pool.core.next_deadline() {
        pool.now = pool.now.max(due);
        pool.tell(Event::Tick);
        ticks += 1;
    }
    assert!(ticks <= 2, "{ticks} ticks for nothing");
}

#[test]
fn a_draining_worker_ends_with_its_last_exchange_or_its_time() {
    for finishes in [true, false] {
        let mut pool = Pool::with(1, &[(A, policy())]);
        let worker = pool.busy(A);
        pool.request(A);
        assert!(pool.tell(Event::RemoveVersion { version: A, to: None }).is_silent());
        pool.done(worker);
        assert!(pool.until(millis(99_999)).is_silent());
        let said = if finishes { pool.done(worker) } else { pool.until(secs(100)) };
        assert_eq!(said.terminated(), [(worker, Reason::Removed)]);
    }
}

#[test]
fn a_worker_that_does_not_end_when_told_is_killed_after_seven_seconds() {
    let mut pool = Pool::with(1, &[(A, policy())]);
    let worker = pool.rested(A);
    pool.tell(Event::RemoveVersion { version: A, to: None });
    assert!(pool.until(millis(6_999)).is_silent());
    assert_eq!(pool.until(secs(7)).killed(), [(worker, Reason::Removed)]);
    assert!(pool.until(secs(100)).is_silent());
    let said = pool.exit(worker);
    assert_eq!(said.0.last(), Some(&Action::Forgotten { version: A }));
}

#[test]
fn an_ephemeral_worker_serves_one_request() {
    let mut pool = Pool::with(2, &[(A, Policy { ephemeral: true, ..policy() })]);
    let one = pool.busy(A);
    assert!(pool.head(one).is_silent());
    let two = pool.request(A).spawned()[0];
    assert_ne!(one, two);
    let said = pool.tell(Event::Done { worker: one, head: true, ok: true });
    assert_eq!(said.terminated(), [(one, Reason::Ephemeral)]);
}

#[test]
fn max_requests_has_a_jitter_of_a_tenth() {
    let mut limits_seen = Vec::new();
    for seed in 0..200 {
        let mut pool = Pool::new(Limits { seed, ..limits(2, 0) });
        pool.tell(Event::AddVersion { version: A, policy: Policy { max_requests: 100, ..policy() } });
        let worker = pool.rested(A);
        let mut served = 1;
        // At its number the next worker is started.
        while pool.request(A).spawned().is_empty() {
            pool.done(worker);
            served += 1;
        }
        limits_seen.push(served + 1);
    }
    assert_eq!(limits_seen.iter().min(), Some(&90));
    assert_eq!(limits_seen.iter().max(), Some(&110));
}

#[test]
fn a_worker_over_its_number_serves_until_the_next_one_is_ready() {
    let mut pool = Pool::with(2, &[(A, Policy { max_requests: 5, ..policy() })]);
    let old = pool.busy(A);
    let mut new = Vec::new();
    for _ in 0..4 {
        new.extend(pool.request(A).spawned());
    }
    assert_eq!(new.len(), 1);
    assert_eq!(pool.request(A).dispatched(), [old]);
    pool.load(new[0]);
    assert_eq!(pool.request(A).dispatched(), new);
    for _ in 0..5 {
        assert!(pool.done(old).is_silent());
    }
    assert_eq!(pool.done(old).terminated(), [(old, Reason::MaxRequests)]);
}

#[test]
fn a_worker_far_over_its_number_goes_although_the_next_one_is_not_ready() {
    let mut pool = Pool::with(1, &[(A, Policy { max_requests: 5, ..policy() })]);
    let old = pool.busy(A);
    for _ in 0..9 {
        assert_eq!(pool.request(A).dispatched(), [old]);
    }
    assert!(pool.request(A).dispatched().is_empty(), "twice its number: it drains, requests wait");
    for _ in 0..9 {
        pool.done(old);
    }
    assert_eq!(pool.done(old).terminated(), [(old, Reason::MaxRequests)]);
    let new = pool.exit(old).spawned()[0];
    assert_eq!(pool.load(new).dispatched(), [new]);
}

#[test]
fn memory_over_the_limit_replaces_a_worker_in_use_and_ends_an_idle_one() {
    let limited = Policy { max_memory: Some(1_000), ..policy() };
    let mut pool = Pool::with(2, &[(A, limited)]);
    let old = pool.rested(A);
    assert!(pool.tell(Event::Memory { worker: old, pss: 1_000 }).is_silent());
    let new = pool.tell(Event::Memory { worker: old, pss: 1_001 }).spawned()[0];
    assert_eq!(pool.request(A).dispatched(), [old]);
    pool.done(old);
    assert_eq!(pool.load(new).terminated(), [(old, Reason::Memory)]);
    pool.until(secs(100));
    let said = pool.tell(Event::Memory { worker: new, pss: 1_001 });
    assert_eq!(said.terminated(), [(new, Reason::Memory)]);
    assert!(said.spawned().is_empty());
}

#[test]
fn of_two_workers_to_be_replaced_the_first_goes_first() {
    let limited = Policy { concurrency: 1, max: 2, max_memory: Some(1_000), ..policy() };
    let mut pool = Pool::with(4, &[(A, limited)]);
    let (one, two) = (pool.busy(A), pool.busy(A));
    let mut new = Vec::new();
    for (at, worker) in [(1, two), (2, one)] {
        pool.until(secs(at));
        new.extend(pool.tell(Event::Memory { worker, pss: 2_000 }).spawned());
    }
    pool.load(new[0]);
    assert!(pool.worker(two).draining);
    assert!(!pool.worker(one).draining);
}

#[test]
fn a_worker_whose_replacement_does_not_come_goes_after_a_start_timeout() {
    let mut pool = Pool::with(1, &[(A, Policy { max_memory: Some(1_000), ..policy() })]);
    let worker = pool.busy(A);
    pool.tell(Event::Memory { worker, pss: 2_000 });
    pool.until(millis(29_999));
    assert_eq!(pool.request(A).dispatched(), [worker]);
    pool.until(secs(30));
    assert!(pool.request(A).dispatched().is_empty());
}

#[test]
fn an_unresponsive_worker_is_killed_and_requests_go_to_another() {
    for (event, reason) in [
        (Event::Unresponsive { worker: WorkerId(1) }, Reason::Unresponsive),
        (Event::Protocol { worker: WorkerId(1) }, Reason::Protocol),
    ] {
        let mut pool = Pool::with(2, &[(A, policy())]);
        let worker = pool.busy(A);
        assert_eq!(pool.tell(event).killed(), [(worker, reason)]);
        let another = pool.request(A).spawned();
        assert_eq!(another.len(), 1);
        assert!(pool.done(worker).is_silent());
        assert_eq!(states(&pool.exit(worker)), [(State::Terminated, reason)]);
        assert!(pool.head(worker).is_silent(), "what crosses its end is ignored");
    }
}

#[test]
fn shutdown_finishes_what_was_accepted_and_then_ends_everything() {
    let mut pool = Pool::new(limits(3, 1));
    pool.until(Duration::ZERO);
    for version in [A, B, C] {
        let policy = Policy { concurrency: 1, fresh: true, ..policy() };
        pool.tell(Event::AddVersion { version, policy });
    }
    let (busy, resting) = (pool.busy(A), pool.rested(B));
    pool.request(A);
    let said = pool.tell(Event::Shutdown { within: secs(30) });
    assert_eq!(said.killed(), [(WorkerId(1), Reason::Shutdown)], "the spare");
    assert_eq!(said.terminated(), [(resting, Reason::Shutdown)]);
    assert_eq!(pool.request(B).refused(), [Refusal::ShuttingDown]);
    assert_eq!(pool.done(busy).dispatched(), [busy], "it waited before");
    pool.exit(WorkerId(1));
    pool.exit(resting);
    assert_eq!(pool.done(busy).terminated(), [(busy, Reason::Shutdown)]);
    assert_eq!(pool.exit(busy).0.last(), Some(&Action::Drained));
}

#[test]
fn shutdown_lets_a_worker_over_its_number_serve_those_who_wait() {
    let mut pool = Pool::with(1, &[(A, Policy { concurrency: 1, max_requests: 1, ..policy() })]);
    let worker = pool.busy(A);
    pool.request(A);
    pool.request(A);
    pool.tell(Event::Shutdown { within: secs(30) });
    assert_eq!(pool.done(worker).dispatched(), [worker]);
    assert_eq!(pool.done(worker).dispatched(), [worker]);
    assert_eq!(pool.done(worker).terminated(), [(worker, Reason::Shutdown)]);
}

#[test]
fn shutdown_ends_what_has_not_ended_in_time() {
    let mut pool = Pool::with(1, &[(A, Policy { concurrency: 1, queue_timeout: secs(100), ..policy() })]);
    let worker = pool.busy(A);
    pool.request(A);
    pool.tell(Event::Shutdown { within: secs(30) });
    assert!(pool.until(millis(29_999)).is_silent());
    let said = pool.until(secs(30));
    assert_eq!(said.refused(), [Refusal::ShuttingDown]);
    assert_eq!(said.terminated(), [(worker, Reason::Shutdown)]);
    assert_eq!(pool.until(secs(37)).killed(), [(worker, Reason::Shutdown)]);
}
