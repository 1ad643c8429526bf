//! The queue of a version.

use super::*;

fn one_at_a_time() -> Policy {
    Policy { concurrency: 1, queue_size: 2, ..policy() }
}

#[test]
fn a_full_queue_refuses_and_a_free_slot_takes_the_first_who_waits() {
    let mut pool = Pool::with(1, &[(A, one_at_a_time())]);
    let worker = pool.busy(A);
    assert!(pool.request(A).is_silent());
    assert!(pool.request(A).is_silent());
    assert_eq!(pool.request(A).refused(), [Refusal::QueueFull]);
    assert_eq!(pool.head(worker).0, [Action::Dispatch { ticket: Ticket(2), worker }]);
}

#[test]
fn a_request_waits_in_the_queue_no_longer_than_its_timeout() {
    let mut pool = Pool::with(1, &[(A, one_at_a_time())]);
    pool.busy(A);
    pool.request(A);
    pool.until(secs(4));
    pool.request(A);
    assert!(pool.until(millis(9_999)).is_silent());
    assert_eq!(pool.until(secs(10)).refused(), [Refusal::QueueTimeout]);
    assert!(pool.until(millis(13_999)).is_silent());
    assert_eq!(pool.until(secs(14)).refused(), [Refusal::QueueTimeout]);
}

#[test]
fn a_request_that_a_starting_worker_is_meant_for_is_not_in_the_queue() {
    let mut pool = Pool::with(1, &[(A, Policy { concurrency: 2, queue_size: 1, ..policy() })]);
    let worker = pool.request(A).spawned()[0];
    assert!(pool.request(A).refused().is_empty());
    assert!(pool.request(A).refused().is_empty(), "the third is in the queue");
    assert_eq!(pool.request(A).refused(), [Refusal::QueueFull]);
    assert_eq!(pool.until(secs(29)).refused(), [Refusal::QueueTimeout], "and only that one runs out of time");
    assert_eq!(pool.load(worker).dispatched(), [worker, worker]);
}

#[test]
fn a_request_for_which_another_worker_is_evicted_needs_no_place_in_the_queue() {
    let no_queue = Policy { queue_size: 0, ..policy() };
    let mut pool = Pool::with(1, &[(A, no_queue.clone()), (B, no_queue.clone()), (C, no_queue)]);
    let worker = pool.rested(A);
    assert!(pool.request(B).refused().is_empty());
    assert_eq!(pool.request(C).refused(), [Refusal::QueueFull], "there is nothing to evict for it");
    let another = pool.exit(worker).spawned()[0];
    assert_eq!(pool.load(another).dispatched(), [another]);
}

#[test]
fn an_abandoned_request_is_not_answered_and_leaves_its_place() {
    let mut pool = Pool::with(1, &[(A, one_at_a_time())]);
    let worker = pool.busy(A);
    pool.request(A);
    pool.request(A);
    assert!(pool.tell(Event::Abandon { ticket: Ticket(2) }).is_silent());
    assert!(pool.request(A).refused().is_empty());
    assert_eq!(pool.done(worker).0, [Action::Dispatch { ticket: Ticket(3), worker }]);
    assert!(pool.tell(Event::Abandon { ticket: Ticket(3) }).is_silent(), "it was dispatched");
}

#[test]
fn an_unknown_version_is_gone() {
    let mut pool = Pool::with(1, &[]);
    assert_eq!(pool.request(A).refused(), [Refusal::Gone]);
}
