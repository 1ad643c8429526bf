//! Versions that prove themselves, take over and go.

use super::*;

fn replace(pool: &mut Pool, old: VersionKey, new: VersionKey) -> Said {
    pool.tell(Event::RemoveVersion { version: old, to: Some(new) })
}

#[test]
fn a_version_proves_itself_once() {
    let mut pool = Pool::with(2, &[(A, policy())]);
    let worker = pool.tell(Event::Prove { version: A }).spawned()[0];
    assert!(pool.load(worker).0.contains(&Action::Proven { version: A }));
    pool.exit(worker);
    let worker = pool.tell(Event::Prove { version: A }).spawned()[0];
    assert!(!pool.load(worker).0.contains(&Action::Proven { version: A }));
    assert!(pool.tell(Event::Prove { version: A }).is_silent(), "it has a worker");
}

#[test]
fn old_workers_serve_until_a_new_one_is_ready() {
    let mut pool = Pool::with(2, &[(A, Policy { concurrency: 1, ..policy() }), (B, policy())]);
    let old = pool.busy(A);
    let new = replace(&mut pool, A, B).spawned()[0];
    pool.request(A);
    assert_eq!(pool.done(old).dispatched(), [old]);
    pool.request(A);
    let said = pool.load(new);
    assert_eq!(said.dispatched(), [new], "who waits moves over");
    assert!(said.terminated().is_empty(), "the old one has a request in flight");
    assert_eq!(pool.request(A).dispatched(), [new], "who asks for the old one as well");
    assert_eq!(pool.done(old).terminated(), [(old, Reason::Deploy)]);
    assert_eq!(pool.exit(old).0.last(), Some(&Action::Forgotten { version: A }));
    assert_eq!(pool.request(A).refused(), [Refusal::Gone]);
}

#[test]
fn old_workers_stay_when_the_new_version_fails() {
    let mut pool = Pool::with(2, &[(A, Policy { min: 1, ..policy() }), (B, policy())]);
    let old = WorkerId(1);
    pool.load(old);
    let new = replace(&mut pool, A, B).spawned()[0];
    pool.connect(new);
    let said = pool.tell(Event::StartFailed { worker: new, stale: false });
    assert!(said.0.contains(&Action::Unproven { version: B }));
    pool.exit(new);
    assert_eq!(pool.request(A).dispatched(), [old]);
    assert_eq!(pool.exit(old).spawned().len(), 1, "it is a version like any other again");
}

#[test]
fn a_new_version_with_a_worker_takes_over_at_once() {
    let mut pool = Pool::with(2, &[(A, policy()), (B, policy())]);
    let (old, _new) = (pool.rested(A), pool.rested(B));
    assert_eq!(replace(&mut pool, A, B).terminated(), [(old, Reason::Deploy)]);
}

#[test]
fn a_replaced_version_without_workers_starts_none_and_passes_requests_on() {
    let mut pool = Pool::with(2, &[(A, policy()), (B, policy())]);
    assert!(replace(&mut pool, A, B).is_silent(), "nobody needs it yet");
    let said = pool.request(A);
    let [Action::Transition { worker, version: Some(B), .. }, ..] = said.0[..] else {
        panic!("{:?}", said.0)
    };
    assert_eq!(pool.load(worker).dispatched(), [worker]);
}

#[test]
fn requests_that_wait_for_room_move_to_the_version_that_replaces_theirs() {
    let mut pool = Pool::with(1, &[(A, policy()), (B, policy()), (C, policy())]);
    let busy = pool.busy(C);
    pool.request(A);
    assert!(replace(&mut pool, A, B).is_silent());
    pool.done(busy);
    let new = pool.exit(busy).spawned()[0];
    assert_eq!(pool.worker(new).version, Some(B));
    assert_eq!(pool.load(new).dispatched(), [new]);
}

#[test]
fn requests_that_move_keep_their_deadlines() {
    let busy_for = |seconds| Policy { concurrency: 1, queue_timeout: secs(seconds), ..policy() };
    for (old, new) in [(1, 10), (10, 1)] {
        let mut pool = Pool::with(2, &[(A, busy_for(old)), (B, busy_for(new))]);
        pool.busy(B);
        pool.busy(A);
        pool.request(B);
        pool.request(A);
        replace(&mut pool, A, B);
        pool.request(B);
        let (early, late) = (pool.until(secs(1)).refused(), pool.until(secs(10)).refused());
        let of_one = if old == 1 { 1 } else { 2 };
        assert_eq!((early.len(), late.len()), (of_one, 3 - of_one), "from {old}s to {new}s");
    }
}

#[test]
fn a_version_that_is_replaced_before_it_took_over_hands_its_claim_on() {
    let mut pool = Pool::with(3, &[(A, policy()), (B, policy()), (C, policy())]);
    let old = pool.rested(A);
    let between = replace(&mut pool, A, B).spawned()[0];
    let new = replace(&mut pool, B, C).spawned()[0];
    assert!(pool.load(between).terminated().is_empty());
    assert_eq!(
        pool.load(new).terminated(),
        [(old, Reason::Deploy), (between, Reason::Deploy)],
        "both wait for the last one"
    );
}

#[test]
fn two_versions_that_replace_each_other_leave_the_one_named_last() {
    let mut pool = Pool::with(3, &[(A, policy()), (B, policy())]);
    let a = pool.rested(A);
    let b = replace(&mut pool, A, B).spawned()[0];
    assert_eq!(replace(&mut pool, B, A).terminated(), [(b, Reason::Deploy)]);
    assert_eq!(pool.request(A).dispatched(), [a]);
}

#[test]
fn a_removed_version_refuses_those_who_wait() {
    let mut pool = Pool::with(1, &[(A, policy())]);
    let worker = pool.request(A).spawned()[0];
    let said = pool.tell(Event::RemoveVersion { version: A, to: None });
    assert_eq!(said.refused(), [Refusal::Gone]);
    assert_eq!(said.terminated(), [(worker, Reason::Removed)]);
    assert!(pool.load(worker).is_silent());
    assert_eq!(pool.request(A).refused(), [Refusal::Gone]);
}
