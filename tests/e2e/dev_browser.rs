//! `buntime dev` as an open page sees it, in a real browser.

use super::browser::Browser;
use super::dev::edit;
use super::harness::{Apps, PATIENCE, Server, tool};
use serde_json::Value;

const CHROMIUM: &str = "chromium is missing; Debian: apt-get install chromium";

/// An app whose page says a word; `headers` is an object of TypeScript.
fn app(word: &str, headers: &str, head: &str) -> String {
    format!(
        "const page = `<!doctype html><html><head>{head}<title>x</title></head><body><h1>{word}</h1></body></html>`;\n\
         const headers = {{ 'content-type': 'text/html; charset=utf-8', ...{headers} }};\n\
         export default {{ fetch: () => new Response(page, {{ headers }}) }};"
    )
}

/// Waits until an expression is true in the page, whichever page that is by then.
async fn comes_true(browser: &mut Browser, expression: &str) {
    let end = tokio::time::Instant::now() + PATIENCE;
    // Where a page is being left there may be nothing to ask.
    while browser.try_evaluate(expression).await != Some(Value::Bool(true)) {
        assert!(tokio::time::Instant::now() < end, "never came true: {expression}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn says(browser: &mut Browser, word: &str) {
    comes_true(browser, &format!("document.querySelector('h1')?.textContent === '{word}'")).await;
}

const OVERLAY: &str = "document.querySelector('buntime-error')?.shadowRoot?.textContent ?? ''";

async fn overlay_says(browser: &mut Browser, word: &str) {
    comes_true(browser, &format!("({OVERLAY}).includes({})", serde_json::json!(word))).await;
}

async fn open(server: &Server) -> Option<Browser> {
    let mut browser = Browser::start(&tool("chromium", CHROMIUM)?).await;
    browser.open(&format!("http://{}/", server.address)).await;
    Some(browser)
}

/// Until the page listens: what is edited before would be told it all the same, but as what it missed.
async fn listens(server: &Server) {
    server.logged(|line| line["path"] == "/.well-known/buntime/dev.js").await;
}

#[tokio::test]
async fn an_open_page_shows_a_syntax_error_over_it_and_goes_on_when_that_is_mended() {
    let server = Apps::new().file("index.ts", app("one", "{}", "")).launch().dev().start().await;
    let Some(mut browser) = open(&server).await else { return };
    says(&mut browser, "one").await;
    edit(&server, "index.ts", &app("two", "{}", ""));
    says(&mut browser, "two").await;
    edit(&server, "index.ts", "export default {{{");
    overlay_says(&mut browser, "index.ts:1:17").await;
    assert_eq!(browser.evaluate("document.querySelector('h1').textContent").await, "two");
    // It is closed by a key, and comes again with another error.
    let escape = "document.dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape', bubbles: true }));";
    browser.evaluate(escape).await;
    assert_eq!(browser.evaluate(OVERLAY).await, "");
    edit(&server, "index.ts", "throw new Error('another <b>one</b>')");
    overlay_says(&mut browser, "another <b>one</b>").await;
    edit(&server, "index.ts", &app("three", "{}", ""));
    says(&mut browser, "three").await;
    assert_eq!(browser.evaluate(OVERLAY).await, "");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn a_page_that_is_opened_on_an_error_recovers_when_that_is_mended() {
    let server = Apps::new().file("index.ts", "export default {{{").launch().dev().start().await;
    let Some(mut browser) = open(&server).await else { return };
    comes_true(&mut browser, "document.body.innerText.includes('index.ts:1:17')").await;
    edit(&server, "index.ts", "throw new Error('still not')");
    comes_true(&mut browser, "document.body.innerText.includes('still not')").await;
    assert_eq!(browser.evaluate(OVERLAY).await, "", "the page says it itself");
    edit(&server, "index.ts", &app("mended", "{}", ""));
    says(&mut browser, "mended").await;
    // So does one on what a request throws.
    edit(&server, "index.ts", "export default { fetch() { throw new Error('in a request') } }");
    comes_true(&mut browser, "document.body.innerText.includes('in a request')").await;
    edit(&server, "index.ts", &app("mended again", "{}", ""));
    says(&mut browser, "mended again").await;
}

#[tokio::test]
async fn a_page_with_a_policy_is_reloaded_and_its_policy_holds() {
    let header = |policy: &str| format!("{{ 'content-security-policy': \"{policy}\" }}");
    let meta = |policy: &str| format!("<meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">");
    for (headers, head) in [
        (header("default-src 'none'"), String::new()),
        (header("default-src 'self'; require-trusted-types-for 'script'"), String::new()),
        (header("default-src 'none'; script-src 'nonce-abc' 'strict-dynamic'"), String::new()),
        (header("script-src 'sha256-AAAA' 'strict-dynamic'; connect-src https://api.example"), String::new()),
        ("{}".to_owned(), meta("default-src 'none'; style-src 'none'")),
        ("{}".to_owned(), meta("default-src 'none'; script-src 'nonce-abc' 'strict-dynamic'")),
    ] {
        let with = |word: &str| app(word, &headers, &head);
        let server = Apps::new().file("index.ts", with("one")).launch().dev().start().await;
        let Some(mut browser) = open(&server).await else { return };
        says(&mut browser, "one").await;
        edit(&server, "index.ts", &with("two"));
        says(&mut browser, "two").await;
        edit(&server, "index.ts", "throw new Error('shown over it')");
        overlay_says(&mut browser, "shown over it").await;
        let wide = "getComputedStyle(document.querySelector('buntime-error')).position === 'fixed'";
        comes_true(&mut browser, wide).await;
        edit(&server, "index.ts", &with("three"));
        says(&mut browser, "three").await;
        assert_eq!(browser.complaints(), Vec::<String>::new(), "{headers} {head}");
    }
}

#[tokio::test]
async fn style_sheets_are_exchanged_in_the_page_and_all_else_loads_it_again() {
    // A path that is no UTF-8 hides no other.
    let page = "<!doctype html><html><head><link rel=stylesheet href=/caf%E9.css><link rel=stylesheet href=/css/a.css></head>\
                <body><h1>one</h1></body></html>";
    let apps = Apps::new().file("index.html", page).file("css/a.css", "h1 { color: rgb(1, 1, 1) }");
    let server = apps.launch().dev().start().await;
    let Some(mut browser) = open(&server).await else { return };
    listens(&server).await;
    let colour =
        |n: u8| format!("getComputedStyle(document.querySelector('h1')).color === 'rgb({n}, {n}, {n})'");
    comes_true(&mut browser, &colour(1)).await;
    browser.evaluate("window.kept = true").await;
    // A frame of the same app, which does not listen itself.
    browser
        .evaluate("document.body.append(Object.assign(document.createElement('iframe'), { src: '/' })); null")
        .await;
    let in_frame = |colour: &str| {
        format!(
            "frames[0].document.querySelector('h1') && {}",
            colour.replace("document.", "frames[0].document.")
        )
    };
    comes_true(&mut browser, &in_frame(&colour(1))).await;
    comes_true(&mut browser, "frames[0].__buntime_dev__ !== undefined").await;
    edit(&server, "css/a.css", "h1 { color: rgb(22, 22, 22) }");
    comes_true(&mut browser, &colour(22)).await;
    comes_true(&mut browser, &in_frame(&colour(22))).await;
    assert_eq!(browser.evaluate("window.kept").await, true);
    comes_true(&mut browser, "document.querySelectorAll('link').length === 2").await;
    edit(&server, "index.html", &page.replace("one", "another"));
    says(&mut browser, "another").await;
    assert_eq!(browser.evaluate("window.kept ?? false").await, false);
}

/// A port that nobody is given while a server that had it is restarted: it is free, and below those that the system hands out.
fn lasting_port() -> u16 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let first: u16 = range.split_ascii_whitespace().next().unwrap().parse().unwrap();
    let some = first / 2 + (std::process::id() % u32::from(first / 4)) as u16;
    let is_free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    (some..first).find(is_free).unwrap()
}

/// Each frame listened for itself, and the browser had no connection left; a sandboxed one asked for ever and was never heard.
#[tokio::test]
async fn frames_do_not_listen_where_the_page_around_them_does_or_where_they_may_not() {
    let frame = "<!doctype html><script>\
        const Own = EventSource; let asked = 'quiet';\
        window.EventSource = class extends Own { constructor(...of) { super(...of); asked = 'asked' } };\
        const look = setInterval(() => { if (!window.__buntime_dev__) return;\
          parent.postMessage(asked, '*'); clearInterval(look) }, 10)</script><h1>frame</h1>";
    let frames = "<iframe src=/frame.html></iframe>".repeat(7);
    let page = format!(
        "<!doctype html><script>heard = []; onmessage = ({{ data }}) => heard.push(data)</script><h1>one</h1>\
         {frames}<iframe sandbox=allow-scripts src=/frame.html></iframe>"
    );
    let apps = Apps::new().file("index.html", &page).file("frame.html", frame);
    let server = apps.launch().dev().start().await;
    let Some(mut browser) = open(&server).await else { return };
    comes_true(&mut browser, "window.heard?.length === 8").await;
    assert_eq!(browser.evaluate("[...new Set(heard)].join()").await, "quiet");
    edit(&server, "index.html", &page.replace("one", "two"));
    says(&mut browser, "two").await;
}

#[tokio::test]
async fn a_page_comes_back_after_the_server_was_restarted() {
    let port = lasting_port().to_string();
    let launch = Apps::new().file("index.ts", app("one", "{}", "")).launch();
    let server = launch.env("PORT", &port).dev().start().await;
    let Some(mut browser) = open(&server).await else { return };
    listens(&server).await;
    edit(&server, "index.ts", &app("one", "{}", ""));
    let stopped = server.stop().await;
    let again = stopped.env("PORT", port).dev();
    let file = again.apps_path().join("index.ts");
    std::fs::write(file, app("two", "{}", "")).unwrap();
    let _server = again.start().await;
    says(&mut browser, "two").await;
}

#[tokio::test]
async fn a_plugin_that_fails_is_shown_over_the_page() {
    let plugins = super::plugins::Plugins::new();
    let write = |file: &str, text: &str| {
        plugins.write(&format!("word/{file}"), text);
    };
    write("manifest.yaml", "name: word\nversion: 1.0.0\nbase: /word\n");
    write("plugin.ts", "export default { routes: { '/': () => new Response('x') } };");
    let apps = Apps::new().file("index.ts", app("one", "{}", ""));
    let server = apps.launch().plugins(plugins.path()).dev().start().await;
    let Some(mut browser) = open(&server).await else { return };
    listens(&server).await;
    write("plugin.ts", "throw new Error('not with me')");
    overlay_says(&mut browser, "not with me").await;
    write("plugin.ts", "export default { routes: { '/': () => new Response('x') } };");
    comes_true(&mut browser, &format!("({OVERLAY}) === ''")).await;
    says(&mut browser, "one").await;
}
