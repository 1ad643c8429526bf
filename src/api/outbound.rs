//! Requests that plugins send over the network: one client for the process, so that connections are shared.

use crate::model::hop::drop_hop_by_hop;
use crate::tls;
use buntime_plugin::{Body, BodyError, Error, Response, Result};
use http::Request;
use http::uri::Scheme;
use http_body_util::BodyExt;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Until the head of the answer is there.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection that nobody uses is closed after this.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Made when it is first used.
#[derive(Default)]
pub struct Outbound {
    plain: OnceCell<Client<HttpConnector, Body>>,
    secure: OnceCell<Client<HttpsConnector<HttpConnector>, Body>>,
}

impl Outbound {
    /// # Errors
    /// It cannot be sent, or no head comes in time.
    pub async fn fetch(&self, mut request: Request<Body>) -> Result<Response> {
        let uri = request.uri().clone();
        drop_hop_by_hop(request.headers_mut());
        let sent = async {
            if uri.scheme() == Some(&Scheme::HTTPS) {
                Ok(self.secure.get_or_try_init(make_secure).await?.request(request).await)
            } else if uri.scheme() == Some(&Scheme::HTTP) {
                Ok(self.plain.get_or_init(async || build(tcp())).await.request(request).await)
            } else {
                Err(Error::new(format!("`{uri}` is no absolute URL of http or https")))
            }
        };
        // Without the query, which may hold secrets.
        let to = || format!("{}{}", uri.authority().map_or("", |to| to.as_str()), uri.path());
        let answer = match tokio::time::timeout(HEAD_TIMEOUT, sent).await {
            Ok(sent) => {
                sent?.map_err(|error| Error::new(format!("{} does not answer", to())).because(error))?
            }
            Err(_) => return Err(Error::new(format!("{} has not answered within {HEAD_TIMEOUT:?}", to()))),
        };
        let mut answer = answer.map(|body| Body::stream(body.map_err(BodyError::from)));
        drop_hop_by_hop(answer.headers_mut());
        Ok(answer)
    }
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp
}

async fn make_secure() -> Result<Client<HttpsConnector<HttpConnector>, Body>> {
    let failed = |error: std::io::Error| Error::new("there can be no TLS").because(error);
    // Reads files.
    let config = tokio::task::spawn_blocking(|| tls::client(true)).await;
    let config = config.map_err(std::io::Error::other).and_then(|config| config).map_err(failed)?;
    Ok(build(HttpsConnector::from((tcp(), Arc::new(config)))))
}

fn build<C>(connector: C) -> Client<C, Body>
where
    C: hyper_util::client::legacy::connect::Connect + Clone,
{
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .build(connector)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use tokio::net::TcpListener;

    /// Answers each request with its method, path, body, and the names of its headers.
    async fn echo() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = async |request: Request<hyper::body::Incoming>| {
            let (head, body) = request.into_parts();
            let mut names: Vec<&str> = head.headers.keys().map(HeaderName::as_str).collect();
            names.sort_unstable();
            let names = names.join(",");
            let body = body.collect().await?.to_bytes();
            let text = format!("{} {} {} {names}", head.method, head.uri, String::from_utf8_lossy(&body));
            let answer = http::Response::builder().header("connection", "x-hop").header("x-hop", "1");
            Ok::<_, hyper::Error>(
                answer.header("x-end", "1").body(http_body_util::Full::<bytes::Bytes>::from(text)).unwrap(),
            )
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = service_fn(answer);
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        format!("http://{address}")
    }

    #[tokio::test]
    async fn a_request_is_answered_without_what_concerns_one_connection() {
        let (at, outbound) = (echo().await, Outbound::default());
        let request = Request::post(format!("{at}/a?b=c"));
        let request =
            request.header("x-kept", "1").header("te", "trailers").header("connection", "close, x-mine");
        let request =
            request.header("x-mine", "1").header("keep-alive", "5").header("proxy-authorization", "secret");
        let request = request.body(Body::from("body")).unwrap();
        let answer = outbound.fetch(request).await.unwrap();
        assert!(answer.headers().contains_key("x-end") && !answer.headers().contains_key("x-hop"));
        let text = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(text, "POST /a?b=c body content-length,host,x-kept");
    }

    #[tokio::test]
    async fn who_cannot_be_asked_is_an_error_that_keeps_the_query() {
        let outbound = Outbound::default();
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        for (uri, expected) in [
            (format!("http://{free}/path?key=secret"), format!("{free}/path does not answer")),
            ("/path".to_owned(), "`/path` is no absolute URL".to_owned()),
            ("ftp://host/".to_owned(), "`ftp://host/` is no absolute URL".to_owned()),
        ] {
            let error =
                outbound.fetch(Request::get(&uri).body(Body::Empty).unwrap()).await.unwrap_err().to_string();
            assert!(error.starts_with(&expected) && !error.contains("secret"), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_silent_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/", listener.local_addr().unwrap());
        let error =
            Outbound::default().fetch(Request::get(uri).body(Body::Empty).unwrap()).await.unwrap_err();
        assert!(error.to_string().contains("has not answered within 30s"), "{error}");
    }
}
