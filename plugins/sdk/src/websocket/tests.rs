//! Sockets over a pipe in memory, spoken to by the library's client.

use super::*;
use crate::{Connection, Ending, Request, testkit};
use futures_util::{SinkExt, StreamExt};
use http::Method;
use tokio::io::DuplexStream;
use tokio::sync::oneshot;
use tokio_websockets::{ClientBuilder, Limits, Message as Frame, WebSocketStream};

type Client = WebSocketStream<DuplexStream>;

fn request() -> Request {
    let request = testkit::request(Method::GET, "h", "/");
    [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-protocol", "chat, super"),
    ]
    .into_iter()
    .fold(request, |request, (name, value)| testkit::with_header(request, name, value))
}

/// A socket and its client, over a pipe of so many bytes.
async fn open(options: Options, room: usize) -> (WebSocket, Client, oneshot::Sender<Ending>) {
    let mut request = request();
    let (here, there) = tokio::io::duplex(room);
    let (end, ending) = oneshot::channel();
    let connection: Box<dyn Connection> = Box::new(here);
    request.offer_upgrade(Some(Offer {
        connection: Box::pin(async { Ok(connection) }),
        ending: Box::pin(async { ending.await.unwrap_or(Ending::Shutdown) }),
    }));
    let (response, opening) = request.upgrade().unwrap().websocket(options).unwrap();
    assert!(Upgrade::is_taken_by(&response));
    assert!(request.upgrade().is_none(), "it is had once");
    let client = ClientBuilder::new().limits(Limits::unlimited()).take_over(there);
    (opening.await.unwrap(), client, end)
}

fn close_of(message: Option<Result<Message, SocketError>>) -> (u16, String) {
    match message {
        Some(Ok(Message::Close(Close { code, reason }))) => (code, reason),
        other => panic!("{other:?} is no close"),
    }
}

/// The close that comes to the client, once its own part of it is done.
async fn close_at(client: &mut Client) -> (u16, String) {
    let mut close = None;
    while let Some(Ok(message)) = client.next().await {
        close = close.or(message.as_close().map(|(code, reason)| (code.into(), reason.to_owned())));
    }
    close.expect("it was cut off")
}

#[tokio::test]
async fn messages_go_both_ways_and_pings_are_answered() {
    let (mut socket, mut client, _end) = open(Options::default(), 4096).await;
    for message in [Frame::text("é"), Frame::binary(vec![0, 255]), Frame::text("")] {
        client.send(message).await.unwrap();
    }
    assert_eq!(socket.recv().await.unwrap().unwrap(), Message::Text("é".to_owned()));
    assert_eq!(socket.recv().await.unwrap().unwrap(), Message::Binary(Bytes::from_static(&[0, 255])));
    assert_eq!(socket.recv().await.unwrap().unwrap(), Message::Text(String::new()));
    client.send(Frame::ping("x")).await.unwrap();
    assert_eq!(socket.recv().await.unwrap().unwrap(), Message::Ping(Bytes::from_static(b"x")));
    socket.send(Message::Binary(Bytes::from_static(b"after"))).await.unwrap();
    assert!(client.next().await.unwrap().unwrap().is_pong());
    assert_eq!(&**client.next().await.unwrap().unwrap().as_payload(), b"after");
}

#[tokio::test]
async fn a_message_that_is_larger_than_the_pipe_comes_whole() {
    let (mut socket, mut client, _end) = open(Options::default(), 4096).await;
    let large = Bytes::from(vec![7; 1 << 20]);
    let echo = async {
        let message = socket.recv().await.unwrap().unwrap();
        socket.send(message).await.unwrap();
        socket
    };
    let ask = async {
        client.send(Frame::binary(large.clone())).await.unwrap();
        client.next().await.unwrap().unwrap()
    };
    let (_socket, answer) = tokio::join!(echo, ask);
    assert_eq!(Bytes::from(answer.into_payload()), large);
}

#[tokio::test]
async fn a_close_of_the_client_is_answered_and_is_the_last() {
    let (mut socket, mut client, _end) = open(Options::default(), 4096).await;
    client.send(Frame::close(Some(CloseCode::try_from(4001).unwrap()), "enough")).await.unwrap();
    let (close, answer) = tokio::join!(socket.recv(), close_at(&mut client));
    assert_eq!((close_of(close), answer), ((4001, "enough".to_owned()), (4001, String::new())));
    assert!(socket.recv().await.is_none());
    assert!(matches!(socket.send(Message::Text("x".into())).await, Err(SocketError::Closed)));
}

#[tokio::test]
async fn a_close_of_ours_waits_for_the_answer() {
    let (socket, mut client, _end) = open(Options::default(), 4096).await;
    let ((), close) = tokio::join!(socket.close(4002, "that was it"), close_at(&mut client));
    assert_eq!(close, (4002, "that was it".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_answer_a_close_is_cut_off() {
    let (socket, _client, _end) = open(Options::default(), 4096).await;
    socket.close(1000, "").await;
}

#[tokio::test]
async fn the_runtime_s_end_closes_it() {
    for (ending, code) in [(Ending::Shutdown, 1001), (Ending::Replaced, 1012)] {
        let (mut socket, mut client, end) = open(Options::default(), 4096).await;
        end.send(ending).unwrap();
        let (close, told) = tokio::join!(socket.recv(), close_at(&mut client));
        assert_eq!((close_of(close).0, told.0), (code, code));
    }
}

#[tokio::test]
async fn a_message_over_the_limit_closes_it_in_one_piece_or_in_many() {
    let options = Options { max_message: 100, ..Options::default() };
    let (mut socket, mut client, _end) = open(options.clone(), 4096).await;
    client.send(Frame::binary(vec![0; 101])).await.unwrap();
    let (error, close) = tokio::join!(socket.recv(), close_at(&mut client));
    assert!(matches!(error, Some(Err(SocketError::TooLarge))), "{error:?}");
    assert_eq!(close.0, 1009);

    let (mut socket, client, _end) = open(options, 4096).await;
    let mut raw = client.into_inner();
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    for head in [0x02, 0x00] {
        let mut piece = vec![head, 0x80 | 60, 0, 0, 0, 0];
        piece.extend([1; 60]);
        raw.write_all(&piece).await.unwrap();
    }
    let mut answer = [0; 4];
    let (error, read) = tokio::join!(socket.recv(), async {
        raw.read_exact(&mut answer).await.unwrap();
        drop(raw);
    });
    assert!(matches!(error, Some(Err(SocketError::TooLarge))), "{error:?} {read:?}");
    assert_eq!((answer[0], u16::from_be_bytes([answer[2], answer[3]])), (0x88, 1009));
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_pinged_and_then_given_up() {
    let options = Options { idle: Some(Duration::from_secs(10)), ..Options::default() };
    let (mut socket, mut client, _end) = open(options, 4096).await;
    let began = tokio::time::Instant::now();
    {
        let (first, _) = tokio::join!(socket.recv(), async {
            assert!(client.next().await.unwrap().unwrap().is_ping());
            client.flush().await.unwrap();
        });
        assert_eq!(first.unwrap().unwrap(), Message::Pong(Bytes::new()), "it lives");
    }
    assert!(matches!(socket.recv().await, Some(Err(SocketError::Idle))));
    assert_eq!(began.elapsed().as_secs(), 15);
}

#[tokio::test(start_paused = true)]
async fn pings_of_a_client_that_takes_nothing_are_not_piled_up() {
    let (mut socket, mut client, _end) = open(Options { idle: None, ..Options::default() }, 256).await;
    tokio::spawn(async move { while let Some(Ok(Message::Ping(_))) = socket.recv().await {} });
    // It does not read, so the pipe is full in the end, and nothing moves but the clock.
    let mut sent = 0;
    let stuck = async {
        loop {
            client.send(Frame::ping("0123456789")).await.unwrap();
            sent += 1;
        }
    };
    let stuck = tokio::time::timeout(Duration::from_millis(200), stuck).await;
    assert!(stuck.is_err(), "it was never stopped");
    assert!(sent < 1000, "{sent} pings were taken");
    // It goes on when the client does.
    for _ in 0..sent {
        assert!(client.next().await.unwrap().unwrap().is_pong());
    }
}

#[tokio::test]
async fn a_subprotocol_is_one_that_the_client_speaks() {
    let with = |name: &'static str| {
        let mut request = request();
        let never = || Box::pin(std::future::pending());
        let connection = Box::pin(std::future::pending());
        request.offer_upgrade(Some(Offer { connection, ending: never() }));
        let upgrade = request.upgrade().unwrap();
        assert_eq!(upgrade.protocols().collect::<Vec<_>>(), ["chat", "super"]);
        let protocol = Some(HeaderValue::from_static(name));
        upgrade.websocket(Options { protocol, ..Options::default() }).map(|(response, _)| response)
    };
    assert_eq!(with("super").unwrap().headers()["sec-websocket-protocol"], "super");
    assert!(with("other").is_err());
}
