//! What is wrong with the settings is told when they are loaded.

use buntime_plugin::testkit::Stage;
use buntime_plugin_vhosts::NATIVE;
use serde_json::{Value, json};

/// What is said of settings; none = they are taken.
fn refusal(hosts: Value) -> Option<String> {
    let stage = Stage::new("@buntime/plugin-vhosts").settings(json!({ "hosts": hosts }));
    stage.make(&NATIVE).err().map(|error| error.to_string())
}

#[test]
fn every_form_of_the_reference_is_taken() {
    let hosts = json!({
        "shop.example.com": {"app": "shop"},
        "a.example.com": {"app": "@team/shop@^1.2"},
        "b.example.com": [{"app": "shop@latest", "pathPrefix": "/shop/v1.2-x", "stripPrefix": true}, {"app": "blog"}],
        "*.apps.example.com": {"app": "@{tenant}/site@beta"},
        "**.example.com": {"redirect": "www.example.com"},
        "c.example.com": {"redirect": {"to": "[::1]:8000", "status": 301}},
        "d.example.com": {"redirect": "d.example.com:8443"},
        "127.0.0.1": {"app": "shop", "pathPrefix": "/a", "stripPrefix": false},
        "default": {"app": "home"},
    });
    assert_eq!(refusal(hosts), None);
    assert_eq!((refusal(json!({})), refusal(Value::Null)), (None, None));
}

#[test]
fn what_is_wrong_is_told_with_its_place_its_code_and_what_to_do() {
    for (hosts, words) in [
        (json!([]), &["hosts: a list is no map of hosts (hosts_type)", "hint: write `shop"][..]),
        (
            json!({"a b": {"app": "x"}}),
            &[r#"hosts["a b"]: it is no name of a host (host_invalid)"#, "hint: labels"],
        ),
        (json!({"a.*.b": {"app": "x"}}), &["(host_invalid)", "hint: write `*.example.com`"]),
        (
            json!({"a.b": {"app": "x"}, "A.B.": {"app": "x"}}),
            &[r#"hosts["A.B."]: `a.b` is the same host (host_twice)"#, "one list"],
        ),
        (
            json!({"*.b\u{fc}cher.example": {"app": "x"}, "*.xn--bcher-kva.example": {"app": "x"}}),
            &["is the same host (host_twice)"],
        ),
        (json!({"a": []}), &[r#"hosts["a"]: the list is empty (rule_missing)"#]),
        (json!({"a": "shop"}), &[r#"hosts["a"]: a text is nothing that answers (rule_type)"#, "{app: shop}"]),
        (json!({"a": {}}), &["nothing answers (rule_missing)", "hint: give it an `app`"]),
        (json!({"a": {"app": "x", "redirect": "b"}}), &["are both there (rule_both)"]),
        (json!({"a": {"ap": "x"}}), &[r#"hosts["a"].ap: unknown key (unknown_key)"#, "did you mean `app`?"]),
        (json!({"a": {"app": "x", "pathprefix": "/x"}}), &["did you mean `pathPrefix`?"]),
        (json!({"a": {"app": "x", "zzzzzz": 1}}), &["these are known: `app`"]),
        (json!({"a": {"app": "x", "tls": true}}), &["`tls` is not in this version of Buntime (tls_missing)"]),
        (json!({"a": {"app": 1}}), &[r#"hosts["a"].app: a number is no app (app_invalid)"#]),
        (json!({"a": {"app": "Shop"}}), &["`S` cannot stand in an app name", "(app_invalid)"]),
        (json!({"a": {"app": "../x"}}), &["`/` cannot stand in an app name"]),
        (json!({"a": {"app": "@team"}}), &["has two parts"]),
        (json!({"a": {"app": "x@"}}), &["no version stands behind"]),
        (json!({"a": {"app": "x@1/2"}}), &["is no version and no alias"]),
        (json!({"*.a": {"app": "{user}"}}), &["hint: the labels of the wildcard are `{tenant}`"]),
        (json!({"a": {"app": "{tenant}"}}), &["`{tenant}` needs a wildcard (tenant_without_wildcard)"]),
        (json!({"default": {"app": "{tenant}"}}), &["(tenant_without_wildcard)"]),
        (json!({"*.a": {"app": "_{tenant}"}}), &["must not start with `_`"]),
        (
            json!({"a": {"app": "x", "stripPrefix": true}}),
            &["there is no `pathPrefix` to take off (strip_invalid)"],
        ),
        (json!({"a": {"app": "x", "stripPrefix": 1}}), &["neither true nor false"]),
        (
            json!({"a": {"redirect": "b", "pathPrefix": "/x", "stripPrefix": true}}),
            &["a redirect keeps the path"],
        ),
        (json!({"a": {"redirect": "a."}}), &["it leads to the same host (redirect_loop)"]),
        (json!({"a": {"redirect": "https://b/x"}}), &["(redirect_invalid)", "path and query are kept"]),
        (json!({"a": {"redirect": "b:99999"}}), &["(redirect_invalid)"]),
        (json!({"a": {"redirect": "*.b"}}), &["(redirect_invalid)"]),
        (json!({"a": {"redirect": {"status": 301}}}), &[r#"hosts["a"].redirect.to: there is no host"#]),
        (json!({"a": {"redirect": {"to": "b", "status": 302}}}), &["neither 301 nor 308 (redirect_status)"]),
        (json!({"a": {"redirect": {"to": "b", "statsu": 301}}}), &["did you mean `status`?"]),
        (
            json!({"a": [{"app": "x"}, {"app": "y"}]}),
            &[r#"hosts["a"][1].pathPrefix: two of the host have no `pathPrefix` (prefix_twice)"#],
        ),
        (
            json!({"a": [{"app": "x", "pathPrefix": "/p"}, {"app": "y", "pathPrefix": "/p"}]}),
            &["`/p` is there twice (prefix_twice)"],
        ),
    ] {
        let said = refusal(hosts.clone()).unwrap_or_else(|| panic!("{hosts} was taken"));
        for word in words {
            assert!(said.contains(word), "{hosts}: {said}");
        }
    }
}

#[test]
fn prefixes_that_could_be_read_in_two_ways_are_refused() {
    for prefix in [
        "",
        "/",
        "shop",
        "/shop/",
        "//shop",
        "/a//b",
        "/a/../b",
        "/./a",
        "/a%20b",
        "/a\\b",
        "/a?b",
        "/caf\u{e9}",
    ] {
        let said = refusal(json!({"a": {"app": "x", "pathPrefix": prefix}})).unwrap();
        assert!(said.contains("(prefix_invalid)\n  hint: "), "{prefix}: {said}");
    }
}

#[test]
fn everything_that_is_wrong_is_told_at_once_within_measure() {
    let hosts =
        |count: usize| (0..count).map(|n| (format!("h{n}"), json!({}))).collect::<serde_json::Map<_, _>>();
    let said = refusal(Value::Object(hosts(3))).unwrap();
    assert_eq!(said.matches("(rule_missing)").count(), 3);
    let said = refusal(Value::Object(hosts(25))).unwrap();
    assert!(said.matches("(rule_missing)").count() == 10 && said.ends_with("and 15 more"), "{said}");
}
