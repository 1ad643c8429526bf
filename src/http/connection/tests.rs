use super::book::SWEEP;
use super::watched::PREFACE;
use super::*;
use futures_util::task::noop_waker_ref;
use std::future::poll_fn;
use std::task::{Wake, Waker};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

const KEEPALIVE: Duration = Duration::from_secs(75);
const HEAD: Duration = Duration::from_secs(10);
/// In the paused time of a test: far longer than anything here takes.
const EVER: Duration = Duration::from_secs(24 * 3600);

fn book(max: usize) -> Arc<Book> {
    let book = Book::new(max, KEEPALIVE, HEAD);
    tokio::spawn(Arc::clone(&book).sweep());
    book
}

/// A connection between requests.
fn idle(book: &Arc<Book>) -> Entry {
    let entry = book.enter(None, 0);
    drop(entry.conn.begin());
    entry
}

fn verdict(entry: &Entry) -> Verdict {
    entry.conn.verdict(&Context::from_waker(noop_waker_ref()))
}

/// Resolves when the connection is told to close at once. The client takes no notice of a friendlier word.
async fn stays_until_dropped(entry: Entry) {
    poll_fn(|cx| if entry.conn.verdict(cx) == Verdict::Drop { Poll::Ready(()) } else { Poll::Pending }).await;
}

#[tokio::test(start_paused = true)]
async fn idle_connections_that_do_not_close_make_room_all_the_same() {
    let book = book(3);
    for _ in 0..3 {
        tokio::spawn(stays_until_dropped(idle(&book)));
    }
    for _ in 0..5 {
        tokio::time::timeout(KEEPALIVE / 2, book.room()).await.expect("there is no room");
        tokio::spawn(stays_until_dropped(idle(&book)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_drained_connection_that_does_not_close_is_dropped() {
    let book = book(10);
    let entry = idle(&book);
    let busy = book.enter(None, 0);
    let request = busy.conn.begin();
    book.drain(Duration::ZERO);
    assert_eq!((verdict(&entry), verdict(&busy)), (Verdict::Live, Verdict::Live));
    tokio::time::timeout(EVER, stays_until_dropped(entry)).await.expect("it stayed");
    assert_eq!(verdict(&busy), Verdict::Live, "it has a request");
    drop(request);
    tokio::time::timeout(EVER, stays_until_dropped(busy)).await.expect("it stayed");
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_request_yet_has_a_moment_to_send_one_when_drained() {
    let book = book(10);
    let (silent, speaking) = (book.enter(None, 0), book.enter(None, 0));
    book.drain(Duration::ZERO);
    assert_eq!(verdict(&silent), Verdict::Live);
    speaking.conn.heard();
    let began = Instant::now();
    tokio::time::timeout(EVER, stays_until_dropped(silent)).await.expect("it stayed");
    assert!(began.elapsed() >= SWEEP);
    assert_eq!(verdict(&speaking), Verdict::Live, "its request is coming");
    let request = speaking.conn.begin();
    assert!(speaking.conn.is_last());
    drop(request);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_that_drains_takes_one_more_request_and_says_that_it_was_the_last() {
    const GRACE: Duration = Duration::from_secs(20);
    let book = book(10);
    let (used, silent, second) = (idle(&book), idle(&book), idle(&book));
    second.conn.speaks_http2();
    assert!(!used.conn.is_last());
    book.drain(GRACE);
    assert_eq!((verdict(&used), verdict(&silent)), (Verdict::Live, Verdict::Live));
    assert_eq!(verdict(&second), Verdict::Drain, "HTTP/2 tells its client at once");
    assert!(!second.conn.is_last(), "HTTP/2 has no such header");
    tokio::time::sleep(GRACE / 2).await;
    used.conn.heard();
    let request = used.conn.begin();
    assert!(used.conn.is_last());
    drop(request);
    tokio::time::sleep(GRACE / 2 + SWEEP).await;
    assert_eq!(verdict(&silent), Verdict::Close);
    tokio::time::timeout(EVER, stays_until_dropped(silent)).await.expect("it stayed");
    assert_eq!(verdict(&second), Verdict::Drop);
}

/// hyper closes behind an answer whose head went out before: its client cannot know, and has sent the next request perhaps.
#[tokio::test(start_paused = true)]
async fn a_connection_told_to_drain_in_the_middle_of_an_answer_takes_one_more_request() {
    const GRACE: Duration = Duration::from_secs(20);
    let book = book(10);
    let entry = idle(&book);
    let request = entry.conn.begin();
    assert!(!entry.conn.is_last(), "its head goes out now");
    book.drain(GRACE);
    assert_eq!(verdict(&entry), Verdict::Live);
    drop(request);
    tokio::time::sleep(GRACE / 2).await;
    assert_eq!(verdict(&entry), Verdict::Live);
    entry.conn.heard();
    let _request = entry.conn.begin();
    assert!(entry.conn.is_last());
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_drained_while_a_head_came_is_woken_when_the_request_has_ended() {
    let book = book(10);
    let entry = book.enter(None, 0);
    entry.conn.heard();
    book.drain(Duration::ZERO);
    let flag = Arc::new(Flag(AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&flag));
    assert_eq!(entry.conn.verdict(&Context::from_waker(&waker)), Verdict::Live);
    drop(entry.conn.begin());
    assert!(flag.0.load(Ordering::Relaxed));
    tokio::time::timeout(EVER, stays_until_dropped(entry)).await.expect("it stayed");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_one_request_does_not_hide_another() {
    let book = book(10);
    let entry = book.enter(None, 0);
    let (first, second) = (entry.conn.begin(), entry.conn.begin());
    drop(first);
    assert_eq!(entry.conn.phase(), Phase::Busy);
    // What a thread that ends a request may still write when another has begun the next.
    entry.conn.enter(Phase::Idle);
    assert_eq!(entry.conn.phase(), Phase::Busy);
    drop(second);
    assert_eq!(entry.conn.phase(), Phase::Idle);
}

#[tokio::test(start_paused = true)]
async fn only_a_whole_preface_lifts_the_limit_on_heads() {
    let book = book(10);
    let whole = &PREFACE[..];
    let table: [(&[&[u8]], Phase); 7] = [
        (&[b"P"], Phase::Head),
        (&[b"P", b"O"], Phase::Head),
        (&[b"PRI * HTTP/1.1\r\n"], Phase::Head),
        (&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"], Phase::Head),
        (&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", b"X"], Phase::Head),
        (&[&whole[..3], &whole[3..]], Phase::Idle),
        (&[whole, b"\0\0\0\x04"], Phase::Idle),
    ];
    for (pieces, phase) in table {
        let entry = book.enter(None, 0);
        let (mut client, server) = tokio::io::duplex(64);
        let conn = Arc::clone(&entry.conn);
        let mut watched = Watched::new(server, entry);
        for piece in pieces {
            client.write_all(piece).await.unwrap();
            watched.read_exact(&mut vec![0; piece.len()]).await.unwrap();
        }
        assert_eq!(conn.phase(), phase, "{pieces:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_begins_like_a_preface_has_the_time_of_every_head() {
    let book = book(10);
    let entry = book.enter(None, 0);
    let (mut client, server) = tokio::io::duplex(64);
    let conn = Arc::clone(&entry.conn);
    let mut watched = Watched::new(server, entry);
    client.write_all(b"P").await.unwrap();
    watched.read_u8().await.unwrap();
    let dropped =
        poll_fn(|cx| if conn.verdict(cx) == Verdict::Drop { Poll::Ready(()) } else { Poll::Pending });
    tokio::time::timeout(HEAD * 2, dropped).await.expect("it stayed");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_speaks_another_protocol_is_never_idle_and_is_told_to_end() {
    let book = book(1);
    let (_client, server) = tokio::io::duplex(64);
    let entry = book.enter(None, 0);
    let conn = Arc::clone(&entry.conn);
    drop(conn.begin());
    let socket = Watched::new(server, entry);
    let mut told = conn.switch();
    tokio::time::sleep(KEEPALIVE * 2).await;
    assert!(tokio::time::timeout(KEEPALIVE, book.room()).await.is_err(), "it made room");
    assert_eq!(*told.borrow(), Verdict::Live);
    book.drain(Duration::ZERO);
    told.wait_for(|verdict| *verdict == Verdict::Drain).await.unwrap();
    tokio::time::timeout(EVER, told.wait_for(|verdict| *verdict == Verdict::Drop)).await.unwrap().unwrap();
    assert_eq!(*conn.switch().borrow(), Verdict::Drop, "who comes late is told too");
    drop(socket);
    book.emptied().await;
}
