//! From the assignment to READY, with requests that were sent ahead.

use super::*;

const READY: [u8; 3] = [0x92, 0, 0xc0];

#[tokio::test]
async fn what_is_sent_before_the_assignment_follows_it() {
    let mut rig = Rig::spare();
    let exchange = rig.open(3, false);
    assert!(exchange.upload().send(Bytes::from_static(b"more")).await);
    let dropped = rig.ask();
    drop(dropped);
    rig.assign();
    let mut frames = Vec::new();
    for _ in 0..5 {
        let (kind, stream, payload) = rig.worker.frame().await;
        frames.push((kind, stream, if kind == Kind::Assign as u8 { 0 } else { payload.len() }));
    }
    let expected =
        [(Kind::Assign as u8, 0, 0), (REQUEST, 1, 3), (BODY, 1, 4), (REQUEST, 2, 0), (CANCEL, 2, 2)];
    assert_eq!(frames, expected);
}

#[tokio::test]
async fn an_assignment_that_the_worker_would_not_take_is_not_sent() {
    let mut rig = Rig::spare();
    let env = [("LARGE".to_owned(), "x".repeat(1 << 20))].into();
    assert!(rig.assign_with(&env).unwrap_err().to_string().contains("bytes"));
    rig.assign();
    let (kind, _, payload) = rig.worker.frame().await;
    assert_eq!(kind, Kind::Assign as u8);
    assert!(payload.len() < 200);
}

#[tokio::test]
async fn a_worker_that_dies_before_it_is_ready_has_handed_nothing_over() {
    let rig = Rig::spare();
    rig.assign();
    rig.note_started(0);
    let mut exchange = rig.ask();
    drop(rig.worker);
    assert!(matches!(exchange.head().await, Err(Failure::Gone { started: false })));
    assert!(!rig.link.is_loaded());
}

#[tokio::test]
async fn a_worker_whose_app_has_a_request_is_loaded_before_ready_comes() {
    let mut rig = Rig::assigned().await;
    let mut exchange = rig.ask();
    rig.note_started(0);
    assert!(rig.link.presume_loaded(Instant::now()).is_none() && !rig.link.is_loaded());
    rig.note_started(1);
    for (word, value) in [(2, 3_u32), (3, 5), (4, 1)] {
        pwrite(&rig.page, &value.to_le_bytes(), 4 * word).unwrap();
    }
    let ready = rig.link.presume_loaded(Instant::now()).unwrap();
    assert_eq!((ready.hooks, ready.max_request_body_size), (3, Some((1 << 32) + 5)));
    assert!(rig.link.is_loaded());
    assert!(rig.link.presume_loaded(Instant::now()).is_none(), "once");
    // From here on it is asked for signs of life, and READY may still come.
    let later = Instant::now() + limits().ping_after;
    assert_eq!(rig.link.sweep(later, &limits()), Health::Busy);
    assert_eq!(rig.link.sweep(later + limits().ping, &limits()), Health::Unresponsive);
    rig.worker.send(Kind::Ready, 0, &READY).await;
    rig.worker.answer(1).await;
    rig.told().await;
    assert_eq!(exchange.head().await.unwrap().status, 200);
}

#[tokio::test]
async fn a_worker_that_dies_in_its_first_request_had_begun_it() {
    let rig = Rig::spare();
    rig.assign();
    rig.note_started(1);
    let mut exchange = rig.ask();
    drop(rig.worker);
    assert!(matches!(exchange.head().await, Err(Failure::Gone { started: true })));
}

#[tokio::test]
async fn an_answer_before_ready_ends_the_link() {
    let mut rig = Rig::assigned().await;
    rig.note_started(0);
    let mut exchange = rig.ask();
    rig.worker.answer(1).await;
    assert!(matches!(rig.end().await, LinkEnd::Protocol(_)));
    // Who knows what such a worker does next.
    assert!(matches!(exchange.head().await, Err(Failure::Gone { started: true })));
}

#[tokio::test]
async fn the_time_of_a_request_that_was_sent_ahead_counts_from_ready() {
    let mut rig = Rig::assigned().await;
    let mut exchange = rig.ask();
    let long = Instant::now() + Duration::from_secs(1_000);
    assert_eq!(rig.link.sweep(long, &limits()), Health::Busy);
    assert_eq!(rig.link.sweep(long + limits().ping, &limits()), Health::Busy);
    let loading = Instant::now();
    rig.worker.send(Kind::Ready, 0, &READY).await;
    rig.told().await;
    let just_before = loading + limits().head - Duration::from_millis(1);
    assert_ne!(rig.link.sweep(just_before, &limits()), Health::AtRest);
    assert!(futures_util::FutureExt::now_or_never(exchange.head()).is_none());
    rig.link.sweep(Instant::now() + limits().head, &limits());
    assert!(matches!(exchange.head().await, Err(Failure::Timeout)));
}
