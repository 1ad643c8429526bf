//! Requests that are sent to a worker before it is Ready.

use super::*;

/// A worker that loads its app and has been sent the request it was started for.
fn loading(pool: &mut Pool, version: VersionKey) -> WorkerId {
    let worker = pool.early(version).spawned()[0];
    assert_eq!(pool.connect(worker).sent_ahead(), [worker]);
    worker
}

fn one_at_a_time() -> Policy {
    Policy { concurrency: 1, ..policy() }
}

fn once() -> Policy {
    Policy { ephemeral: true, ..policy() }
}

#[test]
fn the_request_that_a_worker_is_started_for_follows_the_app() {
    let mut pool = Pool::with(1, &[(A, policy())]);
    let worker = pool.early(A).spawned()[0];
    let said = pool.connect(worker);
    let expected = [Action::Assign { worker, version: A }, Action::SendAhead { ticket: Ticket(1), worker }];
    assert_eq!(said.0, expected);
    assert_eq!(pool.worker(worker).state, State::Creating);
    let said = pool.tell(Event::Ready { worker });
    assert!(said.dispatched().is_empty(), "it has its answer");
    assert_eq!((pool.worker(worker).state, pool.worker(worker).in_flight), (State::Active, 1));
    pool.done(worker);
    assert_eq!(pool.request(A).dispatched(), [worker]);
}

#[test]
fn those_who_come_after_it_wait_for_ready() {
    let mut pool = Pool::with(1, &[(A, Policy { concurrency: 2, queue_size: 1, ..policy() })]);
    let worker = loading(&mut pool, A);
    assert!(pool.early(A).is_silent(), "the place beside it");
    assert!(pool.early(A).is_silent(), "the queue");
    assert_eq!(pool.early(A).refused(), [Refusal::QueueFull]);
    assert_eq!(pool.tell(Event::Ready { worker }).dispatched(), [worker]);
    assert_eq!(pool.head(worker).dispatched(), [worker]);
}

#[test]
fn a_request_that_may_not_go_ahead_waits_and_nobody_passes_it() {
    let mut pool = Pool::with(1, &[(A, policy())]);
    let worker = pool.request(A).spawned()[0];
    pool.early(A);
    assert!(pool.connect(worker).sent_ahead().is_empty());
    assert_eq!(pool.tell(Event::Ready { worker }).dispatched(), [worker, worker]);
}

#[test]
fn nothing_goes_ahead_to_a_second_instance_which_the_first_could_have_sooner() {
    let mut pool = Pool::with(10, &[(A, Policy { max: 2, ..one_at_a_time() })]);
    let first = pool.busy(A);
    let second = pool.early(A).spawned()[0];
    assert!(pool.connect(second).sent_ahead().is_empty());
    assert_eq!(pool.done(first).dispatched(), [first]);
}

#[test]
fn each_ephemeral_worker_is_sent_its_own_request() {
    let mut pool = Pool::with(10, &[(A, once())]);
    let [one, two] = [loading(&mut pool, A), loading(&mut pool, A)];
    for worker in [two, one] {
        pool.tell(Event::Ready { worker });
        assert_eq!(pool.done(worker).terminated(), [(worker, Reason::Ephemeral)]);
    }
}

#[test]
fn a_failed_start_refuses_the_one_that_was_sent_and_those_who_wait() {
    for why in [Refusal::StartFailed, Refusal::StartTimeout] {
        let mut pool = Pool::with(10, &[(A, policy())]);
        let worker = loading(&mut pool, A);
        pool.early(A);
        let said = match why {
            Refusal::StartFailed => pool.tell(Event::StartFailed { worker, stale: false }),
            _ => pool.until(secs(30)),
        };
        assert_eq!((said.refused_sent(), said.refused()), (vec![(worker, why)], vec![why]));
    }
}

#[test]
fn an_ephemeral_worker_that_fails_refuses_its_own_request_only() {
    let mut pool = Pool::with(10, &[(A, once())]);
    let [one, two] = [loading(&mut pool, A), loading(&mut pool, A)];
    let said = pool.exit(one);
    assert_eq!(said.refused_sent(), [(one, Refusal::StartFailed)]);
    assert!(said.refused().is_empty());
    assert_eq!(pool.worker(two).in_flight, 1);
}

#[test]
fn a_spare_that_dies_leaves_its_request_to_be_made_again() {
    let mut pool = Pool::new(limits(10, 1));
    pool.until(Duration::ZERO);
    pool.connect(WorkerId(1));
    pool.tell(Event::AddVersion { version: A, policy: policy() });
    assert_eq!(pool.early(A).sent_ahead(), [WorkerId(1)]);
    assert!(pool.exit(WorkerId(1)).refused_sent().is_empty());
    let fresh = pool.early(A).spawned()[0];
    assert_eq!(pool.connect(fresh).sent_ahead(), [fresh]);
    assert_eq!(pool.exit(fresh).refused_sent(), [(fresh, Refusal::StartFailed)]);
}

#[test]
fn a_client_that_leaves_gives_its_place_back() {
    let mut pool = Pool::with(1, &[(A, one_at_a_time())]);
    let worker = loading(&mut pool, A);
    pool.early(A);
    assert!(pool.done(worker).is_silent());
    assert_eq!(pool.worker(worker).state, State::Creating);
    assert_eq!(pool.tell(Event::Ready { worker }).dispatched(), [worker]);

    let mut pool = Pool::with(1, &[(A, once())]);
    let worker = loading(&mut pool, A);
    assert!(pool.done(worker).is_silent());
    assert_eq!(pool.tell(Event::Ready { worker }).terminated(), [(worker, Reason::Ephemeral)]);
}

#[test]
fn it_counts_as_one_of_max_requests() {
    let mut pool = Pool::with(10, &[(A, Policy { max_requests: 1, ..policy() })]);
    let worker = loading(&mut pool, A);
    let replacement = pool.tell(Event::Ready { worker }).spawned();
    assert_eq!(replacement.len(), 1);
    pool.done(worker);
    assert_eq!(pool.load(replacement[0]).terminated(), [(worker, Reason::MaxRequests)]);
}

#[test]
fn a_worker_that_is_replaced_while_it_loads_serves_what_it_was_sent() {
    let mut pool = Pool::with(10, &[(A, policy()), (B, policy())]);
    let old = loading(&mut pool, A);
    pool.early(A);
    let new = pool.tell(Event::RemoveVersion { version: A, to: Some(B) }).spawned()[0];
    let said = pool.load(new);
    assert_eq!((said.dispatched(), said.terminated()), (vec![new], vec![]), "who waited moves over");
    pool.tell(Event::Ready { worker: old });
    assert!(pool.until(secs(99)).terminated().is_empty(), "it has its whole drain timeout");
    assert_eq!(pool.done(old).terminated(), [(old, Reason::Deploy)]);
}

#[test]
fn a_worker_that_is_replaced_and_does_not_load_is_ended_and_its_request_made_again() {
    for fails in [true, false] {
        let mut pool = Pool::with(10, &[(A, policy()), (B, policy())]);
        let old = loading(&mut pool, A);
        let new = pool.tell(Event::RemoveVersion { version: A, to: Some(B) }).spawned()[0];
        pool.load(new);
        let said = match fails {
            true => pool.tell(Event::StartFailed { worker: old, stale: false }),
            false => pool.until(secs(1)),
        };
        assert_eq!(said.terminated(), [(old, Reason::Deploy)]);
        assert!(said.refused_sent().is_empty());
        assert_eq!(pool.early(A).dispatched(), [new]);
    }
}

#[test]
fn an_answer_may_come_before_the_word_that_the_worker_is_ready() {
    let mut pool = Pool::with(1, &[(A, one_at_a_time())]);
    let worker = loading(&mut pool, A);
    pool.early(A);
    assert!(pool.head(worker).is_silent(), "nothing more goes to a worker that is not Ready");
    assert!(pool.tell(Event::Done { worker, head: true, ok: true }).is_silent());
    let said = pool.tell(Event::Ready { worker });
    assert_eq!((said.dispatched(), pool.worker(worker).state), (vec![worker], State::Active));

    let mut pool = Pool::with(10, &[(A, Policy { max_requests: 1, ..policy() })]);
    let worker = loading(&mut pool, A);
    pool.done(worker);
    assert_eq!(pool.tell(Event::Ready { worker }).spawned().len(), 1, "its number is reached all the same");
}

#[test]
fn a_worker_that_drains_and_has_answered_is_ended_when_it_is_ready() {
    let mut pool = Pool::with(10, &[(A, policy()), (B, policy())]);
    let old = loading(&mut pool, A);
    let new = pool.tell(Event::RemoveVersion { version: A, to: Some(B) }).spawned()[0];
    pool.load(new);
    assert!(pool.done(old).is_silent(), "its hook is not known yet");
    assert_eq!(pool.tell(Event::Ready { worker: old }).terminated(), [(old, Reason::Deploy)]);
}

#[test]
fn a_worker_that_was_lost_in_its_first_request_has_crashed() {
    for policy in [policy(), once()] {
        let mut pool = Pool::with(10, &[(A, policy)]);
        for _ in 0..2 {
            let worker = loading(&mut pool, A);
            pool.tell(Event::Lost { worker });
            pool.tell(Event::Done { worker, head: false, ok: false });
            assert!(pool.tell(Event::Ready { worker }).terminated().is_empty());
            let said = pool.exit(worker);
            let ended = |action: &Action| {
                matches!(action, Action::Transition { to: State::Terminated, reason: Reason::Crash, .. })
            };
            assert!(said.0.iter().any(ended), "{:?}", said.0);
        }
        assert!(matches!(pool.early(A).refused()[..], [Refusal::BackOff(_)]), "as after any two crashes");
    }
}
