//! Constant load of clients that keep to the rules: none of their requests may fail, whatever is done to the server.

use super::harness::{Client, PATIENCE};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::handshake;
use hyper_util::rt::{TokioExecutor, TokioIo};
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
        let mut steady = Steady::none();
        for at in 0..clients {
            let (ends, answered) = (Arc::clone(&steady.ends), Arc::clone(&steady.answered));
            let client = go_on(Arc::clone(&connect), path.to_owned(), at.is_multiple_of(2), ends, answered);
            steady.clients.push(tokio::spawn(client));
        }
        steady
    }

    /// Over HTTP/2 without TLS, with prior knowledge (RFC 9113 §3.3).
    pub fn http2(address: SocketAddr, path: &str, clients: usize) -> Steady {
        let mut steady = Steady::none();
        for _ in 0..clients {
            let (ends, answered) = (Arc::clone(&steady.ends), Arc::clone(&steady.answered));
            steady.clients.push(tokio::spawn(go_on_http2(address, path.to_owned(), ends, answered)));
        }
        steady
    }

    fn none() -> Steady {
        let ends = Arc::new(AtomicBool::new(false));
        Steady { clients: Vec::new(), ends, answered: Arc::new(watch::Sender::new(0)) }
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

async fn go_on_http2(
    address: SocketAddr,
    path: String,
    ends: Arc<AtomicBool>,
    answered: Arc<watch::Sender<usize>>,
) -> Vec<String> {
    let mut failures = Vec::new();
    let goes_on = |failures: &Vec<String>| !ends.load(Ordering::Acquire) && failures.len() < 10;
    while goes_on(&failures) {
        let connecting = async {
            let socket = TcpStream::connect(address).await.map_err(|error| format!("connect: {error}"))?;
            let shaking = handshake(TokioExecutor::new(), TokioIo::new(socket));
            shaking.await.map_err(|error| format!("handshake: {error:?}"))
        };
        let mut sender = match connecting.await {
            Ok((sender, connection)) => {
                tokio::spawn(connection);
                sender
            }
            Err(error) => {
                failures.push(error);
                continue;
            }
        };
        // Until the server says GOAWAY (RFC 9113 §6.8).
        while goes_on(&failures) && sender.ready().await.is_ok() {
            let request =
                Request::get(format!("http://{address}{path}")).body(Full::<Bytes>::default()).unwrap();
            let answer = async {
                let answer = sender.send_request(request).await?;
                let status = answer.status();
                Ok::<_, hyper::Error>((status, answer.into_body().collect().await?.to_bytes()))
            };
            match answer.await {
                Ok((status, _)) if status == 200 => {}
                Ok((status, body)) => failures.push(format!("{status} {body:?}")),
                // It was not sent: the connection was on its way to close.
                Err(error) if error.is_canceled() => break,
                Err(error) => failures.push(format!("{error:?}")),
            }
            answered.send_modify(|answered| *answered += 1);
        }
    }
    failures
}
