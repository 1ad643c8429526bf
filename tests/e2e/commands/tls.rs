//! Over TLS: a server that the system trusts is spoken to, any other one is not.

use super::Person;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, Stream};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

/// For localhost, by itself, and for nothing but this test.
const CERTIFICATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/commands/tls/certificate.pem");
const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/commands/tls/key.pem");

/// Answers each request with an empty list of apps. Returns its port, and the heads of what it was asked.
fn serve() -> (u16, Arc<Mutex<Vec<String>>>) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_file(CERTIFICATE).unwrap()],
            PrivateKeyDer::from_pem_file(KEY).unwrap(),
        )
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let mut tls = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = Stream::new(&mut tls, &mut socket);
            let (mut head, mut byte) = (Vec::new(), [0]);
            // A client that does not trust us ends here.
            while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
                head.push(byte[0]);
            }
            let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{\"apps\":[]}";
            if head.ends_with(b"\r\n\r\n") && stream.write_all(answer.as_bytes()).is_ok() {
                seen.lock().unwrap().push(String::from_utf8(head).unwrap().to_lowercase());
            }
        }
    });
    (port, heads)
}

#[tokio::test]
async fn a_server_that_is_trusted_gets_the_key_and_any_other_one_does_not() {
    let (port, heads) = serve();
    let url = format!("https://localhost:{port}");
    let me = Person::somewhere().with("BUNTIME_KEY", "btk_secret");
    let stranger = me.runs(&["apps", "--json", "--url", &url]).await;
    assert_eq!(
        stranger.code,
        if stranger.stderr.contains("no certificates") { 1 } else { 3 },
        "{}",
        stranger.stderr
    );
    assert!(heads.lock().unwrap().is_empty());

    let trusting = me.with("SSL_CERT_FILE", CERTIFICATE);
    assert_eq!(
        trusting.runs(&["apps", "--json", "--url", &url]).await.json(),
        serde_json::json!({ "apps": [] })
    );
    let head = heads.lock().unwrap().pop().unwrap();
    assert!(
        head.starts_with("get /api/apps http/1.1\r\n") && head.contains("x-api-key: btk_secret\r\n"),
        "{head}"
    );
    // Another name than those of the certificate.
    let other = trusting.runs(&["apps", "--url", &format!("https://127.0.0.2:{port}")]).await;
    other.failed(3);
}
