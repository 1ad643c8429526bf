//! What script plugins can do with requests and answers: replace them, take them over, answer before all routes, have an app of
//! their own.

use super::harness::{Answer, Apps, PATIENCE, Server};
use super::plugins::Plugins;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::Value;

async fn send(server: &Server, method: Method, path: &str, body: impl Into<bytes::Bytes>) -> Answer {
    let request = Request::builder().method(method).uri(path).body(Full::new(body.into())).unwrap();
    server.send(request).await
}

fn header(answer: &Answer, name: &str) -> Option<String> {
    let headers = answer.json()["headers"].as_array().unwrap().clone();
    let found = headers.iter().find(|header| header[0] == name);
    found.and_then(|header| header[1].as_str()).map(str::to_owned)
}

/// An app that says what it got.
const ECHO: &str = "export default { async fetch(request) {
  return Response.json({ method: request.method, url: request.url, headers: [...request.headers], body: await request.text() },
    { headers: { 'x-app': 'echo' } });
} };";

#[tokio::test]
async fn a_request_is_replaced_moved_or_answered() {
    let plugins = Plugins::new();
    plugins
        .write(
            "flow/manifest.yaml",
            "name: flow
version: 1.0.0
hooks:
  onRequest:
    - {phase: preflight, paths: [/echo/**]}
    - {phase: serve, paths: [/echo/body/**], body: true}
",
        )
        .write(
            "flow/plugin.ts",
            "export default {
  async onRequest(request, app, { phase }) {
    const url = new URL(request.url);
    switch (url.pathname) {
      case '/echo/moved': return new Request(new URL('/other/there?x=1', url), request);
      case '/echo/header': {
        const headers = new Headers(request.headers);
        headers.set('x-added', `${phase} ${app.name}@${app.version}`);
        headers.delete('x-given');
        return new Request(request, { headers });
      }
      case '/echo/forged': return new Request(request, { headers: { 'x-buntime-hook': 'request', 'x-base': '/evil', 'x-forwarded-for': '6.6.6.6' } });
      case '/echo/answer': return new Response('mine', { status: 418, headers: { 'x-buntime-flow': 'continue' } });
      case '/echo/throw': throw new Error('a bug');
      case '/echo/nonsense': return 5;
      case '/echo/body/upper':
        if (phase === 'serve') return new Request(request, { body: (await request.text()).toUpperCase() });
        return;
      case '/echo/body/read':
        if (phase === 'serve') await request.text();
    }
  },
};",
        );
    let apps = Apps::new().file("echo/index.ts", ECHO).file("other/index.ts", ECHO);
    let server = plugins.of(apps.lean()).start().await;
    let get = async |path: &str| send(&server, Method::GET, path, "").await;

    let moved = get("/echo/moved").await;
    assert_eq!(moved.json()["url"], "http://test/there?x=1", "another app has it");
    let changed =
        server.send(Request::get("/echo/header").header("x-given", "1").body(Full::default()).unwrap()).await;
    assert_eq!(header(&changed, "x-added").as_deref(), Some("preflight echo@latest"));
    assert_eq!(header(&changed, "x-given"), None);
    let forged = get("/echo/forged").await;
    assert_eq!(header(&forged, "x-buntime-hook"), None);
    assert_eq!(header(&forged, "x-base").as_deref(), Some("/echo"));
    assert_eq!(header(&forged, "x-forwarded-for").as_deref(), Some("127.0.0.1"));
    let answered = get("/echo/answer").await;
    assert_eq!((answered.status(), answered.text()), (418, "mine"));
    for path in ["/echo/throw", "/echo/nonsense"] {
        assert_eq!(get(path).await.status(), 503, "{path}");
    }
    // Bodies: whole ones, and ones that are streamed both ways.
    for size in [5, 100_000, 3_000_000] {
        let body = "ab".repeat(size / 2);
        let upper = send(&server, Method::POST, "/echo/body/upper", body.clone()).await;
        assert_eq!(upper.json()["body"], body.to_uppercase(), "{size}");
        let kept = send(&server, Method::POST, "/echo/body/untouched", body.clone()).await;
        assert_eq!(kept.json()["body"], Value::from(body), "{size}");
    }
    let read = send(&server, Method::POST, "/echo/body/read", "x").await;
    assert_eq!(read.status(), 503, "it took the body and gave none");
    let head_only = send(&server, Method::POST, "/echo/x", "y".repeat(200_000)).await;
    assert_eq!(head_only.json()["body"].as_str().unwrap().len(), 200_000);
}

#[tokio::test]
async fn an_answer_is_replaced_with_or_without_its_body() {
    let plugins = Plugins::new();
    for (name, body) in [("a-head", false), ("b-body", true)] {
        plugins
            .write(
                &format!("{name}/manifest.yaml"),
                &format!("name: {name}\nversion: 1.0.0\nhooks:\n  onResponse: {{paths: ['/page/{name}/**'], body: {body}}}\n"),
            )
            .write(
                &format!("{name}/plugin.ts"),
                "export default {
  async onResponse(response, app, request) {
    const { pathname } = new URL(request.url);
    if (pathname.endsWith('/keep')) return;
    if (pathname.endsWith('/throw')) throw new Error('a bug');
    if (pathname.endsWith('/other')) return new Response('other', { status: 203, headers: { 'x-by': app.name } });
    if (pathname.endsWith('/upper')) return new Response((await response.text()).toUpperCase(), response);
    return new Response(response.body, { status: 202, headers: { ...Object.fromEntries(response.headers), 'x-by': request.method } });
  },
};",
            );
    }
    let page = "export default { fetch: (request) => new Response('page '.repeat(Number(new URL(request.url).searchParams.get('n') ?? 1)), { headers: { 'x-app': 'page' } }) };";
    let server = plugins.of(Apps::new().file("page/index.ts", page).lean()).start().await;
    for (path, status, body, by, app) in [
        ("/page/a-head/keep", 200, "page ", "", "page"),
        ("/page/a-head/throw", 200, "page ", "", "page"),
        ("/page/a-head/other", 203, "other", "page", ""),
        ("/page/a-head/mark", 202, "page ", "GET", "page"),
        ("/page/b-body/keep", 200, "page ", "", "page"),
        ("/page/b-body/upper", 200, "PAGE ", "", "page"),
        ("/page/b-body/mark", 202, "page ", "GET", "page"),
    ] {
        let answer = server.get(path).await;
        assert_eq!((answer.status(), answer.text()), (status, body), "{path}");
        assert_eq!((answer.header("x-by"), answer.header("x-app")), (by, app), "{path}");
    }
    let large = server.get("/page/b-body/upper?n=400000").await;
    assert_eq!(large.text(), "PAGE ".repeat(400_000));
    let large = server.get("/page/a-head/mark?n=400000").await;
    assert_eq!((large.text().len(), large.header("x-by")), (2_000_000, "GET"));
}

#[tokio::test]
async fn what_answers_before_all_routes_passes_on_what_is_not_its_own() {
    let plugins = Plugins::new();
    plugins
        .write("first/manifest.yaml", "name: first\nversion: 1.0.0\nhooks: {fetch: {paths: [/echo/**]}}\n")
        .write(
            "first/plugin.ts",
            "export default {
  async fetch(request) {
    if (new URL(request.url).pathname === '/echo/mine') return new Response('mine: ' + await request.text());
    return new Response(null, { status: 404 });
  },
};",
        );
    let server = plugins.of(Apps::new().file("echo/index.ts", ECHO).lean()).start().await;
    for size in [0, 5, 100_000, 200_000] {
        let body = "x".repeat(size);
        let mine = send(&server, Method::POST, "/echo/mine", body.clone()).await;
        assert_eq!(mine.text(), format!("mine: {body}"));
        let passed = send(&server, Method::POST, "/echo/other", body.clone()).await;
        assert_eq!(passed.json()["body"], body, "{size}");
    }
    assert_eq!(server.get("/echo/x").await.json()["method"], "GET");
}

#[tokio::test]
async fn a_plugin_has_an_app_of_its_own_below_its_base() {
    let plugins = Plugins::new();
    plugins
        .write(
            "panel/manifest.yaml",
            "name: panel\nversion: 1.0.0\nbase: /panel\nentrypoint: ui/index.html\n",
        )
        .write("panel/plugin.ts", "export default { routes: { '/data': () => Response.json([1, 2]) } };")
        .write("panel/ui/index.html", "<title>panel</title>")
        .write("panel/ui/app.js", "1;")
        .write(
            "tool/manifest.yaml",
            "name: tool\nversion: 1.0.0\nbase: /tool\nentrypoint: server.ts\ninjectBase: true\n",
        )
        .write("tool/plugin.ts", "export default {};")
        .write("tool/server.ts", ECHO);
    let server = plugins.of(Apps::new().file("echo/index.ts", ECHO).lean()).start().await;
    assert_eq!(server.get("/panel/").await.text(), "<title>panel</title>");
    assert_eq!(server.get("/panel/app.js").await.text(), "1;");
    assert_eq!(server.get("/panel/data").await.json(), serde_json::json!([1, 2]), "its routes come first");
    assert_eq!(server.get("/panel/plugin.ts").await.status(), 404, "its code is not served");
    let posted = send(&server, Method::POST, "/tool/x?y=1", "body").await;
    assert_eq!(posted.json()["url"], "http://test/x?y=1");
    assert_eq!(header(&posted, "x-base").as_deref(), Some("/tool"));
    assert_eq!(posted.json()["body"], "body");
    assert_eq!(server.get("/panels").await.status(), 404, "a base ends where its segment does");
    // Another site may not change anything there.
    let forged =
        Request::post("/panel/data").header("origin", "https://evil.example").body(Full::default()).unwrap();
    assert_eq!(server.send(forged).await.status(), 403);
}

#[tokio::test]
async fn a_guarded_path_is_guarded_at_every_address_of_its_app() {
    let plugins = Plugins::new();
    plugins
        .write(
            "guard/manifest.yaml",
            "name: guard\nversion: 1.0.0\nguards: true\nhooks:\n  onRequest: {paths: [/echo/admin/**], methods: [GET]}\n",
        )
        .write("guard/plugin.ts", "export default { onRequest: () => new Response('no', { status: 403 }) };")
        .native("vhosts", "hosts: {echo.test: {app: echo}}\n");
    let apps = Apps::new().file("echo@1.0.0/index.ts", ECHO);
    let server = plugins.of(apps.lean().env("RUNTIME_HOME_APP", "echo")).start().await;
    for (host, path) in [
        ("localhost", "/echo/admin"),
        ("localhost", "/echo@1/admin/x?y"),
        ("localhost", "/echo@1.0.0/%61dmin"),
        ("localhost", "/echo@latest//admin"),
        ("localhost", "/admin"),
        ("localhost", "/%61dmin/x"),
        ("echo.test", "/admin/x"),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let request = Request::builder().method(&method).uri(path).header("host", host);
            let answer = server.send(request.body(Full::default()).unwrap()).await;
            assert_eq!(answer.status(), 403, "{method} {host}{path}");
        }
    }
    for path in ["/echo/../echo/admin", "/echo/x/%2e%2e/admin", "/echo/x//../../admin", "/echo\\admin"] {
        let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        let status = server.raw_answer(head).await.head.status;
        assert!(status == 400 || status == 403, "{path}: {status}");
    }
    assert_eq!(server.get("/echo/public").await.status(), 200);
}

#[tokio::test]
async fn no_client_takes_away_what_a_plugin_sets_or_speaks_for_a_proxy() {
    let plugins = Plugins::new();
    plugins
        .write("who/manifest.yaml", "name: who\nversion: 1.0.0\nhooks:\n  onRequest: {phase: identify}\n")
        .write(
            "who/plugin.ts",
            "export default {
  onRequest(request) {
    const headers = new Headers(request.headers);
    headers.set('x-user', `user of ${request.headers.get('x-forwarded-for') ?? 'nowhere'}`);
    return new Request(request, { headers });
  },
};",
        );
    let server = plugins.of(Apps::new().file("echo/index.ts", ECHO).lean()).start().await;
    let request = Request::get("/echo/x")
        .header("connection", "x-user, keep-alive")
        .header("x-forwarded-for", "6.6.6.6")
        .header("x-user", "forged");
    let answer = server.send(request.body(Full::default()).unwrap()).await;
    let user = header(&answer, "x-user").unwrap();
    assert!(user == "user of nowhere" || user == "user of 127.0.0.1", "{user}");
}

#[tokio::test]
async fn plugins_get_no_body_beyond_the_operators_limit_and_none_of_another_site() {
    let plugins = Plugins::new();
    plugins
        .write(
            "take/manifest.yaml",
            "name: take\nversion: 1.0.0\nbase: /take\nhooks: {fetch: {paths: [/any/**]}}\n",
        )
        .write(
            "take/plugin.ts",
            "export default {
  fetch: async (request) => new Response('fetched ' + (await request.text()).length),
  routes: { '/size': async (request) => new Response('routed ' + (await request.text()).length) },
};",
        );
    let server = plugins.of(Apps::new().lean().env("RUNTIME_MAX_BODY_SIZE", "200000")).start().await;
    for (path, word) in [("/take/size", "routed"), ("/any/x", "fetched")] {
        let fits = send(&server, Method::POST, path, "x".repeat(200_000)).await;
        assert_eq!(fits.text(), format!("{word} 200000"));
        let large = send(&server, Method::POST, path, "x".repeat(200_001)).await;
        assert_eq!((large.status(), &large.json()["code"]), (413, &Value::from("body_too_large")), "{path}");
        let forged = Request::post(path).header("origin", "https://evil.example").header("cookie", "a=b");
        assert_eq!(server.send(forged.body(Full::default()).unwrap()).await.status(), 403, "{path}");
    }
}

#[tokio::test]
async fn a_hook_that_fails_with_a_body_empties_neither_the_request_nor_the_answer() {
    let plugins = Plugins::new();
    plugins
        .write(
            "reader/manifest.yaml",
            "name: reader\nversion: 1.0.0\nfailOpen: true\nhooks:\n  onRequest: {phase: serve, paths: [/echo/asked/**], body: true}\n  onResponse: {paths: [/echo/answered/**], body: true}\n",
        )
        .write(
            "reader/plugin.ts",
            "const fail = async (message) => { await message.text(); throw new Error('a bug'); };
export default { onRequest: fail, onResponse: fail };",
        );
    let server = plugins.of(Apps::new().file("echo/index.ts", ECHO).lean()).start().await;
    let (small, large) = ("x".repeat(100_000), "y".repeat(3_000_000));
    for body in ["x", &small] {
        for path in ["/echo/asked/x", "/echo/answered/x"] {
            let answer = send(&server, Method::POST, path, body.to_owned()).await;
            assert_eq!((answer.status(), answer.header("x-app")), (200, "echo"), "{path} {}", body.len());
            assert_eq!(answer.json()["body"], body, "{path}");
        }
    }
    let asked = send(&server, Method::POST, "/echo/asked/x", large.clone()).await;
    assert_eq!((asked.status(), &asked.json()["code"]), (503, &"plugin_failed".into()), "too much is gone");
    let answered = send(&server, Method::POST, "/echo/answered/x", large).await;
    assert_eq!(
        (answered.status(), &answered.json()["code"]),
        (502, &"plugin_failed".into()),
        "so it is here"
    );
}

#[tokio::test]
async fn a_plugin_takes_credentials_away_and_is_told_the_client_that_is_believed() {
    let plugins = Plugins::new();
    plugins
        .write("a/manifest.yaml", "name: a\nversion: 1.0.0\nhooks:\n  onRequest: {phase: permit}\n")
        .write(
            "a/plugin.ts",
            "export default {
  onRequest(request) {
    if (new URL(request.url).pathname === '/echo/seen') return Response.json({ headers: [...request.headers] });
    const headers = new Headers(request.headers);
    headers.delete('authorization');
    return new Request(request, { headers });
  },
};",
        );
    let server = plugins.of(Apps::new().file("echo/index.ts", ECHO).lean()).start().await;
    let request = |path: &str| {
        Request::get(path)
            .header("authorization", "Bearer of-the-client")
            .header("x-forwarded-for", "6.6.6.6")
            .header("x-forwarded-proto", "https")
            .header("x-forwarded-host", "evil.example")
            .header("forwarded", "for=6.6.6.6")
            .header("x-base", "/evil")
            .body(Full::default())
            .unwrap()
    };
    let seen = server.send(request("/echo/seen")).await;
    let expected = [
        ("authorization", Some("Bearer of-the-client")),
        ("x-forwarded-for", Some("127.0.0.1")),
        ("x-forwarded-proto", Some("http")),
        ("x-forwarded-host", Some("test")),
        ("forwarded", None),
        ("x-base", None),
    ];
    for (name, value) in expected {
        assert_eq!(header(&seen, name).as_deref(), value, "{name}");
    }
    assert_eq!(header(&server.send(request("/echo/x")).await, "authorization"), None);
}

#[tokio::test]
async fn a_plugin_knows_the_server_without_a_hook_for_its_start() {
    let plugins = Plugins::new();
    plugins.write("a/manifest.yaml", "name: a\nversion: 1.0.0\nbase: /a\n").write(
        "a/plugin.ts",
        "let context;
export default { onInit(given) { context = given; }, routes: { '/server': () => Response.json(context.server) } };",
    );
    let server = plugins.of(Apps::new().lean()).start().await;
    let told = server.get("/a/server").await.json();
    assert_eq!(told, serde_json::json!({ "url": format!("http://{}", server.address), "apiBase": "/api" }));
}

#[tokio::test]
async fn however_many_wait_for_a_plugins_routes_its_hooks_go_on() {
    let plugins = Plugins::new();
    plugins
        .write(
            "a/manifest.yaml",
            "name: a\nversion: 1.0.0\nbase: /a\nhooks:\n  onRequest: {phase: permit, paths: [/echo/**]}\n",
        )
        .write(
            "a/plugin.ts",
            "export default { onRequest() {}, routes: { '/slow': () => new Promise(() => {}), '/quick': () => new Response('quick') } };",
        );
    let server = plugins.of(Apps::new().file("echo/index.ts", ECHO).lean()).start().await;
    let server = std::sync::Arc::new(server);
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..510 {
        let server = std::sync::Arc::clone(&server);
        waiting.spawn(async move { send(&server, Method::POST, "/a/slow", "").await });
    }
    // A thousand are what a worker takes.
    for _ in 0..10 {
        let answer = waiting.join_next().await.unwrap().unwrap();
        assert_eq!((answer.status(), &answer.json()["code"]), (503, &"plugin_busy".into()));
        assert_eq!(answer.header("retry-after"), "1");
    }
    assert_eq!(server.get("/echo/x").await.status(), 200, "its hook is asked");
    assert_eq!(server.get("/a/quick").await.status(), 503);
    waiting.shutdown().await;
    let again = async { while server.get("/a/quick").await.status() != 200 {} };
    tokio::time::timeout(PATIENCE, again).await.expect("who has gone does not wait any more");
}
