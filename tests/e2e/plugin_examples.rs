//! The plugins in `plugins/examples`, which `docs/plugins.md` shows, with the apps that they are about.

use super::harness::{Answer, Apps, PATIENCE, Server, get_accepting};
use futures_util::StreamExt;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use std::path::Path;
use tokio::net::TcpStream;
use tokio_websockets::{ClientBuilder, WebSocketStream};

/// What a word to `notes` becomes.
const NOTES: &str =
    "export default { fetch: async (request) => new Response('noted: ' + (await request.text())) }";
const PORTRAIT: &str = "export default { fetch: () => Response.json(process.env.PANEL_URL ?? null) }";

/// As `scripts/start` serves them: from a copy.
async fn served() -> (Server, Apps) {
    let plugins = Apps::new().all_of("plugins/examples");
    let hello = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/hello/index.ts");
    let apps = Apps::new()
        .file("hello/index.ts", std::fs::read(hello).unwrap())
        .file("notes/index.ts", NOTES)
        .file("told/index.ts", PORTRAIT);
    let launch = apps.lean().env("RUNTIME_POOL_SIZE", "12");
    (launch.plugins(plugins.path()).start().await, plugins)
}

async fn noted(server: &Server, text: &str) -> Answer {
    server.send(Request::post("/notes/").body(Full::from(text.to_owned())).unwrap()).await
}

async fn live(server: &Server) -> WebSocketStream<TcpStream> {
    let uri = format!("ws://{}/panel/live", server.address).parse().unwrap();
    let stream = TcpStream::connect(server.address).await.unwrap();
    let builder = ClientBuilder::from_uri(uri);
    let opening = tokio::time::timeout(PATIENCE, builder.connect_on(stream));
    opening.await.expect("it opens").unwrap().0
}

async fn next(socket: &mut WebSocketStream<TcpStream>) -> Value {
    let message = tokio::time::timeout(PATIENCE, socket.next()).await.expect("something comes");
    serde_json::from_str(message.unwrap().unwrap().as_text().unwrap()).unwrap()
}

#[tokio::test]
async fn front_sends_requests_elsewhere_looks_into_bodies_and_answers_before_all_routes() {
    let (server, _plugins) = served().await;
    let moved = server.get("/old/x?name=Ada").await;
    assert_eq!((moved.status(), moved.text()), (200, "Hello, Ada! You asked for /x.\n"));
    assert_eq!(moved.header("x-gate"), "was here", "what comes later sees where it goes now");
    assert_eq!(server.get("/old/secret").await.status(), 401, "a guard in a later phase too");
    for path in ["/hello@latest/secret", "/hello@latest/%73ecret/x"] {
        assert_eq!(server.get(path).await.status(), 401, "{path}");
    }
    assert_eq!(server.get("/older/x").await.status(), 404);
    assert_eq!(noted(&server, "buy milk").await.text(), "noted: buy milk");
    assert_eq!(noted(&server, &"word ".repeat(101)).await.status(), 422);
    let loud = server.get("/hello/loud").await;
    assert_eq!((loud.status(), loud.text()), (200, "HELLO, WORLD! YOU ASKED FOR /LOUD.\n"));
    let robots = server.get("/robots.txt").await;
    assert_eq!((robots.status(), robots.text()), (200, "User-agent: *\nDisallow: /hello/secret\n"));
}

#[tokio::test]
async fn panel_has_a_page_hears_of_workers_and_tells_them_where_it_is() {
    let (server, _plugins) = served().await;
    let page = server.send(get_accepting("/panel/", "text/html")).await;
    assert_eq!(page.status(), 200, "{page:?}");
    assert!(page.text().contains("<base href=\"/panel/\">") && page.text().contains("<h1>Workers</h1>"));
    assert_eq!(server.get("/panel/nothing.js").await.status(), 404);
    assert_eq!(server.get("/panel/workers").await.status(), 403);
    let by_socket = Request::get("/panel/workers").body(Full::default()).unwrap();
    let workers = server.admin().await.send(by_socket).await.unwrap();
    assert_eq!(workers.status(), 200, "{}", workers.text());
    assert!(workers.json().as_array().is_some_and(|workers| workers.len() >= 4), "{}", workers.text());
    assert_eq!(server.get("/panel/live").await.status(), 426);
    let mut live = live(&server).await;
    assert_eq!(next(&mut live).await, json!({ "started": 0, "ended": 0 }));
    let url = server.get("/told/").await.json();
    assert!(url.as_str().is_some_and(|url| url.ends_with("/panel")), "{url}");
    assert_eq!(next(&mut live).await, json!({ "started": 1, "ended": 0 }));
    let asking = async { while server.get("/gate/stats").await.json() != json!({ "started told": 1 }) {} };
    tokio::time::timeout(PATIENCE, asking).await.expect("it has the other plugin count");
    assert_eq!(server.get("/panel/counts").await.json(), json!({ "started": 1, "ended": 0 }));
}

#[tokio::test]
async fn each_example_is_loaded() {
    let (server, plugins) = served().await;
    let mut names: Vec<_> =
        std::fs::read_dir(plugins.path()).unwrap().map(|dir| dir.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["counter", "front", "gate", "panel"]);
    for name in names {
        server.logged(|line| line["message"] == "loaded" && line["plugin"] == name.to_str().unwrap()).await;
    }
}
