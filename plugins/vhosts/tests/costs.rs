//! What hosts cost: memory for each, and no allocation of a request but its route. Counted, not timed.

use allocation_counter::measure;
use buntime_plugin::http::Method;
use buntime_plugin::testkit::{Loaded, Stage, request};
use buntime_plugin::{Flow, Outcome, Phase, Plugin};
use buntime_plugin_vhosts::NATIVE;
use serde_json::{Value, json};
fn hosts(count: usize) -> Value {
    let mut hosts: serde_json::Map<_, _> = (0..count)
        .map(|n| (format!("shop-{n}.example.com"), json!({"app": format!("@team-{n}/shop")})))
        .collect();
    hosts.insert("*.apps.example.com".to_owned(), json!({"app": "@{tenant}/site"}));
    hosts.insert(
        "old.example.com".to_owned(),
        json!([{"app": "blog"}, {"app": "shop", "pathPrefix": "/shop"}]),
    );
    Value::Object(hosts)
}

fn load(count: usize) -> Loaded {
    let stage = Stage::new("@buntime/plugin-vhosts").settings(json!({ "hosts": hosts(count) }));
    let stage = stage
        .app("@team-7/shop", "1.0.0")
        .app("@acme/site", "1.0.0")
        .app("shop", "1.0.0")
        .app("blog", "1.0.0");
    stage.make(&NATIVE).unwrap()
}

fn allocations(plugin: &dyn Plugin, host: &str, target: &str) -> u64 {
    let mut request = request(Method::GET, host, target);
    let counted = measure(|| {
        let outcome = plugin.on_request(Phase::Resolve, &mut request);
        assert!(matches!(outcome, Outcome::Ready(Ok(Flow::Continue))), "{host} {target}");
    });
    counted.count_total
}

#[test]
fn a_request_allocates_its_route_and_nothing_else_however_many_hosts_there_are() {
    for count in [10, 100_000] {
        let vhosts = load(count);
        for (host, target, wanted) in [
            // App, base and path; app, base and path again; nothing where nothing is found.
            ("SHOP-7.example.com:8080", "/cart?x=1", 3),
            ("old.example.com", "/shop/cart", 3),
            ("unknown.example.org", "/", 0),
            ("a.b.c.d.e.f.g.h.i.j.example.com", "/", 0),
        ] {
            assert_eq!(allocations(&*vhosts.plugin, host, target), wanted, "{host} of {count}");
        }
        // And the tenant's header: its value, and the room that the map makes for it.
        assert!(allocations(&*vhosts.plugin, "acme.apps.example.com", "/") <= 8);
    }
}

#[test]
fn a_hundred_thousand_hosts_fit_twenty_megabytes() {
    let stage = Stage::new("@buntime/plugin-vhosts").settings(json!({ "hosts": hosts(100_000) }));
    let mut loaded = None;
    let with_settings = measure(|| loaded = stage.make(&NATIVE).ok()).bytes_current;
    let Loaded { plugin, context } = loaded.unwrap();
    let table = -measure(|| drop(plugin)).bytes_current;
    eprintln!("100,000 hosts: the table has {table} bytes, with its settings {with_settings}");
    assert!((1..20_000_000).contains(&table), "{table}");
    drop(context);
}
