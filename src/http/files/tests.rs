//! Static sites over a real directory: what is served, how, and above all what is not.

use super::*;
use http::StatusCode;
use http_body_util::BodyExt;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

const BIG: usize = 300_000;
const NAVIGATION: (&str, &str) = ("accept", "text/html,*/*;q=0.8");

/// A directory with everything a site may have, and things beside it that it must not serve.
struct Site {
    directory: tempfile::TempDir,
    root: Arc<StaticRoot>,
}

/// An answer as a client sees it.
#[derive(Debug)]
struct Got {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

fn write(path: &Path, content: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

impl Site {
    fn new() -> Site {
        let directory = tempfile::tempdir().unwrap();
        let outside = directory.path();
        let site = outside.join("site");
        write(&outside.join("secret.txt"), "SECRET");
        write(&outside.join("site-of-another/index.html"), "SECRET");
        for (name, content) in [
            ("index.html", "<title>home</title>"),
            ("app.3f9c2a1b.js", "hashed()"),
            ("app.js", "app()"),
            ("app.js.br", "BR"),
            ("app.js.zst", "ZST"),
            ("app.js.gz", "GZ"),
            ("style.css", "body{}"),
            ("style.css.gz", "GZ"),
            ("photo.png", "PNG"),
            ("photo.png.gz", "GZ"),
            ("page.html", "page"),
            ("page.html.gz", "GZ"),
            ("docs/index.html", "docs"),
            ("docs/a b.txt", "spaced"),
            ("docs/%2e%2e.txt", "literal"),
            ("empty/file.txt", "x"),
            ("nothing.txt", ""),
            ("ten.txt", "0123456789"),
            ("caf\u{e9}.txt", "utf8"),
            // What is never served.
            (".env", "SECRET"),
            (".git/config", "SECRET"),
            (".well-known/x", "SECRET"),
            ("manifest.yaml", "SECRET"),
            ("sub/manifest.yml", "SECRET"),
            ("package.json", "SECRET"),
            ("node_modules/x/index.js", "SECRET"),
        ] {
            write(&site.join(name), content);
        }
        write(&site.join("big.bin"), (0..BIG).map(|i| (i % 251) as u8).collect::<Vec<_>>());
        symlink("ten.txt", site.join("inside.txt")).unwrap();
        symlink("../ten.txt", site.join("docs/up-inside.txt")).unwrap();
        symlink("docs", site.join("linked")).unwrap();
        symlink("../secret.txt", site.join("outside.txt")).unwrap();
        symlink(outside.join("secret.txt"), site.join("absolute.txt")).unwrap();
        symlink("/proc/self/root/etc/passwd", site.join("magic.txt")).unwrap();
        symlink("..", site.join("parent")).unwrap();
        symlink("loop", site.join("loop")).unwrap();
        symlink(".env", site.join("config.txt")).unwrap();
        symlink(".git", site.join("history")).unwrap();
        symlink("gone", site.join("dangling")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            site.join("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        let root = Arc::new(StaticRoot::open(&site, "index.html").unwrap());
        Site { directory, root }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join("site").join(name)
    }

    async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)], rewritten: bool) -> Got {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = http::HeaderName::try_from(*name).unwrap();
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let request = FileRequest { method: &method, path, query, headers: &map, mount: "/shop", rewritten };
        let response = match serve(&self.root, request).await {
            Ok(response) => response,
            Err(problem) => problem.respond(&method, None, "id", false),
        };
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Got { status: parts.status, headers: parts.headers, body }
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Got {
        self.ask(Method::GET, path, headers, false).await
    }
}

#[tokio::test]
async fn files_are_served_with_their_type_and_validators() {
    let site = Site::new();
    for (path, body, content_type, cache) in [
        ("/", "<title>home</title>", "text/html; charset=utf-8", "no-cache"),
        ("/app.js", "app()", "text/javascript; charset=utf-8", "no-cache"),
        (
            "/app.3f9c2a1b.js",
            "hashed()",
            "text/javascript; charset=utf-8",
            "public, max-age=31536000, immutable",
        ),
        ("/docs/", "docs", "text/html; charset=utf-8", "no-cache"),
        ("/docs/a%20b.txt", "spaced", "text/plain; charset=utf-8", "no-cache"),
        ("/docs/%252e%252e.txt", "literal", "text/plain; charset=utf-8", "no-cache"),
        ("/caf%C3%A9.txt", "utf8", "text/plain; charset=utf-8", "no-cache"),
        ("/nothing.txt", "", "text/plain; charset=utf-8", "no-cache"),
        ("/photo.png", "PNG", "image/png", "no-cache"),
    ] {
        let got = site.get(path, &[]).await;
        assert_eq!(got.status, 200, "{path}");
        assert_eq!(got.body, body.as_bytes(), "{path}");
        assert_eq!(got.header("content-type"), content_type, "{path}");
        assert_eq!(got.header("cache-control"), cache, "{path}");
        assert_eq!(got.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(got.header("accept-ranges"), "bytes", "{path}");
        assert!(
            got.header("etag").starts_with('"') && got.header("last-modified").ends_with("GMT"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn hostile_paths_reveal_nothing() {
    let site = Site::new();
    let rejected = [
        "/../secret.txt",
        "/docs/../../secret.txt",
        "/..%2fsecret.txt",
        "/..%2Fsecret.txt",
        "/%2e%2e/secret.txt",
        "/%2e%2e%2fsecret.txt",
        "/.%2e/secret.txt",
        "/..%5csecret.txt",
        "/..\\secret.txt",
        "/docs/..",
        "/ten.txt%00",
        "/ten.txt%00.html",
        "/%",
        "/./ten.txt",
    ];
    let missing = [
        "//secret.txt",
        "//etc/passwd",
        "/docs//index.html",
        "/%252e%252e/secret.txt",
        "/..%252fsecret.txt",
        "/outside.txt",
        "/absolute.txt",
        "/magic.txt",
        "/parent/secret.txt",
        "/parent/site/ten.txt",
        "/parent/site-of-another/",
        "/loop",
        "/dangling",
        "/fifo",
        "/config.txt",
        "/history/config",
        "/.env",
        "/%2eenv",
        "/.git/config",
        "/.well-known/x",
        "/manifest.yaml",
        "/sub/manifest.yml",
        "/package.json",
        "/node_modules/x/index.js",
        "/empty/",
        "/empty",
        "/missing",
        "/ten.txt/",
        "/ten.txt/x",
        "/ten.txt%20",
    ];
    let long = format!("/{}", "a".repeat(5000));
    for (paths, status) in [(&rejected[..], 400), (&missing[..], 404), (&[long.as_str()][..], 404)] {
        for path in paths {
            let got = site.get(path, &[]).await;
            assert_eq!(got.status, status, "{path}");
            assert!(!String::from_utf8_lossy(&got.body).contains("SECRET"), "{path}");
        }
    }
}

#[tokio::test]
async fn links_that_stay_inside_are_followed() {
    let site = Site::new();
    for (path, body) in
        [("/inside.txt", "0123456789"), ("/docs/up-inside.txt", "0123456789"), ("/linked/", "docs")]
    {
        let got = site.get(path, &[]).await;
        assert_eq!((got.status.as_u16(), got.body), (200, body.into()), "{path}");
    }
}

#[tokio::test]
async fn a_directory_replaced_by_rename_is_not_mixed_with_the_new_one() {
    let site = Site::new();
    fs::rename(site.path(""), site.directory.path().join("old")).unwrap();
    write(&site.path("ten.txt"), "new");
    assert_eq!(site.get("/ten.txt", &[]).await.body, b"0123456789");
}

#[tokio::test]
async fn a_directory_without_its_slash_redirects_below_the_mount() {
    let site = Site::new();
    for (path, location) in
        [("/docs", "/shop/docs/"), ("/docs?a=1&b=%2F", "/shop/docs/?a=1&b=%2F"), ("/linked", "/shop/linked/")]
    {
        let got = site.get(path, &[]).await;
        assert_eq!((got.status.as_u16(), got.header("location")), (308, location), "{path}");
    }
}

#[tokio::test]
async fn only_navigations_fall_back_to_the_index() {
    let site = Site::new();
    type Case = (&'static str, &'static [(&'static str, &'static str)], u16);
    let table: &[Case] = &[
        ("/cart/1", &[NAVIGATION], 200),
        ("/cart/", &[NAVIGATION], 200),
        ("/empty", &[NAVIGATION], 200),
        ("/cart", &[("sec-fetch-mode", "navigate")], 200),
        ("/cart", &[NAVIGATION, ("sec-fetch-mode", "cors")], 404),
        ("/cart", &[("accept", "*/*")], 404),
        ("/cart", &[], 404),
        ("/missing.js", &[NAVIGATION], 404),
        ("/v1.2/x.map", &[NAVIGATION], 404),
        ("/.env", &[NAVIGATION], 404),
        ("/node_modules", &[NAVIGATION], 404),
        ("/outside.txt", &[NAVIGATION], 404),
        ("//evil", &[NAVIGATION], 404),
        ("/../cart", &[NAVIGATION], 400),
    ];
    for (path, headers, status) in table {
        let got = site.get(path, headers).await;
        assert_eq!(got.status, *status, "{path} {headers:?}");
        if *status == 200 {
            assert_eq!(got.body, b"<title>home</title>", "{path}");
            assert_eq!(got.header("content-type"), "text/html; charset=utf-8");
        }
    }
}

#[tokio::test]
async fn other_methods_are_told_what_is_allowed() {
    let site = Site::new();
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::TRACE] {
        let got = site.ask(method, "/app.js", &[], false).await;
        assert_eq!((got.status.as_u16(), got.header("allow")), (405, "GET, HEAD"));
    }
}

#[tokio::test]
async fn head_has_the_headers_of_get_and_no_body() {
    let site = Site::new();
    for (path, length) in [("/ten.txt", "10"), ("/big.bin", "300000"), ("/nothing.txt", "0")] {
        let get = site.get(path, &[]).await;
        let mut head = site.ask(Method::HEAD, path, &[("range", "bytes=0-1")], false).await;
        assert_eq!(head.status, 200, "{path}");
        assert!(head.body.is_empty());
        assert_eq!(head.headers.remove("content-length").unwrap(), length);
        assert_eq!(head.headers, get.headers);
    }
}

#[tokio::test]
async fn the_precompressed_sibling_that_the_client_likes_best_is_sent() {
    let site = Site::new();
    for (accept, coding, body) in [
        ("gzip, deflate, br, zstd", "br", "BR"),
        ("gzip, zstd", "zstd", "ZST"),
        ("gzip", "gzip", "GZ"),
        ("gzip;q=1.0, br;q=0.5", "gzip", "GZ"),
        ("*", "br", "BR"),
        ("*;q=0.5, br;q=0", "zstd", "ZST"),
        ("br;q=0, gzip;q=0", "", "app()"),
        ("identity", "", "app()"),
        ("", "", "app()"),
    ] {
        let got = site.get("/app.js", &[("accept-encoding", accept)]).await;
        assert_eq!(
            (got.header("content-encoding"), got.body.as_slice()),
            (coding, body.as_bytes()),
            "{accept}"
        );
        assert_eq!(got.header("vary"), "accept-encoding");
        assert_eq!(got.header("content-type"), "text/javascript; charset=utf-8");
    }
    let all = [("accept-encoding", "gzip, br, zstd")];
    assert_eq!(site.get("/style.css", &all).await.header("content-encoding"), "gzip");
    let photo = site.get("/photo.png", &all).await;
    assert_eq!(
        (photo.header("content-encoding"), photo.header("vary")),
        ("", ""),
        "images are compressed already"
    );
}

#[tokio::test]
async fn each_coding_has_its_own_entity_tag_and_is_revalidated_by_it() {
    let site = Site::new();
    let mut tags = std::collections::HashSet::new();
    for coding in ["br", "zstd", "gzip", "identity"] {
        let got = site.get("/app.js", &[("accept-encoding", coding)]).await;
        let tag = got.header("etag").to_owned();
        let again = site.get("/app.js", &[("accept-encoding", coding), ("if-none-match", &tag)]).await;
        assert_eq!((again.status.as_u16(), again.body.len()), (304, 0));
        assert_eq!(again.header("etag"), tag);
        assert_eq!(again.header("vary"), "accept-encoding");
        assert_eq!(again.header("cache-control"), "no-cache");
        tags.insert(tag);
    }
    assert_eq!(tags.len(), 4);
}

#[tokio::test]
async fn html_that_will_be_rewritten_is_sent_plain_and_whole() {
    let site = Site::new();
    let headers = [("accept-encoding", "gzip"), ("range", "bytes=0-1")];
    let rewritten = site.ask(Method::GET, "/page.html", &headers, true).await;
    assert_eq!((rewritten.status.as_u16(), rewritten.body.as_slice()), (200, &b"page"[..]));
    assert_eq!(rewritten.header("accept-ranges"), "");
    let untouched = site.ask(Method::GET, "/style.css", &headers, true).await;
    assert_eq!((untouched.status.as_u16(), untouched.header("content-encoding")), (206, "gzip"));
}

#[tokio::test]
async fn ranges_are_answered_with_their_part() {
    let site = Site::new();
    for (path, range, status, content_range, body) in [
        ("/ten.txt", "bytes=2-4", 206, "bytes 2-4/10", "234"),
        ("/ten.txt", "bytes=7-", 206, "bytes 7-9/10", "789"),
        ("/ten.txt", "bytes=-2", 206, "bytes 8-9/10", "89"),
        ("/ten.txt", "bytes=0-0,5-6", 200, "", "0123456789"),
        ("/ten.txt", "lines=1-2", 200, "", "0123456789"),
    ] {
        let got = site.get(path, &[("range", range)]).await;
        assert_eq!(got.status, status, "{range}");
        assert_eq!(got.header("content-range"), content_range, "{range}");
        assert_eq!(got.body, body.as_bytes(), "{range}");
    }
    let got = site.get("/ten.txt", &[("range", "bytes=10-")]).await;
    assert_eq!((got.status.as_u16(), got.header("content-range")), (416, "bytes */10"));

    let got = site.get("/big.bin", &[("range", "bytes=1000-280999")]).await;
    assert_eq!((got.status.as_u16(), got.body.len()), (206, 280_000));
    assert!(got.body.iter().enumerate().all(|(i, b)| *b == ((i + 1000) % 251) as u8));
}

#[tokio::test]
async fn conditions_come_before_ranges() {
    let site = Site::new();
    let tag = site.get("/ten.txt", &[]).await.header("etag").to_owned();
    let range = ("range", "bytes=0-1");
    for (condition, status) in [
        (("if-match", tag.as_str()), 206),
        (("if-match", "\"other\""), 412),
        (("if-none-match", tag.as_str()), 304),
        (("if-none-match", "\"other\""), 206),
        (("if-range", tag.as_str()), 206),
        (("if-range", "\"other\""), 200),
        (("if-unmodified-since", "Sun, 06 Nov 1994 08:49:37 GMT"), 412),
        (("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT"), 206),
    ] {
        assert_eq!(site.get("/ten.txt", &[range, condition]).await.status, status, "{condition:?}");
    }
}

#[tokio::test]
async fn a_changed_file_has_another_entity_tag() {
    let site = Site::new();
    let before = site.get("/ten.txt", &[]).await.header("etag").to_owned();
    write(&site.path("next"), "9876543210");
    fs::rename(site.path("next"), site.path("ten.txt")).unwrap();
    let after = site.get("/ten.txt", &[("if-none-match", &before)]).await;
    assert_eq!((after.status.as_u16(), after.body.as_slice()), (200, &b"9876543210"[..]));
}

#[tokio::test]
async fn a_big_file_arrives_whole() {
    let site = Site::new();
    let got = site.get("/big.bin", &[]).await;
    assert_eq!(got.body, fs::read(site.path("big.bin")).unwrap());
}
