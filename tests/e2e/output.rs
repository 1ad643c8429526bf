//! What an app prints is in the log, and never in the way.

use super::harness::Apps;
use super::probe::peak_memory;
use serde_json::{Value, json};

#[tokio::test]
async fn what_an_app_prints_is_in_the_log_with_app_version_worker_and_request() {
    let app = "console.log('loading');
        export default {
            fetch() {
                console.log('to\\tstdout', { n: 1 });
                console.error('to stderr: ä €');
                process.stdout.write('in two ');
                process.stdout.write('pieces\\r\\nand no end');
                return new Response(process.env.WORKER_ID);
            },
            onTerminate() {
                console.log('', 'goodbye');
            },
        };";
    let server = Apps::new()
        .file("talker@1.2.3/index.ts", app)
        .file("talker@1.2.3/manifest.yaml", "ttl: 300ms\ntimeout: 300ms\nidleTimeout: 300ms")
        .serve()
        .await;
    let answer = server.get("/talker/").await;
    let worker = answer.text();
    // Output that came after the head of the answer may be that of the next request.
    for (line, stream) in [
        ("loading", "stdout"),
        ("to\tstdout {", "stdout"),
        ("to stderr: ä €", "stderr"),
        ("in two pieces", "stdout"),
    ] {
        let event = server.said("talker", line).await;
        assert_eq!(
            (&event["version"], &event["worker"], &event["stream"]),
            (&json!("1.2.3"), &json!(worker), &json!(stream)),
            "{event}"
        );
    }
    assert_eq!(server.said("talker", "in two pieces").await["message"], "in two pieces");
    server.said("talker", "and no end goodbye").await;
}

#[tokio::test]
async fn a_flood_of_output_holds_nobody_up_and_does_not_pile_up() {
    let app = "export default {
            fetch(request) {
                const line = 'x'.repeat(99) + '\\n';
                if (new URL(request.url).pathname === '/lines') {
                    for (let n = 0; n < 300; n++) process.stdout.write(line.repeat(1000));
                    process.stderr.write(line.repeat(10_000));
                } else {
                    for (let n = 0; n < 300; n++) process.stdout.write('y'.repeat(100_000));
                }
                return new Response('done');
            },
        };";
    let server = Apps::new()
        .file("flood/index.ts", app)
        .file("other/index.ts", "export default { fetch: () => new Response('other') };")
        .serve()
        .await;
    assert_eq!(server.get("/other/").await.text(), "other");
    let before = peak_memory(server.pid);
    for path in ["/flood/lines", "/flood/endless"] {
        let (flood, other) = tokio::join!(server.get(path), server.get("/other/"));
        assert_eq!((flood.text(), other.text()), ("done", "other"));
    }
    let is_dropped =
        |line: &Value| line["message"].as_str().is_some_and(|text| text.starts_with("output was dropped"));
    server.logged(|line| line["app"] == "flood" && is_dropped(line)).await;
    let logged = server.times_said("flood", "x");
    assert!((1000..20_000).contains(&logged), "{logged} of 310000 lines were logged");
    let growth = peak_memory(server.pid).saturating_sub(before);
    assert!(growth < 32 << 20, "the supervisor grew by {growth} bytes");
}

#[tokio::test]
async fn a_line_of_one_megabyte_is_cut_at_64_kib_and_the_next_one_is_whole() {
    let app = "console.log('z'.repeat(1 << 20));
        console.log('next');
        export default { fetch: () => new Response('ok') };";
    let server = Apps::new().file("long/index.ts", app).serve().await;
    assert_eq!(server.get("/long/").await.text(), "ok");
    server.said("long", "next").await;
    let is_long = |line: &Value| {
        line["app"] == "long" && line["message"].as_str().is_some_and(|text| text.starts_with("zz"))
    };
    let lengths: Vec<usize> =
        server.log(is_long).iter().map(|line| line["message"].as_str().unwrap().len()).collect();
    assert_eq!(lengths, [64 * 1024]);
}
