//! Pinned versions: one worker, always.

use super::*;

fn pinned() -> Policy {
    // What a manifest says of instances and lifetimes means nothing here.
    Policy { pinned: true, ephemeral: true, min: 0, max: 5, ttl: secs(2), ..policy() }
}

fn only(said: &Said) -> WorkerId {
    let spawned = said.spawned();
    assert_eq!(spawned.len(), 1, "{:?}", said.0);
    spawned[0]
}

#[test]
fn one_worker_of_a_pinned_version_is_started_although_nobody_asks() {
    let mut pool = Pool::new(limits(4, 0));
    let said = pool.tell(Event::AddVersion { version: A, policy: pinned() });
    let worker = only(&said);
    assert!(pool.load(worker).spawned().is_empty());
    for _ in 0..3 {
        assert_eq!(pool.request(A).dispatched(), [worker]);
    }
}

#[test]
fn a_pinned_version_goes_before_the_minimum_of_others_and_is_never_evicted_for_them() {
    let mut pool = Pool::with(1, &[(B, Policy { min: 1, ..policy() })]);
    let other = pool.core.snapshot(pool.now).workers[0].id;
    pool.load(other);
    let said = pool.tell(Event::AddVersion { version: A, policy: pinned() });
    assert_eq!(said.terminated(), [(other, Reason::Evicted)]);
    let worker = only(&pool.exit(other));
    pool.load(worker);
    assert!(pool.request(B).is_silent());
    assert!(pool.until(secs(9)).terminated().is_empty());
    assert_eq!(pool.until(secs(10)).refused(), [Refusal::QueueTimeout]);
    assert!(pool.until(secs(3_600)).terminated().is_empty());
    assert!(pool.worker(worker).state == State::Idle);
}

#[test]
fn a_pinned_version_that_crashes_is_started_again_by_itself_with_a_growing_wait() {
    let mut pool = Pool::with(2, &[(A, pinned())]);
    let mut worker = pool.core.snapshot(pool.now).workers[0].id;
    let mut waits = Vec::new();
    for _ in 0..5 {
        pool.load(worker);
        let said = pool.exit(worker);
        let wait = pool.core.snapshot(pool.now).versions[0].back_off.unwrap_or_default();
        worker = match wait.is_zero() {
            true => only(&said),
            false => {
                assert!(said.spawned().is_empty());
                only(&pool.until(pool.now + wait))
            }
        };
        waits.push(wait.as_millis());
    }
    assert_eq!(waits, [0, 100, 200, 400, 800]);
}

#[test]
fn a_pinned_worker_that_lived_for_long_is_started_again_at_once_however_often() {
    let mut pool = Pool::with(2, &[(A, pinned())]);
    for _ in 0..5 {
        let worker = pool.core.snapshot(pool.now).workers[0].id;
        pool.load(worker);
        pool.until(pool.now + secs(61));
        only(&pool.exit(worker));
    }
}

#[test]
fn a_pinned_worker_over_its_memory_goes_only_when_another_is_ready() {
    let mut pool = Pool::with(2, &[(A, Policy { max_memory: Some(10), ..pinned() })]);
    let worker = pool.core.snapshot(pool.now).workers[0].id;
    pool.load(worker);
    pool.until(secs(61));
    assert_eq!(pool.worker(worker).state, State::Idle);
    let said = pool.tell(Event::Memory { worker, pss: 11 });
    assert!(said.terminated().is_empty());
    assert_eq!(pool.load(only(&said)).terminated(), [(worker, Reason::Memory)]);
}

#[test]
fn a_pinned_worker_has_twelve_seconds_to_end() {
    let mut pool = Pool::with(2, &[(A, pinned())]);
    let worker = pool.core.snapshot(pool.now).workers[0].id;
    pool.load(worker);
    pool.tell(Event::RemoveVersion { version: A, to: None });
    assert!(pool.until(millis(11_999)).killed().is_empty());
    assert_eq!(pool.until(secs(12)).killed(), [(worker, Reason::Removed)]);
}

#[test]
fn a_pinned_version_is_replaced_without_a_gap() {
    let mut pool = Pool::with(2, &[(A, pinned())]);
    let old = pool.core.snapshot(pool.now).workers[0].id;
    pool.load(old);
    let new = only(&pool.tell(Event::AddVersion { version: B, policy: pinned() }));
    assert!(pool.tell(Event::RemoveVersion { version: A, to: Some(B) }).terminated().is_empty());
    assert_eq!(pool.request(A).dispatched(), [old]);
    pool.done(old);
    assert_eq!(pool.load(new).terminated(), [(old, Reason::Deploy)]);
}
