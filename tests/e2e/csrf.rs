//! Requests that another site made a browser send.

use super::api::ROOT;
use super::harness::{Apps, Server};
use http::Request;
use http_body_util::Full;

const CROSS: (&str, &str) = ("sec-fetch-site", "cross-site");
const OWN: (&str, &str) = ("sec-fetch-site", "same-origin");
const COOKIE: (&str, &str) = ("cookie", "session=1");

/// Status and code of the answer to such a request.
async fn ask(server: &Server, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let request = Request::builder().method(method).uri(path).header("host", "shop.test");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    server.send(request.body(Full::default()).unwrap()).await.problem()
}

fn forged() -> (u16, String) {
    (403, "cross_site".to_owned())
}

#[tokio::test]
async fn the_api_is_guarded_whatever_key_comes_along() {
    let server = Apps::new().file("shop/index.html", "shop").manage().await;
    let key = ("x-api-key", ROOT);
    for headers in [
        &[key, CROSS][..],
        &[key, ("sec-fetch-site", "same-site")],
        &[key, ("origin", "http://evil.test")],
        &[key, ("origin", "null")],
        &[key, COOKIE],
        &[CROSS],
    ] {
        for (method, path) in [
            ("POST", "/api/keys"),
            ("POST", "/api/apps?name=x&version=1.0.0"),
            ("DELETE", "/api/apps/shop"),
            ("PUT", "/api/apps/shop/aliases/latest"),
            ("PATCH", "/api/apps"),
        ] {
            assert_eq!(ask(&server, method, path, headers).await, forged(), "{method} {path} {headers:?}");
        }
    }
    for headers in [&[key][..], &[key, OWN], &[key, ("origin", "http://shop.test")], &[key, COOKIE, OWN]] {
        assert_eq!(ask(&server, "POST", "/api/apps/shop/restart", headers).await.0, 202, "{headers:?}");
    }
    assert_eq!(ask(&server, "GET", "/api/apps", &[key, CROSS]).await.0, 200, "reading is no forgery");
    assert_eq!(server.get("/shop/").await.text(), "shop");
}

#[tokio::test]
async fn a_forged_request_to_the_api_is_answered_as_the_api_does_also_to_a_browser() {
    let server = Apps::new().manage().await;
    let request =
        Request::post("/api/keys").header("host", "shop.test").header("accept", "text/html,*/*;q=0.8");
    let request = request.header(CROSS.0, CROSS.1).body(Full::default()).unwrap();
    let answer = server.send(request).await;
    assert_eq!(answer.problem(), forged());
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.json()["status"], 403);
    let request = Request::post("/api/health").header("accept", "text/html").body(Full::default()).unwrap();
    let answer = server.send(request).await;
    assert_eq!((answer.status(), answer.header("content-type")), (405, "application/problem+json"));
}

#[tokio::test]
async fn an_app_is_guarded_as_its_manifest_says() {
    let app = "export default { fetch: () => new Response('ok') };";
    let apps = Apps::new().file("unset/index.ts", app);
    let apps = apps.file("guarded/index.ts", app).file("guarded/manifest.yaml", "csrf: true");
    let server =
        apps.file("open/index.ts", app).file("open/manifest.yaml", "csrf: false").lean().start().await;
    let evil = ("origin", "http://evil.test");
    for (headers, unset, guarded) in [
        (&[][..], false, false),
        (&[OWN, COOKIE], false, false),
        (&[("origin", "https://shop.test"), COOKIE], false, false),
        (&[COOKIE], false, true),
        (&[CROSS], false, true),
        (&[evil], false, true),
        (&[CROSS, COOKIE], true, true),
        (&[evil, COOKIE], true, true),
    ] {
        for (path, is_forged) in [("/unset/", unset), ("/guarded/", guarded), ("/open/", false)] {
            for method in ["POST", "PUT", "PATCH", "DELETE"] {
                let expected = if is_forged { forged() } else { (200, String::new()) };
                assert_eq!(
                    ask(&server, method, path, headers).await,
                    expected,
                    "{method} {path} {headers:?}"
                );
            }
            assert_eq!(ask(&server, "GET", path, headers).await.0, 200, "GET {path} {headers:?}");
        }
    }
}
