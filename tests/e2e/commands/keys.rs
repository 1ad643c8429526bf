//! Keys and contexts: from the admin socket to the network.

use super::{Person, row};
use crate::harness::Apps;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

#[tokio::test]
async fn a_key_is_made_used_from_a_context_and_revoked() {
    let server = Apps::new().file("shop@1.0.0/index.html", "hello").lean().start().await;
    let admin = Person::beside(&server);
    let made = admin.types("keys create ci --role viewer --expires 30d").await;
    let secret = made.ok().trim().to_owned();
    assert!(secret.starts_with("btk_") && !made.stderr.contains(&secret), "{}", made.stderr);
    let id = made.stderr.split_whitespace().find(|word| word.starts_with("key_")).unwrap().to_owned();

    let far = Person::somewhere();
    let url = format!("http://{}", server.address);
    let mut add =
        far.command(&["context", "add", "prod", "--url", &url]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = add.stdin.take().unwrap().into_owned_fd().map(std::fs::File::from).unwrap();
    writeln!(stdin, "{secret}").unwrap();
    drop(stdin);
    assert!(add.wait().await.unwrap().success());
    let file = far.path(".config/buntime/contexts.yaml");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let list = far.runs(&["context", "list"]).await;
    assert_eq!(row(list.ok(), "prod"), ["*", "prod", &url, "btk_********"]);

    assert_eq!(row(far.types("apps").await.ok(), "shop")[..2], ["shop", "1.0.0"]);
    let denied = far.types("rm shop --yes").await;
    assert!(denied.failed(4).contains("`apps:remove`"), "{}", denied.stderr);
    assert_eq!(row(admin.types("keys list").await.ok(), "ci")[..3], [&*id, "ci", "viewer"]);
    assert!(admin.types("keys list --json").await.json()["keys"][0]["lastUsed"].is_string());

    let revoked = admin.types(&format!("keys revoke {id}")).await;
    revoked.ok();
    assert_eq!(revoked.stderr, format!("revoked {id}\n"));
    far.types("apps").await.failed(4);
    assert!(
        admin
            .types(&format!("keys revoke {}", "key_0000000000000000"))
            .await
            .failed(5)
            .starts_with("error: ")
    );

    let none = far.types("apps --context none").await;
    assert!(none.failed(5).contains("hint: there are prod"), "{}", none.stderr);
    far.runs(&["context", "rm", "prod"]).await.ok();
    assert!(!std::fs::read_to_string(&file).unwrap().contains("btk_"));
}

#[tokio::test]
async fn a_key_on_the_command_line_works_and_is_warned_of() {
    let server = Apps::new().lean().env("RUNTIME_API_PREFIX", "/_ops").start().await;
    let admin = Person::beside(&server);
    let secret = admin.types("keys create ci --role viewer").await.ok().trim().to_owned();
    let url = format!("http://{}", server.address);
    let far = Person::somewhere();
    let used = far.runs(&["apps", "--url", &url, "--key", &secret, "--api-prefix", "/_ops"]).await;
    used.ok();
    assert!(used.stderr.starts_with("warning: others can read a key on the command line"), "{}", used.stderr);
    // Without the prefix the address is that of an app.
    let wrong = far.with("BUNTIME_KEY", &secret).runs(&["apps", "--url", &url]).await;
    assert_ne!(wrong.code, 0);
    assert!(!wrong.stderr.contains(&secret), "{}", wrong.stderr);
}
