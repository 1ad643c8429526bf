//! A headless Chromium, spoken to over a pipe in its DevTools protocol.

use super::harness::PATIENCE;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Stdio;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Gives descriptors 3 and 4, which `--remote-debugging-pipe` is about, to whatever follows.
const PIPES: &str = r#"exec "$@" 3<&0 4>&1 >/dev/null"#;

/// One page of a browser. Both are gone when dropped.
pub struct Browser {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    calls: u64,
    page: Option<String>,
    /// What the page has told so far.
    pub events: Vec<Value>,
    dir: TempDir,
}

/// A request in the log of the browser's network stack.
#[derive(Debug)]
pub struct Sent {
    pub url: String,
    /// The origin whose doing it was; none = the browser's own, or its user's.
    pub initiator: Option<String>,
}

impl Browser {
    /// Starts one that finds no host but 127.0.0.1.
    pub async fn start(chromium: &Path) -> Browser {
        let dir = TempDir::new().unwrap();
        let mut child = Command::new("sh")
            .args(["-c", PIPES, "sh"])
            .arg(chromium)
            // Root cannot have a sandbox; CI is root.
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--window-size=1600,1200", "--remote-debugging-pipe"])
            .args(["--no-first-run", "--disable-default-apps", "--disable-sync", "--disable-extensions"])
            .args(["--disable-background-networking", "--disable-component-update"])
            .arg("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
            .arg(format!("--user-data-dir={}", dir.path().join("profile").display()))
            .arg(format!("--log-net-log={}", dir.path().join("net.json").display()))
            .arg("about:blank")
            .env("HOME", dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut browser = Browser { child, to, from, calls: 0, page: None, events: Vec::new(), dir };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" })).await;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", attach).await;
        browser.page = Some(session["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({})).await;
        }
        browser
    }

    /// Opens an address, and returns when all that its document names is loaded.
    pub async fn open(&mut self, url: &str) {
        let opened = self.call("Page.navigate", json!({ "url": url })).await;
        assert!(opened.get("errorText").is_none(), "{url}: {opened}");
        self.told("Page.loadEventFired").await;
    }

    /// The value of an expression, or what the promise that it is comes to.
    pub async fn evaluate(&mut self, expression: &str) -> Value {
        let ask = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let answer = self.call("Runtime.evaluate", ask).await;
        assert!(answer.get("exceptionDetails").is_none(), "{answer}");
        answer["result"]["value"].clone()
    }

    /// The same; none = the page is being left, or throws.
    pub async fn try_evaluate(&mut self, expression: &str) -> Option<Value> {
        let ask = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let answer = self.try_call("Runtime.evaluate", ask).await.ok()?;
        answer.get("exceptionDetails").is_none().then(|| answer["result"]["value"].clone())
    }

    /// Waits until the text of the page has all of these.
    pub async fn shows(&mut self, texts: &[String]) {
        let wait = "new Promise((resolve) => {
            const look = () => TEXTS.every((text) => document.body.innerText.includes(text)) && resolve(true);
            new MutationObserver(look).observe(document, { subtree: true, childList: true, characterData: true });
            look();
        })";
        let wait = wait.replace("TEXTS", &json!(texts).to_string());
        let shown = tokio::time::timeout(PATIENCE, Box::pin(self.evaluate(&wait))).await;
        assert!(shown.is_ok(), "the page does not show all of {texts:#?}");
    }

    /// Waits for the next event of this kind.
    pub async fn told(&mut self, method: &str) -> Value {
        loop {
            let message = self.read().await;
            let is = message["method"] == method;
            self.events.push(message.clone());
            if is {
                return message["params"].clone();
            }
        }
    }

    /// What the browser refused because of a page's policy, or found wrong in it otherwise.
    pub fn complaints(&self) -> Vec<String> {
        let entries = self.events.iter().filter(|event| {
            event["method"] == "Runtime.exceptionThrown"
                || (event["method"] == "Log.entryAdded" && event["params"]["entry"]["level"] == "error")
        });
        entries.map(|event| event["params"].to_string()).collect()
    }

    /// Ends it, and gives all requests that were made in it.
    pub async fn close(mut self) -> Vec<Sent> {
        self.page = None;
        self.call("Browser.close", json!({})).await;
        tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("the browser did not end").unwrap();
        let log = std::fs::read(self.dir.path().join("net.json")).unwrap();
        let log: Value = serde_json::from_slice(&log).unwrap();
        let kind = &log["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"];
        assert!(kind.is_u64(), "the log of the network has another form");
        let begun = log["events"].as_array().unwrap().iter().filter(|event| event["type"] == *kind);
        begun
            .filter_map(|event| {
                let initiator =
                    event["params"]["initiator"].as_str().filter(|origin| *origin != "not an origin");
                let url = event["params"]["url"].as_str()?.to_owned();
                Some(Sent { url, initiator: initiator.map(str::to_owned) })
            })
            .collect()
    }

    async fn call(&mut self, method: &str, params: Value) -> Value {
        let answer = self.try_call(method, params).await;
        answer.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    async fn try_call(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        self.calls += 1;
        let id = self.calls;
        let mut call = json!({ "id": id, "method": method, "params": params });
        if let Some(page) = &self.page {
            call["sessionId"] = json!(page);
        }
        self.to.write_all(format!("{call}\0").as_bytes()).await.unwrap();
        loop {
            let message = self.read().await;
            if message["id"] == id {
                return match message.get("error") {
                    Some(_) => Err(message),
                    None => Ok(message["result"].clone()),
                };
            }
            self.events.push(message);
        }
    }

    async fn read(&mut self) -> Value {
        let mut text = Vec::new();
        let read = tokio::time::timeout(PATIENCE, self.from.read_until(0, &mut text)).await;
        read.expect("the browser says nothing").unwrap();
        assert_eq!(text.pop(), Some(0), "the browser ended");
        serde_json::from_slice(&text).unwrap()
    }
}
