use super::*;
use crate::apps::fixture::{split_index, worker};
use crate::apps::{Index, Meaning};
use http::{Method, Request};

/// `latest` of the app `a`: 50 to 1.0.0 and 50 to 2.0.0.
fn fork(sticky: Sticky) -> Arc<Fork> {
    let apps = [worker(1, "a@1.0.0"), worker(2, "a@2.0.0")];
    let index: Arc<Index> = split_index(&apps, "a", "latest", &[("1.0.0", 50), ("2.0.0", 50)], sticky);
    match index.resolve("a", None).unwrap() {
        Meaning::Split(fork) => fork,
        Meaning::One(app) => panic!("{} alone", app.version),
    }
}

fn head(method: Method, headers: &[(&str, &str)]) -> Parts {
    let request = Request::builder().method(method);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(()).unwrap().into_parts().0
}

fn place(sticky: Sticky, headers: &[(&str, &str)], client: Option<&str>) -> Place {
    let client = client.map(|address| address.parse().unwrap());
    Place::find(fork(sticky), &head(Method::GET, headers).headers, client, None)
}

/// The headers of an answer with this `Cache-Control`, after the place was marked on it.
fn marked(place: &Place, cache: &str, head: &Parts) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if !cache.is_empty() {
        headers.insert(header::CACHE_CONTROL, cache.parse().unwrap());
    }
    place.mark(&mut headers, "/a", false, head);
    headers
}

#[test]
fn a_well_formed_cookie_is_kept_and_anything_else_is_drawn_anew() {
    let name = fork(Sticky::Cookie).cookie().to_owned();
    for (line, bucket) in [
        (format!("{name}=7"), 7),
        (format!("a=b; {name}=99; c"), 99),
        (format!("a=b;{name}=0"), 0),
        // That of the longest path comes first.
        (format!("{name}=7; {name}=8"), 7),
        (format!("{name}=nonsense; {name}=8"), 8),
    ] {
        let place = place(Sticky::Cookie, &[("cookie", &line)], None);
        assert_eq!((place.bucket.number(), place.drawn), (bucket, false), "{line}");
        assert_eq!(place.app().key.0, if bucket < 50 { 1 } else { 2 });
    }
    for line in [
        format!("{name}=100"),
        format!("{name}=07"),
        format!("{name}=-1"),
        format!("{name}=\"7\""),
        format!("{name}=7 8"),
        format!("{name}="),
        name.clone(),
        format!("{name}x=7"),
        format!("x{name}=7"),
        "=7".to_owned(),
        format!("{name}=7\u{e9}"),
    ] {
        assert!(place(Sticky::Cookie, &[("cookie", &line)], None).drawn, "{line}");
    }
    // HTTP/2 may send each cookie in a line of its own.
    let lines = [("cookie", "a=b"), ("cookie", &*format!("{name}=42"))];
    assert_eq!(place(Sticky::Cookie, &lines, None).bucket.number(), 42);
}

#[test]
fn an_address_decides_if_it_is_known_and_a_cookie_if_not() {
    let name = fork(Sticky::Address).cookie().to_owned();
    let cookie = [("cookie", &*format!("{name}=7"))];
    let known = place(Sticky::Address, &cookie, Some("192.0.2.1"));
    assert!(!known.drawn);
    assert_eq!(known.bucket, fork(Sticky::Address).bucket_of([192, 0, 2, 1].into()));
    let unknown = place(Sticky::Address, &cookie, None);
    assert_eq!((unknown.bucket.number(), unknown.drawn), (7, false));
    assert!(place(Sticky::Address, &[], None).drawn);
}

#[test]
fn a_request_that_is_asked_again_stays_in_its_bucket() {
    for _ in 0..50 {
        let first = place(Sticky::Cookie, &[], None);
        let second = Place::find(fork(Sticky::Cookie), &HeaderMap::new(), None, Some(&first));
        assert_eq!((second.bucket, second.drawn), (first.bucket, true));
    }
}

#[test]
fn the_cookie_says_the_bucket_for_this_mount() {
    let place = place(Sticky::Cookie, &[], None);
    let name = place.fork.cookie();
    let bucket = place.bucket.number();
    let rest = "Max-Age=2592000; HttpOnly; SameSite=Lax";
    for (base, https, expected) in [
        ("/a", false, format!("{name}={bucket}; Path=/a; {rest}")),
        ("/@t/a@beta", true, format!("{name}={bucket}; Path=/@t/a@beta; {rest}; Secure")),
        ("", false, format!("{name}={bucket}; Path=/; {rest}")),
    ] {
        let mut headers = HeaderMap::new();
        headers.append(header::SET_COOKIE, HeaderValue::from_static("own=1"));
        place.mark(&mut headers, base, https, &head(Method::GET, &[]));
        let cookies: Vec<_> = headers.get_all(header::SET_COOKIE).into_iter().collect();
        assert_eq!(cookies, ["own=1", &expected], "the app's own stays");
    }
}

#[test]
fn a_client_that_has_its_bucket_is_not_told_again() {
    let name = fork(Sticky::Cookie).cookie().to_owned();
    let known = place(Sticky::Cookie, &[("cookie", &format!("{name}=7"))], None);
    assert!(!marked(&known, "", &head(Method::GET, &[])).contains_key(header::SET_COOKIE));
}

#[test]
fn a_form_from_another_site_does_not_move_a_client() {
    let place = place(Sticky::Cookie, &[], None);
    for (method, site, told) in [
        (Method::POST, "cross-site", false),
        (Method::POST, "same-origin", true),
        (Method::POST, "none", true),
        (Method::GET, "cross-site", true),
    ] {
        let headers = marked(&place, "", &head(method.clone(), &[("sec-fetch-site", site)]));
        assert_eq!(headers.contains_key(header::SET_COOKIE), told, "{method} {site}");
        assert_eq!(headers[header::CACHE_CONTROL], "private");
    }
}

#[test]
fn answers_of_a_split_are_for_one_client() {
    let name = fork(Sticky::Cookie).cookie().to_owned();
    let drawn = place(Sticky::Cookie, &[], None);
    let known = place(Sticky::Cookie, &[("cookie", &format!("{name}=7"))], None);
    let address = place(Sticky::Address, &[], Some("192.0.2.1"));
    let get = head(Method::GET, &[]);
    for (said, becomes) in [
        ("", "private"),
        ("no-cache", "private, no-cache"),
        ("private", "private"),
        ("no-store", "no-store"),
        ("max-age=0, No-Store", "max-age=0, No-Store"),
        ("public, max-age=60", "private, max-age=60"),
        ("Public , S-MaxAge=60,max-age=5,", "private, max-age=5"),
        ("private=\"set-cookie\", max-age=60", "private, max-age=60"),
    ] {
        for place in [&drawn, &known, &address] {
            assert_eq!(marked(place, said, &get)[header::CACHE_CONTROL], becomes, "{said}");
        }
    }
    // A name with a hash is the same file in every version that has it; but a cookie is for one client.
    let immutable = "public, max-age=31536000, immutable";
    assert_eq!(marked(&known, immutable, &get)[header::CACHE_CONTROL], immutable);
    assert_eq!(marked(&address, immutable, &get)[header::CACHE_CONTROL], immutable);
    assert_eq!(
        marked(&drawn, immutable, &get)[header::CACHE_CONTROL],
        "private, max-age=31536000, immutable"
    );
}

#[test]
fn what_is_said_to_shared_caches_alone_goes() {
    let mut headers = HeaderMap::new();
    for name in &FOR_SHARED_CACHES {
        headers.insert(name, HeaderValue::from_static("max-age=60"));
    }
    place(Sticky::Cookie, &[], None).mark(&mut headers, "/a", false, &head(Method::GET, &[]));
    assert!(FOR_SHARED_CACHES.iter().all(|name| !headers.contains_key(name)));
}

#[test]
fn clients_without_a_cookie_are_spread_over_all_buckets() {
    let mut counts = [0i32; 100];
    (0..10_000).for_each(|_| counts[usize::from(draw().number())] += 1);
    // 100 each with a standard deviation of 10; seven of them.
    assert!(counts.iter().all(|count| (30..170).contains(count)), "{counts:?}");
}
