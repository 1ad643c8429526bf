//! A disk that is full, or cannot be written any more: what is loaded is served, what would have to be kept is refused as a whole and
//! in words, and all is well again when there is room.

use super::api::{says, snapshot, source};
use super::harness::{Answer, Apps, Client, Launch, PATIENCE, Server, eventually, tool};
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tokio::net::UnixStream;

/// Both directories are small and in memory.
const SMALL: &str = "
    mkdir {state}/copy; cp -a {apps}/. {state}/copy/
    mount -t tmpfs -o size=8m,mode=755 none {apps}
    cp -a {state}/copy/. {apps}/
    mount -t tmpfs -o size=8m,mode=755 none {state}";

/// Whether this machine lets tests mount something.
fn may_mount(script: &str) -> bool {
    let try_it = format!("set -e\n{script}");
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &try_it]).stdout(Stdio::null()).stderr(Stdio::null());
    let may = command.status().is_ok_and(|status| status.success());
    if !may {
        let missing = "full disks: mounting is not allowed here; run the tests as root";
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{missing}");
        eprintln!("SKIPPED: {missing}");
    }
    may
}

fn may_mount_tmpfs() -> bool {
    may_mount("mount -t tmpfs none /mnt")
}

/// Takes all the room that there is, until it is dropped.
struct Ballast(PathBuf);

impl Ballast {
    fn fill(server: &Server, dir: &Path) -> Ballast {
        let path = server.inside(dir).join(".ballast");
        let mut file = File::create(&path).unwrap();
        // Smaller and smaller pieces, for whatever is left.
        for size in [1 << 20, 1 << 12, 1] {
            let piece = vec![1; size];
            while file.write_all(&piece).is_ok() {}
        }
        Ballast(path)
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn assert_refused(server: &Server, code: &str) {
    let api = server.api();
    let before = json!([api.get("/apps/shop").await.json(), api.get("/keys").await.json()]);
    let refused = |what: &str, answer: Answer| {
        assert_eq!(answer.problem(), (507, code.to_owned()), "{what}: {answer:?}");
        assert!(!answer.json()["hint"].as_str().unwrap().is_empty(), "{answer:?}");
    };
    refused("an alias", api.alias("shop", "beta", "1.0.0").await);
    refused("a key", api.post("/keys", json!({ "name": "ci", "role": "viewer" })).await);
    refused("an alias that goes", api.delete("/apps/shop/aliases/latest").await);
    let after = json!([api.get("/apps/shop").await.json(), api.get("/keys").await.json()]);
    assert_eq!(before, after);
}

async fn health(server: &Server) -> (u16, Value, Value) {
    let answer = server.get("/api/health").await;
    let said = answer.json();
    (answer.status(), said["status"].clone(), said["checks"]["state"].clone())
}

async fn until_state(server: &Server, state: &str) {
    let asking = async { while health(server).await.2 != state {} };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("the state is never {state}"));
}

fn shop() -> Launch {
    Apps::new()
        .with("probe")
        .file("shop@1.0.0/index.ts", source("one"))
        .file("cold/index.ts", source("cold"))
        .lean()
        .managed()
}

#[tokio::test]
async fn on_a_full_disk_what_is_loaded_is_served_changes_are_refused_whole_and_all_comes_back() {
    if !may_mount_tmpfs() {
        return;
    }
    let server = shop().after_mounting(SMALL).start().await;
    let api = server.api();
    assert_eq!(server.get("/probe/").await.status(), 200);
    assert_eq!(api.alias("shop", "latest", "1.0.0").await.status(), 200);
    let apps = server.inside(server.apps().path());
    let state = Ballast::fill(&server, server.state_dir().parent().unwrap());
    assert_refused(&server, "disk_full").await;
    let before = snapshot(&apps);
    let refused = api.deploy("name=shop&version=2.0.0", says("two")).await;
    assert_eq!(refused.problem(), (507, "disk_full".to_owned()), "{refused:?}");
    assert_eq!(snapshot(&apps), before);
    assert_eq!(server.get("/probe/").await.status(), 200);
    assert_eq!(server.get("/shop/").await.text(), "one");
    assert_eq!(health(&server).await, (200, json!("degraded"), json!("the disk is full")));
    // It starts if what it needs of the disk is there, and is told so if not.
    let cold = server.get("/cold/").await;
    assert!(cold.status() == 200 || cold.problem() == (503, "no_resources".to_owned()), "{cold:?}");
    let line = server
        .logged(|line| {
            line["message"]
                .as_str()
                .unwrap_or_default()
                .starts_with("the disk of the state directory is full")
        })
        .await;
    assert_eq!(line["level"], "ERROR");
    drop(state);
    until_state(&server, "ok").await;
    assert_eq!(api.alias("shop", "beta", "1.0.0").await.status(), 200);
    server.logged(|line| line["message"] == "the state directory can be written again").await;
    assert_eq!(server.get("/cold/").await.text(), "cold");

    // The disk of the apps is another one.
    let full = Ballast::fill(&server, server.apps().path());
    let before = snapshot(&apps);
    let refused = api.deploy("name=shop&version=2.0.0", says("two")).await;
    assert_eq!(refused.problem(), (507, "disk_full".to_owned()), "{refused:?}");
    assert_eq!(snapshot(&apps), before);
    assert_eq!(server.get("/shop/").await.text(), "one");
    drop(full);
    assert_eq!(api.deploy("name=shop&version=2.0.0", says("two")).await.status(), 201);
    assert_eq!(server.get("/shop/").await.text(), "two");
}

#[tokio::test]
async fn without_a_free_file_on_the_disk_it_is_the_same() {
    if !may_mount_tmpfs() {
        return;
    }
    let server = shop().after_mounting("mount -t tmpfs -o nr_inodes=200,mode=755 none {state}").start().await;
    assert_eq!(server.get("/probe/").await.status(), 200);
    let dir = server.inside(server.state_dir().parent().unwrap()).join("many");
    std::fs::create_dir(&dir).unwrap();
    let error = (0..).find_map(|n| File::create(dir.join(n.to_string())).err()).unwrap();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    let cold = server.get("/cold/").await;
    assert_eq!(cold.problem(), (503, "no_resources".to_owned()), "{cold:?}");
    assert_eq!(cold.header("retry-after"), "1");
    assert_eq!(server.get("/probe/").await.status(), 200);
    until_state(&server, "the disk is full").await;
    std::fs::remove_dir_all(&dir).unwrap();
    let asking = async { while server.get("/cold/").await.status() != 200 {} };
    tokio::time::timeout(PATIENCE, asking).await.expect("it never comes back");
    let blamed = server.log(|line| line["message"] == "an app failed to start");
    assert!(blamed.is_empty(), "{blamed:?}");
}

/// An app that a spare was given was started without its data directory, and blamed for what came of it; and as spares could not be
/// replaced, the server said that it was not ready.
#[tokio::test]
async fn without_a_free_file_no_spare_is_given_an_app_without_its_data_directory() {
    if !may_mount_tmpfs() {
        return;
    }
    let launch = shop().env("RUNTIME_SPARE_WORKERS", "2");
    let server = launch.after_mounting("mount -t tmpfs -o nr_inodes=200,mode=755 none {state}").start().await;
    assert_eq!(server.get("/probe/").await.status(), 200);
    let warm = async { while server.api().get("/runtime").await.json()["spares"] != 2 {} };
    tokio::time::timeout(PATIENCE, warm).await.expect("the spares are never there");
    let dir = server.inside(server.state_dir().parent().unwrap()).join("many");
    std::fs::create_dir(&dir).unwrap();
    let error = (0..).find_map(|n| File::create(dir.join(n.to_string())).err()).unwrap();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    let late = "import { statSync } from 'node:fs'; statSync(process.env.APP_DATA_DIR);
        export default { fetch: () => new Response('late') };";
    let apps = server.apps().path();
    std::fs::create_dir(apps.join("late")).unwrap();
    std::fs::write(apps.join("late/index.ts"), late).unwrap();
    let known = async { while server.get("/late/").await.status() == 404 {} };
    tokio::time::timeout(PATIENCE, known).await.expect("it is never found");
    for _ in 0..3 {
        let cold = server.get("/late/").await;
        assert_eq!(cold.problem(), (503, "no_resources".to_owned()), "{cold:?}");
    }
    // Spares are started again, and cannot be.
    server.logged(|line| line["message"] == "the machine has nothing left to start workers with").await;
    assert_eq!(server.get("/probe/").await.status(), 200);
    until_state(&server, "the disk is full").await;
    let answer = server.get("/api/health/ready").await;
    assert_eq!((answer.status(), &answer.json()["status"]), (200, &json!("degraded")), "{answer:?}");
    std::fs::remove_dir_all(&dir).unwrap();
    let asking = async { while server.get("/late/").await.status() != 200 {} };
    tokio::time::timeout(PATIENCE, asking).await.expect("it never comes back");
    let blamed = server.log(|line| line["message"] == "an app failed to start");
    assert!(blamed.is_empty(), "{blamed:?}");
}

/// As Linux does it when a disk fails (ext4(5), errors=remount-ro).
#[tokio::test]
async fn when_the_disk_of_the_state_becomes_read_only_serving_goes_on_and_changes_are_refused() {
    let mount = "truncate -s 24M {state}/disk; mkfs.ext4 -q {state}/disk; mkdir {state}/state
        mount -o loop,errors=remount-ro {state}/disk {state}/state; chmod 700 {state}/state";
    if tool("mkfs.ext4", "a failing disk: mkfs.ext4 is missing (Debian: e2fsprogs)").is_none() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    if !may_mount(&mount.replace("{state}", scratch.path().to_str().unwrap())) {
        return;
    }
    let server = shop().after_mounting(mount).start().await;
    assert_eq!(server.get("/probe/").await.status(), 200);
    assert_eq!(server.api().alias("shop", "latest", "1.0.0").await.status(), 200);
    let mounts = std::fs::read_to_string(format!("/proc/{}/mounts", server.pid)).unwrap();
    let state = server.state_dir();
    let device = mounts.lines().find(|line| line.split(' ').nth(1) == state.to_str()).unwrap();
    let device = Path::new(device.split(' ').next().unwrap()).file_name().unwrap();
    let fail = Path::new("/sys/fs/ext4").join(device).join("trigger_fs_error");
    std::fs::write(&fail, "1").unwrap();
    assert_refused(&server, "store_read_only").await;
    let refused = server.api().deploy("name=shop&version=2.0.0", says("two")).await;
    assert_eq!(refused.problem(), (507, "disk_read_only".to_owned()), "{refused:?}");
    assert_eq!(health(&server).await, (200, json!("degraded"), json!("the disk is read-only")));
    assert_eq!(server.get("/probe/").await.status(), 200);
    let cold = server.get("/cold/").await;
    assert_eq!(cold.problem(), (503, "no_resources".to_owned()), "{cold:?}");
    server
        .logged(|line| {
            line["message"].as_str().unwrap_or_default().starts_with("the state directory is read-only")
        })
        .await;
}

#[tokio::test]
async fn a_state_directory_that_cannot_be_written_at_the_start_is_an_error_with_what_to_do() {
    if !may_mount_tmpfs() {
        return;
    }
    let made =
        "mount -t tmpfs -o mode=700 none {state}; mkdir -m 700 {state}/state; mount -o remount,ro {state}";
    let missing = "mount -t tmpfs -o mode=700 none {state}; mount -o remount,ro {state}";
    for script in [made, missing] {
        let said = shop().after_mounting(script).fail().await;
        assert!(said.contains("Read-only file system"), "{said}");
        assert!(said.contains("hint: "), "{said}");
    }
}

#[tokio::test]
async fn a_log_on_a_full_disk_holds_nobody_up() {
    if !may_mount_tmpfs() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("http.sock");
    let log = "mkdir {state}/log; mount -t tmpfs -o size=1m none {state}/log; exec 2>{state}/log/log";
    let server = shop().env("HOST", format!("unix:{}", socket.display())).after_mounting(log).begin();
    eventually("it listens", || std::os::unix::net::UnixStream::connect(&socket).is_ok()).await;
    let log = server.inside(server.state_dir().parent().unwrap()).join("log");
    eventually("its log is there", || log.join("log").exists()).await;
    let mut file = File::create(log.join("ballast")).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    let mut client = Client::over(UnixStream::connect(&socket).await.unwrap()).await;
    for _ in 0..2000 {
        let request = Request::get("/probe/").body(Full::default()).unwrap();
        let answer = client.send(request).await.unwrap();
        assert_eq!(answer.status(), 200, "{answer:?}");
    }
    drop(file);
    std::fs::remove_file(log.join("ballast")).unwrap();
    let size = || std::fs::metadata(log.join("log")).unwrap().len();
    let before = size();
    let request = Request::get("/probe/").body(Full::default()).unwrap();
    assert_eq!(client.send(request).await.unwrap().status(), 200);
    eventually("the log goes on", || size() > before).await;
    let told =
        || std::fs::read_to_string(log.join("log")).unwrap().contains("log lines could not be written");
    eventually("it says what is missing", told).await;
    let text = std::fs::read_to_string(log.join("log")).unwrap();
    let broken = text.lines().filter(|line| serde_json::from_str::<Value>(line).is_err());
    assert!(broken.count() <= 1, "the line that the disk had no room for, and no other: {text}");
}
