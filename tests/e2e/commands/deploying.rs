//! Deployments that go well, that do not, and that are refused.

use super::{Person, replace};
use crate::harness::Apps;

#[tokio::test]
async fn a_version_that_does_not_start_is_told_as_a_journey_and_the_old_one_serves_on() {
    let server = Apps::new().lean().start().await;
    let me = Person::beside(&server);
    me.begins("http", "my-app", "1.0.0").await;
    me.types("deploy my-app").await.ok();

    replace(&me.path("my-app/package.json"), "1.0.0", "2.0.0");
    let broken = "console.error('looking for the table'); throw new Error('no such table');";
    std::fs::write(me.path("my-app/index.ts"), broken).unwrap();
    let failed = me.types("deploy my-app").await;
    let said = failed.failed(7);
    assert_eq!(failed.stdout, "");
    for piece in ["error: ", "no such table", "\n  spawn ", "\n  connect ", "\n  import ", "  failed\n"] {
        assert!(said.contains(piece), "no {piece:?} in:\n{said}");
    }
    assert_eq!(server.get("/my-app/").await.text(), "Hello from my-app\n");

    let ends = "console.error('looking for the table'); process.exit(3);";
    std::fs::write(me.path("my-app/index.ts"), ends).unwrap();
    let ended = me.types("deploy my-app").await;
    assert!(ended.failed(7).contains("last output:\n  looking for the table\n"), "{}", ended.stderr);

    let json = me.types("deploy my-app --json").await;
    let problem: serde_json::Value = serde_json::from_str(json.failed(7)).unwrap();
    assert_eq!(problem["start"]["steps"][2]["name"], "import");
}

#[tokio::test]
async fn a_version_that_is_there_is_a_conflict_unless_it_is_to_be_replaced() {
    let server = Apps::new().lean().start().await;
    let me = Person::beside(&server);
    me.begins("static", "site", "1.0.0").await;
    me.types("deploy site").await.ok();
    let conflict = me.types("deploy site").await;
    assert!(
        conflict.failed(6).ends_with("hint: deploy it as another version, or say --replace\n"),
        "{}",
        conflict.stderr
    );
    replace(&me.path("site/index.html"), "without any process", "again");
    let replaced = me.types("deploy site --replace").await;
    replaced.ok();
    assert!(replaced.stderr.starts_with("replaced site@1.0.0 ("), "{}", replaced.stderr);
    assert!(server.get("/site/").await.text().contains("again"));
}

#[tokio::test]
async fn an_archive_is_deployed_as_it_is_and_flags_win_over_what_it_says() {
    let server = Apps::new().lean().start().await;
    let me = Person::beside(&server);
    me.begins("http", "my-app", "1.0.0").await;
    let packed = me.runs(&["pack", "my-app"]).await;
    assert_eq!(packed.ok(), "my-app-1.0.0.tar.zst\n");
    me.runs(&["pack", "my-app", "-o", "app.tgz"]).await.ok();

    let first = me.types("deploy my-app-1.0.0.tar.zst --name @team/other --version 3.0.0 --no-alias").await;
    first.ok();
    assert!(!first.stderr.contains("is now"), "{}", first.stderr);
    assert_eq!(me.types("alias @team/other").await.ok(), "");
    assert_eq!(server.get("/@team/other@3.0.0/").await.text(), "Hello from my-app\n");
    me.types("deploy app.tgz --alias beta").await.ok();
    assert_eq!(server.get("/my-app@beta/").await.status(), 200);
}

#[tokio::test]
async fn without_a_version_nothing_is_made_up() {
    let server = Apps::new().lean().start().await;
    let me = Person::beside(&server);
    me.begins("http", "my-app", "1.0.0").await;
    replace(&me.path("my-app/package.json"), "  \"version\": \"1.0.0\",\n", "");
    let refused = me.types("deploy my-app").await;
    let hint = "hint: say which with --version, or put `version` in package.json or manifest.yaml\n";
    assert!(refused.failed(1).ends_with(hint), "{}", refused.stderr);
    me.types("deploy my-app --version 1.0.0").await.ok();
}

#[tokio::test]
async fn a_large_package_is_streamed_and_a_refusal_in_the_middle_is_its_message() {
    let server = Apps::new().lean().start().await;
    let me = Person::beside(&server);
    me.begins("http", "my-app", "1.0.0").await;
    std::fs::write(me.path("my-app/noise.bin"), noise(20_000_000)).unwrap();
    me.types("deploy my-app").await.ok();

    // Refused before the body was read.
    let url = format!("http://{}", server.address);
    let stranger = me.with("BUNTIME_KEY", "btk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    let refused = stranger.runs(&["deploy", "my-app", "--version", "2.0.0", "--url", &url]).await;
    assert!(refused.failed(4).starts_with("error: The key is not known here."), "{}", refused.stderr);
}

/// Bytes that cannot be packed any smaller (xorshift).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    next.flatten().take(length).collect()
}
