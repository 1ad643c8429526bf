//! What becomes of requests, by their host.

use buntime_plugin::http::{Method, StatusCode, header};
use buntime_plugin::testkit::{Loaded, Stage, request};
use buntime_plugin::{Flow, Phase, Problem, Request, Route};
use buntime_plugin_vhosts::NATIVE;
use proptest::prelude::*;
use serde_json::{Value, json};

async fn vhosts(hosts: Value) -> Loaded {
    let stage = Stage::new("@buntime/plugin-vhosts").settings(json!({ "hosts": hosts }));
    let stage =
        stage.app("shop", "1.4.2").app("@acme/site", "1.0.0").app("blog", "latest").app("home", "2.0.0");
    stage.load(&NATIVE).await.unwrap()
}

async fn ask(vhosts: &Loaded, host: &str, target: &str) -> (Flow, Request) {
    vhosts.request(Phase::Resolve, request(Method::GET, host, target)).await.unwrap()
}

/// App, mount, base and path that a request is sent to; none = where its path leads.
async fn sent(vhosts: &Loaded, host: &str, target: &str) -> Option<(String, String, String, String)> {
    let (flow, request) = ask(vhosts, host, target).await;
    assert!(matches!(flow, Flow::Continue), "{host} {target}: {flow:?}");
    match request.route()?.clone() {
        Route::App { app, mount, base, path } => Some((app, mount, base, path)),
        other => panic!("{other:?}"),
    }
}

async fn refused(vhosts: &Loaded, host: &str, target: &str) -> Problem {
    match ask(vhosts, host, target).await {
        (Flow::Refuse(problem), request) => {
            assert_eq!(request.route(), None, "{host} {target}");
            problem
        }
        other => panic!("{host} {target}: {other:?}"),
    }
}

async fn location(vhosts: &Loaded, request: Request) -> (StatusCode, String) {
    match vhosts.request(Phase::Resolve, request).await.unwrap().0 {
        Flow::Respond(response) => {
            let location = response.headers()[header::LOCATION].to_str().unwrap().to_owned();
            (response.status(), location)
        }
        other => panic!("{other:?}"),
    }
}

fn tenant(request: &Request) -> Option<&str> {
    request.headers().get("x-vhost-tenant").map(|tenant| tenant.to_str().unwrap())
}

fn to(app: &str, mount: &str, base: &str, path: &str) -> Option<(String, String, String, String)> {
    Some((app.into(), mount.into(), base.into(), path.into()))
}

#[tokio::test]
async fn an_app_is_at_the_root_of_its_host() {
    let vhosts = vhosts(json!({
        "shop.example.com": {"app": "shop@1"},
        "bücher.example": {"app": "blog"},
        "[::1]": {"app": "blog@latest"},
    }))
    .await;
    assert_eq!(sent(&vhosts, "shop.example.com", "/").await, to("shop@1", "", "/", "/"));
    assert_eq!(
        sent(&vhosts, "SHOP.example.com.:8080", "/a%20b/../c?x=/y").await,
        to("shop@1", "", "/", "/a%20b/../c?x=/y")
    );
    assert_eq!(sent(&vhosts, "shop.example.com", "/blog/").await, to("shop@1", "", "/", "/blog/"));
    assert_eq!(sent(&vhosts, "xn--bcher-kva.example", "/").await, to("blog", "", "/", "/"));
    assert_eq!(sent(&vhosts, "[0::1]:8000", "/").await, to("blog@latest", "", "/", "/"));
}

#[tokio::test]
async fn hosts_that_are_not_in_the_table_are_left_alone() {
    let vhosts = vhosts(json!({"shop.example.com": {"app": "shop"}})).await;
    for host in
        ["example.com", "x.shop.example.com", "localhost:8000", "127.0.0.1", "..", "a@shop.example.com"]
    {
        assert_eq!(sent(&vhosts, host, "/shop/").await, None, "{host}");
    }
    let nothing = Stage::new("@buntime/plugin-vhosts").load(&NATIVE).await.unwrap();
    assert_eq!(sent(&nothing, "shop.example.com", "/").await, None);
}

#[tokio::test]
async fn the_default_has_all_other_hosts() {
    let vhosts = vhosts(json!({"shop.example.com": {"app": "shop"}, "default": {"app": "home"}})).await;
    for host in ["example.com", "127.0.0.1:80", "a..b", "[::1]"] {
        assert_eq!(sent(&vhosts, host, "/x").await, to("home", "", "/", "/x"), "{host}");
    }
}

#[tokio::test]
async fn prefixes_divide_a_host() {
    let vhosts = vhosts(json!({"example.com": [
        {"app": "home"},
        {"app": "shop", "pathPrefix": "/shop", "stripPrefix": true},
        {"app": "blog", "pathPrefix": "/blog"},
        {"redirect": "blog.example.com", "pathPrefix": "/blog/old"},
    ]}))
    .await;
    for (target, found) in [
        ("/", to("home", "", "/", "/")),
        ("/shopping", to("home", "", "/", "/shopping")),
        ("/shop/cart?x", to("shop", "/shop", "/", "/cart?x")),
        ("/shop/", to("shop", "/shop", "/", "/")),
        // As below a mount: a browser gets the slash, an app a path.
        ("/shop", to("shop", "/shop", "/", "")),
        ("/shop?x", to("shop", "/shop", "/", "?x")),
        ("/shop//evil", to("shop", "/shop", "/", "//evil")),
        ("/blog/post", to("blog", "", "/blog", "/blog/post")),
        ("/blog", to("blog", "", "/blog", "/blog")),
    ] {
        assert_eq!(sent(&vhosts, "example.com", target).await, found, "{target}");
    }
    let old = request(Method::GET, "example.com", "/blog/old/x");
    assert_eq!(location(&vhosts, old).await.1, "http://blog.example.com/blog/old/x");
}

#[tokio::test]
async fn no_spelling_of_a_path_leads_past_its_rule() {
    let vhosts = vhosts(json!({
        "example.com": {"app": "shop", "pathPrefix": "/public"},
        "other.example": [{"app": "home"}, {"app": "shop", "pathPrefix": "/admin", "stripPrefix": true}],
    }))
    .await;
    for (host, target) in [
        ("example.com", "/public/../private"),
        ("example.com", "/public/%2E%2e/private"),
        ("example.com", "/public/..%2Fprivate"),
        ("example.com", "/public/a%2fb/../../private"),
        ("example.com", "/public/..\\private"),
        ("other.example", "/x/../admin"),
        ("other.example", "/%61dmin/x"),
        ("other.example", "//admin"),
        ("other.example", "/admin/../x"),
    ] {
        let problem = refused(&vhosts, host, target).await;
        assert_eq!((problem.status.as_u16(), &*problem.code), (400, "ambiguous_path"), "{host} {target}");
    }
}

#[tokio::test]
async fn what_a_host_does_not_have_is_not_looked_for_elsewhere() {
    let vhosts =
        vhosts(json!({"example.com": {"app": "shop", "pathPrefix": "/shop"}, "default": {"app": "home"}}))
            .await;
    for target in ["/", "/home/", "/shopping", "/blog"] {
        assert_eq!(refused(&vhosts, "example.com", target).await.status, 404, "{target}");
    }
}

#[tokio::test]
async fn the_labels_of_a_wildcard_are_told() {
    let vhosts = vhosts(json!({
        "*.example.com": {"app": "shop"},
        "**.deep.example.com": {"app": "shop"},
        "www.example.com": {"app": "shop"},
    }))
    .await;
    for (host, label) in [
        ("ACME.example.com:80", Some("acme")),
        ("a.b.deep.example.com", Some("a.b")),
        ("a_b.example.com", Some("a_b")),
        ("www.example.com", None),
        ("elsewhere.test", None),
    ] {
        assert_eq!(tenant(&ask(&vhosts, host, "/").await.1), label, "{host}");
    }
}

#[tokio::test]
async fn a_tenant_is_a_part_of_a_name_and_nothing_else() {
    let vhosts = vhosts(json!({
        "*.apps.example.com": {"app": "@{tenant}/site"},
        "*.example.com": {"app": "{tenant}"},
        "*.v.example.com": {"app": "shop@{tenant}"},
        "*.n.example.com": {"app": "node_{tenant}"},
    }))
    .await;
    assert_eq!(sent(&vhosts, "acme.apps.example.com", "/x").await, to("@acme/site", "", "/", "/x"));
    assert_eq!(sent(&vhosts, "shop.example.com", "/").await, to("shop", "", "/", "/"));
    assert_eq!(sent(&vhosts, "1.v.example.com", "/").await, to("shop@1", "", "/", "/"));
    for host in [
        "other.apps.example.com",
        "_acme.apps.example.com",
        "node_modules.example.com",
        "_.example.com",
        "9.v.example.com",
        "modules.n.example.com",
    ] {
        let problem = refused(&vhosts, host, "/").await;
        assert_eq!((problem.status.as_u16(), &*problem.code), (502, "vhost_app_unknown"), "{host}");
        assert!(problem.detail.unwrap().contains(host), "{host}");
    }
}

#[tokio::test]
async fn an_app_that_is_not_there_is_502_with_the_host() {
    let vhosts = vhosts(json!({"a.example": {"app": "gone"}, "b.example": {"app": "shop@2"}})).await;
    for host in ["a.example", "b.example"] {
        let problem = refused(&vhosts, &format!("{host}:8000"), "/").await;
        assert_eq!(problem.status, 502);
        assert_eq!(
            problem.detail.as_deref(),
            Some(&*format!("The host {host} has no app that could answer."))
        );
    }
}

#[tokio::test]
async fn redirects_keep_path_and_query_and_never_leave_their_host() {
    let vhosts = vhosts(json!({
        "old.example": {"redirect": "B\u{fc}cher.Example."},
        "moved.example": {"redirect": {"to": "new.example:8443", "status": 301}},
        "*.old.example": {"redirect": "old.example"},
    }))
    .await;
    let get = |host, target| request(Method::GET, host, target);
    let host = "xn--bcher-kva.example";
    for (asked, status, wanted) in [
        (get("old.example", "/a//b?c=%20"), 308, format!("http://{host}/a//b?c=%20")),
        (get("old.example:8000", "/"), 308, format!("http://{host}:8000/")),
        (get("old.example", "//evil.test/%2e%2e"), 308, format!("http://{host}//evil.test/%2e%2e")),
        (get("moved.example", "/x"), 301, "http://new.example:8443/x".to_owned()),
        (get("a.old.example", "/"), 308, "http://old.example/".to_owned()),
    ] {
        assert_eq!(location(&vhosts, asked).await, (StatusCode::from_u16(status).unwrap(), wanted));
    }
    let mut secure = get("old.example", "/x");
    secure.https = true;
    assert_eq!(location(&vhosts, secure).await.1, format!("https://{host}/x"));
}

#[tokio::test]
async fn a_redirect_that_leads_to_itself_ends() {
    let vhosts =
        vhosts(json!({"*.example.com": {"redirect": "www.example.com"}, "default": {"redirect": "a.test"}}))
            .await;
    for host in ["www.example.com", "a.test:8000"] {
        let problem = refused(&vhosts, host, "/").await;
        assert_eq!((problem.status.as_u16(), &*problem.code), (502, "vhost_redirect_loop"), "{host}");
    }
    assert_eq!(refused(&vhosts, "a..b", "/").await.status, 400, "what is no host is redirected nowhere");
}

#[tokio::test]
async fn another_plugin_s_route_stays() {
    let vhosts = vhosts(json!({"*.example.com": {"app": "shop"}})).await;
    let mut asked = request(Method::GET, "a.example.com", "/");
    asked.route_to(Route::Own);
    let (_, asked) = vhosts.request(Phase::Resolve, asked).await.unwrap();
    assert_eq!((asked.route(), tenant(&asked)), (Some(&Route::Own), None));
}

proptest! {
    #[test]
    fn no_host_and_no_path_panic(
        host in prop::collection::vec(any::<u8>().prop_filter("a header", |b| *b == 9 || *b >= 32 && *b != 127), 0..80),
        path in "/[ -~]{0,40}",
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let vhosts = vhosts(json!({
                "default": [{"app": "home"}, {"redirect": "a.example", "pathPrefix": "/a"}],
                "**.example": {"app": "@{tenant}/site"},
            }))
            .await;
            let Ok(uri) = path.parse() else { return };
            let (mut head, ()) = buntime_plugin::http::Request::new(()).into_parts();
            head.uri = uri;
            let mut asked = Request::new(head, Default::default());
            asked.host = buntime_plugin::http::HeaderValue::from_bytes(&host).unwrap();
            let (_, asked) = vhosts.request(Phase::Resolve, asked).await.unwrap();
            if let Some(Route::App { app, .. }) = asked.route() {
                assert_eq!(app, "home");
            }
        });
    }
}
