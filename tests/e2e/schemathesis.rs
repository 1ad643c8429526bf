//! The management API keeps to its own description, whatever is asked: by Schemathesis, which makes requests from
//! `openapi.json`, sound ones and others.

use super::harness::{Apps, tool};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::Command;

/// It only bounds a failure: some 20 s are usual.
const PATIENCE: Duration = Duration::from_secs(150);
const KEY: &str = "0123456789abcdef0123456789abcdef";
const HELLO: &str = "export default { fetch: () => new Response('hello') };";

#[tokio::test]
async fn the_api_is_what_its_document_says() {
    let Some(schemathesis) = tool("schemathesis", "schemathesis is missing; scripts/ci-tools installs it")
    else {
        return;
    };
    let server = Apps::new()
        .with("answers")
        .file("hello@1.0.0/index.ts", HELLO)
        .file("hello@2.0.0/index.ts", HELLO)
        .file("@team/shop/index.ts", HELLO)
        .lean()
        .env("RUNTIME_ROOT_KEY", KEY)
        .start()
        .await;
    let dir = TempDir::new().unwrap();
    let run = Command::new(schemathesis)
        .args(["--no-color", "--config-file"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemathesis.toml"))
        .args(["run", &format!("http://{}/api/openapi.json", server.address)])
        .current_dir(dir.path())
        .env("RUNTIME_ROOT_KEY", KEY)
        .env("NO_PROXY", "127.0.0.1")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let run = tokio::time::timeout(PATIENCE, run).await.expect("schemathesis did not end").unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}\n{}", String::from_utf8_lossy(&run.stderr));
    assert!(
        said.contains("✅ Stateful") && said.contains("✅ Fuzzing") && said.contains("✅ Coverage"),
        "{said}"
    );
    let faults = server.log(|line| line["level"] == "ERROR");
    assert!(faults.is_empty(), "{faults:#?}");
    assert_eq!(server.get("/api/health/ready").await.status(), 200);
}
