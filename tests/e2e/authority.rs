//! A certificate authority of the test's own, and clients that believe it and nobody else.

use super::harness::{Client, Launch, PATIENCE, Server};
use super::steady::Connect;
use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: TempDir,
}

/// A certificate and its key, as PEM.
pub struct Issued {
    pub cert: String,
    pub key: String,
}

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = TempDir::new().unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        Authority { issuer, dir }
    }

    pub fn issue(&self, names: &[&str]) -> Issued {
        self.issue_with(names, |_| {})
    }

    pub fn issue_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let key = KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Issued { cert: cert.pem(), key: key.serialize_pem() }
    }

    /// Where tests put files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Issues a certificate and writes it: `NAME.crt` and `NAME.key`.
    pub fn lay(&self, name: &str, names: &[&str]) {
        let issued = self.issue(names);
        write(&self.path(&format!("{name}.crt")), &issued.cert);
        write(&self.path(&format!("{name}.key")), &issued.key);
    }

    /// Its own certificate, as a file.
    pub fn root(&self) -> PathBuf {
        let path = self.path("root.ca");
        write(&path, &self.issuer.pem());
        path
    }

    /// Has the listener speak TLS, with a certificate for `a.test`.
    pub fn of(&self, launch: Launch) -> Launch {
        self.lay("a", &["a.test"]);
        launch
            .env("RUNTIME_TLS_CERT", text(&self.path("a.crt")))
            .env("RUNTIME_TLS_KEY", text(&self.path("a.key")))
    }

    pub fn config(&self, protocols: &[&str]) -> ClientConfig {
        self.config_with(protocols, rustls::ALL_VERSIONS)
    }

    pub fn config_with(
        &self,
        protocols: &[&str],
        versions: &[&'static SupportedProtocolVersion],
    ) -> ClientConfig {
        believing(self.issuer.der().clone(), protocols, versions)
    }

    /// A connection over TLS that asks for `name`.
    pub async fn connect(&self, server: &Server, name: &str) -> Client {
        Client::over(shake(server, name, self.config(&["http/1.1"])).await.unwrap()).await
    }

    /// For load of many clients.
    pub fn connector(&self, server: &Server, name: &'static str) -> Connect {
        let (address, config) = (server.address, self.config(&["http/1.1"]));
        Arc::new(move || {
            let config = config.clone();
            async move { Ok(Client::over(shake_at(address, name, config).await?).await) }.boxed()
        })
    }

    /// The same with HTTP/2.
    pub async fn connect2(&self, server: &Server, name: &str) -> http2::SendRequest<Full<Bytes>> {
        let stream = shake(server, name, self.config(&["h2", "http/1.1"])).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    /// The certificate that is shown to whoever asks for `name`.
    pub async fn shown(&self, server: &Server, name: &str) -> CertificateDer<'static> {
        let stream = shake(server, name, self.config(&[])).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    }
}

/// A client that believes this certificate.
pub fn believing(
    root: CertificateDer<'static>,
    protocols: &[&str],
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(root).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    config
}

/// A handshake, for `name`, or for none where it is an address.
pub async fn shake(
    server: &Server,
    name: &str,
    config: ClientConfig,
) -> std::io::Result<TlsStream<TcpStream>> {
    shake_at(server.address, name, config).await
}

async fn shake_at(
    address: SocketAddr,
    name: &str,
    config: ClientConfig,
) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let shaking = TlsConnector::from(Arc::new(config)).connect(name, socket);
    tokio::time::timeout(PATIENCE, shaking).await.expect("the handshake did not end")
}

/// Writes a file that is its owner's alone.
pub fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
