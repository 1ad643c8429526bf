//! The server's side of a handshake.

use super::certificates::Certificates;
use super::challenges::PROTOCOL;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

/// HTTP/2 first, where a client speaks both.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// A fatal alert `unrecognized_name` (RFC 8446 §5.1, §6.2), which the library cannot be asked for.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// Makes TLS of a connection.
#[derive(Debug)]
pub struct Acceptor {
    certificates: Arc<Certificates>,
    usual: Arc<ServerConfig>,
    proof: Arc<ServerConfig>,
}

/// Why a connection goes no further than its handshake.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("{0}")]
    Failed(#[from] io::Error),
    #[error("there is no certificate for {}", name.as_deref().unwrap_or("a client that names no host"))]
    Unknown { name: Option<String> },
    #[error("it began with a plain request")]
    Plain,
    /// As it should be: an ACME server has what it wanted to see.
    #[error("it was a proof for ACME")]
    Proof,
}

impl Acceptor {
    /// # Errors
    /// The system gives no randomness for the keys of session tickets.
    pub fn new(certificates: Arc<Certificates>) -> Result<Acceptor, rustls::Error> {
        let challenges = Arc::clone(certificates.challenges());
        Ok(Acceptor {
            usual: Arc::new(config(Arc::clone(&certificates) as _, &PROTOCOLS)?),
            proof: Arc::new(config(challenges, &[PROTOCOL])?),
            certificates,
        })
    }

    /// Speaks TLS on `socket`. Whoever calls limits its time.
    ///
    /// # Errors
    /// The client did not speak TLS, went away, or wants what there is not. It was told, as far as it listens.
    pub async fn accept<S>(&self, socket: S) -> Result<TlsStream<S>, Refused>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), socket).await?;
        let hello = start.client_hello();
        if is_proof(&hello) {
            let mut stream = start.into_stream(Arc::clone(&self.proof)).await?;
            stream.shutdown().await?;
            return Err(Refused::Proof);
        }
        if !self.certificates.has(hello.server_name()) {
            let name = hello.server_name().map(str::to_owned);
            start.io.write_all(&UNRECOGNIZED_NAME).await?;
            start.io.shutdown().await?;
            return Err(Refused::Unknown { name });
        }
        Ok(start.into_stream(Arc::clone(&self.usual)).await?)
    }
}

/// RFC 8737 §3: it offers this protocol alone.
fn is_proof(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|mut offered| offered.next() == Some(PROTOCOL) && offered.next().is_none())
}

/// TLS 1.2 and 1.3. The keys of tickets are in memory only and change every six hours.
fn config(resolver: Arc<dyn ResolvesServerCert>, protocols: &[&[u8]]) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(config)
}
