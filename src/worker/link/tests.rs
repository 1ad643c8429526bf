//! The link against a worker that the test plays on the other end of the socket. How it begins is in `start`.

mod calls;
mod start;

use super::*;
use crate::wire::frame;
use crate::wire::{MAX_EXCHANGE, WINDOW};
use bytes::Bytes;
use nix::sys::uio::pwrite;
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

/// `[flags, 200, nil, []]`
const HEAD: [u8; 6] = [0x94, 0, 0xcc, 200, 0xc0, 0x90];
const WHOLE: [u8; 6] = [0x94, 1, 0xcc, 200, 0xc0, 0x90];
const BAD_STATUS: [u8; 6] = [0x94, 1, 0xcc, 100, 0xc0, 0x90];
const ERROR: [u8; 6] = [0x94, 0xa0, 0xa1, b'm', 0xa0, 0xa0];
const REQUEST: u8 = Kind::Request as u8;
const BODY: u8 = Kind::Body as u8;
const END: u8 = Kind::End as u8;
const CREDIT: u8 = Kind::Credit as u8;
const CANCEL: u8 = Kind::Cancel as u8;
const PING: u8 = Kind::Ping as u8;

struct Rig {
    link: Arc<Link>,
    worker: Worker,
    page: OwnedFd,
    driver: JoinHandle<LinkEnd>,
    control: mpsc::UnboundedReceiver<Control>,
}

struct Worker(UnixStream);

impl Rig {
    /// With a worker that has loaded its app.
    fn new() -> Rig {
        let rig = Rig::spare();
        rig.link.lock().stage = Stage::Loaded;
        rig
    }

    fn spare() -> Rig {
        let (progress, page) = Progress::create().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (sender, control) = mpsc::unbounded_channel();
        let link = Link::new(progress, sender);
        let ours = Socket::new(ours.into_std().unwrap()).unwrap();
        let driver = tokio::spawn(Arc::clone(&link).drive(ours));
        Rig { link, worker: Worker(theirs), page, driver, control }
    }

    /// With a worker that was a spare and loads its app.
    async fn assigned() -> Rig {
        let mut rig = Rig::spare();
        rig.worker.send(Kind::Hello, 0, &[0x93, 0xa1, b'b', 0xa1, b'v', 0xc3]).await;
        rig.told().await;
        rig.assign();
        rig
    }

    fn assign(&self) {
        self.assign_with(&BTreeMap::new()).unwrap();
    }

    fn assign_with(&self, env: &BTreeMap<String, String>) -> Result<(), rmp_serde::encode::Error> {
        let none = "";
        let assign = Assign {
            dir: none,
            entry: none,
            name: none,
            version: none,
            worker_id: none,
            mount: none,
            origin: none,
            dev: false,
            env,
            plugin: None,
        };
        self.link.assign(&assign)
    }

    async fn end(&mut self) -> LinkEnd {
        (&mut self.driver).await.unwrap()
    }

    /// A request without a body.
    fn ask(&self) -> Exchange {
        self.open(0, true)
    }

    fn open(&self, inline: u32, fin: bool) -> Exchange {
        let encode =
            |out: &mut BytesMut, id| frame::put_frame(out, Kind::Request, id, &vec![0; inline as usize]);
        self.link.open(Instant::now(), &HeaderValue::from_static("id"), inline, fin, encode).unwrap()
    }

    /// What the shim does when it hands requests to the app.
    fn note_started(&self, last: u32) {
        pwrite(&self.page, &0x4254_4d31_u32.to_le_bytes(), 0).unwrap();
        pwrite(&self.page, &last.to_le_bytes(), 4).unwrap();
    }

    async fn told(&mut self) -> Control {
        let told = tokio::time::timeout(Duration::from_secs(1), self.control.recv());
        told.await.expect("nothing was reported").unwrap()
    }
}

impl Worker {
    async fn send(&mut self, kind: Kind, stream: u32, payload: &[u8]) {
        let mut out = BytesMut::new();
        frame::put_frame(&mut out, kind, stream, payload);
        self.0.write_all(&out).await.unwrap();
    }

    async fn answer(&mut self, stream: u32) {
        self.send(Kind::Response, stream, &WHOLE).await;
    }

    async fn frame(&mut self) -> (u8, u32, Vec<u8>) {
        let mut header = [0; 9];
        self.0.read_exact(&mut header).await.unwrap();
        let mut payload = vec![0; u32::from_be_bytes(header[..4].try_into().unwrap()) as usize];
        self.0.read_exact(&mut payload).await.unwrap();
        (header[4], u32::from_be_bytes(header[5..].try_into().unwrap()), payload)
    }

    /// Skips the requests.
    async fn requests(&mut self, count: u32) {
        for id in 1..=count {
            let (kind, stream, _) = self.frame().await;
            assert_eq!((kind, stream), (REQUEST, id));
        }
    }

    /// Everything that comes until the other end has nothing more to send.
    async fn rest(&mut self) -> usize {
        let mut bytes = Vec::new();
        let quiet = Duration::from_secs(1);
        while let Ok(Ok(1..)) = tokio::time::timeout(quiet, self.0.read_buf(&mut bytes)).await {}
        bytes.len()
    }
}

async fn piece(exchange: &mut Exchange) -> Option<Result<Bytes, Failure>> {
    poll_fn(|cx| exchange.poll_body(cx)).await
}

fn limits() -> Timeouts {
    let second = Duration::from_secs(1);
    Timeouts { head: 30 * second, stream: 60 * second, ping_after: second, ping: 5 * second }
}

#[tokio::test(start_paused = true)]
async fn answers_find_their_requests_in_any_order() {
    let mut rig = Rig::new();
    let mut exchanges: Vec<_> = (0..50).map(|_| rig.ask()).collect();
    rig.worker.requests(50).await;
    for id in (1..=50_u32).rev() {
        let mut payload = WHOLE.to_vec();
        payload.extend(id.to_be_bytes());
        rig.worker.send(Kind::Response, id, &payload).await;
    }
    for (id, exchange) in (1..=50_u32).zip(&mut exchanges) {
        let head = exchange.head().await.unwrap();
        assert_eq!((head.fin, &head.body[..]), (true, &id.to_be_bytes()[..]));
        assert!(exchange.is_over());
    }
    assert_eq!(rig.link.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn control_messages_are_reported_in_their_order() {
    let mut rig = Rig::spare();
    rig.worker.send(Kind::Hello, 0, &[0x93, 0xa1, b'b', 0xa1, b'v', 0xc3]).await;
    assert!(matches!(rig.told().await, Control::Hello(hello) if hello.build == "b" && hello.mapped));
    rig.assign();
    rig.worker.send(Kind::Ready, 0, &[0x92, 2, 0xc0]).await;
    assert!(matches!(rig.told().await, Control::Ready(ready) if ready.has(Hook::Terminate)));
    rig.link.hook(Hook::Idle);
    rig.worker.send(Kind::HookDone, 0, &[0x92, 1, 0xc0]).await;
    assert!(matches!(rig.told().await, Control::HookDone(done) if done.error.is_none()));
}

#[tokio::test]
async fn control_messages_out_of_their_order_end_the_link() {
    let hello: &[u8] = &[0x93, 0xa1, b'b', 0xa1, b'v', 0xc3];
    let ready: &[u8] = &[0x92, 2, 0xc0];
    let tables: [&[(Kind, &[u8])]; 4] = [
        &[(Kind::Ready, ready)],
        &[(Kind::Hello, hello), (Kind::Hello, hello)],
        &[(Kind::Hello, hello), (Kind::Ready, ready)],
        &[(Kind::Hello, hello), (Kind::HookDone, &[0x92, 1, 0xc0])],
    ];
    for frames in tables {
        let mut rig = Rig::spare();
        for (kind, payload) in frames {
            rig.worker.send(*kind, 0, payload).await;
        }
        assert!(matches!(rig.end().await, LinkEnd::Protocol(WireError::Unexpected(_))), "{frames:?}");
    }
    let mut rig = Rig::spare();
    rig.worker.send(Kind::Hello, 0, hello).await;
    rig.told().await;
    rig.assign();
    rig.worker.send(Kind::Failed, 0, &ERROR).await;
    assert!(matches!(rig.told().await, Control::Failed(error) if error.message == "m"));
    rig.worker.send(Kind::Ready, 0, ready).await;
    assert!(matches!(rig.end().await, LinkEnd::Protocol(_)));
}

#[tokio::test(start_paused = true)]
async fn a_request_body_stops_at_the_window_and_goes_on_with_credit() {
    let mut rig = Rig::new();
    let exchange = rig.open(1000, false);
    let upload = exchange.upload();
    rig.worker.requests(1).await;
    let body = Bytes::from(vec![7; 300_000]);
    let sending = tokio::spawn(async move {
        assert!(upload.send(body).await);
        upload.finish();
    });
    // What travelled with the head counts too.
    let mut left = WINDOW as usize - 1000;
    while left > 0 {
        let (kind, stream, payload) = rig.worker.frame().await;
        assert_eq!((kind, stream), (BODY, 1));
        left -= payload.len();
    }
    assert_eq!(rig.worker.rest().await, 0);
    assert!(!sending.is_finished());
    rig.worker.send(Kind::Credit, 1, &65_536_u32.to_be_bytes()).await;
    let (kind, _, payload) = rig.worker.frame().await;
    assert_eq!((kind, payload.len()), (BODY, 300_000 - (WINDOW as usize - 1000)));
    assert_eq!(rig.worker.frame().await, (END, 1, vec![]));
    sending.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn credit_for_a_response_body_is_given_when_it_was_read_and_not_before() {
    let mut rig = Rig::new();
    let mut exchange = rig.ask();
    rig.worker.requests(1).await;
    rig.worker.send(Kind::Response, 1, &HEAD).await;
    for _ in 0..4 {
        rig.worker.send(Kind::Body, 1, &[7; 65_536]).await;
    }
    assert!(!exchange.head().await.unwrap().fin);
    assert_eq!(rig.worker.rest().await, 0);
    assert_eq!(piece(&mut exchange).await.unwrap().unwrap().len(), 65_536);
    assert_eq!(rig.worker.frame().await, (CREDIT, 1, 65_536_u32.to_be_bytes().to_vec()));
    // As much as was given back may come, to the byte.
    rig.worker.send(Kind::Body, 1, &[7; 65_535]).await;
    rig.worker.send(Kind::End, 1, &[7]).await;
    let mut read = 0;
    while let Some(piece) = piece(&mut exchange).await {
        read += piece.unwrap().len();
    }
    assert_eq!(read, 4 * 65_536);
    assert!(exchange.is_over() && rig.link.in_flight() == 0);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stalls_stalls_its_own_stream_only() {
    let mut rig = Rig::new();
    let (mut stalled, mut flowing) = (rig.ask(), rig.ask());
    rig.worker.requests(2).await;
    for id in [1, 2] {
        rig.worker.send(Kind::Response, id, &HEAD).await;
    }
    rig.worker.send(Kind::Body, 1, &vec![1; WINDOW as usize]).await;
    stalled.head().await.unwrap();
    flowing.head().await.unwrap();
    for _ in 0..64 {
        rig.worker.send(Kind::Body, 2, &[2; 65_536]).await;
        let mut read = 0;
        while read < 65_536 {
            read += piece(&mut flowing).await.unwrap().unwrap().len();
        }
        assert_eq!(rig.worker.frame().await, (CREDIT, 2, 65_536_u32.to_be_bytes().to_vec()));
    }
    assert_eq!(piece(&mut stalled).await.unwrap().unwrap().len(), WINDOW as usize);
}

#[tokio::test(start_paused = true)]
async fn an_exchange_that_is_dropped_is_cancelled_and_what_crosses_is_discarded() {
    let mut rig = Rig::new();
    let (dropped, mut other) = (rig.ask(), rig.ask());
    rig.worker.requests(2).await;
    drop(dropped);
    assert_eq!(rig.worker.frame().await, (CANCEL, 1, vec![0x91, 1]));
    rig.worker.send(Kind::Response, 1, &HEAD).await;
    rig.worker.send(Kind::Body, 1, &[1; 1000]).await;
    rig.worker.send(Kind::Credit, 1, &u32::MAX.to_be_bytes()).await;
    rig.worker.send(Kind::End, 1, &[]).await;
    rig.worker.answer(2).await;
    assert!(other.head().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_exchange_that_is_over_is_not_cancelled() {
    let mut rig = Rig::new();
    let mut exchange = rig.ask();
    rig.worker.requests(1).await;
    rig.worker.answer(1).await;
    exchange.head().await.unwrap();
    drop(exchange);
    assert_eq!(rig.worker.rest().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_the_app_does_not_want_stops_and_the_response_goes_on() {
    let mut rig = Rig::new();
    let mut exchange = rig.open(0, false);
    let upload = exchange.upload();
    rig.worker.requests(1).await;
    let sending = tokio::spawn(async move { upload.send(Bytes::from(vec![0; 1 << 20])).await });
    rig.worker.send(Kind::Cancel, 1, &[0x91, 5]).await;
    assert!(!sending.await.unwrap());
    rig.worker.answer(1).await;
    assert!(exchange.head().await.unwrap().fin);
}

#[tokio::test(start_paused = true)]
async fn a_response_ends_the_request_body_that_is_still_on_its_way() {
    let mut rig = Rig::new();
    let mut exchange = rig.open(0, false);
    let upload = exchange.upload();
    rig.worker.requests(1).await;
    let sending = tokio::spawn(async move { upload.send(Bytes::from(vec![0; 1 << 20])).await });
    rig.worker.answer(1).await;
    exchange.head().await.unwrap();
    assert!(!sending.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_request_body_that_fails_is_cancelled_and_fails_its_exchange() {
    let mut rig = Rig::new();
    let mut exchange = rig.open(0, false);
    rig.worker.requests(1).await;
    exchange.upload().fail(RequestBody::TooLarge);
    assert_eq!(rig.worker.frame().await, (CANCEL, 1, vec![0x91, 3]));
    assert!(matches!(exchange.head().await, Err(Failure::RequestBody(RequestBody::TooLarge))));
    // The worker's last words on that stream mean nothing any more.
    rig.worker.send(Kind::Error, 1, &ERROR).await;
    let mut next = rig.ask();
    rig.worker.frame().await;
    rig.worker.answer(2).await;
    assert!(next.head().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_an_app_throws_and_a_body_that_breaks_fail_their_exchange() {
    let mut rig = Rig::new();
    let (mut thrown, mut broken, mut no_http) = (rig.ask(), rig.ask(), rig.ask());
    rig.worker.requests(3).await;
    rig.worker.send(Kind::Error, 1, &ERROR).await;
    assert!(matches!(thrown.head().await, Err(Failure::App(error)) if error.message == "m"));
    rig.worker.send(Kind::Response, 2, &HEAD).await;
    rig.worker.send(Kind::Body, 2, b"some").await;
    rig.worker.send(Kind::Cancel, 2, &[0x91, 3]).await;
    broken.head().await.unwrap();
    // What came before is still handed out.
    assert_eq!(piece(&mut broken).await.unwrap().unwrap(), "some");
    assert!(matches!(piece(&mut broken).await, Some(Err(Failure::BodyFailed))));
    rig.worker.send(Kind::Response, 3, &BAD_STATUS).await;
    assert!(matches!(no_http.head().await, Err(Failure::BadResponse("status"))));
    assert_eq!(rig.worker.frame().await, (CANCEL, 3, vec![0x91, 3]));
    assert_eq!(rig.link.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn each_violation_ends_the_link_and_fails_what_is_open() {
    let window = vec![0; WINDOW as usize];
    let large = vec![0; MAX_EXCHANGE - 1000];
    let mut full = HEAD.to_vec();
    full.extend(&large);
    let table: &[&[(Kind, u32, &[u8])]] = &[
        &[(Kind::Response, 2, &HEAD)],
        &[(Kind::End, u32::MAX, &[])],
        &[(Kind::Response, 1, &HEAD), (Kind::Response, 1, &HEAD)],
        &[(Kind::Body, 1, b"x")],
        &[(Kind::End, 1, b"")],
        &[(Kind::Response, 1, &HEAD), (Kind::End, 1, b""), (Kind::Body, 1, b"x")],
        &[(Kind::Response, 1, &WHOLE), (Kind::Response, 1, &WHOLE)],
        &[(Kind::Response, 1, &HEAD), (Kind::Error, 1, &ERROR)],
        &[(Kind::Response, 1, &HEAD), (Kind::Body, 1, &window), (Kind::End, 1, b"x")],
        &[(Kind::Response, 1, &full)],
        &[(Kind::Response, 1, &HEAD[..4])],
        &[(Kind::Response, 1, &[0xc0])],
        &[(Kind::Credit, 1, &[0, 0, 0, 1])],
        &[(Kind::Cancel, 1, &[0x91, 9])],
        &[(Kind::Error, 1, &[0x80])],
        &[(Kind::Hello, 0, &[0xc0])],
        &[(Kind::HookDone, 0, &[0x91])],
        &[(Kind::Pong, 0, &[0; 7])],
        &[(Kind::Ping, 0, &[0; 8])],
        &[(Kind::Request, 1, &HEAD)],
    ];
    for frames in table {
        let mut rig = Rig::new();
        rig.note_started(1);
        let mut exchange = rig.ask();
        rig.worker.requests(1).await;
        let mut bytes = BytesMut::new();
        for (kind, stream, payload) in *frames {
            frame::put_frame(&mut bytes, *kind, *stream, payload);
        }
        // The link may close before it has read all of it.
        let _ = rig.worker.0.write_all(&bytes).await;
        let what: Vec<_> = frames.iter().map(|(kind, stream, _)| (kind, stream)).collect();
        let end = (&mut rig.driver).await.unwrap();
        assert!(matches!(end, LinkEnd::Protocol(_)), "{what:?}: {end:?}");
        let failed = match exchange.head().await {
            Err(Failure::Gone { started: true }) => true,
            Err(_) => false,
            Ok(head) if head.fin => true,
            Ok(_) => loop {
                match piece(&mut exchange).await {
                    Some(Ok(_)) => {}
                    Some(Err(Failure::Gone { started: true })) | None => break true,
                    Some(Err(_)) => break false,
                }
            },
        };
        assert!(failed, "{what:?}");
        let closed = rig.link.open(Instant::now(), &HeaderValue::from_static("id"), 0, true, |_, _| {});
        assert!(closed.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn when_a_worker_dies_the_page_tells_which_requests_its_app_never_saw() {
    let mut rig = Rig::new();
    let mut exchanges: Vec<_> = (0..4).map(|_| rig.ask()).collect();
    rig.worker.requests(4).await;
    rig.note_started(2);
    assert!(exchanges[1].upload().is_started() && !exchanges[2].upload().is_started());
    rig.worker.answer(1).await;
    // The start of a frame is no answer.
    rig.worker.0.write_all(&[0, 0, 0, 6, Kind::Response as u8, 0, 0]).await.unwrap();
    drop(rig.worker);
    assert!(matches!(rig.driver.await.unwrap(), LinkEnd::Closed));
    assert!(exchanges[0].head().await.is_ok(), "an answer that had come whole");
    for (exchange, expected) in exchanges[1..].iter_mut().zip([true, false, false]) {
        match exchange.head().await {
            Err(Failure::Gone { started }) => assert_eq!(started, expected),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_page_every_request_counts_as_started() {
    let rig = Rig::new();
    let mut exchange = rig.ask();
    drop(rig.worker);
    assert!(matches!(exchange.head().await, Err(Failure::Gone { started: true })));
}

#[tokio::test(start_paused = true)]
async fn a_request_without_an_answer_times_out_and_its_neighbour_does_not() {
    let mut rig = Rig::new();
    let (mut slow, mut streaming) = (rig.ask(), rig.ask());
    rig.worker.requests(2).await;
    rig.worker.send(Kind::Response, 2, &HEAD).await;
    streaming.head().await.unwrap();
    let now = Instant::now();
    assert_eq!(
        rig.link.sweep(now + Duration::from_secs(29), &Timeouts { ping_after: Duration::MAX, ..limits() }),
        Health::Busy
    );
    rig.link.sweep(now + Duration::from_secs(31), &Timeouts { ping_after: Duration::MAX, ..limits() });
    assert_eq!(rig.worker.frame().await, (CANCEL, 1, vec![0x91, 2]));
    assert!(matches!(slow.head().await, Err(Failure::Timeout)));
    rig.worker.send(Kind::End, 2, b"all").await;
    assert_eq!(piece(&mut streaming).await.unwrap().unwrap(), "all");
    assert!(piece(&mut streaming).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_stands_still_times_out_unless_its_limit_is_none() {
    for (stream, ends) in [(Duration::from_secs(60), true), (Duration::ZERO, false)] {
        let mut rig = Rig::new();
        let mut exchange = rig.ask();
        rig.worker.requests(1).await;
        rig.worker.send(Kind::Response, 1, &HEAD).await;
        exchange.head().await.unwrap();
        let late = Instant::now() + Duration::from_secs(61);
        rig.link.sweep(late, &Timeouts { stream, ping_after: Duration::MAX, ..limits() });
        if ends {
            assert_eq!(rig.worker.frame().await, (CANCEL, 1, vec![0x91, 2]));
            assert!(matches!(piece(&mut exchange).await, Some(Err(Failure::StreamTimeout))));
        } else {
            assert_eq!(rig.worker.rest().await, 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_conversation_goes_both_ways_with_credit_and_may_be_silent() {
    let mut rig = Rig::new();
    let mut exchange = rig.ask();
    rig.worker.requests(1).await;
    rig.worker.send(Kind::Response, 1, &HEAD).await;
    exchange.head().await.unwrap();
    assert!(!exchange.upload().send(Bytes::from_static(b"x")).await, "its request has no body");
    let upload = exchange.converse();
    assert!(upload.send(Bytes::from_static(b"to")).await);
    assert_eq!(rig.worker.frame().await, (BODY, 1, b"to".to_vec()));
    let late = Instant::now() + Duration::from_secs(1000);
    let stream = Duration::from_secs(60);
    rig.link.sweep(late, &Timeouts { stream, ping_after: Duration::MAX, ..limits() });
    rig.worker.send(Kind::Body, 1, b"from").await;
    assert_eq!(piece(&mut exchange).await.unwrap().unwrap(), "from");
    let window = tokio::spawn(async move { upload.send(Bytes::from(vec![0; WINDOW as usize])).await });
    let mut sent = 2;
    while sent < WINDOW as usize {
        sent += rig.worker.frame().await.2.len();
    }
    assert!(!window.is_finished(), "it waits for credit");
    rig.worker.send(Kind::Credit, 1, &2u32.to_be_bytes()).await;
    assert!(window.await.unwrap());
    drop(exchange);
    assert_eq!(rig.worker.frame().await.2.len(), 2);
    assert_eq!(rig.worker.frame().await, (CANCEL, 1, vec![0x91, 1]));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_sending_is_to_blame_itself_and_not_the_app() {
    let mut rig = Rig::new();
    let mut exchange = rig.open(0, false);
    rig.worker.requests(1).await;
    rig.link
        .sweep(Instant::now() + Duration::from_secs(31), &Timeouts { ping_after: Duration::MAX, ..limits() });
    assert!(matches!(exchange.head().await, Err(Failure::RequestBody(RequestBody::TooSlow))));
}

#[tokio::test(start_paused = true)]
async fn a_silent_worker_is_pinged_and_one_that_does_not_answer_is_unresponsive() {
    let mut rig = Rig::new();
    let now = Instant::now();
    let at = |seconds| now + Duration::from_secs(seconds);
    assert_eq!(rig.link.sweep(at(100), &limits()), Health::AtRest);
    assert_eq!(rig.link.lag(at(100)), None);
    let exchange = rig.ask();
    rig.worker.requests(1).await;
    assert_eq!(rig.link.sweep(at(2), &limits()), Health::Busy);
    let (kind, stream, payload) = rig.worker.frame().await;
    assert_eq!((kind, stream, payload.len()), (PING, 0, 8));
    assert_eq!(rig.link.lag(at(5)), Some(Duration::from_secs(3)));
    assert_eq!(rig.link.sweep(at(6), &limits()), Health::Busy);
    assert_eq!(rig.link.sweep(at(7), &limits()), Health::Unresponsive);
    drop(exchange);
    assert_eq!(rig.link.sweep(at(8), &limits()), Health::AtRest);
}

#[tokio::test(start_paused = true)]
async fn a_link_tells_when_it_becomes_busy_again() {
    let mut rig = Rig::new();
    let first = rig.ask();
    rig.link.becomes_busy().await;
    assert_eq!(rig.link.only_request(), Some(HeaderValue::from_static("id")));
    let second = rig.ask();
    assert_eq!(rig.link.only_request(), None);
    drop((first, second));
    assert_eq!(rig.link.sweep(Instant::now(), &limits()), Health::AtRest);
    let _third = rig.ask();
    rig.link.becomes_busy().await;
    rig.worker.requests(2).await;
}

#[tokio::test(start_paused = true)]
async fn large_bodies_pass_both_ways_at_once_with_bounded_queues() {
    let rig = Rig::new();
    let mut exchange = rig.open(0, false);
    let upload = exchange.upload();
    let total = 8 << 20;
    let sending = tokio::spawn(async move {
        for n in 0..128_u32 {
            assert!(upload.send(Bytes::from(vec![n as u8; 65_536])).await);
        }
        upload.finish();
    });
    // An echo that gives back credit as it takes.
    let mut worker = rig.worker;
    let echo = tokio::spawn(async move {
        worker.requests(1).await;
        worker.send(Kind::Response, 1, &HEAD).await;
        let (mut room, mut ended, mut waiting) = (WINDOW as usize, false, VecDeque::new());
        while !ended || !waiting.is_empty() {
            let (kind, _, payload) = worker.frame().await;
            match kind {
                CREDIT => room += u32::from_be_bytes(payload.try_into().unwrap()) as usize,
                BODY => waiting.push_back(payload),
                _ => ended = true,
            }
            while let Some(piece) = waiting.pop_front_if(|piece: &mut Vec<u8>| piece.len() <= room) {
                room -= piece.len();
                worker.send(Kind::Body, 1, &piece).await;
                worker.send(Kind::Credit, 1, &(piece.len() as u32).to_be_bytes()).await;
            }
        }
        worker.send(Kind::End, 1, &[]).await;
        worker
    });
    exchange.head().await.unwrap();
    let mut read = 0_usize;
    while let Some(piece) = piece(&mut exchange).await {
        for byte in piece.unwrap() {
            assert_eq!(usize::from(byte), read / 65_536);
            read += 1;
        }
    }
    assert_eq!(read, total);
    sending.await.unwrap();
    echo.await.unwrap();
}

/// It hears of no request and is told of no end, but can write as long as it likes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_only_writes_on_ends_with_its_link() {
    let mut rig = Rig::new();
    let mut flood = rig.worker.0.into_std().unwrap();
    flood.set_nonblocking(false).unwrap();
    flood.shutdown(std::net::Shutdown::Read).unwrap();
    let flooding = std::thread::spawn(move || {
        let mut pongs = BytesMut::new();
        for _ in 0..1_000 {
            frame::put_frame(&mut pongs, Kind::Pong, 0, &[0; 8]);
        }
        while std::io::Write::write_all(&mut flood, &pongs).is_ok() {}
    });
    let encode = |out: &mut BytesMut, id| frame::put_frame(out, Kind::Request, id, &[]);
    let id = HeaderValue::from_static("id");
    let mut exchange = rig.link.open(Instant::now(), &id, 0, true, encode).unwrap();
    let end = tokio::time::timeout(Duration::from_secs(20), &mut rig.driver).await;
    assert!(matches!(end.expect("it ends").unwrap(), LinkEnd::Io(_)));
    assert!(matches!(exchange.head().await, Err(Failure::Gone { .. })));
    flooding.join().unwrap();
}
