//! WebSockets of script plugins: what is said on them, who may open one, and how they end.

use super::harness::{Apps, Launch, PATIENCE, Server, eventually};
use super::plugins::{Plugins, ask, process_of};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::Full;
use nix::sys::signal::Signal;
use tokio::net::TcpStream;
use tokio_websockets::{ClientBuilder, CloseCode, Config, Message, WebSocketStream};

const APP: &str = "export default { fetch: () => new Response('an app') }";

const CHAT: &str = r#"
export default {
  routes: {
    "/echo": (request, server) => {
      const data = { protocol: request.headers.get("sec-websocket-protocol"), upgrades: request.headers.has("x-buntime-upgrade") };
      if (!server.upgrade(request, { data, headers: { "x-chat": "1" } })) return new Response("no socket", { status: 426 });
    },
    "/flood": (request, server) => { server.upgrade(request, { data: "flood" }); },
    "/sockets": (request, server) => new Response(String(server.pendingWebSockets)),
  },
  websocket: {
    maxPayloadLength: 2_000_000,
    backpressureLimit: 1e12,
    open(socket) {
      if (socket.data === "flood") for (let i = 0; i < 100; i++) socket.send(new Uint8Array(1_000_000));
    },
    message(socket, message) {
      if (message === "data") socket.send(JSON.stringify(socket.data));
      else if (message === "close") socket.close(4001, "enough");
      else if (message === "terminate") socket.terminate();
      else socket.send(message);
    },
    close(socket, code, reason) { console.log(`closed ${code} ${reason}`); },
  },
};
"#;

/// It would answer any socket that it hears of.
const OTHER: &str = r#"
export default {
  routes: { "/": () => new Response("other") },
  websocket: { open(socket) { socket.send("other"); }, message(socket) { socket.send("other"); } },
};
"#;

const GUARD: &str = r#"
export default {
  onRequest: (request) => request.headers.get("upgrade") && request.headers.has("x-stranger") ? new Response("no", { status: 401 }) : undefined,
};
"#;

type Socket = WebSocketStream<TcpStream>;

fn launch(plugins: &Plugins) -> Launch {
    plugins
        .write("chat/manifest.yaml", "name: chat\nversion: 1.0.0\nbase: /chat\n")
        .write("chat/plugin.ts", CHAT)
        .write("other/manifest.yaml", "name: other\nversion: 1.0.0\nbase: /other\n")
        .write("other/plugin.ts", OTHER)
        .write(
            "guard/manifest.yaml",
            "name: guard\nversion: 1.0.0\nguards: true\nhooks:\n  onRequest: {paths: [/chat/**]}\n",
        )
        .write("guard/plugin.ts", GUARD);
    plugins.of(Apps::new().file("app/index.ts", APP).lean())
}

async fn open(server: &Server, path: &str) -> Socket {
    open_with(server, path, Config::default(), &[]).await.0
}

async fn open_with(
    server: &Server,
    path: &str,
    config: Config,
    headers: &[(&'static str, &'static str)],
) -> (Socket, HeaderMap) {
    let uri = format!("ws://{}{path}", server.address).parse().unwrap();
    let mut builder = ClientBuilder::from_uri(uri).config(config);
    for (name, value) in headers {
        builder = builder.add_header(name.parse().unwrap(), HeaderValue::from_static(value)).unwrap();
    }
    let stream = TcpStream::connect(server.address).await.unwrap();
    let opening = tokio::time::timeout(PATIENCE, builder.connect_on(stream));
    let (socket, response) = opening.await.expect("it opens").unwrap();
    (socket, response.headers().clone())
}

async fn next(socket: &mut Socket) -> Message {
    tokio::time::timeout(PATIENCE, socket.next()).await.expect("something comes").unwrap().unwrap()
}

async fn echo(socket: &mut Socket, message: Message) {
    socket.send(message.clone()).await.unwrap();
    let answer = next(socket).await;
    assert_eq!(answer.is_text(), message.is_text());
    assert_eq!(&**answer.as_payload(), &**message.as_payload());
}

/// How it was closed; none = it was cut off.
async fn close_of(socket: &mut Socket) -> Option<(u16, String)> {
    let mut close = None;
    let reading = async {
        while let Some(Ok(message)) = socket.next().await {
            close = close.or(message.as_close().map(|(code, reason)| (code.into(), reason.to_owned())));
        }
        close
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("it ends")
}

/// What becomes of a handshake that is no socket's.
async fn refused(server: &Server, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let usual = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let usual = usual.iter().filter(|(name, _)| !headers.iter().any(|(other, _)| other == name));
    let mut request = Request::get(path);
    for (name, value) in usual.chain(headers) {
        request = request.header(*name, *value);
    }
    let answer = server.send(request.body(Full::default()).unwrap()).await;
    (answer.status(), answer.text().to_owned())
}

async fn told(server: &Server, what: &str) {
    server.logged(|line| line["message"].as_str().is_some_and(|message| message.contains(what))).await;
}

async fn reload(server: &Server) {
    let request = Request::post("/api/plugins/reload").body(Full::default()).unwrap();
    let answer = server.admin().await.send(request).await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text());
}

#[tokio::test]
async fn messages_of_every_kind_and_size_come_back() {
    let plugins = Plugins::new();
    let server = launch(&plugins).start().await;
    let small = Config::default().frame_size(1000);
    let headers = [("sec-websocket-protocol", "chat, super"), ("x-buntime-upgrade", "forged")];
    let (mut socket, answer) = open_with(&server, "/chat/echo", small, &headers).await;
    assert_eq!(
        (&answer["sec-websocket-protocol"], &answer["x-chat"]),
        (&"chat".parse().unwrap(), &"1".parse().unwrap())
    );
    assert!(answer.keys().all(|name| !name.as_str().starts_with("x-buntime-")));
    socket.send(Message::text("data")).await.unwrap();
    let data = next(&mut socket).await;
    assert_eq!(data.as_text().unwrap(), r#"{"protocol":"chat, super","upgrades":false}"#);
    echo(&mut socket, Message::text("é")).await;
    echo(&mut socket, Message::text("")).await;
    echo(&mut socket, Message::binary(vec![0, 255])).await;
    // In a thousand fragments.
    let large: Vec<u8> = (0..1 << 20).map(|i: u32| ((i * 7) >> 3) as u8).collect();
    echo(&mut socket, Message::binary(large)).await;
    socket.send(Message::ping("are you there")).await.unwrap();
    let pong = next(&mut socket).await;
    assert!(pong.is_pong() && &**pong.as_payload() == b"are you there");
    assert_eq!(ask(&server, "/chat/sockets", &[]).await.text(), "1");
}

#[tokio::test]
async fn a_socket_is_closed_by_either_side_with_its_code() {
    let plugins = Plugins::new();
    let server = launch(&plugins).start().await;
    let mut socket = open(&server, "/chat/echo").await;
    socket.send(Message::text("close")).await.unwrap();
    assert_eq!(close_of(&mut socket).await, Some((4001, "enough".to_owned())));
    told(&server, "closed 4001 enough").await;
    let mut socket = open(&server, "/chat/echo").await;
    let code = CloseCode::try_from(4002).unwrap();
    socket.send(Message::close(Some(code), "bye")).await.unwrap();
    assert_eq!(close_of(&mut socket).await.unwrap().0, 4002);
    told(&server, "closed 4002 bye").await;
    let mut socket = open(&server, "/chat/echo").await;
    socket.send(Message::text("terminate")).await.unwrap();
    assert_eq!(close_of(&mut socket).await, None);
    drop(open(&server, "/chat/echo").await);
    told(&server, "closed 1006").await;
    let mut socket = open(&server, "/chat/echo").await;
    // Who still sends when it is closed may find the connection reset, and with it what had come.
    let sent = socket.send(Message::binary(vec![0; 2_000_001])).await;
    match tokio::time::timeout(PATIENCE, socket.next()).await.expect("it ends") {
        Some(Ok(message)) => assert_eq!(u16::from(message.as_close().unwrap().0), 1009),
        Some(Err(error)) => assert!(sent.is_err() || format!("{error:?}").contains("Reset"), "{error:?}"),
        None => assert!(sent.is_err(), "it ends without a word"),
    }
}

#[tokio::test]
async fn nobody_opens_a_socket_who_may_not() {
    let plugins = Plugins::new();
    let server = launch(&plugins).start().await;
    let own = format!("http://{}", server.address);
    for origin in ["http://evil.test", "null"] {
        let (status, _) = refused(&server, "/chat/echo", &[("origin", origin), ("host", "chat.test")]).await;
        assert_eq!(status, 403, "{origin}");
    }
    let (status, _) = refused(&server, "/chat/echo", &[("sec-fetch-site", "cross-site")]).await;
    assert_eq!(status, 403);
    // The guard sees it as any request.
    assert_eq!(refused(&server, "/chat/echo", &[("x-stranger", "1")]).await, (401, "no".to_owned()));
    // What is no handshake of a WebSocket is for the plugin to answer.
    for wrong in [("sec-websocket-version", "8"), ("sec-websocket-key", "short"), ("upgrade", "h2c")] {
        let answer = refused(&server, "/chat/echo", &[wrong]).await;
        assert_eq!(answer, (426, "no socket".to_owned()), "{wrong:?}");
    }
    // Another plugin's handlers never hear of it, and apps have none.
    assert_eq!(refused(&server, "/other", &[]).await, (200, "other".to_owned()));
    assert_eq!(refused(&server, "/app/x", &[]).await, (200, "an app".to_owned()));
    let origin = ("origin", &*own.leak());
    let mut socket = open_with(&server, "/chat/echo", Config::default(), &[origin]).await.0;
    echo(&mut socket, Message::text("mine")).await;
}

#[tokio::test]
async fn a_plugin_that_is_killed_closes_its_sockets_and_has_new_ones() {
    let plugins = Plugins::new();
    let server = launch(&plugins).start().await;
    let mut socket = open(&server, "/chat/echo").await;
    echo(&mut socket, Message::text("x")).await;
    let pid = process_of(&server, "chat", None).await;
    nix::sys::signal::kill(pid, Signal::SIGKILL).unwrap();
    assert_eq!(close_of(&mut socket).await.unwrap().0, 1011);
    process_of(&server, "chat", Some(pid)).await;
    let mut socket = open(&server, "/chat/echo").await;
    echo(&mut socket, Message::text("again")).await;
}

#[tokio::test]
async fn a_reload_closes_the_old_sockets_once_the_new_plugin_serves() {
    let plugins = Plugins::new();
    let server = launch(&plugins).start().await;
    let mut socket = open(&server, "/chat/echo").await;
    echo(&mut socket, Message::text("x")).await;
    plugins.write("chat/plugin.ts", &CHAT.replace("x-chat\": \"1\"", "x-chat\": \"2\""));
    let (close, ()) = tokio::join!(close_of(&mut socket), reload(&server));
    assert_eq!(close.unwrap().0, 1012);
    told(&server, "closed 1012").await;
    let (mut socket, answer) = open_with(&server, "/chat/echo", Config::default(), &[]).await;
    assert_eq!(answer["x-chat"], "2");
    echo(&mut socket, Message::text("new")).await;
}

#[tokio::test]
async fn a_shutdown_closes_sockets_and_does_not_wait_for_those_who_do_not_answer() {
    let plugins = Plugins::new();
    // Far longer than this waits.
    let mut server = launch(&plugins).env("RUNTIME_SHUTDOWN_TIMEOUT", "10m").start().await;
    let mut socket = open(&server, "/chat/echo").await;
    echo(&mut socket, Message::text("x")).await;
    let mut silent = open(&server, "/chat/echo").await;
    echo(&mut silent, Message::text("x")).await;
    server.signal(Signal::SIGTERM);
    assert_eq!(close_of(&mut socket).await.unwrap().0, 1001);
    assert!(server.exit().await.success());
    drop(silent);
}

#[tokio::test]
async fn a_client_that_does_not_read_costs_the_supervisor_no_memory_and_stalls_nobody_else() {
    let plugins = Plugins::new();
    let server = launch(&plugins).start().await;
    let mut other = open(&server, "/chat/echo").await;
    echo(&mut other, Message::text("before")).await;
    let before = resident(&server);
    // Each is sent 100 MB.
    let mut slow = [open(&server, "/chat/flood").await, open(&server, "/chat/flood").await];
    for _ in 0..100 {
        echo(&mut other, Message::binary(Bytes::from(vec![1; 10_000]))).await;
    }
    let grown = resident(&server).saturating_sub(before);
    assert!(grown < 40_000, "it has grown by {grown} KiB");
    for socket in &mut slow {
        for _ in 0..100 {
            assert_eq!(next(socket).await.as_payload().len(), 1_000_000);
        }
    }
    // Nobody is left when all have gone.
    drop((slow, other));
    let mut sockets = String::new();
    while sockets != "0" {
        sockets = ask(&server, "/chat/sockets", &[]).await.text().to_owned();
    }
    eventually("its connections are closed", || connections(&server) == 0).await;
}

/// In KiB (proc_pid_status(5)).
fn resident(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid)).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Sockets of the supervisor whose other end is closed and that it still has (tcp(7): CLOSE_WAIT), in proc_pid_net(5).
fn connections(server: &Server) -> usize {
    let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", server.pid)).unwrap();
    let port = format!(":{:04X}", server.address.port());
    table
        .lines()
        .skip(1)
        .filter(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let (local, state) = (fields.next().unwrap_or_default(), fields.nth(1));
            local.ends_with(&port) && matches!(state, Some("01" | "08"))
        })
        .count()
}
