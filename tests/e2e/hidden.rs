//! What of the supervisor's files is out of an app's reach, with the supervisor as root and as an ordinary user.

use super::authority::{Authority, text, write};
use super::harness::{Apps, Launch, Server, eventually};
use serde_json::{Value, json};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// A user that is none of the system's.
pub const SOMEBODY: u32 = 31_873;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum As {
    Root,
    User,
}

/// A supervisor for each user that the tests can start one as.
pub fn users() -> Vec<As> {
    if !nix::unistd::geteuid().is_root() {
        return vec![As::User];
    }
    let ways = [env!("CARGO_BIN_EXE_buntime"), env!("CARGO_TARGET_TMPDIR")].map(Path::new);
    let reached = |path: &Path| path.ancestors().skip(1).all(|dir| dir.metadata().unwrap().mode() & 1 == 1);
    if ways.into_iter().chain([&*super::harness::bun()]).all(reached) {
        return vec![As::Root, As::User];
    }
    skip("another user cannot reach what is to be started");
    vec![As::Root]
}

pub fn skip(why: &str) {
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{why}");
    eprintln!("SKIPPED: {why}");
}

/// `None`, with a word about it, where the kernel forbids what hides files.
pub async fn start(launch: Launch, user: As) -> Option<Server> {
    let launch = match user {
        As::User if nix::unistd::geteuid().is_root() => launch.run_by(SOMEBODY),
        _ => launch,
    };
    let server = launch.start().await;
    let is_warning = |line: &Value| line["message"].as_str().unwrap_or("").starts_with("apps are not kept");
    if let Some(warning) = server.log(is_warning).first() {
        skip(&format!("as {user:?}: {warning}"));
        return None;
    }
    Some(server)
}

fn prowler() -> Apps {
    Apps::new().with("prowler").with_as("prowler", "victim")
}

#[tokio::test]
async fn an_app_reaches_nothing_of_the_supervisor_and_of_other_apps() {
    for user in users() {
        for spares in ["0", "2"] {
            let launch = prowler().launch().env("RUNTIME_SPARE_WORKERS", spares);
            let Some(server) = start(launch, user).await else { continue };
            let state = server.state_dir();
            std::fs::write(state.join("secret"), "the secret").unwrap();
            std::fs::set_permissions(state.join("secret"), PermissionsExt::from_mode(0o644)).unwrap();
            let socket = state.join("some.sock");
            let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
            std::fs::set_permissions(&socket, PermissionsExt::from_mode(0o666)).unwrap();
            assert_eq!(server.post("/victim/note", "the note").await.text(), "the note");
            assert_eq!(server.get("/prowler/self").await.status(), 200);
            let victim = server.get("/victim/self").await.json()["pid"].clone();
            let executable = std::fs::read_dir(&server.cache).unwrap().map(|entry| entry.unwrap().path());
            let executable = executable.map(|dir| dir.join("bun-worker")).find(|file| file.exists()).unwrap();
            let before = std::fs::metadata(&executable).unwrap();

            let targets = json!({
                "state": state, "socket": socket, "executable": executable, "cache": server.cache,
                "supervisor": server.pid, "worker": victim, "data": state.join("data/victim"),
            });
            let told = server.post("/prowler/", targets.to_string()).await.json();

            let denied = |answer: &Value| answer.as_str().is_some_and(|text| text.starts_with("denied: "));
            assert!(denied(&told["socket"]), "{user:?}: {told:#}");
            for (what, answer) in told["files"].as_object().unwrap() {
                let nothing = match what.as_str() {
                    "list the state directory" => *answer == json!(["data", "run"]),
                    "list the run directory" => *answer == json!(["empty", "home"]),
                    "list the data of another" | "list the cache" => *answer == json!([]),
                    _ => denied(answer),
                };
                assert!(nothing, "{user:?}: {what}: {answer}");
            }
            for (what, answer) in told["processes"].as_object().unwrap() {
                assert!(denied(answer), "{user:?}: {what}: {answer}");
            }
            for (what, output) in told["commands"].as_object().unwrap() {
                assert_eq!(output, "", "{user:?}: {what}");
            }
            let after = std::fs::metadata(&executable).unwrap();
            assert_eq!((after.ino(), after.len()), (before.ino(), before.len()));
            assert!(!state.join("mine").exists() && state.metadata().unwrap().mode() & 0o777 == 0o700);
            assert_eq!(server.get("/victim/note").await.text(), "the note");
        }
    }
}

#[tokio::test]
async fn an_app_cannot_read_the_root_key_where_operators_put_it() {
    let write = |path: &Path, mode: u32| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "0123456789abcdef0123456789abcdef").unwrap();
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    };
    for user in users() {
        // Alone in a directory, and among files that apps may read.
        for (place, holds) in [("keys/key", "denied: ENOENT"), ("apps/.keys/key", "")] {
            let (apps, dir) = (prowler(), tempfile::tempdir().unwrap());
            std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
            let credential = dir.path().join("credentials/root-key");
            write(&credential, 0o444);
            let key = match place.strip_prefix("apps/") {
                Some(inner) => apps.path().join(inner),
                None => dir.path().join(place),
            };
            write(&key, 0o600);
            std::fs::write(apps.path().join(".keys-beside"), "seen").unwrap();
            let _ = std::fs::set_permissions(dir.path().join("keys"), PermissionsExt::from_mode(0o700));
            let beside = apps.path().join(".keys-beside");
            let launch = apps.launch().env("RUNTIME_ROOT_KEY_FILE", key.to_str().unwrap());
            let launch = launch.env("CREDENTIALS_DIRECTORY", credential.parent().unwrap().to_str().unwrap());
            let Some(server) = start(launch.state_in(dir), user).await else { continue };
            let files = json!([key, credential, beside]);
            let told = server.post("/prowler/read", files.to_string()).await.json();
            let what = format!("{user:?} {place}: {told:#}");
            // Another user who cannot pass a directory is told no more than that.
            let kept = |answer: &Value| *answer == holds || *answer == "denied: EACCES";
            assert!(kept(&told["plain"][0]), "{what}");
            assert_eq!(told["plain"][1], "denied: ENOENT", "{what}");
            assert_eq!(told["plain"][2], "seen", "{what}");
            assert_eq!((&told["unmounted"][0], &told["unmounted"][1]), (&json!(""), &json!("")), "{what}");
            let warned = |line: &Value| line["message"] == "apps can read the root key";
            assert!(server.log(warned).is_empty());
        }
    }
}

#[tokio::test]
async fn an_app_cannot_read_the_keys_of_certificates() {
    let authority = Authority::new();
    for user in users() {
        // Alone in a directory, and among files that apps may read.
        for (place, holds) in [("keys/a", "denied: ENOENT"), ("apps/.keys/a", "")] {
            let (apps, dir) = (prowler(), tempfile::tempdir().unwrap());
            std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
            let pair = match place.strip_prefix("apps/") {
                Some(inner) => apps.path().join(inner),
                None => dir.path().join(place),
            };
            let further = dir.path().join("further/b");
            for (pair, name) in [(&pair, "a.test"), (&further, "b.test")] {
                let issued = authority.issue(&[name]);
                write(&pair.with_extension("crt"), &issued.cert);
                write(&pair.with_extension("key"), &issued.key);
            }
            std::fs::write(apps.path().join(".beside"), "seen").unwrap();
            let _ = std::fs::set_permissions(dir.path().join("keys"), PermissionsExt::from_mode(0o700));
            let [cert, key] = ["crt", "key"].map(|kind| pair.with_extension(kind));
            let files = json!([key, further.with_extension("key"), apps.path().join(".beside")]);
            let launch =
                apps.launch().env("RUNTIME_TLS_CERT", text(&cert)).env("RUNTIME_TLS_KEY", text(&key));
            let launch = launch.env("RUNTIME_TLS_DIR", text(further.parent().unwrap()));
            let Some(server) = start(launch.state_in(dir), user).await else { continue };
            let mut client = authority.connect(&server, "a.test").await;
            let request = http::Request::post("/prowler/read").body(files.to_string().into()).unwrap();
            let told = client.send(request).await.unwrap().json();
            let what = format!("{user:?} {place}: {told:#}");
            // Another user who cannot pass a directory is told no more than that.
            let kept = |answer: &Value| *answer == holds || *answer == "denied: EACCES";
            assert!(kept(&told["plain"][0]), "{what}");
            assert_eq!(told["plain"][1], "denied: ENOENT", "{what}");
            assert_eq!(told["plain"][2], "seen", "{what}");
            assert_eq!((&told["unmounted"][0], &told["unmounted"][1]), (&json!(""), &json!("")), "{what}");
            assert!(
                server.log(|line| line["message"] == "apps can read the key of a certificate").is_empty()
            );
        }
    }
}

/// As in a container without the capability for namespaces.
#[tokio::test]
async fn where_the_root_key_cannot_be_hidden_a_warning_says_so() {
    let can = std::process::Command::new("unshare").args(["-Ur", "true"]).status();
    if !can.is_ok_and(|status| status.success()) {
        return skip("there can be no user namespace here");
    }
    let apps = Apps::new().file(".keys/key", "0123456789abcdef0123456789abcdef");
    let key = apps.path().join(".keys/key");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    let launch = apps.launch().env("RUNTIME_ROOT_KEY_FILE", key.to_str().unwrap());
    let script = "for kind in user mnt; do echo 0 >/proc/sys/user/max_${kind}_namespaces; done";
    let server = launch.in_user_namespace(script).start().await;
    let warning = server.logged(|line| line["message"] == "apps can read the root key").await;
    assert_eq!((&warning["level"], &warning["file"]), (&json!("WARN"), &json!(key)));
}

#[tokio::test]
async fn an_app_has_its_own_directories_and_its_data_outlives_workers_versions_and_supervisors() {
    for user in users() {
        let apps = Apps::new().with_as("prowler", "shop@1.0.0");
        let Some(server) = start(apps.launch(), user).await else { continue };
        assert_eq!(server.post("/shop/note", "kept").await.text(), "kept");
        let told = server.get("/shop/self").await.json();
        assert!(told["temporary"].as_str().unwrap().ends_with(char::is_alphanumeric), "{told:#}");
        server.said("shop", "told").await;
        let supervisor = std::fs::metadata(server.state_dir()).unwrap().uid();
        assert_eq!(told["user"] == supervisor, user == As::User, "{told:#}");
        assert!(user == As::User || told["groups"].as_array().unwrap().len() <= 1, "{told:#}");
        // Or what the other test tries were no trial.
        if told["control"] != "mounted" {
            skip("apps cannot make namespaces here, so nothing was tried in one");
        }

        let newer = Apps::new().with_as("prowler", "shop@1.1.0");
        std::fs::rename(newer.path().join("shop@1.1.0"), server.apps().path().join("shop@1.1.0")).unwrap();
        server.logged(|line| line["message"] == "replaced" || line["version"] == "1.1.0").await;
        assert_eq!(server.get("/shop@1.1/note").await.text(), "kept");
        let Some(server) = start(server.stop().await, user).await else { continue };
        assert_eq!(server.get("/shop/note").await.text(), "kept");
        let real = server.state_dir().join("data/shop/note");
        assert_eq!(std::fs::read_to_string(real).unwrap(), "kept");
    }
}

#[tokio::test]
async fn workers_end_with_a_supervisor_that_is_killed_also_where_they_are_another_user() {
    for user in users() {
        let Some(mut server) = start(prowler().launch(), user).await else { continue };
        assert_eq!(server.get("/prowler/self").await.status(), 200);
        let processes = server.children();
        assert!(!processes.is_empty());
        server.signal(nix::sys::signal::Signal::SIGKILL);
        server.exit().await;
        eventually("no worker is left", || !processes.iter().any(|process| process.lives())).await;
    }
}

/// A supervisor that ran its workers as itself has left data of root's.
#[tokio::test]
async fn data_that_was_roots_is_handed_over_but_for_what_has_another_name_elsewhere() {
    if !users().contains(&As::Root) {
        return skip("the tests do not run as root");
    }
    let Some(server) = start(prowler().launch(), As::Root).await else { return };
    let launch = server.stop().await;
    let (data, outside) = (launch.state_dir().join("data/prowler"), launch.state_dir().join("outside"));
    std::fs::create_dir_all(data.join("inner")).unwrap();
    for (name, text) in [("note", "old"), ("inner/file", ""), ("../../outside", "")] {
        std::fs::write(data.join(name), text).unwrap();
    }
    std::fs::hard_link(&outside, data.join("linked")).unwrap();
    std::os::unix::fs::symlink(&outside, data.join("pointing")).unwrap();
    for path in [&data, &data.join("inner"), &data.join("note")] {
        std::os::unix::fs::chown(path, Some(0), Some(0)).unwrap();
    }
    let Some(server) = start(launch, As::Root).await else { return };
    assert_eq!(server.post("/prowler/note", "new").await.text(), "new");
    let owner = |path: &Path| std::fs::symlink_metadata(path).unwrap().uid();
    let own = owner(&data);
    assert_ne!(own, 0);
    for name in ["inner", "inner/file", "note", "pointing"] {
        assert_eq!(owner(&data.join(name)), own, "{name}");
    }
    assert_eq!((owner(&outside), owner(&data.join("linked"))), (0, 0));
}

#[tokio::test]
async fn apps_in_a_directory_that_only_root_may_enter_run_and_see_nothing_else_of_it() {
    if !users().contains(&As::Root) {
        return skip("the tests do not run as root");
    }
    let app = "import { word } from 'pack'; import { readdirSync } from 'node:fs';
        export default { fetch: () => Response.json([word, readdirSync(`${import.meta.dir}/../../..`)]) };";
    let apps = Apps::new()
        .file("barred/clone/node_modules/pack/index.js", "export const word = 'packed';")
        .file("barred/clone/apps/shop/index.ts", app)
        .file("barred/secret", "the secret");
    let barred = apps.path().join("barred");
    std::fs::set_permissions(&barred, PermissionsExt::from_mode(0o700)).unwrap();
    let dir = barred.join("clone/apps");
    for spares in ["0", "2"] {
        let launch = Apps::new().launch().worker_dirs(&dir).env("RUNTIME_SPARE_WORKERS", spares);
        let Some(server) = start(launch, As::Root).await else { return };
        assert_eq!(server.get("/shop/").await.json(), json!(["packed", ["clone"]]));
    }
}

#[tokio::test]
async fn an_app_that_the_workers_user_cannot_read_fails_to_start_and_says_what_and_why() {
    if !users().contains(&As::Root) {
        return skip("the tests do not run as root");
    }
    let app = "export { default } from './inner.ts';";
    let inner = "export default { fetch: () => new Response('read') };";
    for (name, mode, bits) in
        [("shop/inner.ts", 0o600, "o+r"), ("shop/index.ts", 0o600, "o+r"), ("shop", 0o700, "o+rx")]
    {
        for spares in ["0", "1"] {
            let apps = Apps::new().file("shop/index.ts", app).file("shop/inner.ts", inner);
            let file = apps.path().join(name);
            std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
            let launch = apps.launch().env("NODE_ENV", "development").env("RUNTIME_SPARE_WORKERS", spares);
            let Some(server) = start(launch, As::Root).await else { return };
            let problem = server.get("/shop/").await;
            assert_eq!(problem.status(), 503, "{problem:?}");
            let detail = problem.json()["detail"].as_str().unwrap().to_owned();
            let file = file.display();
            assert!(detail.contains(&format!("{file} cannot be read by ")), "{name}: {detail}");
            let told = server.logged(|line| line["message"] == "an app failed to start").await;
            assert!(told.to_string().contains(&format!("chmod {bits} {file}")), "{name}: {told}");
        }
    }
}

const LOOK: &str = "import { readFileSync } from 'node:fs';
    const read = (path) => { try { return readFileSync(path, 'utf8'); } catch { return null; } };
    export default { fetch: async (request) => Response.json([
        read(await request.text()), process.getuid(), process.env.HOME === process.env.TMPDIR,
    ]) };";

/// What `LOOK` says of a file in the state directory of a supervisor in a user namespace; `None` = there can be none here.
async fn look(script: &str) -> Option<(Server, Value)> {
    let can = std::process::Command::new("unshare").args(["-Ur", "true"]).status();
    if !can.is_ok_and(|status| status.success()) {
        skip("there can be no user namespace here");
        return None;
    }
    let launch = Apps::new().file("look/index.js", LOOK).launch();
    let server = launch.in_user_namespace(script).start().await;
    let file = server.state_dir().join("file");
    std::fs::write(&file, "seen").unwrap();
    let told = server.post("/look/", file.to_str().unwrap().to_owned()).await.json();
    Some((server, told))
}

/// As in a container without the capability for namespaces.
#[tokio::test]
async fn where_the_kernel_allows_no_namespaces_a_warning_says_so_and_apps_are_served() {
    let script = "for kind in user mnt; do echo 0 >/proc/sys/user/max_${kind}_namespaces; done";
    let Some((server, told)) = look(script).await else { return };
    assert_eq!(told, json!(["seen", 0, true]));
    let warning =
        server.logged(|line| line["message"].as_str().unwrap_or("").starts_with("apps are not")).await;
    assert_eq!(warning["level"], "WARN");
    assert!(warning["cause"].as_str().unwrap().contains("os error"), "{warning:#}");
    assert!(warning["hint"].as_str().unwrap().starts_with("sysctl user.max_user_namespaces="), "{warning:#}");
    let refused =
        |line: &Value| line["message"].as_str().unwrap_or("").starts_with("there is no admin socket");
    assert_eq!(server.logged(refused).await["level"], "WARN");
    assert!(!server.state_dir().join("admin.sock").exists());
}

/// As in a container that has only root, and the capability for namespaces.
#[tokio::test]
async fn where_there_is_no_other_user_files_are_hidden_all_the_same() {
    let Some((server, told)) = look("").await else { return };
    assert_eq!(told, json!([null, 0, true]));
    let warning =
        server.logged(|line| line["message"].as_str().unwrap_or("").starts_with("APPS RUN AS ROOT")).await;
    assert_eq!(warning["level"], "WARN");
    assert!(warning["cause"].as_str().unwrap().contains("os error"), "{warning:#}");
    assert!(server.state_dir().join("admin.sock").exists());
}

fn may_unshare_without(capability: &str) -> bool {
    let but = format!("-{capability}");
    let tried = std::process::Command::new("setpriv")
        .args(["--bounding-set", &but, "--inh-caps", &but, "unshare", "-Ur", "true"])
        .status();
    tried.is_ok_and(|status| status.success())
}

/// The start waited for ever for the end of a worker that it may not end; and what was left of that one kept every other way of
/// hiding files from being tried.
#[tokio::test]
async fn root_that_cannot_end_workers_of_another_user_hides_files_another_way_and_says_so() {
    if !users().contains(&As::Root) || !may_unshare_without("kill") {
        return skip("the tests do not run as root, who may make user namespaces without a capability");
    }
    let mut server = prowler().file("look/index.js", LOOK).lean().without("kill").start().await;
    let warning = server
        .logged(|line| line["message"].as_str().unwrap_or("").starts_with("workers run as another user"))
        .await;
    let kept = |line: &Value| line["message"].as_str().unwrap_or("").starts_with("apps are not kept");
    assert!(server.log(kept).is_empty());
    let cause = warning["cause"].as_str().unwrap();
    assert!(cause.contains("CAP_KILL") && !cause.contains("exists"), "{warning:#}");
    let file = server.state_dir().join("file");
    std::fs::write(&file, "hidden").unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    let told = server.post("/look/", file.to_str().unwrap().to_owned()).await.json();
    assert_eq!(told[0], Value::Null);
    assert_ne!(told[1], 0);
    let probes = server.state_dir().join("run").join(server.pid.to_string()).join("workers");
    let is_left = |number: u32| probes.join(format!("probe-{number}")).exists();
    eventually("nothing is left of what was tried", || !(0..3).any(is_left)).await;
    assert_eq!(server.get("/victim/self").await.status(), 200);
    server.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(server.exit().await.success());
}

/// As in a container that may make user namespaces, and no others.
#[tokio::test]
async fn root_without_the_capability_for_namespaces_runs_apps_as_another_user_and_says_how() {
    if !users().contains(&As::Root) || !may_unshare_without("sys_admin") {
        return skip("the tests do not run as root, who may make user namespaces without a capability");
    }
    for spares in ["0", "2"] {
        let launch = prowler().file("look/index.js", LOOK).launch();
        let server = launch.without("sys_admin").env("RUNTIME_SPARE_WORKERS", spares).start().await;
        let warning = server
            .logged(|line| line["message"].as_str().unwrap_or("").starts_with("workers run as another user"))
            .await;
        assert_eq!(warning["level"], "WARN");
        assert!(warning["cause"].as_str().unwrap().contains("not permitted"), "{warning:#}");
        let file = server.state_dir().join("file");
        std::fs::write(&file, "hidden").unwrap();
        let told = server.post("/look/", file.to_str().unwrap().to_owned()).await.json();
        assert_eq!(told[0], Value::Null);
        assert_ne!(told[1], 0);
        // What is root's alone.
        assert_eq!(server.post("/look/", "/etc/shadow").await.json()[0], Value::Null);
        assert_eq!(server.post("/victim/note", "the note").await.text(), "the note");
        assert_eq!(server.get("/victim/self").await.status(), 200);
        let note = server.state_dir().join("data/victim/note");
        assert_eq!(std::fs::metadata(note).unwrap().uid(), told[1].as_u64().unwrap() as u32);
    }
}

#[tokio::test]
async fn a_worker_directory_that_no_app_may_reach_ends_the_start() {
    for inner in ["", "data/apps", "run"] {
        let state = tempfile::tempdir().unwrap();
        let dir = state.path().join("state").join(inner);
        std::fs::create_dir_all(&dir).unwrap();
        let launch = Apps::new().launch().worker_dirs(&dir).state_in(state);
        let said = launch.fail().await;
        assert!(said.contains("which no app may reach") && said.contains("hint: "), "{said}");
    }
}
