//! What an authority is asked, over HTTP/1.1 and TLS.

use super::Settings;
use crate::tls::client::{client, client_with, roots};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Limited;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use std::io;
use std::pin::Pin;
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer. A chain has some thousand.
const MAX_ANSWER: usize = 1 << 20;

#[derive(Clone)]
pub struct Web(Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>);

impl Web {
    /// # Errors
    /// There are no certificates to know the authority's server by.
    pub fn new(settings: &Settings) -> io::Result<Web> {
        let config = match &settings.ca {
            Some(file) => client_with(roots(file)?)?,
            None => client(true)?,
        };
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http1();
        Ok(Web(Client::builder(TokioExecutor::new()).build(connector.wrap_connector(tcp))))
    }
}

impl HttpClient for Web {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let answer = self.0.request(request);
        Box::pin(async move {
            let answer: Response<_> = answer.await.map_err(|error| Error::Other(Box::new(error)))?;
            Ok(BytesResponse::from(answer.map(|body| Limited::new(body, MAX_ANSWER))))
        })
    }
}
