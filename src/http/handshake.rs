//! The beginning of a connection to a port with TLS. It is as long as a head may take, like the request behind it.

use super::connection::Conn;
use crate::tls::{Acceptor, Refused};
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// For whoever speaks HTTP to a port that speaks TLS.
const PLAIN: &str = "HTTP/1.1 400 Bad Request\r\n\
    content-type: text/plain; charset=utf-8\r\n\
    content-length: 48\r\n\
    connection: close\r\n\r\n\
    The plain HTTP request was sent to a HTTPS port\n";

/// None = nothing more is to be said on it.
pub async fn shake(socket: TcpStream, conn: &Conn, acceptor: &Acceptor) -> Option<TlsStream<TcpStream>> {
    let begun = async {
        if is_plain(&socket).await? {
            refuse(socket).await?;
            return Err(Refused::Plain);
        }
        acceptor.accept(socket).await
    };
    let result = tokio::select! {
        result = begun => result,
        () = conn.dropped() => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
    };
    match result {
        Ok(stream) => return Some(stream),
        Err(Refused::Proof) => tracing::info!("an ACME server has seen the proof for a name"),
        Err(error) => tracing::debug!(%error, "a handshake failed"),
    }
    None
}

/// Whether it begins as a request does: with the letters of a method. A record of TLS begins with its type, which is none
/// (RFC 8446 §5.1).
async fn is_plain(socket: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    socket.peek(&mut first).await?;
    Ok(first[0].is_ascii_alphabetic())
}

/// Answers, and takes what is still coming: a socket that is closed with bytes unread is reset, and the answer would be lost.
async fn refuse(mut socket: TcpStream) -> io::Result<()> {
    socket.write_all(PLAIN.as_bytes()).await?;
    socket.shutdown().await?;
    let mut rest = [0; 4096];
    while socket.read(&mut rest).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::PLAIN;

    #[test]
    fn the_answer_to_plain_requests_is_as_long_as_it_says() {
        let (head, body) = PLAIN.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{}", body.len());
    }
}
