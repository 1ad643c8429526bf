//! From nothing to an app with versions, and back.

use super::{Person, replace, row};
use crate::harness::{Apps, eventually};

#[tokio::test]
async fn an_app_is_begun_deployed_looked_at_rolled_back_and_deleted() {
    let server = Apps::new().lean().start().await;
    let me = Person::beside(&server);
    assert_eq!(me.types("apps").await.ok(), "");

    me.begins("http", "my-app", "1.0.0").await;
    let deployed = me.types("deploy my-app").await;
    assert_eq!(deployed.ok(), format!("http://{}/my-app/\n", server.address));
    let lines: Vec<_> = deployed.stderr.lines().collect();
    assert!(lines[0].starts_with("deployed my-app@1.0.0 (3 files, "), "{lines:?}");
    let steps: Vec<_> = lines[1..4].iter().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!((steps, lines[4]), (vec!["spawn", "connect", "import"], "latest is now 1.0.0"));
    assert!(!deployed.stderr.contains('\u{1b}'), "no colour, no progress: {}", deployed.stderr);
    assert_eq!(server.get("/my-app/").await.text(), "Hello from my-app\n");

    let workers = me.types("ps").await;
    assert_eq!(row(workers.ok(), "my-app")[2..4], ["1.0.0", "active"]);
    assert_eq!(
        row(me.types("apps").await.ok(), "my-app"),
        ["my-app", "1.0.0", "1", "1", "latest=1.0.0", "/my-app/"]
    );

    replace(&me.path("my-app/package.json"), "1.0.0", "2.0.0");
    replace(&me.path("my-app/index.ts"), "Hello", "Good day");
    let second = me.types("deploy my-app").await;
    second.ok();
    assert!(second.stderr.contains("latest is now 2.0.0 (before: 1.0.0)"), "{}", second.stderr);
    assert_eq!(server.get("/my-app/").await.text(), "Good day from my-app\n");
    assert_eq!(
        row(me.types("versions my-app").await.ok(), "2.0.0")[1..],
        ["worker", "enabled", "1", "latest", "-"]
    );

    let back = me.types("rollback my-app").await;
    back.ok();
    assert_eq!(back.stderr, "my-app latest is now 1.0.0 (before: 2.0.0)\n");
    assert_eq!(server.get("/my-app/").await.text(), "Hello from my-app\n");
    me.types("rollback my-app --to 2.0.0").await.ok();
    assert_eq!(server.get("/my-app/").await.text(), "Good day from my-app\n");

    me.types("alias my-app latest 1.0.0=95 2.0.0=5 --sticky address").await.ok();
    assert_eq!(
        row(me.types("alias my-app").await.ok(), "latest"),
        ["latest", "1.0.0 95%, 2.0.0 5%", "address", "2.0.0"]
    );
    me.types("alias my-app beta 2.0.0").await.ok();
    assert_eq!(server.get("/my-app@beta/").await.text(), "Good day from my-app\n");
    me.types("alias my-app beta --rm").await.ok();
    assert_eq!(server.get("/my-app@beta/").await.status(), 404);

    me.types("alias my-app latest 1.0.0").await.ok();
    me.types("disable my-app@2.0.0").await.ok();
    assert_eq!(server.get("/my-app@2.0.0/").await.status(), 404);
    me.types("enable my-app@2.0.0").await.ok();
    assert_eq!(server.get("/my-app@2.0.0/").await.status(), 200);

    let before = me.types("ps --json").await.json();
    let of = |list: &serde_json::Value| {
        let workers = list["workers"].as_array().unwrap().iter();
        let ids = workers.filter(|worker| worker["version"] == "2.0.0" && worker["draining"] == false);
        ids.map(|worker| worker["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let [old] = of(&before).try_into().unwrap();
    let restarted = me.types("restart my-app@2.0.0").await;
    restarted.ok();
    assert_eq!(restarted.stderr, "restarted my-app@2.0.0: 1 worker\n");
    let fresh = loop {
        let now = of(&me.types("ps --json").await.json());
        if let Some(fresh) = now.iter().find(|id| **id != old) {
            break fresh.clone();
        }
    };
    me.types(&format!("restart --worker {fresh}")).await.ok();

    assert!(me.types("rm my-app@2.0.0").await.failed(2).contains("hint: say it with --yes"));
    me.types("rm my-app@2.0.0 --yes").await.ok();
    let gone = me.types("rm my-app --yes").await;
    gone.ok();
    assert_eq!(gone.stderr, "deleted my-app with its versions 1.0.0\n");
    assert_eq!(server.get("/my-app/").await.status(), 404);
    assert!(me.types("versions my-app").await.failed(5).starts_with("error: There is no app my-app."));
    eventually("the files are gone", || {
        std::fs::read_dir(server.apps().path())
            .unwrap()
            .flatten()
            .all(|entry| !entry.file_name().to_str().unwrap().starts_with("my-app"))
    })
    .await;
}

#[tokio::test]
async fn what_is_printed_for_programs_is_the_json_of_the_api() {
    let server = Apps::new().file("shop@1.0.0/index.html", "hello").lean().start().await;
    let me = Person::beside(&server);
    let apps = me.types("apps --json").await.json();
    assert_eq!(apps["apps"][0]["name"], "shop");
    assert_eq!(apps["apps"][0]["versions"][0]["kind"], "static");
    assert_eq!(me.types("versions shop --json").await.json()["versions"][0]["version"], "1.0.0");

    let missing = me.types("versions none --json").await;
    let problem: serde_json::Value = serde_json::from_str(missing.failed(5)).unwrap();
    assert_eq!((problem["code"].as_str(), problem["status"].as_u64()), (Some("app_unknown"), Some(404)));
    assert_eq!(missing.stdout, "");

    let lost = Person::somewhere();
    let unreachable = lost.types("apps --json --admin-socket none.sock").await;
    let problem: serde_json::Value = serde_json::from_str(unreachable.failed(3)).unwrap();
    assert_eq!(problem["code"], "unreachable");
    let text = lost.types("apps --url http://127.0.0.1:9").await;
    assert!(
        text.failed(3).contains("hint: look whether it runs there; `buntime run` starts one"),
        "{}",
        text.stderr
    );
}

#[tokio::test]
async fn doctor_knows_the_runtime_that_runs_and_a_failure_is_its_exit_code() {
    let server = Apps::new().lean().start().await;
    let me = Person::beside(&server).with("RUNTIME_BUN", crate::harness::bun().to_str().unwrap());
    let apps = server.apps().path().to_str().unwrap();
    let port = server.address.port();
    let doctor = me.types(&format!("doctor --worker-dirs {apps} --port {port} --json")).await;
    let checks = doctor.json()["checks"].as_array().unwrap().clone();
    let of = |name: &str| checks.iter().find(|check| check["name"] == name).unwrap().clone();
    for name in
        ["configuration", "bun", "worker directories", "state directory", "listener", "admin socket", "pidfd"]
    {
        assert_eq!(of(name)["state"], "ok", "{}", of(name));
    }
    for name in [
        "state file system",
        "disk space",
        "descriptors",
        "processes",
        "file watches",
        "backlog",
        "landlock",
        "close_range",
        "user namespaces",
        "descendants",
        "seccomp",
        "cgroup v2",
    ] {
        assert_ne!(of(name)["detail"], "", "{name}");
    }
    let is_root = nix::unistd::geteuid().is_root();
    assert_eq!(checks.iter().any(|check| check["name"] == "capabilities"), is_root);
    let unexplained: Vec<_> = checks.iter().filter(|check| check["why"] == "").collect();
    assert!(unexplained.is_empty(), "{unexplained:?}");
    assert!(of("listener")["detail"].as_str().unwrap().ends_with("is that of the runtime that runs"));

    let failed = me.runs(&["doctor", "--bun", "/bin/true", "--host", "unix:/nowhere/at/all.sock"]).await;
    assert!(failed.failed(1).starts_with("error: "), "{}", failed.stderr);
    assert!(failed.stdout.contains("\nfail  bun "), "{}", failed.stdout);
}
