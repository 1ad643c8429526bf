//! Which worker takes a request, and which one is evicted.

use super::*;

#[test]
fn a_warm_request_is_one_dispatch_and_nothing_else() {
    let mut pool = Pool::with(1, &[(A, policy())]);
    let worker = pool.rested(A);
    pool.until(secs(5));
    assert_eq!(
        pool.request(A).0,
        [Action::Dispatch { ticket: Ticket(2), worker }],
        "it was Active already, and stays so between requests"
    );
    assert_eq!(pool.worker(worker).last_used, secs(5));
    assert!(pool.head(worker).is_silent());
    assert!(pool.tell(Event::Done { worker, head: true, ok: true }).is_silent());
}

#[test]
fn the_most_recently_used_worker_with_room_is_chosen() {
    let mut pool = Pool::with(3, &[(A, Policy { concurrency: 1, max: 3, ..policy() })]);
    let (one, two, three) = (pool.busy(A), pool.busy(A), pool.busy(A));
    for worker in [two, three, one] {
        pool.done(worker);
    }
    assert_eq!(pool.request(A).dispatched(), [one]);
    assert_eq!(pool.request(A).dispatched(), [three], "the next one when that is full");
    pool.head(one);
    assert_eq!(pool.request(A).dispatched(), [one], "a head frees its slot");
    assert_eq!(pool.request(A).dispatched(), [two]);
}

#[test]
fn a_new_instance_takes_only_what_the_others_have_no_room_for() {
    let mut pool = Pool::with(2, &[(A, Policy { concurrency: 1, max: 2, ..policy() })]);
    let one = pool.busy(A);
    let two = pool.request(A).spawned()[0];
    assert_eq!(pool.done(one).dispatched(), [one], "who waits takes the first room there is");
    pool.done(one);
    pool.load(two);
    assert_eq!(pool.request(A).dispatched(), [one]);
    assert_eq!(pool.request(A).dispatched(), [two]);
}

#[test]
fn a_full_pool_evicts_the_least_recently_used_worker_at_rest() {
    let d = VersionKey(4);
    let versions = [A, B, C, d].map(|version| (version, policy()));
    let mut pool = Pool::with(3, &versions);
    let (a, b, c) = (pool.rested(A), pool.rested(B), pool.rested(C));
    for (at, version) in [(1, C), (2, B), (3, A)] {
        pool.until(secs(at));
        let worker = pool.request(version).dispatched()[0];
        pool.until(secs(10 + at));
        pool.done(worker);
    }
    pool.request(C);
    assert_eq!(
        pool.request(d).terminated(),
        [(b, Reason::Evicted)],
        "{c} was used longer ago and is busy, {a} later"
    );
    assert!(pool.request(d).is_silent(), "one is enough for all who wait");
    let spawned = pool.exit(b).spawned();
    assert_eq!(pool.load(spawned[0]).dispatched().len(), 2);
}

#[test]
fn an_idle_a_ready_and_an_active_worker_can_all_be_evicted() {
    for rest in [1, 100] {
        let mut pool = Pool::with(1, &[(A, policy()), (B, policy())]);
        let worker = pool.rested(A);
        pool.until(secs(rest));
        assert_eq!(pool.request(B).terminated(), [(worker, Reason::Evicted)]);
    }
    let mut pool = Pool::with(1, &[(A, policy()), (B, policy())]);
    let worker = pool.tell(Event::Prove { version: A }).spawned()[0];
    assert!(pool.request(B).terminated().is_empty(), "it is starting");
    pool.connect(worker);
    let said = pool.tell(Event::Ready { worker });
    assert_eq!(said.terminated(), [(worker, Reason::Evicted)], "it is Ready and nobody needs it");
}

#[test]
fn a_worker_that_min_keeps_is_evicted_last_and_only_for_a_request() {
    let kept = Policy { min: 1, ..policy() };
    let mut pool = Pool::with(2, &[(A, kept.clone()), (B, policy()), (C, policy())]);
    let a = WorkerId(1);
    pool.load(a);
    pool.until(secs(1));
    let b = pool.rested(B);
    assert_eq!(pool.request(C).terminated(), [(b, Reason::Evicted)], "{a} was used longer ago and is kept");
    let c = pool.exit(b).spawned()[0];
    pool.load(c);
    assert_eq!(pool.request(B).terminated(), [(a, Reason::Evicted)], "{c} is busy");
    let b = pool.exit(a).spawned()[0];
    pool.load(b);
    assert_eq!(pool.done(b).terminated(), [(b, Reason::Evicted)], "{a}'s version is to have its one worker");
    let a = pool.exit(b).spawned()[0];
    pool.load(a);
    pool.done(c);
    let d = VersionKey(4);
    assert_eq!(
        pool.tell(Event::AddVersion { version: d, policy: kept.clone() }).terminated(),
        [(c, Reason::Evicted)]
    );
    let d = pool.exit(c).spawned()[0];
    pool.load(d);
    let another = Event::AddVersion { version: VersionKey(5), policy: kept };
    assert!(pool.tell(another).is_silent(), "one minimum does not evict another");
}

#[test]
fn versions_that_wait_for_room_get_it_in_turns() {
    let ephemeral = Policy { ephemeral: true, ..policy() };
    let mut pool = Pool::with(1, &[(A, ephemeral), (B, policy()), (C, policy())]);
    let first = pool.busy(A);
    for version in [A, A, B, C, B] {
        assert!(pool.request(version).is_silent());
    }
    let mut order = Vec::new();
    let mut worker = first;
    for _ in 0..4 {
        // The ephemeral one ends after its request, the others are evicted when they rest.
        while pool.worker(worker).in_flight > 0 {
            pool.done(worker);
        }
        worker = pool.exit(worker).spawned()[0];
        order.push(pool.worker(worker).version.unwrap());
        pool.load(worker);
    }
    assert_eq!(order, [A, B, C, A]);
}
