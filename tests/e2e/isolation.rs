//! What is the supervisor's does not reach an app.

use super::harness::{Apps, Server};
use serde_json::Value;

const SECRETS: [(&str, &str); 3] = [
    ("RUNTIME_ROOT_KEY", "btk_do-not-show-the-root-key-0123456789"),
    ("SECRET_THING", "do-not-show-the-secret-thing"),
    ("AWS_SECRET_ACCESS_KEY", "do-not-show-the-other-one"),
];

/// What an app says that looks around, from a worker that was a spare and from one that was not.
async fn looking_around(manifest: &str) -> Vec<(Server, Value)> {
    let mut looks = Vec::new();
    for spares in ["0", "2"] {
        let apps = Apps::new().with("snoop").file("snoop/manifest.yaml", manifest);
        let mut launch = apps.launch().env("RUNTIME_SPARE_WORKERS", spares).env("LANG", "C.UTF-8");
        for (name, value) in SECRETS {
            launch = launch.env(name, value);
        }
        let server = launch.start().await;
        let answer = server.get("/snoop/").await;
        assert_eq!(answer.status(), 200, "{answer:?}");
        looks.push((server, answer.json()));
    }
    looks
}

#[tokio::test]
async fn no_secret_of_the_supervisor_is_to_be_found_by_an_app() {
    for (server, found) in looking_around("").await {
        let text = found.to_string();
        for (name, value) in SECRETS {
            assert!(!text.contains(name) && !text.contains(value), "{name} is in {found:#}");
        }
        assert_eq!(found["parent"], server.pid);
    }
}

#[tokio::test]
async fn the_environment_of_an_app_is_what_the_reference_says_and_nothing_else() {
    const KNOWN: [&str; 13] = [
        "APP_DATA_DIR",
        "APP_DIR",
        "APP_NAME",
        "APP_VERSION",
        "ENTRYPOINT",
        "GREETING",
        "HOME",
        "LANG",
        "NODE_ENV",
        "PATH",
        "RUNTIME_API_URL",
        "TMPDIR",
        "WORKER_ID",
    ];
    for (server, found) in looking_around("env: { GREETING: hello }").await {
        let env = found["env"].as_object().unwrap();
        let mut names: Vec<&str> = env.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, KNOWN);
        assert_eq!(
            (&env["GREETING"], &env["LANG"], &env["NODE_ENV"]),
            (&"hello".into(), &"C.UTF-8".into(), &"test".into())
        );
        assert_eq!(env["RUNTIME_API_URL"], format!("http://{}/api", server.address));
        let child: Vec<&str> = found["child"].as_str().unwrap().lines().collect();
        assert_eq!(child.len(), KNOWN.len(), "{child:?}");
        for (name, value) in env {
            let line = format!("{name}={}", value.as_str().unwrap());
            assert!(child.contains(&&*line), "{line} is not in a child's environment: {child:?}");
        }
    }
}

#[tokio::test]
async fn a_variable_of_the_supervisor_reaches_an_app_that_names_it_but_never_the_root_key() {
    for (_server, found) in looking_around("envPassthrough: [SECRET_THING]").await {
        assert_eq!(found["env"]["SECRET_THING"], SECRETS[1].1);
        assert!(!found.to_string().contains(SECRETS[0].1));
    }
    let server = Apps::new()
        .with("snoop")
        .file("snoop/manifest.yaml", "envPassthrough: [RUNTIME_ROOT_KEY]")
        .launch()
        .env(SECRETS[0].0, SECRETS[0].1)
        .start()
        .await;
    assert_eq!(server.get("/snoop/").await.problem(), (503, "app_unavailable".to_owned()));
}

#[tokio::test]
async fn a_worker_cannot_look_into_the_supervisor() {
    for (_server, found) in looking_around("").await {
        let supervisor = found["supervisor"].as_object().unwrap();
        for what in ["environ", "maps", "auxv", "mem", "openMem", "writeMem", "fd", "cwd", "root"] {
            let denied = |answer: &Value| {
                answer.as_str().is_some_and(|text| text.starts_with("denied: E") || text.is_empty())
            };
            let all_denied = match &supervisor[what] {
                // The numbers of descriptors may be listed, what they are not.
                Value::Object(entries) => entries.values().all(denied),
                answer => denied(answer),
            };
            assert!(all_denied, "{what}: {}", supervisor[what]);
        }
    }
}

#[tokio::test]
async fn a_worker_has_no_descriptor_but_its_own() {
    for (_server, found) in looking_around("").await {
        for (number, target) in found["descriptors"].as_object().unwrap() {
            let target = target.as_str().unwrap();
            let own = match number.as_str() {
                "0" => target == "/dev/null",
                "1" | "2" => target.starts_with("pipe:"),
                "3" => target.starts_with("socket:"),
                // What Bun itself opens, the progress page it was given, and the directory that was being read.
                _ => {
                    target.starts_with("anon_inode:")
                        || target.starts_with("pidfd:")
                        || target.starts_with("denied: ENOENT")
                        || target.starts_with("/memfd:")
                        || target.ends_with("/fd")
                        || target.starts_with("/dev/")
                }
            };
            assert!(own, "descriptor {number} is {target}: {:#}", found["descriptors"]);
        }
    }
}

#[tokio::test]
async fn a_worker_has_no_capability_gains_none_and_leads_its_own_group_and_session() {
    for (_server, found) in looking_around("").await {
        let status = found["status"].as_str().unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().to_owned()
        };
        for capabilities in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"] {
            assert_eq!(field(capabilities), "0000000000000000", "{capabilities}");
        }
        assert_eq!(field("NoNewPrivs:"), "1");
        assert_eq!(field("SigBlk:"), "0000000000000000");
        assert_eq!(found["group"], serde_json::json!([found["pid"], found["pid"]]));
    }
}

/// What one app can do to the worker of another, and to the supervisor. What it was refused ends in `denied: ECODE`.
const MEDDLER: &str = "import { readFileSync, readlinkSync, renameSync, writeFileSync, mkdirSync } from 'node:fs';
    const attempt = (what: () => unknown) => {
        try { return what() ?? 'done'; } catch (error) { return `denied: ${(error as NodeJS.ErrnoException).code}`; }
    };
    export default {
        async fetch(request: Request) {
            const other = Number(new URL(request.url).searchParams.get('pid'));
            const found: Record<string, unknown> = {};
            for (const [who, pid] of [['other', other], ['supervisor', process.ppid], ['group', -other]] as const) {
                for (const signal of [0, 'SIGSTOP', 'SIGTERM', 'SIGKILL'] as const) {
                    found[`${who} ${signal}`] = attempt(() => process.kill(pid, signal) && 'sent');
                }
            }
            for (const file of ['environ', 'mem', 'maps', 'auxv']) found[file] = attempt(() => readFileSync(`/proc/${other}/${file}`).length);
            for (const link of ['cwd', 'exe', 'root']) found[link] = attempt(() => readlinkSync(`/proc/${other}/${link}`));
            // The numbers of descriptors may be listed, what they are not.
            found.fd = attempt(() => readlinkSync(`/proc/${other}/fd/3`));
            // Its own are its own.
            const child = Bun.spawn(['sleep', '1000'], { env: { OWN: 'yes', PATH: process.env.PATH } });
            // Empty until execve(2) has laid it out, which whoever has called vfork(2) does not wait for.
            const read = () => readFileSync(`/proc/${child.pid}/environ`, 'latin1');
            let environ = read();
            while (environ === '') { await Bun.sleep(1); environ = read(); }
            child.kill();
            await child.exited;
            const own = process.env.TMPDIR!;
            mkdirSync(`${own}/a`, { recursive: true });
            mkdirSync(`${own}/b`, { recursive: true });
            writeFileSync(`${own}/a/file`, 'text');
            renameSync(`${own}/a/file`, `${own}/b/file`);
            const text = readFileSync(`${own}/b/file`, 'utf8');
            return Response.json({ found, own: [environ.includes('OWN'), child.signalCode, text] });
        },
    };";

#[tokio::test]
async fn an_app_can_signal_and_look_into_neither_the_supervisor_nor_the_worker_of_another() {
    if !landlock_has_signals() {
        assert!(std::env::var_os("CI").is_none(), "this kernel has no Landlock with a scope for signals");
        return eprintln!("skipped: this kernel has no Landlock with a scope for signals");
    }
    for spares in ["0", "2"] {
        let server = Apps::new()
            .file("victim/index.ts", "export default { fetch: () => new Response(`${process.pid}`) };")
            .file("meddler/index.ts", MEDDLER)
            .launch()
            .env("RUNTIME_SPARE_WORKERS", spares)
            .start()
            .await;
        let victim = server.get("/victim/").await.text().to_owned();
        let answer = server.get(&format!("/meddler/?pid={victim}")).await;
        let told = answer.json();
        for (what, outcome) in told["found"].as_object().unwrap() {
            let outcome = outcome.as_str().unwrap_or("");
            let refused = outcome.starts_with("denied: E");
            assert!(refused, "{what}: {outcome} in {told:#}");
        }
        assert_eq!(told["own"], serde_json::json!([true, "SIGTERM", "text"]));
        assert_eq!(server.get("/victim/").await.text(), victim);
    }
}

/// Whether landlock(7) is of version 6 or later here.
fn landlock_has_signals() -> bool {
    // SAFETY: with this flag the call reads no memory.
    let abi = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0, 1_u32) };
    abi >= 6
}
