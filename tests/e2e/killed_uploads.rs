//! The supervisor is killed at points spread over uploads and over the making of keys. At its next start nothing that
//! was acknowledged is missing, and what was not is there whole or not at all.

use super::harness::{Apps, Launch, PATIENCE, Server, eventually};
use super::operator::{KEY, Operator, request, tgz, upload};
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// When the supervisor is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// So many hundredths of the body were sent.
    Sent(usize),
    /// This event, counted from one, has come; or the answer, if that was sooner.
    Event(usize),
    Answered,
}

/// What is known of the app before a round.
#[derive(Clone, Debug, PartialEq)]
struct Served {
    version: String,
    label: String,
}

/// An upload on its way.
struct Sending {
    /// All that came back, once the connection has ended.
    answer: tokio::task::JoinHandle<Vec<u8>>,
    answered: mpsc::UnboundedReceiver<()>,
}

const MOMENTS: [Moment; 17] = [
    Moment::Sent(0),
    Moment::Sent(50),
    Moment::Sent(99),
    Moment::Sent(100),
    Moment::Event(1),
    Moment::Event(2),
    Moment::Event(4),
    Moment::Event(6),
    Moment::Event(8),
    Moment::Event(10),
    Moment::Event(11),
    Moment::Event(12),
    Moment::Event(13),
    Moment::Event(14),
    Moment::Event(15),
    Moment::Answered,
    Moment::Answered,
];

/// An app that says its label twice, by two files.
fn package(label: &str) -> Vec<u8> {
    let index = format!(
        "import {{ label }} from './part.ts';
export default {{ fetch: () => new Response(`{label} ${{label}}`) }};"
    );
    // Something that takes a moment to unpack.
    let filler = "filler\n".repeat(2000);
    let mut files = vec![
        ("index.ts".to_owned(), index),
        ("part.ts".to_owned(), format!("export const label = '{label}';")),
    ];
    files.extend((0..20).map(|n| (format!("assets/{n}.txt"), format!("{n} {filler}"))));
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    tgz(&files)
}

/// What the app answers: the one label that both of its files have.
async fn label(server: &Server, path: &str) -> String {
    let answer = server.get(path).await;
    assert_eq!(answer.status(), 200, "{path}: {answer:?}");
    let (index, part) = answer.text().split_once(' ').unwrap();
    assert_eq!(index, part, "half an old one and half a new one");
    index.to_owned()
}

/// Sends the first `hundredths` of a package as `version`.
async fn send(operator: &Operator, version: &str, package: &[u8], hundredths: usize) -> Sending {
    let mut socket = TcpStream::connect(operator.address).await.unwrap();
    let path = upload("shop", version, "&replace=true");
    let head = format!(
        "POST /api{path} HTTP/1.1\r\nhost: test\r\nx-api-key: {KEY}\r\ncontent-length: {}\r\n\r\n",
        package.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(&package[..package.len() * hundredths / 100]).await.unwrap();
    let (sender, answered) = mpsc::unbounded_channel();
    let answer = tokio::spawn(async move {
        let mut bytes = Vec::new();
        // Killed: closed or reset, all the same.
        while socket.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
            if is_whole(&bytes) {
                let _ = sender.send(());
            }
        }
        bytes
    });
    Sending { answer, answered }
}

/// Whether this is an answer with its whole body.
fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.is_some_and(|length| length.parse() == Ok(body.len()))
}

/// Everything that happens to the app from now on; each event is one message.
async fn events(operator: &Operator) -> mpsc::UnboundedReceiver<()> {
    let mut client = operator.connect().await;
    let get = request(Method::GET, "/events?types=deploy,app,alias,worker&app=shop", "");
    let mut body = client.begin(get).await.unwrap().into_body();
    let (sender, events) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let (mut text, mut told) = (String::new(), 0);
        while let Some(Ok(frame)) = body.frame().await {
            text.push_str(std::str::from_utf8(frame.data_ref().map_or(&[], |data| &data[..])).unwrap());
            let come = text.matches("\ndata: ").count() + usize::from(text.starts_with("data: "));
            (told..come).for_each(|_| sender.send(()).unwrap_or_default()); // nobody may wait any more
            told = come;
        }
        drop(client);
    });
    events
}

/// Waits for the moment, kills, and gives the status of the answer, if that had come.
async fn kill_at(server: Server, moment: Moment, version: &str, package: &[u8]) -> (Launch, Option<u16>) {
    let operator = server.operator();
    let mut events = events(&operator).await;
    let hundredths = if let Moment::Sent(hundredths) = moment { hundredths } else { 100 };
    let mut sending = send(&operator, version, package, hundredths).await;
    let come = async {
        match moment {
            Moment::Sent(_) => {}
            Moment::Event(number) => {
                for _ in 0..number {
                    tokio::select! {
                        event = events.recv() => event.expect("no more events"),
                        _ = sending.answered.recv() => return,
                    }
                }
            }
            Moment::Answered => drop(sending.answered.recv().await),
        }
    };
    tokio::time::timeout(PATIENCE, come).await.unwrap_or_else(|_| panic!("{moment:?} never came"));
    let launch = server.killed().await;
    let answer = sending.answer.await.unwrap();
    let status = || String::from_utf8_lossy(&answer).split(' ').nth(1)?.parse().ok();
    (launch, is_whole(&answer).then(status).flatten())
}

/// All entries of the audit log.
async fn audit(operator: &Operator) -> Vec<Value> {
    let (mut entries, mut before) = (Vec::new(), String::new());
    loop {
        let page = operator.get(&format!("/audit?limit=1000{before}")).await;
        entries.extend(page["entries"].as_array().unwrap().iter().cloned());
        match page["next"].as_i64() {
            Some(next) => before = format!("&before={next}"),
            None => return entries,
        }
    }
}

/// What is there after a start, held together.
async fn found(server: &Server) -> Served {
    let operator = server.operator();
    let app = operator.get("/apps/shop").await;
    let aliases = app["aliases"].as_array().unwrap();
    assert_eq!((aliases.len(), &aliases[0]["name"]), (1, &json!("latest")));
    let weights = aliases[0]["weights"].as_object().unwrap();
    assert_eq!(weights.values().collect::<Vec<_>>(), [&json!(100)]);
    let version = weights.keys().next().unwrap().clone();
    let served = label(server, "/shop/").await;
    let mut listed = Vec::new();
    for known in app["versions"].as_array().unwrap() {
        let known = known["version"].as_str().unwrap();
        let label = label(server, &format!("/shop@{known}/")).await;
        assert!(known != version || label == served, "{known} is {label}, and the alias gets {served}");
        listed.push(format!("shop@{known}"));
    }
    assert!(
        listed.contains(&format!("shop@{version}")),
        "the alias stands for nothing: {version}, {listed:?}"
    );
    let set = audit(&operator).await.into_iter().find(|entry| entry["action"] == "alias:set").unwrap();
    assert!(set["detail"].to_string().contains(&version), "{set} is not {version}");
    // Nothing is left of what was under way.
    let apps = server.apps().path().to_owned();
    let staging = apps.join(".buntime-staging");
    let is_empty = || std::fs::read_dir(&staging).is_ok_and(|mut entries| entries.next().is_none());
    eventually("the staging is empty", is_empty).await;
    let mut there = names(&apps);
    there.retain(|name| !name.starts_with('.'));
    listed.sort();
    assert_eq!(there, listed);
    assert!(!names(&server.state_dir()).iter().any(|name| name.starts_with(".upload")));
    Served { version, label: served }
}

fn names(dir: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Rounds of uploads, each killed at one of the moments.
async fn kill_everywhere(replace: bool) {
    let mut server = Apps::new().operated().start().await;
    server.operator().deploy("shop", "1.0.0", package("first"), "").await;
    let mut before = Served { version: "1.0.0".into(), label: "first".into() };
    let (mut acknowledged, mut old, mut new) = (vec!["shop@1.0.0".to_owned()], 0, 0);
    for (round, moment) in MOMENTS.into_iter().enumerate() {
        let version = if replace { "1.0.0".to_owned() } else { format!("1.0.{}", round + 1) };
        let after = Served { version: version.clone(), label: format!("round{round}") };
        let (launch, answer) = kill_at(server, moment, &version, &package(&after.label)).await;
        assert!(matches!(answer, None | Some(201)), "{moment:?}: {answer:?}");
        let was_acknowledged = answer.is_some();
        server = launch.operated().start().await;
        let found = found(&server).await;
        assert!(
            found == after || found == before && !was_acknowledged,
            "{moment:?}: {found:?} {after:?} {before:?}"
        );
        if was_acknowledged {
            acknowledged.push(format!("shop@{version}"));
        }
        old += usize::from(found == before);
        new += usize::from(found == after);
        before = found;
    }
    let mut entries = audit(&server.operator()).await;
    entries.retain(|entry| entry["action"] == "apps:install" && entry["outcome"] == "done");
    for subject in acknowledged {
        let at = entries.iter().position(|entry| entry["subject"] == subject);
        entries.swap_remove(at.unwrap_or_else(|| panic!("{subject} has no entry: {entries:?}")));
    }
    assert!(old >= 3 && new >= 2, "{old} kills before the change and {new} after it");
}

#[tokio::test]
async fn an_upload_killed_at_any_moment_leaves_the_old_state_or_the_new_one() {
    kill_everywhere(false).await;
}

#[tokio::test]
async fn a_replacement_killed_at_any_moment_leaves_the_old_version_or_the_new_one() {
    kill_everywhere(true).await;
}

#[tokio::test]
async fn a_replacement_that_does_not_start_is_never_what_the_next_start_finds() {
    let mut server = Apps::new().operated().start().await;
    server.operator().deploy("shop", "1.0.0", package("first"), "").await;
    let before = Served { version: "1.0.0".into(), label: "first".into() };
    let broken = tgz(&[("index.ts", "await Bun.sleep(50); throw new Error('not today');")]);
    for moment in [Moment::Event(1), Moment::Event(2), Moment::Event(3), Moment::Event(4), Moment::Answered] {
        let (launch, answer) = kill_at(server, moment, "1.0.0", &broken).await;
        assert!(matches!(answer, None | Some(422)), "{moment:?}: {answer:?}");
        server = launch.operated().start().await;
        assert_eq!(found(&server).await, before, "{moment:?}");
    }
}

#[tokio::test]
async fn a_new_version_that_does_not_start_is_never_what_a_name_means_at_the_next_start() {
    let source = |text: &str| format!("export default {{ fetch: () => new Response('{text}') }};");
    let mut server = Apps::new().file("shop@1.0.0/index.ts", source("first first")).operated().start().await;
    let broken = tgz(&[("index.ts", "await Bun.sleep(50); throw new Error('not today');")]);
    for moment in [Moment::Event(1), Moment::Event(2), Moment::Event(3), Moment::Event(4), Moment::Answered] {
        let (launch, answer) = kill_at(server, moment, "2.0.0", &broken).await;
        assert!(matches!(answer, None | Some(422)), "{moment:?}: {answer:?}");
        server = launch.operated().start().await;
        assert_eq!(label(&server, "/shop/").await, "first", "{moment:?}");
        let app = server.operator().get("/apps/shop").await;
        assert_eq!(app["versions"].as_array().unwrap().len(), 1, "{moment:?}: {app}");
    }
}

#[tokio::test]
async fn a_key_that_was_shown_opens_the_api_after_a_kill() {
    const CLIENTS: usize = 4;
    let mut server = Apps::new().operated().start().await;
    let mut secrets = Vec::new();
    for round in 0..6 {
        let (sender, mut made) = mpsc::unbounded_channel();
        for client in 0..CLIENTS {
            let (operator, sender) = (server.operator(), sender.clone());
            tokio::spawn(async move {
                let mut connection = operator.connect().await;
                let wanted = json!({ "name": format!("key {round} {client}"), "role": "viewer" }).to_string();
                while let Ok(answer) = connection.send(request(Method::POST, "/keys", wanted.clone())).await {
                    assert_eq!(answer.status(), 201, "{answer:?}");
                    let _ = sender.send(answer.json());
                }
            });
        }
        drop(sender);
        for _ in 0..=round * 3 {
            secrets.push(made.recv().await.unwrap());
        }
        let launch = server.killed().await;
        while let Some(secret) = made.recv().await {
            secrets.push(secret);
        }
        server = launch.operated().start().await;
        for made in &secrets {
            let me = Request::get("/api/me").header("x-api-key", made["secret"].as_str().unwrap());
            let answer = server.send(me.body(Full::default()).unwrap()).await;
            assert_eq!((answer.status(), &answer.json()["actor"]), (200, &made["key"]["id"]), "{made}");
        }
        let operator = server.operator();
        let keys = operator.get("/keys").await["keys"].as_array().unwrap().len();
        let entries = audit(&operator).await;
        assert_eq!(entries.iter().filter(|entry| entry["action"] == "keys:create").count(), keys);
        assert!((secrets.len()..=secrets.len() + CLIENTS * (round + 1)).contains(&keys));
    }
}
