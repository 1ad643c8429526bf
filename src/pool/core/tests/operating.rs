//! What an operator asks of workers: restart, terminate, retire.

use super::*;

fn restart(pool: &mut Pool, version: VersionKey) -> Said {
    pool.tell(Event::Restart { version })
}

fn three() -> Policy {
    Policy { concurrency: 1, max: 3, ..policy() }
}

#[test]
fn a_restarted_worker_serves_until_another_one_is_ready() {
    let mut pool = Pool::with(2, &[(A, policy())]);
    let old = pool.busy(A);
    let new = restart(&mut pool, A).spawned()[0];
    assert_eq!(pool.request(A).dispatched(), [old]);
    pool.load(new);
    assert_eq!(pool.request(A).dispatched(), [new]);
    assert!(pool.done(old).is_silent(), "one is still in flight");
    assert_eq!(pool.done(old).terminated(), [(old, Reason::Restart)]);
}

#[test]
fn every_instance_is_restarted_and_there_are_as_many_as_before() {
    let mut pool = Pool::with(10, &[(A, three())]);
    let old = [pool.busy(A), pool.busy(A), pool.busy(A)];
    assert_eq!(pool.core.to_restart(A), old);
    let new = restart(&mut pool, A).spawned();
    assert_eq!(new.len(), 3);
    assert!(restart(&mut pool, A).is_silent(), "said twice it is done once");
    for (old, new) in old.into_iter().zip(new) {
        pool.load(new);
        assert!(pool.worker(old).draining);
        assert_eq!(pool.done(old).terminated(), [(old, Reason::Restart)]);
        assert!(pool.exit(old).spawned().is_empty());
    }
    assert_eq!(pool.core.snapshot(pool.now).versions[0].serving, 3);
}

#[test]
fn a_restarted_worker_stays_when_the_new_one_fails() {
    let mut pool = Pool::with(2, &[(A, policy())]);
    let old = pool.rested(A);
    let new = restart(&mut pool, A).spawned()[0];
    pool.connect(new);
    pool.tell(Event::StartFailed { worker: new, stale: false });
    assert!(pool.exit(new).spawned().is_empty(), "it is not tried again");
    assert_eq!(pool.until(secs(59)).terminated(), []);
    assert_eq!(pool.request(A).dispatched(), [old]);
}

#[test]
fn a_version_in_doubt_is_told_of_as_a_new_one() {
    let mut pool = Pool::with(2, &[(A, policy())]);
    pool.rested(A);
    for (fails, told) in [(true, Action::Unproven { version: A }), (false, Action::Proven { version: A })] {
        assert!(pool.tell(Event::Doubt { version: A }).is_silent());
        let new = restart(&mut pool, A).spawned()[0];
        if fails {
            pool.connect(new);
            assert!(pool.tell(Event::StartFailed { worker: new, stale: false }).0.contains(&told));
            pool.exit(new);
            pool.until(secs(59));
        } else {
            assert!(pool.load(new).0.contains(&told));
        }
    }
}

#[test]
fn of_two_restarted_workers_one_stays_where_one_start_fails() {
    let mut pool = Pool::with(10, &[(A, three())]);
    let (one, two) = (pool.busy(A), pool.busy(A));
    let new = restart(&mut pool, A).spawned();
    pool.connect(new[0]);
    pool.tell(Event::StartFailed { worker: new[0], stale: false });
    assert!(pool.exit(new[0]).spawned().is_empty());
    pool.load(new[1]);
    assert_eq!((pool.worker(one).draining, pool.worker(two).draining), (true, false));
}

#[test]
fn where_there_is_no_room_for_two_a_restarted_worker_goes_first_after_a_start_timeout() {
    let mut pool = Pool::with(1, &[(A, policy())]);
    let old = pool.rested(A);
    assert!(restart(&mut pool, A).is_silent());
    assert!(pool.until(millis(29_999)).is_silent(), "it is not evicted for its own successor");
    assert_eq!(pool.until(secs(30)).terminated(), [(old, Reason::Restart)]);
    pool.request(A);
    let new = pool.exit(old).spawned()[0];
    assert_eq!(pool.load(new).dispatched(), [new], "the request has waited");
}

#[test]
fn a_restart_evicts_another_version_at_rest() {
    let mut pool = Pool::with(2, &[(A, policy()), (B, policy())]);
    let (old, other) = (pool.busy(A), pool.rested(B));
    assert_eq!(restart(&mut pool, A).terminated(), [(other, Reason::Evicted)]);
    let new = pool.exit(other).spawned()[0];
    pool.load(new);
    assert_eq!(pool.done(old).terminated(), [(old, Reason::Restart)]);
}

#[test]
fn what_starts_or_serves_one_request_is_not_restarted() {
    let ephemeral = Policy { ephemeral: true, ..policy() };
    let mut pool = Pool::with(4, &[(A, policy()), (B, ephemeral)]);
    pool.request(A);
    pool.busy(B);
    assert!(restart(&mut pool, A).is_silent());
    assert!(restart(&mut pool, B).is_silent());
    assert!(restart(&mut pool, C).is_silent(), "nobody knows it");
}

#[test]
fn one_worker_is_restarted_alone() {
    let mut pool = Pool::with(10, &[(A, three())]);
    let (one, two) = (pool.busy(A), pool.busy(A));
    let new = pool.tell(Event::RestartWorker { worker: two }).spawned()[0];
    pool.load(new);
    assert_eq!((pool.worker(one).draining, pool.worker(two).draining), (false, true));
}

#[test]
fn a_restarted_or_terminated_spare_is_replaced_from_the_stock() {
    for (event, reason) in [
        (Event::RestartWorker { worker: WorkerId(1) }, Reason::Restart),
        (Event::TerminateWorker { worker: WorkerId(1) }, Reason::Operator),
    ] {
        let mut pool = Pool::new(limits(10, 1));
        pool.until(Duration::ZERO);
        pool.connect(WorkerId(1));
        let said = pool.tell(event);
        assert_eq!(said.terminated(), [(WorkerId(1), reason)]);
        assert_eq!(said.spawned(), [WorkerId(2)]);
    }
}

#[test]
fn a_terminated_worker_drains_and_is_started_again_only_for_min() {
    for min in [0, 1] {
        let mut pool = Pool::with(4, &[(A, Policy { min, ..policy() })]);
        let worker = if min == 1 { WorkerId(1) } else { pool.request(A).spawned()[0] };
        pool.load(worker);
        if min == 1 {
            pool.request(A);
        }
        let said = pool.tell(Event::TerminateWorker { worker });
        assert_eq!(said.terminated(), [], "a request is in flight");
        assert_eq!(said.spawned().len(), min as usize);
        assert_eq!(pool.done(worker).terminated(), [(worker, Reason::Operator)]);
    }
}

#[test]
fn whoever_waits_for_a_worker_that_is_terminated_gets_another() {
    let mut pool = Pool::with(4, &[(A, policy())]);
    let first = pool.request(A).spawned()[0];
    let said = pool.tell(Event::TerminateWorker { worker: first });
    assert!(said.refused().is_empty());
    let second = said.spawned()[0];
    assert_eq!(pool.load(second).dispatched(), [second]);
}

#[test]
fn a_retired_version_keeps_its_minimum_and_can_be_asked_for() {
    let mut pool = Pool::with(10, &[(A, Policy { min: 1, ..three() })]);
    pool.load(WorkerId(1));
    let one = WorkerId(1);
    assert_eq!(pool.request(A).dispatched(), [one]);
    let (two, three) = (pool.busy(A), pool.busy(A));
    pool.until(secs(1));
    pool.done(two);
    assert_eq!(pool.core.to_retire(A), [one, three], "the one that was used last stays");
    let said = pool.tell(Event::Retire { version: A });
    assert!(said.spawned().is_empty());
    assert_eq!(pool.done(one).terminated(), [(one, Reason::Retired)]);
    assert_eq!(pool.done(three).terminated(), [(three, Reason::Retired)]);
    assert_eq!(pool.request(A).dispatched(), [two]);
    assert_eq!(pool.request(A).spawned().len(), 1);
}

#[test]
fn a_retired_version_without_a_minimum_has_no_worker_until_it_is_asked_for() {
    let mut pool = Pool::with(2, &[(A, policy())]);
    let old = pool.rested(A);
    assert_eq!(pool.tell(Event::Retire { version: A }).terminated(), [(old, Reason::Retired)]);
    assert!(pool.exit(old).spawned().is_empty());
    let new = pool.request(A).spawned()[0];
    assert_eq!(pool.load(new).dispatched(), [new]);
}

#[test]
fn what_starts_for_a_request_is_not_retired() {
    let mut pool = Pool::with(2, &[(A, policy())]);
    let worker = pool.request(A).spawned()[0];
    assert!(pool.tell(Event::Retire { version: A }).is_silent());
    assert_eq!(pool.load(worker).dispatched(), [worker]);
}

#[test]
fn a_version_that_is_held_starts_nothing_and_serves_with_what_it_has() {
    let mut pool = Pool::with(3, &[(A, Policy { queue_size: 0, ..three() }), (B, policy())]);
    let loads = pool.request(A).spawned()[0];
    let hold = |held| Event::Hold { version: A, held };
    assert!(pool.tell(hold(true)).is_silent());
    assert!(pool.core.is_loading(A));
    assert_eq!(pool.load(loads).dispatched(), [loads]);
    assert!(!pool.core.is_loading(A));
    // Full, and no place in the queue: those who come wait all the same.
    let said = pool.request(A);
    assert!(said.spawned().is_empty() && said.refused().is_empty());
    assert_eq!(pool.start(B).spawned().len(), 1, "others are not held");
    assert_eq!(pool.tell(hold(false)).spawned().len(), 1);
}

#[test]
fn those_who_wait_for_a_version_that_is_held_move_to_what_replaces_it() {
    let mut pool = Pool::with(3, &[(A, policy())]);
    pool.tell(Event::Hold { version: A, held: true });
    assert!(pool.request(A).spawned().is_empty());
    pool.tell(Event::AddVersion { version: B, policy: policy() });
    let new = pool.tell(Event::RemoveVersion { version: A, to: Some(B) }).spawned()[0];
    assert!(pool.tell(Event::Hold { version: A, held: false }).spawned().is_empty());
    assert_eq!(pool.load(new).dispatched(), [new]);
}

#[test]
fn a_worker_that_is_lost_as_it_becomes_ready_takes_nobodys_place() {
    let mut pool = Pool::with(3, &[(A, policy())]);
    let old = pool.busy(A);
    let new = restart(&mut pool, A).spawned()[0];
    pool.connect(new);
    pool.tell(Event::Lost { worker: new });
    pool.tell(Event::Ready { worker: new });
    assert!(!pool.worker(old).draining);
    assert_eq!(pool.exit(new).spawned().len(), 0, "another one was started already");
    assert_eq!(pool.request(A).dispatched(), [old]);
}

#[test]
fn a_pool_that_is_made_larger_starts_who_waits_and_made_smaller_starts_nobody_until_there_is_room() {
    let mut pool = Pool::with(1, &[(A, policy()), (B, policy()), (C, policy())]);
    let first = pool.busy(A);
    assert!(pool.request(B).spawned().is_empty(), "it is full");
    let second = pool.tell(Event::Resize { pool_size: 2, spares: 0 }).spawned();
    assert_eq!(second.len(), 1);
    pool.load(second[0]);
    assert!(pool.tell(Event::Resize { pool_size: 1, spares: 0 }).is_silent(), "nobody is ended for it");
    assert!(pool.request(C).spawned().is_empty());
    pool.done(first);
    assert!(pool.exit(first).spawned().is_empty(), "there is still one as many as there may be");
}
