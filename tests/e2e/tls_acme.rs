//! Certificates by ACME, from `pebble`, the test server of Let's Encrypt's authors. It proves that names lead here as a real authority
//! does; only its ports and its DNS are the test's own.

use super::authority::{Authority, believing, shake, text, write};
use super::harness::{Apps, Client, Launch, PATIENCE, Server, eventually, tool};
use http::Request;
use http_body_util::{BodyExt, Full};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::process::{Child, Command};

const ISSUED: &str = "a certificate was issued";
const GETTING: &str = "getting a certificate";
const MADE: &str = "an ACME account was made";

/// A port that nobody else gets: it is bound, and nobody listens, so who asks for this very one can have it (SO_REUSEADDR, socket(7)).
struct Reserved(TcpSocket);

impl Reserved {
    fn new() -> Reserved {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Reserved(socket)
    }

    fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }
}

/// The authority, and the ports on which it looks for proofs. It ends when this is dropped.
struct Pebble {
    /// Signs the certificates of its own servers.
    authority: Authority,
    directory: Reserved,
    management: Reserved,
    http: Reserved,
    tls: Reserved,
    _process: Child,
}

impl Pebble {
    /// Its certificates are valid for so many seconds. None = there is no pebble here.
    async fn start(validity: u64) -> Option<Pebble> {
        let program = tool("pebble", "the tests of ACME need pebble (scripts/ci-tools)")?;
        let authority = Authority::new();
        authority.lay("pebble", &["127.0.0.1"]);
        let [directory, management, http, tls] = [(); 4].map(|()| Reserved::new());
        let config = json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{}", directory.port()),
            "managementListenAddress": format!("127.0.0.1:{}", management.port()),
            "certificate": authority.path("pebble.crt"),
            "privateKey": authority.path("pebble.key"),
            "httpPort": http.port(),
            "tlsPort": tls.port(),
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
            "certificateValidityPeriod": validity,
        }});
        let file = authority.path("pebble.json");
        write(&file, &config.to_string());
        let mut command = Command::new(program);
        command.arg("-config").arg(&file).arg("-dnsserver").arg(names().await.to_string());
        // It would wait some seconds before each look, and take earlier proofs for new ones.
        command.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_AUTHZREUSE", "0");
        // It would refuse every twentieth request, now and then several in a row.
        command.env("PEBBLE_WFE_NONCEREJECT", "0");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let process = command.spawn().unwrap();
        let pebble = Pebble { authority, directory, management, http, tls, _process: process };
        for port in [pebble.directory.port(), pebble.management.port()] {
            let listens = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
            eventually("pebble listens", listens).await;
        }
        Some(pebble)
    }

    /// What is signed by it ends with this certificate.
    async fn root(&self) -> CertificateDer<'static> {
        let address = SocketAddr::from(([127, 0, 0, 1], self.management.port()));
        let socket = TcpStream::connect(address).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(self.authority.config(&[])));
        let stream = connector.connect("127.0.0.1".try_into().unwrap(), socket).await.unwrap();
        let request = Request::get("/roots/0").body(Full::default()).unwrap();
        let answer = Client::over(stream).await.send(request).await.unwrap();
        CertificateDer::from_pem_slice(&answer.body).unwrap()
    }

    /// Where a server keeps what it has got from here.
    fn kept(&self, state: &Path) -> PathBuf {
        state.join("tls").join(format!("127.0.0.1-{}-dir", self.directory.port()))
    }

    fn of(&self, launch: Launch, domains: &str) -> Launch {
        launch
            .env("PORT", self.tls.port().to_string())
            .env("RUNTIME_ACME_DOMAINS", domains)
            .env("RUNTIME_ACME_EMAIL", "ops@a.test")
            .env("RUNTIME_ACME_DIRECTORY", format!("https://127.0.0.1:{}/dir", self.directory.port()))
            .env("RUNTIME_ACME_CA", text(&self.authority.root()))
    }
}

/// A name server for which every name is this machine, at the address where the listener is; but those that begin with `elsewhere` are at
/// another one. Returns its own address.
async fn names() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut query = [0; 1500];
        while let Ok((length, client)) = socket.recv_from(&mut query).await {
            // RFC 1035 §4.1: a head of 12 bytes, then the question: a name that ends with 0, its type and its class.
            let name = query[12..length].iter().position(|byte| *byte == 0).unwrap();
            let question = &query[12..12 + name + 5];
            let is_address = question[name + 1..name + 3] == [0, 1];
            let mut answer = [&query[..2], &[0x81, 0x80, 0, 1, 0, u8::from(is_address), 0, 0, 0, 0]].concat();
            answer.extend(question);
            if is_address {
                let last = if question[1..].starts_with(b"elsewhere") { 99 } else { 1 };
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, last]);
            }
            let _ = socket.send_to(&answer, client).await;
        }
    });
    address
}

fn issued(server: &Server, domain: &str) -> usize {
    server.log(|line| line["message"] == ISSUED && line["domain"] == domain).len()
}

/// Asks over TLS, and returns the certificate that was shown.
async fn ask(server: &Server, root: &CertificateDer<'static>, name: &str) -> CertificateDer<'static> {
    let config = believing(root.clone(), &["http/1.1"], rustls::ALL_VERSIONS);
    let stream = shake(server, name, config).await.unwrap();
    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned();
    let request = Request::get("/api/health/live").body(Full::default()).unwrap();
    assert_eq!(Client::over(stream).await.send(request).await.unwrap().status(), 200);
    shown
}

#[tokio::test]
async fn certificates_are_got_by_files_over_http_and_renewed_while_they_are_valid() {
    let Some(pebble) = Pebble::start(15).await else { return };
    let launch = pebble.of(Apps::new().lean(), "a.test,b.test");
    let server = launch.env("RUNTIME_HTTP_PORT", pebble.http.port().to_string()).start().await;
    let root = pebble.root().await;
    let events = Request::get("/api/events?types=server").body(Full::default()).unwrap();
    let mut admin = server.admin().await;
    let events = admin.begin(events).await.unwrap();
    assert_eq!(events.status(), 200);
    let mut events = events.into_body();
    eventually("both names have one", || issued(&server, "a.test") > 0 && issued(&server, "b.test") > 0)
        .await;
    let (a, b) = (ask(&server, &root, "a.test").await, ask(&server, &root, "b.test").await);
    assert_ne!(a, b, "each name has its own");
    eventually("it was renewed", || issued(&server, "a.test") > 1).await;
    // Still with the earlier one: no test of time, but a certificate that has expired would be refused.
    assert_ne!(ask(&server, &root, "a.test").await, a);
    ask(&server, &root, "b.test").await;
    assert!(server.log(|line| line["level"] == "ERROR").is_empty());
    let mut told = String::new();
    while !told.contains(r#""action":"certificateIssued","domain":"a.test","until":"20"#) {
        let frame =
            tokio::time::timeout(PATIENCE, events.frame()).await.expect("nothing is told").unwrap().unwrap();
        told.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
    }
}

#[tokio::test]
async fn certificates_are_got_by_handshakes_alone_and_kept_for_the_next_start() {
    let Some(pebble) = Pebble::start(1_000_000).await else { return };
    let server = pebble.of(Apps::new().lean(), "a.test").start().await;
    server.logged(|line| line["message"] == ISSUED).await;
    let root = pebble.root().await;
    let shown = ask(&server, &root, "a.test").await;
    server.logged(|line| line["message"] == "an ACME server has seen the proof for a name").await;
    let dir = pebble.kept(&server.state_dir());
    let mut files: Vec<_> = dir.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert_eq!(files, [dir.join("a.test.pem"), dir.join("account.json")]);
    for path in files {
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{path:?}");
    }
    let server = pebble.of(server.stop().await, "a.test").env("RUNTIME_SPARE_WORKERS", "0").start().await;
    assert_eq!(ask(&server, &root, "a.test").await, shown);
    assert!(server.log(|line| line["message"] == GETTING).is_empty());
    // Another name is added: it has the account that is there, with another address.
    let launch = pebble.of(server.stop().await, "a.test,c.test").env("RUNTIME_ACME_EMAIL", "other@a.test");
    let server = launch.env("RUNTIME_SPARE_WORKERS", "0").start().await;
    server.logged(|line| line["message"] == ISSUED && line["domain"] == "c.test").await;
    ask(&server, &root, "c.test").await;
    assert_eq!(ask(&server, &root, "a.test").await, shown);
    assert!(server.log(|line| line["message"] == MADE).is_empty());
    let untold = |line: &Value| line["message"] == "the ACME authority was not told the address of email";
    assert!(server.log(untold).is_empty());
    // The account is damaged: it is made anew.
    let launch = server.stop().await;
    write(&dir.join("account.json"), "{\"id\":");
    let server = pebble.of(launch, "a.test,d.test").env("RUNTIME_SPARE_WORKERS", "0").start().await;
    server.logged(|line| line["message"] == ISSUED && line["domain"] == "d.test").await;
    assert_eq!(server.log(|line| line["message"] == MADE).len(), 1);
    assert!(std::fs::read_to_string(dir.join("account.json")).unwrap().ends_with('}'));
}

/// It was thrown away, and each attempt made another account and ordered another certificate, which authorities count.
#[tokio::test]
async fn what_cannot_be_kept_is_served_all_the_same_and_kept_once_it_can_be() {
    let Some(pebble) = Pebble::start(1_000_000).await else { return };
    let place = tempfile::tempdir().unwrap();
    let dir = pebble.kept(&place.path().join("state"));
    let files = ["a.test.pem", "account.json"].map(|file| dir.join(file));
    // They stand where the new files would be written, also for root.
    let obstacles = ["a.test.pem.new", "account.json.new"].map(|file| dir.join(file));
    for obstacle in &obstacles {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(obstacle).unwrap();
    }
    let server = pebble.of(Apps::new().lean().state_in(place), "a.test").start().await;
    server.logged(|line| line["message"] == ISSUED).await;
    let root = pebble.root().await;
    let shown = ask(&server, &root, "a.test").await;
    let warning = |line: &Value| {
        line["message"].as_str().unwrap_or("").starts_with("what ACME has got cannot be kept yet")
    };
    let warned = server.log(warning);
    assert_eq!(warned.len(), 2, "{warned:?}");
    assert!(files.iter().all(|file| !file.exists()));
    for obstacle in &obstacles {
        std::fs::remove_dir(obstacle).unwrap();
    }
    eventually("both are kept", || files.iter().all(|file| file.exists())).await;
    assert!(server.log(|line| line["level"] == "ERROR").is_empty());
    assert_eq!(server.log(|line| line["message"] == GETTING).len(), 1);
    let server = pebble.of(server.stop().await, "a.test").env("RUNTIME_SPARE_WORKERS", "0").start().await;
    assert_eq!(ask(&server, &root, "a.test").await, shown);
    assert!(server.log(|line| line["message"] == GETTING).is_empty());
}

/// As Caddy has it: a certificate that nobody believes would teach people to click on.
#[tokio::test]
async fn until_there_is_a_certificate_handshakes_fail_with_their_reason() {
    let nobody = Reserved::new();
    let authority = Authority::new();
    let launch = Apps::new().lean().env("RUNTIME_ACME_DOMAINS", "a.test");
    let launch = launch.env("RUNTIME_ACME_DIRECTORY", format!("https://127.0.0.1:{}/dir", nobody.port()));
    let launch = launch.env("RUNTIME_ACME_CA", text(&authority.root()));
    let server = launch.start().await;
    let failed = server.logged(|line| line["message"] == "no certificate was issued").await;
    assert_eq!((&failed["domain"], &failed["level"]), (&json!("a.test"), &json!("ERROR")));
    assert!(failed["error"].as_str().unwrap().contains("Connection refused"), "{failed}");
    for name in ["a.test", "b.test", "127.0.0.1"] {
        let error = shake(&server, name, authority.config(&["h2"])).await.unwrap_err().to_string();
        assert!(error.contains("UnrecognisedName"), "{error}");
    }
    let is = |line: &Value| line["message"] == "a handshake failed" && line["level"] == "DEBUG";
    eventually("each is told", || server.log(is).len() == 3).await;
    let mut server = server;
    server.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(tokio::time::timeout(PATIENCE, server.exit()).await.unwrap().success(), "it waits for nobody");
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_is_told_and_keeps_no_other_from_its_certificate() {
    let Some(pebble) = Pebble::start(1_000_000).await else { return };
    let server = pebble.of(Apps::new().lean(), "elsewhere.test,a.test").start().await;
    server.logged(|line| line["message"] == ISSUED && line["domain"] == "a.test").await;
    let failed = server.logged(|line| line["message"] == "no certificate was issued").await;
    assert_eq!(failed["domain"], "elsewhere.test");
    assert!(
        failed["error"].as_str().unwrap().contains("did not believe that the name leads here"),
        "{failed}"
    );
    let root = pebble.root().await;
    ask(&server, &root, "a.test").await;
    // It is not shown a certificate that is for the other one.
    let config = believing(root, &[], rustls::ALL_VERSIONS);
    let error = shake(&server, "elsewhere.test", config).await.unwrap_err().to_string();
    assert!(error.contains("UnrecognisedName"), "{error}");
}
