//! Clients that ask one app without a pause, each for something else, and hold every answer against what may be
//! served at the moment: a request is answered by a version that was meant between its beginning and its end, whole.

use super::harness::{Client, PATIENCE, Server};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Get,
    /// With a body that comes back, a small and a large one in turn.
    Echo,
    /// Whose answer comes in pieces.
    Stream,
}

/// A large body: more than goes with a head.
const LARGE: usize = 150_000;

pub struct Traffic {
    plan: Arc<Plan>,
    clients: Vec<JoinHandle<()>>,
}

struct Plan {
    path: String,
    /// What may be served, now as the last one.
    epochs: Mutex<Vec<Epoch>>,
    faults: Mutex<Vec<String>>,
    /// Answers of each client.
    answered: watch::Sender<Vec<usize>>,
    ends: AtomicBool,
}

#[derive(Clone, Debug)]
struct Epoch {
    what: String,
    versions: Vec<String>,
    /// A client that was answered by a version gets none before it in `versions` any more.
    forward: bool,
}

enum Connection {
    One(Client),
    /// Shared with others.
    Two(http2::SendRequest<Full<Bytes>>),
}

/// A worker whose every answer begins with its version, which two files must agree on: this one, and `part.ts`.
pub fn worker(version: &str) -> String {
    format!(
        "import {{ part }} from './part.ts';
const version = part === '{version}' ? part : `half {version}, half ${{part}}`;
export default {{
  async fetch(request: Request) {{
    const {{ pathname }} = new URL(request.url);
    if (pathname === '/echo') return new Response(version + ':' + await request.text());
    if (pathname !== '/stream') return new Response(version + ':' + process.pid);
    return new Response(new ReadableStream({{
      async start(controller) {{
        for (const piece of [version + ':', 'first,', 'second,', 'last']) {{
          controller.enqueue(piece);
          await Bun.sleep(1);
        }}
        controller.close();
      }},
    }}));
  }},
}};"
    )
}

pub fn part(version: &str) -> String {
    format!("export const part = '{version}';")
}

impl Traffic {
    /// Four clients with a connection each, and three that share one with HTTP/2.
    pub async fn start(server: &Server, app: &str, version: &str) -> Traffic {
        use Kind::{Echo, Get, Stream};
        Traffic::of(server, app, version, &[Get, Get, Echo, Stream], &[Get, Echo, Stream]).await
    }

    /// The same, but all of them only GET.
    pub async fn start_reading(server: &Server, app: &str, version: &str) -> Traffic {
        Traffic::of(server, app, version, &[Kind::Get; 3], &[Kind::Get; 2]).await
    }

    async fn of(server: &Server, app: &str, version: &str, one: &[Kind], two: &[Kind]) -> Traffic {
        let epoch = Epoch { what: "the beginning".into(), versions: vec![version.into()], forward: true };
        let plan = Arc::new(Plan {
            path: format!("/{app}"),
            epochs: Mutex::new(vec![epoch]),
            faults: Mutex::default(),
            answered: watch::Sender::new(vec![0; one.len() + two.len()]),
            ends: AtomicBool::new(false),
        });
        let socket = TcpStream::connect(server.address).await.unwrap();
        let (shared, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
        tokio::spawn(connection);
        let mut connections = Vec::new();
        for kind in one {
            connections.push((*kind, Connection::One(server.connect().await)));
        }
        connections.extend(two.iter().map(|kind| (*kind, Connection::Two(shared.clone()))));
        let clients = connections.into_iter().enumerate();
        let clients = clients
            .map(|(n, (kind, connection))| tokio::spawn(Arc::clone(&plan).carry_out(n, kind, connection)));
        let traffic = Traffic { clients: clients.collect(), plan };
        traffic.each(2).await;
        traffic
    }

    /// From now on these are served, and nothing else.
    fn expect(&self, what: &str, versions: &[&str], forward: bool) {
        let versions = versions.iter().map(|version| (*version).to_owned()).collect();
        self.plan.epochs.lock().unwrap().push(Epoch { what: what.to_owned(), versions, forward });
    }

    /// While `act` is done, the first of `versions` gives way to the last; afterwards that one alone is served.
    pub async fn moves<T>(&self, what: &str, versions: &[&str], act: impl Future<Output = T>) -> T {
        self.expect(what, versions, true);
        let done = act.await;
        self.expect(&format!("after: {what}"), &versions[versions.len() - 1..], true);
        self.each(3).await;
        self.check();
        done
    }

    /// While `act` is done and afterwards all of `versions` are served, in no order.
    pub async fn mixes<T>(&self, what: &str, versions: &[&str], act: impl Future<Output = T>) -> T {
        self.expect(what, versions, false);
        let done = act.await;
        self.each(3).await;
        self.check();
        done
    }

    /// Waits until every client has had so many further answers.
    pub async fn each(&self, more: usize) {
        let goal: Vec<usize> = self.plan.answered.borrow().iter().map(|answers| answers + more).collect();
        let mut answered = self.plan.answered.subscribe();
        let all = answered.wait_for(|answers| answers.iter().zip(&goal).all(|(now, goal)| now >= goal));
        let reached = tokio::time::timeout(PATIENCE, all).await.is_ok();
        self.check();
        assert!(reached, "a client gets no answers: {:?} of {goal:?}", self.plan.answered.borrow());
    }

    #[track_caller]
    fn check(&self) {
        let faults = self.plan.faults.lock().unwrap();
        assert!(
            faults.is_empty(),
            "{} faults, the first ones: {:#?}",
            faults.len(),
            &faults[..faults.len().min(5)]
        );
    }

    /// Ends when all that was begun is answered. Returns how many answers there were.
    pub async fn end(self) -> usize {
        self.plan.ends.store(true, Ordering::Release);
        for client in &mut { self.clients } {
            client.await.unwrap();
        }
        let faults = self.plan.faults.lock().unwrap();
        assert!(faults.is_empty(), "{faults:#?}");
        self.plan.answered.borrow().iter().sum()
    }
}

impl Plan {
    async fn carry_out(self: Arc<Self>, client: usize, kind: Kind, mut connection: Connection) {
        let mut last: Option<(usize, String)> = None;
        for turn in 0.. {
            if self.ends.load(Ordering::Acquire) {
                return;
            }
            let begun = self.epochs.lock().unwrap().len() - 1;
            let asked = tokio::time::timeout(PATIENCE, self.one(kind, turn, &mut connection)).await;
            let answer = asked.unwrap_or_else(|_| Err("no answer".into()));
            let epochs = self.epochs.lock().unwrap().clone();
            let fault = match &answer {
                Err(why) => Some(why.clone()),
                Ok(version) => judge(&epochs[begun..], epochs.len(), version, last.as_ref()),
            };
            if let Some(fault) = fault {
                let what = &epochs[epochs.len() - 1].what;
                self.faults.lock().unwrap().push(format!("client {client} ({kind:?}), {what}: {fault}"));
            }
            last = answer.ok().map(|version| (epochs.len(), version));
            self.answered.send_modify(|answers| answers[client] += 1);
        }
    }

    /// One request. Gives the version that answered it, or what was wrong.
    async fn one(&self, kind: Kind, turn: usize, connection: &mut Connection) -> Result<String, String> {
        let size = if turn % 4 == 3 { LARGE } else { 1 + turn % 2000 };
        let text = "abcdefghij".repeat(size / 10 + 1);
        let (path, body) = match kind {
            Kind::Get => ("/", String::new()),
            Kind::Echo => ("/echo", text[..size].to_owned()),
            Kind::Stream => ("/stream", String::new()),
        };
        let uri = format!("http://test{}{path}", self.path);
        let request = if kind == Kind::Echo { Request::post(uri) } else { Request::get(uri) };
        let request = request.body(Full::new(Bytes::from(body.clone()))).unwrap();
        let response = connection.begin(request).await.map_err(|error| format!("broken: {error}"))?;
        let (head, answer) = response.into_parts();
        let answer = answer.collect().await.map_err(|error| format!("broke off: {error}"))?.to_bytes();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        if head.status != 200 {
            return Err(format!("{} {answer}", head.status));
        }
        let (version, rest) = answer.split_once(':').ok_or_else(|| format!("no version: {answer}"))?;
        let whole = match kind {
            Kind::Get => !rest.is_empty(),
            Kind::Echo => rest == body,
            Kind::Stream => rest == "first,second,last",
        };
        if whole { Ok(version.to_owned()) } else { Err(format!("not whole: {} bytes", rest.len())) }
    }
}

impl Connection {
    async fn begin(&mut self, mut request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        match self {
            Connection::One(client) => {
                *request.uri_mut() = request.uri().path().parse().unwrap();
                client.begin(request).await
            }
            Connection::Two(client) => {
                client.ready().await?;
                client.send_request(request).await
            }
        }
    }
}

/// What is wrong with an answer by `version` to a request that these epochs have passed over; `now` counts all of them.
fn judge(passed: &[Epoch], now: usize, version: &str, last: Option<&(usize, String)>) -> Option<String> {
    if !passed.iter().any(|epoch| epoch.versions.iter().any(|known| known == version)) {
        return Some(format!("answered by {version}, which is not served: {passed:?}"));
    }
    // Only within one epoch there is an order.
    let (then, before) = last?;
    let [epoch] = passed else { return None };
    let place = |version: &str| epoch.versions.iter().position(|known| known == version);
    let back = *then == now && epoch.forward && place(version) < place(before);
    back.then(|| format!("answered by {version} after {before}"))
}
