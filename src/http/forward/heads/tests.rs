use super::*;
use http::HeaderValue;

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    pairs.iter().map(pair).collect()
}

#[test]
fn headers_named_by_any_connection_line_stay_on_this_hop() {
    let pairs =
        [("connection", "keep-alive"), ("connection", "close, X-One"), ("x-one", "1"), ("x-two", "2")];
    let request = headers(&pairs);
    let dropped = Dropped::of(&request);
    let goes_on = |name: &'static str| !dropped.has(&HeaderName::from_static(name), false);
    assert_eq!((goes_on("x-one"), goes_on("x-two")), (false, true));

    let mut response = headers(&pairs);
    strip_response(&mut response);
    assert_eq!(response, headers(&[("x-two", "2")]));
}

#[test]
fn headers_that_bear_the_message_go_on_though_connection_names_them() {
    let request = headers(&[("connection", "cookie"), ("connection", "content-length, authorization")]);
    let dropped = Dropped::of(&request);
    for name in [header::COOKIE, header::CONTENT_LENGTH, header::AUTHORIZATION] {
        assert!(!dropped.has(&name, false), "{name}");
    }
}

#[test]
fn a_service_worker_stays_below_the_mount_path_of_its_app() {
    for (scope, mount, stays) in [
        ("/shop/", "/shop", true),
        ("/shop/cart", "/shop", true),
        ("/", "/shop", false),
        ("/shop", "/shop", false),
        ("/shopping/", "/shop", false),
        ("/shop/../", "/shop", false),
        ("/shop/%2e%2e/", "/shop", false),
        ("https://other/", "/shop", false),
        ("/", "", true),
    ] {
        let mut response = headers(&[("service-worker-allowed", scope)]);
        narrow_scope(&mut response, mount);
        assert_eq!(response.contains_key("service-worker-allowed"), stays, "{scope}");
    }
}
