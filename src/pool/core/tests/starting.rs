//! How a worker comes to be: spares, failed starts, crashes and what they cost.

use super::*;

fn warm(spares: usize, versions: &[(VersionKey, Policy)]) -> Pool {
    let mut pool = Pool::new(limits(10, spares));
    let mut starting = pool.until(Duration::ZERO).spawned();
    while let Some(spare) = starting.pop() {
        starting.extend(pool.connect(spare).spawned());
    }
    for (version, policy) in versions {
        pool.tell(Event::AddVersion { version: *version, policy: policy.clone() });
    }
    pool
}

#[test]
fn spares_are_started_one_after_the_other_up_to_their_number() {
    let mut pool = Pool::new(limits(10, 2));
    assert_eq!(pool.until(Duration::ZERO).spawned(), [WorkerId(1)]);
    assert_eq!(pool.connect(WorkerId(1)).spawned(), [WorkerId(2)]);
    assert!(pool.connect(WorkerId(2)).spawned().is_empty());
    assert_eq!(pool.core.snapshot(pool.now).spares_ready, 2);
}

#[test]
fn a_cold_request_takes_the_youngest_spare_that_is_warm_and_the_next_is_started_behind_it() {
    let mut pool = warm(2, &[(A, policy()), (B, policy())]);
    // None had the time yet: the oldest is nearest to it.
    let said = pool.request(A);
    assert_eq!(said.0[0], Action::Assign { worker: WorkerId(1), version: A });
    assert!(said.spawned().is_empty(), "the start of a process would hold up the request");
    assert_eq!(pool.tell(Event::Ready { worker: WorkerId(1) }).dispatched(), [WorkerId(1)]);
    assert_eq!(pool.until(pool.now + millis(20)).spawned(), [WorkerId(3)]);
    pool.connect(WorkerId(3));
    pool.until(pool.now + millis(100));
    assert_eq!(pool.request(B).assigned(), [WorkerId(3)]);
}

#[test]
fn a_spare_that_is_still_starting_is_better_than_none() {
    let mut pool = Pool::new(limits(10, 1));
    pool.until(Duration::ZERO);
    pool.tell(Event::AddVersion { version: A, policy: policy() });
    assert!(pool.request(A).spawned().is_empty());
    assert_eq!(pool.connect(WorkerId(1)).assigned(), [WorkerId(1)]);
    assert_eq!(pool.until(pool.now + millis(20)).spawned(), [WorkerId(2)], "only the next spare");
}

#[test]
fn a_version_that_needs_a_fresh_worker_takes_no_spare() {
    let mut pool = warm(1, &[(A, Policy { fresh: true, ..policy() })]);
    assert_eq!(pool.request(A).0.last(), Some(&Action::Spawn { worker: WorkerId(2), version: Some(A) }));
    assert_eq!(pool.connect(WorkerId(2)).assigned(), [WorkerId(2)]);
}

#[test]
fn spares_that_keep_dying_are_not_started_without_end() {
    let mut pool = Pool::new(limits(10, 1));
    pool.until(Duration::ZERO);
    let mut starts = 1;
    for _ in 0..1_000 {
        let snapshot = pool.core.snapshot(pool.now);
        if let Some(spare) = snapshot.workers.first() {
            pool.connect(spare.id);
            starts += pool.exit(spare.id).spawned().len();
        }
        starts += pool.until(pool.now + millis(10)).spawned().len();
    }
    assert!((5..=10).contains(&starts), "{starts} starts in ten seconds");
}

#[test]
fn a_spare_waits_for_ever_and_its_death_is_no_trouble_once_spares_were_of_use() {
    let mut pool = warm(1, &[(A, policy())]);
    assert!(pool.until(secs(100_000)).is_silent());
    pool.request(A);
    pool.tell(Event::Ready { worker: WorkerId(1) });
    pool.until(pool.now + millis(20));
    for spare in [2, 3] {
        pool.connect(WorkerId(spare));
        assert_eq!(pool.exit(WorkerId(spare)).spawned(), [WorkerId(spare + 1)]);
    }
}

#[test]
fn simultaneous_first_requests_start_one_worker() {
    let mut pool = Pool::with(10, &[(A, Policy { concurrency: 10, max: 8, queue_size: 1_000, ..policy() })]);
    let mut spawned = Vec::new();
    for _ in 0..200 {
        spawned.extend(pool.request(A).spawned());
    }
    assert_eq!(spawned.len(), 1);
    let said = pool.load(spawned[0]);
    assert_eq!(said.dispatched().len(), 10);
    assert_eq!(said.spawned().len(), 7, "it works and is full: now the others");
}

#[test]
fn more_instances_start_only_when_the_others_are_full() {
    let mut pool = Pool::with(10, &[(A, Policy { concurrency: 2, max: 3, ..policy() })]);
    pool.busy(A);
    assert!(pool.request(A).spawned().is_empty());
    assert_eq!(pool.request(A).spawned().len(), 1);
    assert!(pool.request(A).spawned().is_empty(), "the one that starts has room for two");
    assert_eq!(pool.request(A).spawned().len(), 1);
    for _ in 0..5 {
        assert!(pool.request(A).spawned().is_empty(), "three are the most");
    }
}

#[test]
fn an_instance_that_is_to_be_replaced_does_not_count_as_one() {
    let limited = Policy { concurrency: 1, max: 3, max_memory: Some(1_000), ..policy() };
    let mut pool = Pool::with(10, &[(A, limited)]);
    let (one, _two) = (pool.busy(A), pool.busy(A));
    assert_eq!(pool.tell(Event::Memory { worker: one, pss: 2_000 }).spawned().len(), 1);
    assert!(pool.request(A).spawned().is_empty(), "the one that replaces it will do");
    assert_eq!(pool.request(A).spawned().len(), 1);
    assert!(pool.request(A).spawned().is_empty(), "three without it");
}

#[test]
fn min_workers_start_at_once_and_are_started_again() {
    let mut pool = Pool::new(limits(10, 0));
    let said = pool.tell(Event::AddVersion { version: A, policy: Policy { min: 2, max: 3, ..policy() } });
    let [one, two] = said.spawned()[..] else { panic!("two workers") };
    pool.load(one);
    pool.load(two);
    assert_eq!(pool.exit(one).spawned().len(), 1);
}

#[test]
fn a_failed_start_refuses_all_who_waited_for_it() {
    for (refusal, time) in [(Refusal::StartFailed, secs(1)), (Refusal::StartTimeout, secs(30))] {
        let mut pool = Pool::with(10, &[(A, policy())]);
        let worker = pool.request(A).spawned()[0];
        pool.request(A);
        pool.connect(worker);
        assert!(pool.until(time - millis(1)).is_silent());
        let mut said = pool.until(time);
        if refusal == Refusal::StartFailed {
            said = pool.tell(Event::StartFailed { worker, stale: false });
            assert_eq!(said.terminated(), [(worker, Reason::StartFailed)]);
        } else {
            assert_eq!(said.killed(), [(worker, Reason::StartTimeout)]);
        }
        assert_eq!(said.refused(), [refusal, refusal]);
        assert!(said.0.contains(&Action::Unproven { version: A }));
    }
}

#[test]
fn the_start_timeout_of_a_spare_counts_from_its_assignment() {
    let mut pool = warm(1, &[(A, policy())]);
    pool.until(secs(1_000));
    pool.request(A);
    assert!(pool.until(millis(1_029_999)).refused().is_empty());
    assert_eq!(pool.until(secs(1_030)).refused(), [Refusal::StartTimeout]);
}

#[test]
fn a_process_that_dies_before_it_is_ready_is_a_failed_start() {
    let mut pool = Pool::with(10, &[(A, policy())]);
    let worker = pool.request(A).spawned()[0];
    let said = pool.exit(worker);
    assert_eq!(said.refused(), [Refusal::StartFailed]);
    assert!(said.spawned().is_empty());
}

#[test]
fn a_version_that_crashes_backs_off_and_says_for_how_long() {
    let mut pool = Pool::with(10, &[(A, policy())]);
    for _ in 0..2 {
        let worker = pool.busy(A);
        pool.exit(worker);
    }
    assert_eq!(pool.request(A).refused(), [Refusal::BackOff(millis(100))], "the second before any answer");
    pool.until(millis(60));
    assert_eq!(pool.request(A).refused(), [Refusal::BackOff(millis(40))]);
    pool.until(millis(100));
    let worker = pool.busy(A);
    pool.exit(worker);
    assert_eq!(pool.request(A).refused(), [Refusal::BackOff(millis(200))]);
    pool.until(millis(300));
    let worker = pool.rested(A);
    pool.exit(worker);
    assert_eq!(pool.request(A).refused(), [Refusal::BackOff(millis(100))], "an answer started it over");
}

#[test]
fn a_crash_does_not_refuse_those_who_wait() {
    let mut pool = Pool::with(10, &[(A, Policy { concurrency: 1, ..policy() })]);
    let worker = pool.busy(A);
    pool.request(A);
    let said = pool.exit(worker);
    assert!(said.refused().is_empty());
    let another = said.spawned()[0];
    assert_eq!(pool.load(another).dispatched(), [another]);
}

#[test]
fn a_live_worker_serves_on_while_its_version_backs_off() {
    let mut pool = Pool::with(10, &[(A, Policy { concurrency: 1, max: 2, ..policy() })]);
    let good = pool.busy(A);
    let mut said = pool.request(A);
    for _ in 0..2 {
        let bad = said.spawned()[0];
        pool.connect(bad);
        said = pool.tell(Event::StartFailed { worker: bad, stale: false });
    }
    assert!(pool.core.snapshot(pool.now).versions[0].back_off.is_some());
    assert_eq!(pool.done(good).dispatched(), [good]);
}

#[test]
fn a_spare_that_was_dead_already_costs_its_request_nothing() {
    let mut pool = warm(2, &[(A, policy())]);
    pool.request(A);
    let said = pool.exit(WorkerId(1));
    assert!(said.refused().is_empty());
    let Some(Action::Spawn { worker, version: Some(A) }) =
        said.0.iter().find(|action| matches!(action, Action::Spawn { version: Some(_), .. }))
    else {
        panic!("no fresh worker: {:?}", said.0);
    };
    let worker = *worker;
    assert_eq!(pool.connect(worker).assigned(), [worker]);
    assert_eq!(pool.tell(Event::Ready { worker }).dispatched(), [worker]);
}

#[test]
fn an_app_that_dies_while_it_loads_is_tried_once_more_and_then_refused() {
    let mut pool = warm(2, &[(A, policy())]);
    pool.request(A);
    assert!(pool.exit(WorkerId(1)).refused().is_empty());
    let fresh =
        pool.core.snapshot(pool.now).workers.iter().find(|worker| worker.version == Some(A)).unwrap().id;
    assert_eq!(pool.exit(fresh).refused().len(), 1);
}

#[test]
fn what_a_spare_may_know_wrongly_is_tried_once_more_in_a_fresh_worker() {
    let mut pool = warm(2, &[(A, policy())]);
    pool.early(A);
    pool.request(A);
    let said = pool.tell(Event::StartFailed { worker: WorkerId(1), stale: true });
    assert_eq!(said.terminated(), [(WorkerId(1), Reason::StartFailed)]);
    assert!(said.refused().is_empty() && said.refused_sent().is_empty());
    let fresh = said.spawned()[0];
    pool.connect(fresh);
    let said = pool.tell(Event::StartFailed { worker: fresh, stale: true });
    assert_eq!(said.refused(), [Refusal::StartFailed], "it is no spare");
}
