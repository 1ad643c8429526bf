//! The plugin that `docs/plugins.md` shows, and how it is tested without the runtime.

mod plugin;

use buntime_plugin::http::{Method, StatusCode};
use buntime_plugin::testkit::{Stage, bytes, request, with_header};
use buntime_plugin::{Context, Flow, Phase, Plugin, Request, Service};
use plugin::{NATIVE, Quotas};
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

fn stage() -> Stage {
    // All settings, since the schema is the runtime's: a duration is its milliseconds.
    Stage::new("@team/quota").base("/quota").settings(json!({ "requests": 2, "window": 60_000 }))
}

fn from(client: IpAddr) -> Request {
    let mut request = request(Method::GET, "example.com", "/shop/");
    request.client = Some(client);
    request
}

#[tokio::test(start_paused = true)]
async fn who_has_sent_enough_is_refused_until_the_window_is_over() {
    let quota = stage().load(&NATIVE).await.unwrap();
    for left in ["1", "0"] {
        let (flow, request) = quota.request(Phase::Limit, from(CLIENT)).await.unwrap();
        assert!(matches!(flow, Flow::Continue), "{flow:?}");
        assert_eq!(request.headers()["x-quota-left"], left);
    }
    let (flow, _) = quota.request(Phase::Limit, from(CLIENT)).await.unwrap();
    let Flow::Refuse(problem) = flow else { panic!("{flow:?}") };
    assert_eq!((problem.status, &*problem.code), (StatusCode::TOO_MANY_REQUESTS, "quota_used_up"));
    tokio::time::advance(Duration::from_secs(60)).await;
    let (flow, _) = quota.request(Phase::Limit, from(CLIENT)).await.unwrap();
    assert!(matches!(flow, Flow::Continue), "{flow:?}");
}

#[tokio::test]
async fn counts_are_kept_over_a_reload() {
    let stage = stage();
    let old = stage.load(&NATIVE).await.unwrap();
    old.request(Phase::Limit, from(CLIENT)).await.unwrap();
    old.shut_down().await.unwrap();
    let new = stage.make(&NATIVE).unwrap();
    let (_, request) = new.request(Phase::Limit, from(CLIENT)).await.unwrap();
    assert_eq!(request.headers()["x-quota-left"], "0");
}

#[tokio::test]
async fn its_route_is_for_those_who_may_see_workers() {
    let quota =
        stage().key("may", None, &["workers:read"]).key("may-not", None, &[]).load(&NATIVE).await.unwrap();
    for (key, status) in [("", 401), ("may-not", 403), ("may", 200)] {
        // The base is taken off already.
        let request = with_header(request(Method::GET, "example.com", "/clients"), "x-api-key", key);
        assert_eq!(quota.route(request).await.unwrap().status(), status, "{key}");
    }
    let request = with_header(request(Method::GET, "example.com", "/clients"), "x-api-key", "may");
    assert_eq!(bytes(quota.route(request).await.unwrap().into_body()).await, "0 clients\n");
}

#[test]
fn it_says_which_requests_it_wants() {
    let quota = stage().make(&NATIVE).unwrap();
    let hooks = quota.plugin.hooks();
    assert_eq!(hooks.request.iter().map(|hook| hook.phase).collect::<Vec<_>>(), [Phase::Limit]);
    assert!(hooks.routes && hooks.response.is_none());
}

/// A plugin that has `@team/quota` among its dependencies asks it so.
fn quotas(context: &Context) -> Arc<dyn Quotas> {
    context.get::<dyn Quotas>("quotas").unwrap()
}

#[tokio::test]
async fn another_plugin_asks_for_its_service_by_type() {
    struct Generous;
    impl Quotas for Generous {
        fn left(&self, _: IpAddr) -> u32 {
            7
        }
    }
    let generous: Arc<dyn Quotas> = Arc::new(Generous);
    let other = Stage::new("@team/other").service("@team/quota", "quotas", Service::typed(generous));
    let other = other.make(&NATIVE_OF_NOTHING).unwrap();
    assert_eq!(quotas(&other.context).left(CLIENT), 7);
}

/// The least that is a plugin.
struct Nothing;

impl Plugin for Nothing {}

static NATIVE_OF_NOTHING: buntime_plugin::Native = buntime_plugin::Native {
    manifest: "name: \"@team/other\"\nenabled: false\ndependencies: [\"@team/quota\"]\n",
    owned_headers: &[],
    make: |_| Ok(Arc::new(Nothing)),
};
