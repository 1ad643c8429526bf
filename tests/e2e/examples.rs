//! The apps in `examples/`, served as `scripts/start` does it: each answers as its README row says.

use super::harness::{Apps, Server, get_accepting};
use http::Request;
use http_body_util::Full;
use serde_json::json;
use std::path::Path;

/// `None`, with a word about it, where the packages of the examples are not installed. In CI that is a failure.
async fn examples() -> Option<Server> {
    if !Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/hono/node_modules/hono").exists() {
        let hint = "examples/hono has no node_modules: run `npm ci` there";
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{hint}");
        eprintln!("SKIPPED: {hint}");
        return None;
    }
    Some(Apps::new().all_of("examples").launch().env("NODE_ENV", "development").start().await)
}

#[tokio::test]
async fn each_example_answers_as_its_readme_says() {
    let Some(server) = examples().await else { return };
    assert_eq!(server.get("/hello/?name=Ada").await.text(), "Hello, Ada! You asked for /.\n");

    assert_eq!(server.get("/routes/users/7").await.json(), json!({ "id": 7, "name": "Grace" }));
    assert_eq!(server.get("/routes/users/8").await.status(), 404);
    assert_eq!(server.get("/routes/files/a/b").await.text(), "The path is /files/a/b\n");
    assert_eq!(server.get("/routes/ping").await.json(), json!({ "pong": true }));
    let made = server.post("/routes/users", r#"{"name":"Edsger"}"#).await;
    assert_eq!((made.status(), made.header("location")), (201, "users/8"));

    let books = server.get("/hono/books").await.json();
    let isbn = books[0]["isbn"].as_str().unwrap();
    assert_eq!(server.get(&format!("/hono/books/{isbn}")).await.json(), books[0]);
    assert_eq!(server.get("/hono/books/none").await.status(), 404);
    assert!(server.get("/hono/").await.text().contains("<h1>Books</h1>"));

    let first = server.get("/shop@1/").await.json();
    assert_eq!((first["version"].as_str(), first["products"][0].as_str()), (Some("1.0.0"), Some("apple")));
    let second = server.get("/shop@2/").await.json();
    assert_eq!(
        (second["version"].as_str(), second["products"][0]["name"].as_str()),
        (Some("2.0.0"), Some("apple"))
    );
    assert_eq!(server.get("/shop/").await.json(), second);

    let greeting = server.get("/notes/").await.json();
    assert_eq!(greeting, json!({ "greeting": "Welcome to My notes", "notes": 0 }));
    assert_eq!(server.post("/notes/notes", "buy milk").await.status(), 201);
    assert_eq!(server.get("/notes/notes").await.json(), json!([{ "id": 1, "text": "buy milk" }]));

    let (one, two) = (server.get("/once/").await.json(), server.get("/once/").await.json());
    assert_eq!((&one["requests"], &two["requests"]), (&json!(1), &json!(1)));
    assert_ne!(one["pid"], two["pid"]);
}

#[tokio::test]
async fn the_stream_example_sends_its_events_as_they_are_made() {
    let Some(server) = examples().await else { return };
    let mut raw = server.raw().await;
    raw.write("GET /stream/events HTTP/1.1\r\nHost: test\r\n\r\n").await;
    assert_eq!(raw.head().await.text("content-type"), "text/event-stream");
    for id in 1..=2 {
        let event = String::from_utf8(raw.chunk().await.unwrap().unwrap()).unwrap();
        assert!(event.starts_with(&format!("id: {id}\nevent: tick\n")) && event.ends_with("\n\n"), "{event}");
    }
    drop(raw);
    // It stops when its client leaves.
    server
        .logged(|line| line["message"].as_str().is_some_and(|text| text.starts_with("the client left after")))
        .await;
}

#[tokio::test]
async fn the_upload_example_takes_forms_and_streams() {
    let Some(server) = examples().await else { return };
    let form = "--x\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhi\r\n\
                --x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\
                Content-Type: text/plain\r\n\r\nhello\r\n--x--\r\n";
    let request = Request::post("/upload/").header("content-type", "multipart/form-data; boundary=x");
    let said = server.send(request.body(Full::from(form)).unwrap()).await.json();
    assert_eq!(said["note"], "hi");
    assert_eq!((&said["files"][0]["name"], &said["files"][0]["size"]), (&json!("a.txt"), &json!(5)));
    let put = Request::put("/upload/raw").body(Full::from(vec![b'x'; 3_000_000])).unwrap();
    assert_eq!(server.send(put).await.json()["size"], 3_000_000);
}

#[tokio::test]
async fn the_spa_example_redirects_its_bare_path_and_knows_its_base() {
    let Some(server) = examples().await else { return };
    let bare = server.send(get_accepting("/spa", "text/html")).await;
    assert_eq!((bare.status(), bare.header("location")), (308, "/spa/"));
    for path in ["/spa/", "/spa/items/3"] {
        let page = server.send(get_accepting(path, "text/html")).await;
        assert_eq!(page.status(), 200, "{path}");
        assert!(page.text().contains("<base href=\"/spa/\">"), "{}", page.text());
        assert!(
            page.text().contains("Single page") && !page.text().contains("stays-here"),
            "{}",
            page.text()
        );
    }
    assert_eq!(server.get("/spa/app.js").await.status(), 200);
    let missing = server.get("/nobody/").await;
    assert_eq!((missing.status(), missing.header("content-type")), (404, "application/problem+json"));
    let landing = server.send(get_accepting("/", "text/html")).await;
    for app in ["hello", "hono", "routes", "stream", "upload", "spa", "shop", "once", "notes"] {
        assert!(landing.text().contains(&format!("/{app}")), "{app} is not in {}", landing.text());
    }
}
