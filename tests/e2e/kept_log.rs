//! The plugin that keeps the log, with real workers: what apps print, what they send, what is asked of them.

use super::harness::{Answer, Apps, Client, PATIENCE, Server};
use super::plugins::Plugins;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::Value;

const KEY: &str = "0123456789abcdef0123456789abcdef";

/// Prints, sends and dies as it is asked to.
const APP: &str = r#"
const { LOGS_URL, LOGS_TOKEN } = process.env;
export default {
  async fetch(request: Request) {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname === "/say") {
      process.stdout.write(Buffer.from(searchParams.get("hex")!, "hex"));
    } else if (pathname === "/long") {
      console.log("x".repeat(1 << 20));
      console.log("after");
    } else if (pathname === "/flood") {
      // So many lines a second, in small pieces.
      const [rate, seconds] = [Number(searchParams.get("rate")), Number(searchParams.get("seconds"))];
      const began = performance.now();
      let said = 0;
      while (said < rate * seconds) {
        const due = Math.min(rate * seconds, Math.floor(((performance.now() - began) / 1000) * rate));
        let text = "";
        for (; said < due; said++) text += `line ${said}\n`;
        if (text) process.stdout.write(text);
        await Bun.sleep(5);
      }
    } else if (pathname === "/send") {
      const answer = await fetch(LOGS_URL!, {
        method: "POST",
        headers: { authorization: `Bearer ${LOGS_TOKEN}` },
        body: await request.text(),
      });
      return new Response(await answer.text(), { status: answer.status });
    } else if (pathname === "/token") {
      return new Response(LOGS_TOKEN);
    } else if (pathname === "/die") {
      console.error("my last words");
      process.kill(process.pid, "SIGKILL");
    }
    return new Response("ok");
  },
};
"#;

/// A runtime with the plugin, and the directory of its plugins.
struct Kept {
    server: Server,
    _plugins: Plugins,
}

impl Kept {
    async fn start(settings: &str) -> Kept {
        Kept::start_with(settings, |apps| apps).await
    }

    async fn start_with(settings: &str, more: impl FnOnce(Apps) -> Apps) -> Kept {
        let plugins = Plugins::new();
        plugins.native("logs", settings);
        let server = more(Apps::new().file("shop@1.0.0/index.ts", APP))
            .lean()
            .plugins(plugins.path())
            .env("RUNTIME_ROOT_KEY", KEY)
            .start()
            .await;
        Kept { server, _plugins: plugins }
    }

    fn request(path: &str, last: Option<u64>) -> Request<Full<bytes::Bytes>> {
        let request = Request::get(path).header("x-api-key", KEY);
        let request = match last {
            Some(last) => request.header("last-event-id", last),
            None => request,
        };
        request.body(Full::default()).unwrap()
    }

    async fn ask(&self, path: &str) -> Answer {
        self.server.send(Kept::request(path, None)).await
    }

    async fn entries(&self, filters: &str) -> Vec<Value> {
        let answer = self.ask(&format!("/logs/api?{filters}")).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        answer.json()["entries"].as_array().unwrap().clone()
    }

    /// The newest entry of these, once there is one.
    async fn entry(&self, filters: &str) -> Value {
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(entry) = self.entries(filters).await.into_iter().next() {
                    return entry;
                }
                tokio::task::yield_now().await;
            }
        });
        found.await.expect("the entry comes")
    }
}

/// One connection to the stream.
struct Stream {
    body: Incoming,
    rest: String,
    last: Option<u64>,
    _client: Client,
}

impl Stream {
    async fn open(kept: &Kept, filters: &str, last: Option<u64>) -> Stream {
        let mut client = kept.server.connect().await;
        let request = Kept::request(&format!("/logs/api/sse?{filters}"), last);
        let response = client.begin(request).await.unwrap();
        assert_eq!(response.status(), 200);
        Stream { body: response.into_body(), rest: String::new(), last, _client: client }
    }

    /// The name and the data of the next event. None = the stream has ended.
    async fn next(&mut self) -> Option<(String, Option<u64>, Value)> {
        loop {
            if let Some((block, rest)) = self.rest.split_once("\n\n") {
                let line = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
                let id = line("id: ").map(|id| id.parse().unwrap());
                let data = line("data: ").map_or(Value::Null, |data| serde_json::from_str(data).unwrap());
                let event = (line("event: ").unwrap_or_default().to_owned(), id, data);
                self.rest = rest.to_owned();
                self.last = id.or(self.last);
                return Some(event);
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.expect("something comes")?;
            let data = frame.unwrap().into_data().unwrap();
            self.rest.push_str(std::str::from_utf8(&data).unwrap());
        }
    }
}

#[tokio::test]
async fn what_apps_print_and_are_asked_is_kept() {
    let kept = Kept::start("").await;
    let hex: String = b"\x1b[31mred\x1b[0m \xff\n".iter().map(|byte| format!("{byte:02x}")).collect();
    let request = Request::get(format!("/shop/say?hex={hex}&secret=1"));
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = request.header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"));
    let answer = kept.server.send(request.body(Full::default()).unwrap()).await;
    assert_eq!(answer.text(), "ok");
    let id = answer.header("x-request-id");
    let line = kept.entry("source=worker-stdout").await;
    assert_eq!(
        (&line["message"], &line["app"], &line["version"]),
        (&"red \u{fffd}".into(), &"shop".into(), &"1.0.0".into())
    );
    let access = kept.entry(&format!("source=access&requestId={id}")).await;
    assert_eq!((&access["message"], &access["app"]), (&"GET /shop/say 200".into(), &"shop".into()));
    assert_eq!((&access["traceId"], &access["fields"]["bytes"]), (&trace.into(), &2.into()));
    assert!(!access.to_string().contains("secret"), "{access}");
    let own = kept.entry("source=runtime&search=serving").await;
    assert_eq!(own["level"], "info");
}

#[tokio::test]
async fn a_line_of_1_mb_is_kept_as_its_first_64_kib() {
    let kept = Kept::start("").await;
    assert_eq!(kept.server.get("/shop/long").await.text(), "ok");
    kept.entry("search=after&source=worker-stdout").await;
    let lines = kept.entries("source=worker-stdout").await;
    assert_eq!(lines[1]["message"].as_str().unwrap().len(), 64 << 10);
    assert_eq!(lines[1]["fields"]["truncated"], true);
}

#[tokio::test]
async fn the_last_words_of_an_app_that_is_killed_are_kept() {
    let kept = Kept::start("").await;
    assert!(kept.server.get("/shop/die").await.status() >= 500);
    let entry = kept.entry("source=worker-stderr&search=last+words").await;
    assert_eq!((&entry["app"], &entry["level"]), (&"shop".into(), &"warn".into()));
}

#[tokio::test]
async fn an_app_sends_entries_with_the_token_of_its_worker_while_that_lives() {
    let kept = Kept::start("").await;
    let sent = kept.server.post("/shop/send", r#"{"level":"error","msg":"hi","app":"bank","n":1}"#).await;
    assert_eq!(sent.status(), 200, "{}", sent.text());
    let entry = kept.entry("source=ingest").await;
    assert_eq!(
        (&entry["app"], &entry["message"], &entry["level"]),
        (&"shop".into(), &"hi".into(), &"error".into())
    );
    assert_eq!(entry["fields"], serde_json::json!({ "app": "bank", "n": 1 }));
    let token = kept.server.get("/shop/token").await.text().to_owned();
    kept.server.get("/shop/die").await;
    let send = || {
        let request = Request::post("/logs/api/ingest").header("authorization", format!("Bearer {token}"));
        kept.server.send(request.body(Full::from("{}")).unwrap())
    };
    tokio::time::timeout(PATIENCE, async { while send().await.status() != 401 {} }).await.unwrap();
}

/// Its worker starts before the server does.
#[tokio::test]
async fn a_worker_that_is_started_at_boot_knows_where_to_send_to() {
    let kept = Kept::start_with("", |apps| {
        let says = "console.log('to', process.env.LOGS_URL, !!process.env.LOGS_TOKEN);";
        let apps = apps.file("early/manifest.yaml", "instances: { min: 1 }\n");
        apps.file("early/index.ts", format!("{says}\nexport default {{ fetch: () => new Response() }};"))
    })
    .await;
    let entry = kept.entry("app=early&source=worker-stdout").await;
    let said = entry["message"].as_str().unwrap();
    assert!(said.starts_with("to http://") && said.ends_with("/logs/api/ingest true"), "{said}");
}

/// 10,000 lines a second of a real app, and a client that comes and goes.
#[tokio::test]
async fn a_client_that_reconnects_under_a_flood_misses_nothing_unsaid() {
    let kept = Kept::start("maxEntries: 1000\n").await;
    // The ring is full.
    kept.server.get("/shop/flood?rate=10000&seconds=0.2").await;
    let mut stream = Stream::open(&kept, "", None).await;
    let mut heard = stream.next().await.unwrap().1.unwrap();
    let flood = kept.server.get("/shop/flood?rate=10000&seconds=2");
    let read = async {
        let (mut next, mut lost, mut events) = (0, 0, 0);
        loop {
            let Some((kind, id, data)) = stream.next().await else {
                stream = Stream::open(&kept, "", stream.last).await;
                continue;
            };
            match &*kind {
                "" if data.is_null() => {}
                "" => {
                    heard += 1;
                    assert_eq!(id, Some(heard), "missed or doubled");
                    if data["source"] == "worker-stdout" {
                        let number: u64 = data["message"].as_str().unwrap()["line ".len()..].parse().unwrap();
                        assert!(number == next || (lost > 0 && number > next), "{number} after {next}");
                        next = number + 1;
                    }
                    if data["message"] == "line 19999" {
                        return lost;
                    }
                }
                "gap" => {
                    let gap = data["lost"].as_u64().unwrap();
                    (heard, lost) = (heard + gap, lost + gap);
                    assert_eq!(id, Some(heard));
                }
                "run" | "slow" => {}
                kind => panic!("{kind}: {data}"),
            }
            events += 1;
            if events % 500 == 0 {
                stream = Stream::open(&kept, "", stream.last).await;
            }
        }
    };
    let (_, _lost) = tokio::join!(flood, read);
    let stats = kept.ask("/logs/api/stats").await.json();
    assert_eq!((&stats["dropped"], &stats["entries"]), (&0.into(), &1000.into()), "{stats}");
}

#[tokio::test]
async fn a_flood_beyond_all_measure_is_sampled_and_said() {
    let kept = Kept::start("").await;
    kept.server.get("/shop/flood?rate=300000&seconds=0.5").await;
    let said = kept.entry("search=entries+were+dropped").await;
    assert_eq!((&said["app"], &said["source"]), (&"shop".into(), &"worker-stdout".into()));
    assert!(said["fields"]["dropped"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn streams_end_when_the_runtime_does() {
    let mut kept = Kept::start("").await;
    let mut stream = Stream::open(&kept, "", None).await;
    stream.next().await.unwrap();
    kept.server.signal(nix::sys::signal::Signal::SIGTERM);
    while stream.next().await.is_some() {}
    assert!(kept.server.exit().await.success());
}
