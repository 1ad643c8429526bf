//! Logs: those that are kept, and those that come.

use super::Person;
use crate::harness::{Apps, PATIENCE};
use crate::plugins::Plugins;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

const CHATTY: &str = "console.log('loaded'); export default { fetch: (request: Request) => {
    console.log('asked for', new URL(request.url).pathname); console.error('\\u001b[2Jred'); return new Response('x'); } };";

#[tokio::test]
async fn what_apps_printed_is_shown_and_what_they_print_is_followed() {
    let server = Apps::new().file("chatty@1.0.0/index.ts", CHATTY).lean().start().await;
    let me = Person::beside(&server);
    server.get("/chatty/first").await;
    server.logged(|line| line["message"] == "asked for /first").await;
    // The line is in the log when it was published.
    let kept = me.types("logs chatty").await;
    let lines: Vec<_> = kept.ok().lines().collect();
    assert!(lines[0].ends_with(" chatty@1.0.0 w1 | loaded"), "{lines:?}");
    assert!(lines.iter().any(|line| line.ends_with(" | asked for /first")), "{lines:?}");
    assert!(kept.stdout.contains(" ! \\u{1b}[2Jred\n") && !kept.stdout.contains('\u{1b}'), "{}", kept.stdout);
    assert_eq!(me.types("logs chatty@2.0.0").await.ok(), "");

    let state = server.state_dir();
    let mut follow =
        me.command(&["logs", "-f", "--json", "--state-dir", state.to_str().unwrap()]).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    // Only what is printed after it has connected comes, so it is asked until something does.
    let line = tokio::time::timeout(PATIENCE, async {
        loop {
            server.get("/chatty/second").await;
            let soon = tokio::time::timeout(std::time::Duration::from_millis(100), lines.next_line());
            if let Ok(line) = soon.await {
                break line.unwrap().unwrap();
            }
        }
    });
    let event: serde_json::Value = serde_json::from_str(&line.await.unwrap()).unwrap();
    assert_eq!((event["type"].as_str(), event["app"].as_str()), (Some("log"), Some("chatty")));
    follow.kill().await.unwrap();
}

/// A runtime that breaks the stream off, and lost something meanwhile.
#[tokio::test]
async fn a_stream_that_breaks_is_gone_on_with_where_it_was() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let runtime = async {
        no_plugins(&listener).await;
        let mut heads = Vec::new();
        for events in [
            "id: b-1\nevent: log\ndata: {\"at\":\"2026-01-31T12:00:00Z\",\"worker\":\"w1\",\"app\":\"shop\",\"text\":\"one\"}\n\n",
            "id: b-9\nevent: gap\ndata: {\"lost\":7}\n\nid: b-10\nevent: log\ndata: {\"at\":\"2026-01-31T12:00:01Z\",\"worker\":\"w1\",\"text\":\"ten\"}\n\n",
        ] {
            let (mut socket, _) = listener.accept().await.unwrap();
            heads.push(head_of(&mut socket).await);
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n{events}");
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
        heads
    };
    let me = Person::somewhere();
    let mut follow = me.command(&["logs", "-f", "--url", &url]).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    let work = async {
        let (heads, lines) = tokio::join!(runtime, async {
            [lines.next_line().await.unwrap().unwrap(), lines.next_line().await.unwrap().unwrap()]
        });
        (heads, lines)
    };
    let (heads, lines) = tokio::time::timeout(PATIENCE, work).await.unwrap();
    assert_eq!(lines, ["2026-01-31 12:00:00 shop w1 | one", "2026-01-31 12:00:01 (spare) w1 | ten"]);
    assert!(!heads[0].contains("last-event-id") && heads[1].contains("last-event-id: b-1\r\n"), "{heads:?}");
    follow.start_kill().unwrap();
    let mut said = String::new();
    follow.stderr.take().unwrap().read_to_string(&mut said).await.unwrap();
    assert!(said.contains("connecting again") && said.contains("(7 events)"), "{said}");
}

/// A runtime that says only where its stream begins, then a proxy that does not reach it, then a runtime that is back.
#[tokio::test]
async fn a_stream_that_breaks_before_its_first_line_or_behind_a_proxy_is_gone_on_with() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let runtime = async {
        no_plugins(&listener).await;
        let mut heads = Vec::new();
        let stream = "200 OK\r\ncontent-type: text/event-stream";
        let busy = r#"{"type":"urn:buntime:problem:followers_busy","title":"","status":503,"detail":"","instance":"","code":"followers_busy"}"#;
        for (head, body) in [
            (stream, "retry: 1000\nid: b-1\n\n"),
            ("502 Bad Gateway\r\ncontent-type: text/html", "<h1>502"),
            ("503 Service Unavailable\r\ncontent-type: application/problem+json", busy),
            (stream, "id: b-7\n\nid: b-8\nevent: log\n"),
            (
                stream,
                "id: b-8\nevent: log\ndata: {\"at\":\"2026-01-31T12:00:00Z\",\"worker\":\"w1\",\"text\":\"eight\"}\n\n",
            ),
        ] {
            let mut socket = listener.accept().await.unwrap().0;
            heads.push(head_of(&mut socket).await);
            let answer = format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n{body}");
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
        heads
    };
    let me = Person::somewhere();
    let mut follow = me.command(&["logs", "-f", "--url", &url]).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    let work = async { tokio::join!(runtime, lines.next_line()) };
    let (heads, line) = tokio::time::timeout(PATIENCE, work).await.unwrap();
    assert_eq!(line.unwrap().unwrap(), "2026-01-31 12:00:00 (spare) w1 | eight");
    for (head, last) in heads.iter().zip([None, Some("b-1"), Some("b-1"), Some("b-1"), Some("b-7")]) {
        let found = head.lines().find_map(|line| line.strip_prefix("last-event-id: "));
        assert_eq!(found, last, "{heads:?}");
    }
    follow.kill().await.unwrap();
}

/// The first question is where the log is kept.
async fn no_plugins(listener: &TcpListener) {
    let mut socket = listener.accept().await.unwrap().0;
    let head = head_of(&mut socket).await;
    assert!(head.starts_with("get /api/plugins "), "{head}");
    let answer =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n{\"plugins\":[]}";
    socket.write_all(answer.as_bytes()).await.unwrap();
}

/// Over the admin socket, which has the routes of plugins too.
#[tokio::test]
async fn where_the_plugin_keeps_the_log_its_entries_are_shown_and_filtered() {
    const LOGGER: &str = r#"export default { fetch: () => {
        console.log(JSON.stringify({ level: "error", msg: "broken", order: 7 })); return new Response("x"); } };"#;
    let plugins = Plugins::new();
    plugins.native("logs", "");
    let apps = Apps::new().file("shop@1.0.0/index.ts", LOGGER).lean();
    let server = plugins.of(apps).start().await;
    let me = Person::beside(&server);
    server.get("/shop/say").await;
    server.logged(|line| line["message"].as_str().is_some_and(|text| text.contains("broken"))).await;
    let shown = me.types("logs shop").await;
    assert!(shown.ok().ends_with(" shop@1.0.0 w1 | error broken {\"order\":7}\n"), "{}", shown.stdout);
    assert_eq!(me.types("logs --app shop --level error").await.ok(), shown.stdout);
    assert_eq!(me.types("logs --search nothing-of-that-kind").await.ok(), "");
    let access = me.types("logs --source access --search /shop/say").await;
    assert!(access.ok().contains(" access: GET /shop/say 200 {"), "{}", access.stdout);
    let one = me.types("logs shop --json").await;
    let json: serde_json::Value = serde_json::from_str(one.ok()).unwrap();
    assert_eq!((&json["message"], &json["source"]), (&"broken".into(), &"worker-stdout".into()));
}

async fn head_of(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap().to_lowercase()
}
