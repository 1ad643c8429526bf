//! Who wants a worker to be Ready hears how it went.

use super::*;

#[test]
fn a_version_that_nobody_asks_for_is_started_and_who_wanted_it_hears_so() {
    let mut pool = Pool::with(2, &[(A, policy())]);
    let worker = pool.start(A).spawned()[0];
    assert!(pool.start(A).is_silent(), "one start is enough for two");
    assert!(pool.connect(worker).started().is_empty());
    let said = pool.tell(Event::Ready { worker });
    assert_eq!(said.started(), [worker, worker]);
    assert!(said.0.contains(&Action::Proven { version: A }));
    assert_eq!(pool.start(A).started(), [worker], "it is there already");
}

#[test]
fn a_failed_start_is_told_once_to_everybody() {
    for (refusal, time) in [(Refusal::StartFailed, secs(1)), (Refusal::StartTimeout, secs(30))] {
        let mut pool = Pool::with(2, &[(A, policy())]);
        let worker = pool.start(A).spawned()[0];
        pool.start(A);
        pool.connect(worker);
        let mut said = pool.until(time);
        if refusal == Refusal::StartFailed {
            said = pool.tell(Event::StartFailed { worker, stale: false });
        }
        assert_eq!(said.not_started(), [refusal, refusal]);
        assert!(pool.exit(worker).spawned().is_empty());
    }
}

#[test]
fn a_spare_that_was_dead_already_is_no_failed_start() {
    let mut pool = Pool::new(limits(10, 1));
    pool.until(Duration::ZERO);
    pool.connect(WorkerId(1));
    pool.tell(Event::AddVersion { version: A, policy: policy() });
    assert_eq!(pool.start(A).assigned(), [WorkerId(1)]);
    let said = pool.exit(WorkerId(1));
    assert!(said.not_started().is_empty());
    let fresh = said.0.iter().find_map(|action| match action {
        Action::Spawn { worker, version: Some(A) } => Some(*worker),
        _ => None,
    });
    let fresh = fresh.unwrap();
    assert_eq!(pool.load(fresh).started(), [fresh]);
}

#[test]
fn a_full_pool_makes_room_for_a_start() {
    let mut pool = Pool::with(1, &[(A, policy()), (B, Policy { min: 1, ..policy() })]);
    let kept = WorkerId(1);
    pool.load(kept);
    assert_eq!(pool.start(A).terminated(), [(kept, Reason::Evicted)]);
    let worker = pool.exit(kept).spawned()[0];
    assert_eq!(pool.load(worker).started(), [worker]);
}

#[test]
fn a_start_waits_for_room_as_long_as_the_start_and_the_queue_may_take() {
    let mut pool = Pool::with(1, &[(A, policy()), (B, policy())]);
    pool.busy(B);
    assert!(pool.start(A).is_silent());
    assert!(pool.until(millis(39_999)).is_silent());
    assert_eq!(pool.until(secs(40)).not_started(), [Refusal::QueueTimeout]);
}

#[test]
fn a_version_that_backs_off_says_so_and_one_with_a_worker_does_not() {
    let mut pool = Pool::with(3, &[(A, Policy { max: 2, concurrency: 1, ..policy() })]);
    for _ in 0..2 {
        let worker = pool.start(A).spawned()[0];
        pool.connect(worker);
        pool.tell(Event::StartFailed { worker, stale: false });
        pool.exit(worker);
    }
    assert_eq!(pool.start(A).not_started(), [Refusal::BackOff(millis(100))]);
    pool.until(millis(100));
    let worker = pool.start(A).spawned()[0];
    pool.load(worker);
    assert_eq!(pool.start(A).started(), [worker]);
}

#[test]
fn a_version_that_is_removed_or_replaced_is_not_started() {
    for to in [None, Some(B)] {
        let mut pool = Pool::with(2, &[(A, policy()), (B, policy())]);
        pool.start(A);
        let said = pool.tell(Event::RemoveVersion { version: A, to });
        assert_eq!(said.not_started(), [Refusal::Gone]);
        assert_eq!(pool.start(A).not_started(), [Refusal::Gone]);
        assert_eq!(pool.start(C).not_started(), [Refusal::Gone], "nobody knows it");
    }
}

#[test]
fn nothing_is_started_during_shutdown() {
    let mut pool = Pool::with(2, &[(A, policy())]);
    pool.start(A);
    assert_eq!(pool.tell(Event::Shutdown { within: secs(1) }).not_started(), [Refusal::ShuttingDown]);
    assert_eq!(pool.start(A).not_started(), [Refusal::ShuttingDown]);
}

#[test]
fn a_start_that_nobody_waits_for_any_more_takes_no_room() {
    let mut pool = Pool::with(1, &[(A, policy()), (B, policy())]);
    let busy = pool.busy(B);
    pool.start(A);
    pool.tell(Event::AbandonStart { ticket: Ticket(pool.tickets) });
    assert!(pool.done(busy).terminated().is_empty());
    assert!(pool.until(secs(50)).not_started().is_empty());
}

#[test]
fn a_worker_that_is_terminated_while_it_starts_is_no_answer() {
    let mut pool = Pool::with(2, &[(A, policy())]);
    let first = pool.start(A).spawned()[0];
    let second = pool.tell(Event::TerminateWorker { worker: first }).spawned()[0];
    assert_eq!(pool.load(second).started(), [second]);
}

#[test]
fn an_ephemeral_version_is_started_too() {
    let mut pool = Pool::with(2, &[(A, Policy { ephemeral: true, ..policy() })]);
    let worker = pool.start(A).spawned()[0];
    assert_eq!(pool.load(worker).started(), [worker]);
    assert_eq!(pool.request(A).dispatched(), [worker], "it serves the first request");
}
