//! Starts for which the machine has nothing left: they say nothing of what was to be started.

use super::*;

const WAIT: Duration = Duration::from_millis(500);

#[test]
fn a_start_that_starves_refuses_who_waits_blames_nobody_and_is_tried_again() {
    let mut pool = Pool::with(10, &[(A, policy())]);
    for _ in 0..20 {
        let worker = pool.request(A).spawned()[0];
        pool.request(A);
        let said = pool.starve(worker);
        assert_eq!(said.refused(), [Refusal::Starved(WAIT); 2]);
        assert!(said.spawned().is_empty());
        assert!(!said.0.contains(&Action::Unproven { version: A }));
        assert_eq!(pool.request(A).refused(), [Refusal::Starved(WAIT)], "it is not tried at every request");
        pool.until(pool.now + WAIT);
    }
    let worker = pool.busy(A);
    pool.exit(worker);
    assert_eq!(pool.request(A).spawned().len(), 1, "that is its first crash");
}

#[test]
fn a_version_to_prove_and_one_with_a_minimum_are_started_again_by_themselves() {
    let mut pool = Pool::with(10, &[(A, policy()), (B, Policy { min: 1, ..policy() })]);
    let first = pool.core.snapshot(pool.now).workers[0].id;
    let prove = pool.tell(Event::Prove { version: A }).spawned()[0];
    for worker in [first, prove] {
        assert!(pool.starve(worker).spawned().is_empty());
    }
    assert!(pool.until(pool.now + WAIT - millis(1)).spawned().is_empty());
    assert_eq!(pool.until(pool.now + millis(1)).spawned().len(), 2);
}

#[test]
fn who_wants_a_start_is_told_and_old_versions_stay_until_the_new_one_comes() {
    let mut pool = Pool::with(10, &[(A, policy()), (B, policy())]);
    let old = pool.rested(A);
    let new = pool.tell(Event::RemoveVersion { version: A, to: Some(B) }).spawned()[0];
    pool.start(B);
    assert_eq!(pool.starve(new).not_started(), [Refusal::Starved(WAIT)]);
    assert_eq!(pool.request(A).dispatched(), [old]);
    pool.done(old);
    let again = pool.until(pool.now + WAIT).spawned()[0];
    assert_eq!(pool.load(again).terminated(), [(old, Reason::Deploy)]);
}

#[test]
fn what_is_to_be_replaced_stays_while_the_machine_has_nothing_left() {
    let mut pool = Pool::with(10, &[(A, Policy { max_memory: Some(1_000), ttl: secs(10_000), ..policy() })]);
    let fat = pool.busy(A);
    let mut successor = pool.tell(Event::Memory { worker: fat, pss: 2_000 }).spawned()[0];
    // Far beyond the time that a successor has to be Ready.
    for _ in 0..200 {
        assert!(pool.starve(successor).terminated().is_empty());
        let said = pool.until(pool.now + WAIT);
        assert!(said.terminated().is_empty(), "{:?}", said.0);
        successor = said.spawned()[0];
    }
    // The one that can be started has its time to load, as any other.
    let said = pool.until(pool.now + policy().start_timeout - millis(1));
    assert!(said.terminated().is_empty() && !pool.worker(fat).draining, "{:?}", said.0);
    pool.load(successor);
    assert_eq!(pool.done(fat).terminated(), [(fat, Reason::Memory)]);
}

#[test]
fn a_successor_that_was_started_after_a_shortage_and_does_not_come_is_not_waited_for_for_ever() {
    let mut pool = Pool::with(10, &[(A, Policy { max_memory: Some(1_000), ..policy() })]);
    let fat = pool.busy(A);
    let successor = pool.tell(Event::Memory { worker: fat, pss: 2_000 }).spawned()[0];
    pool.starve(successor);
    pool.until(pool.now + WAIT + policy().start_timeout);
    assert!(pool.worker(fat).draining);
}

#[test]
fn a_worker_far_over_its_number_stays_while_the_machine_has_nothing_left() {
    let mut pool = Pool::with(10, &[(A, Policy { max_requests: 5, ..policy() })]);
    let worn = pool.busy(A);
    let mut successor = None;
    while successor.is_none() {
        successor = pool.request(A).spawned().pop();
    }
    let mut successor = successor.unwrap();
    for _ in 0..20 {
        pool.starve(successor);
        assert_eq!(pool.request(A).dispatched(), [worn]);
        successor = pool.until(pool.now + WAIT).spawned()[0];
    }
    assert_eq!(pool.request(A).dispatched(), [worn], "it serves until the other one is Ready");
    pool.load(successor);
    assert!(pool.worker(worn).draining);
}

#[test]
fn spares_that_starve_are_tried_again_without_a_longer_wait() {
    let mut pool = Pool::new(limits(10, 1));
    let mut spare = pool.until(Duration::ZERO).spawned()[0];
    for _ in 0..20 {
        pool.starve(spare);
        spare = pool.until(pool.now + WAIT).spawned()[0];
    }
}
