//! Constant load of clients that keep to the rules: none of their requests may fail, whatever is done to the server.

use super::harness::{Client, PATIENCE};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::Request;
use http_body_util::Full;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Requests that go on until they are told to end. Some clients keep their connection for as long as the server lets them, some
/// open one for each request.
pub struct Steady {
    clients: Vec<JoinHandle<Vec<String>>>,
    ends: Arc<AtomicBool>,
    answered: Arc<watch::Sender<usize>>,
}

/// How a client connects.
pub type Connect = Arc<dyn Fn() -> BoxFuture<'static, io::Result<Client>> + Send + Sync>;

impl Steady {
    pub fn start(address: SocketAddr, path: &str, clients: usize) -> Steady {
        let connect = move || {
            let connecting = async move { Ok(Client::over(TcpStream::connect(address).await?).await) };
            connecting.boxed()
        };
        Steady::over(Arc::new(connect), path, clients)
    }

    pub fn over(connect: Connect, path: &str, clients: usize) -> Steady {
        let ends = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(watch::Sender::new(0));
        let client = |at: usize| {
            let (ends, answered) = (Arc::clone(&ends), Arc::clone(&answered));
            tokio::spawn(go_on(Arc::clone(&connect), path.to_owned(), at.is_multiple_of(2), ends, answered))
        };
        let clients = (0..clients).map(client).collect();
        Steady { clients, ends, answered }
    }

    /// Waits until `more` further requests were answered.
    pub async fn answers(&self, more: usize) {
        let mut answered = self.answered.subscribe();
        let goal = *answered.borrow_and_update() + more;
        let reached = tokio::time::timeout(PATIENCE, answered.wait_for(|answered| *answered >= goal)).await;
        assert!(reached.is_ok(), "{} answers, {goal} expected", *self.answered.borrow());
    }

    /// Begins no further request. Fails if one of them all has failed.
    pub async fn end(self) {
        self.ends.store(true, Ordering::Release);
        let mut failures = Vec::new();
        for client in self.clients {
            failures.extend(client.await.unwrap());
        }
        let answered = *self.answered.borrow();
        assert!(failures.is_empty(), "{} of {answered} failed: {failures:#?}", failures.len());
        assert!(answered > 0);
    }
}

async fn go_on(
    connect: Connect,
    path: String,
    keeps: bool,
    ends: Arc<AtomicBool>,
    answered: Arc<watch::Sender<usize>>,
) -> Vec<String> {
    let mut failures = Vec::new();
    let mut kept: Option<Client> = None;
    while !ends.load(Ordering::Acquire) && failures.len() < 10 {
        let mut client = match kept.take() {
            Some(client) => client,
            None => match connect().await {
                Ok(client) => client,
                Err(error) => {
                    failures.push(format!("connect: {error}"));
                    continue;
                }
            },
        };
        let request = Request::get(&path).body(Full::<Bytes>::default()).unwrap();
        match client.send(request).await {
            Ok(answer) if answer.status() == 200 => {
                // RFC 9112 §9.6: a connection of which the server says that it closes takes no further request.
                if keeps && answer.header("connection") != "close" {
                    kept = Some(client);
                }
            }
            Ok(answer) => failures.push(format!("{} {}", answer.status(), answer.text())),
            Err(error) => failures.push(format!("{error:?}")),
        }
        answered.send_modify(|answered| *answered += 1);
    }
    failures
}
