//! Where apps are mounted, and pages that know it.

use super::harness::{Answer, Apps, Server, get_accepting};
use http::Request;
use http_body_util::Full;

const PAGE: &str = "<!doctype html><html><head><title>x</title></head><body>here</body></html>";

async fn navigate(server: &Server, path: &str) -> Answer {
    server.send(get_accepting(path, "text/html,*/*;q=0.8")).await
}

#[tokio::test]
async fn a_mount_path_without_its_slash_is_308_for_pages_and_the_root_for_others() {
    let server = Apps::new()
        .file("spa/index.html", PAGE)
        .file("shop@1.0.0/index.ts", include_str!("../apps/mirror/index.ts"))
        .file("@team/shop/index.ts", include_str!("../apps/mirror/index.ts"))
        .lean()
        .start()
        .await;
    for (path, location) in [
        ("/spa", "/spa/"),
        ("/spa?x=//evil", "/spa/?x=//evil"),
        ("/shop", "/shop/"),
        ("/shop@1", "/shop@1/"),
        ("/@team/shop", "/@team/shop/"),
    ] {
        for method in ["GET", "HEAD"] {
            let request = Request::builder().method(method).uri(path).header("accept", "text/html");
            let answer = server.send(request.body(Full::default()).unwrap()).await;
            assert_eq!((answer.status(), answer.header("location")), (308, location), "{method} {path}");
        }
    }
    assert_eq!(server.get("/spa").await.text(), PAGE);
    for (path, seen) in [("/shop", "/"), ("/shop?a", "/?a"), ("/shop@1", "/"), ("/@team/shop", "/")] {
        let answer = server.get(path).await;
        assert_eq!(answer.status(), 200, "{path}");
        assert_eq!(answer.json()["url"], format!("http://test{seen}"), "{path}");
        let posted =
            server.send(Request::post(path).header("accept", "text/html").body(Full::from("x")).unwrap());
        assert_eq!(posted.await.json()["body"], "x", "{path}");
    }
}

#[tokio::test]
async fn an_app_knows_the_mount_path_that_was_asked_for() {
    let server = Apps::new()
        .file("shop@1.0.0/index.ts", include_str!("../apps/mirror/index.ts"))
        .file("@team/shop/index.ts", include_str!("../apps/mirror/index.ts"))
        .lean()
        .start()
        .await;
    for mount in ["/shop", "/shop@1", "/shop@1.0.0", "/@team/shop"] {
        let answer = server.get(&format!("{mount}/cart?x=1")).await;
        let said = answer.json();
        assert_eq!(said["url"], "http://test/cart?x=1");
        for name in ["x-base", "x-forwarded-prefix"] {
            assert!(said["headers"].to_string().contains(&format!("[\"{name}\",\"{mount}\"]")), "{said}");
        }
    }
}

#[tokio::test]
async fn a_static_app_serves_its_files_and_falls_back_to_its_page_for_navigations_only() {
    let server = Apps::new()
        .file("spa/index.html", PAGE)
        .file("spa/app.js", "let x = 1;")
        .file("spa/.env", "SECRET=1")
        .file("spa/package.json", "{}")
        .file("spa/manifest.yaml", "ttl: 0\n")
        .file("spa/.git/config", "secret")
        .file("outside.txt", "secret")
        .lean()
        .start()
        .await;
    std::os::unix::fs::symlink("/etc/passwd", server.apps().path().join("spa/link.txt")).unwrap();
    let script = server.get("/spa/app.js").await;
    assert_eq!((script.status(), script.text()), (200, "let x = 1;"));
    assert!(script.header("content-type").contains("javascript"));
    assert!(!script.header("x-request-id").is_empty());
    let again = Request::get("/spa/app.js").header("if-none-match", script.header("etag"));
    assert_eq!(server.send(again.body(Full::default()).unwrap()).await.status(), 304);
    let range = Request::get("/spa/app.js").header("range", "bytes=4-4").body(Full::default()).unwrap();
    let range = server.send(range).await;
    assert_eq!((range.status(), range.text(), range.header("content-range")), (206, "x", "bytes 4-4/10"));
    assert_eq!(navigate(&server, "/spa/deep/route").await.text(), PAGE);
    assert_eq!(server.get("/spa/deep/route").await.status(), 404);
    assert_eq!(navigate(&server, "/spa/missing.js").await.status(), 404);
    assert_eq!(server.post("/spa/", "x").await.status(), 405);
    for path in [
        "/spa/.env",
        "/spa/%2eenv",
        "/spa/package.json",
        "/spa/manifest.yaml",
        "/spa/.git/config",
        "/spa/link.txt",
        "/spa/../outside.txt",
        "/spa/..%2foutside.txt",
        "/spa/%2e%2e/outside.txt",
        "/spa/..%5coutside.txt",
        "/spa//etc/passwd",
        "/spa/app.js%00",
        "/spa/app.js%00.html",
        "/spa/app.js/",
    ] {
        let answer = server.raw_answer(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")).await;
        assert!(matches!(answer.status(), 400 | 404), "{path}: {}", answer.status());
        let body = String::from_utf8_lossy(&answer.body);
        assert!(
            !body.contains("secret") && !body.contains("SECRET") && !body.contains("root:"),
            "{path}: {body}"
        );
    }
}

#[tokio::test]
async fn pages_of_an_app_get_their_base_and_public_variables_however_they_are_sent() {
    let app = r#"
const page = "<!doctype html><html><HEAD lang=en><title>$&</title></head><body>here</body></html>";
const type = { "content-type": "text/html; charset=utf-8" };
const pages: Record<string, () => Response> = {
  "/plain": () => new Response(page, { headers: { ...type, etag: '"one"' } }),
  "/gzip": () => new Response(Bun.gzipSync(page), { headers: { ...type, "content-encoding": "gzip" } }),
  "/stream": () => new Response((async function* () {
    for (const piece of page.match(/.{1,3}/g)!) { yield piece; await Bun.sleep(0); }
  })() as never, { headers: type }),
  "/based": () => new Response(page.replace("<title>", '<base href="/own/"><title>'), { headers: type }),
  "/text": () => new Response(page, { headers: { "content-type": "text/plain" } }),
};
export default { fetch: (request: Request) => pages[new URL(request.url).pathname]!() };
"#;
    let manifest = "injectBase: true\nenv:\n  PUBLIC_TITLE: \"</script><b>$&\"\n  SECRET: hidden\n";
    let server =
        Apps::new().file("shop/index.ts", app).file("shop/manifest.yaml", manifest).lean().start().await;
    for (path, base) in [
        ("/shop/plain", "/shop/"),
        ("/shop/gzip", "/shop/"),
        ("/shop/stream", "/shop/"),
        ("/shop@latest/plain", "/shop@latest/"),
    ] {
        let answer = navigate(&server, path).await;
        let text = answer.text();
        assert!(text.contains(&format!("<HEAD lang=en><base href=\"{base}\">")), "{path}: {text}");
        assert!(text.contains("window.__env__") && text.contains("<title>$&</title>"), "{path}: {text}");
        assert!(!text.contains("</script><b>") && !text.contains("hidden"), "{path}: {text}");
        assert!(text.ends_with("<body>here</body></html>"), "{path}: {text}");
        assert_eq!(answer.header("content-encoding"), "");
        let length = answer.header("content-length");
        assert!(length.is_empty() || length == text.len().to_string(), "{path}: {length}");
        assert_ne!(answer.header("etag"), "\"one\"");
    }
    let based = navigate(&server, "/shop/based").await;
    assert!(based.text().contains("/own/") && !based.text().contains("href=\"/shop/\""), "{}", based.text());
    assert!(!navigate(&server, "/shop/text").await.text().contains("<base"));
}
