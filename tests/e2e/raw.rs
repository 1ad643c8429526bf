//! A connection that carries exactly the bytes a test writes, and shows exactly those that come back.

use super::harness::{PATIENCE, Server};
use serde_json::Value;
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

pub struct Raw(BufReader<TcpStream>);

/// The head of an answer, its names in lower case.
#[derive(Debug)]
pub struct RawHead {
    pub status: u16,
    pub reason: String,
    pub headers: Vec<(String, Vec<u8>)>,
}

/// An answer with its whole body.
#[derive(Debug)]
pub struct RawAnswer {
    pub head: RawHead,
    pub body: Vec<u8>,
}

impl Server {
    pub async fn raw(&self) -> Raw {
        self.raw_at(self.address).await
    }

    /// At another port of it.
    pub async fn raw_at(&self, address: SocketAddr) -> Raw {
        Raw(BufReader::new(TcpStream::connect(address).await.unwrap()))
    }

    /// The answer to these bytes on a connection of their own.
    pub async fn raw_answer(&self, bytes: impl AsRef<[u8]>) -> RawAnswer {
        let mut raw = self.raw().await;
        raw.write(bytes).await;
        raw.answer().await
    }
}

impl Raw {
    /// Writes; a server that has already closed its end does not matter, as its answer may still be read.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = patiently(self.0.get_mut().write_all(bytes.as_ref())).await;
    }

    /// Says that nothing more will come.
    pub async fn finish(&mut self) {
        let _ = self.0.get_mut().shutdown().await;
    }

    pub async fn head(&mut self) -> RawHead {
        let first = self.line().await.expect("closed before an answer");
        let mut parts = first.splitn(3, ' ');
        assert_eq!(parts.next(), Some("HTTP/1.1"), "{first}");
        let status = parts.next().unwrap().parse().unwrap();
        let reason = parts.next().unwrap_or_default().to_owned();
        let mut headers = Vec::new();
        loop {
            let line = self.bytes_line().await.unwrap();
            if line.is_empty() {
                return RawHead { status, reason, headers };
            }
            let colon = line.iter().position(|byte| *byte == b':').unwrap();
            let name = String::from_utf8(line[..colon].to_ascii_lowercase()).unwrap();
            headers.push((name, line[colon + 1..].trim_ascii().to_vec()));
        }
    }

    /// The body that `head` announces.
    ///
    /// # Errors
    /// It broke off.
    pub async fn body(&mut self, head: &RawHead) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        if head.text("transfer-encoding") == "chunked" {
            while let Some(chunk) = self.chunk().await? {
                body.extend(chunk);
            }
        } else if !matches!(head.status, 204 | 304) {
            let len = head.text("content-length").parse().expect("an answer without a length");
            body.resize(len, 0);
            patiently(self.0.read_exact(&mut body)).await?;
        }
        Ok(body)
    }

    /// The next chunk of a chunked body; `None` = it has ended.
    pub async fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let size = self.line().await.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut chunk = vec![0; usize::from_str_radix(&size, 16).unwrap()];
        patiently(self.0.read_exact(&mut chunk)).await?;
        assert_eq!(self.line().await.as_deref(), Some(""));
        Ok((!chunk.is_empty()).then_some(chunk))
    }

    pub async fn answer(&mut self) -> RawAnswer {
        let head = self.head().await;
        let body = self.body(&head).await.unwrap();
        RawAnswer { head, body }
    }

    /// Everything up to the end of the connection, reset or not.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = patiently(self.0.read_to_end(&mut rest)).await;
        rest
    }

    /// Waits for the end of the connection; nothing may come before it.
    pub async fn closed(&mut self) {
        let rest = self.rest().await;
        assert!(rest.is_empty(), "more came: {:?}", String::from_utf8_lossy(&rest));
    }

    async fn line(&mut self) -> Option<String> {
        self.bytes_line().await.map(|line| String::from_utf8_lossy(&line).into_owned())
    }

    /// One line without its end; `None` = the connection has ended.
    async fn bytes_line(&mut self) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        patiently(self.0.read_until(b'\n', &mut line)).await.ok()?;
        line.strip_suffix(b"\r\n").map(<[u8]>::to_vec)
    }
}

impl RawHead {
    /// The values of a header, in their order.
    pub fn all(&self, name: &str) -> Vec<&[u8]> {
        self.headers.iter().filter(|(given, _)| given == name).map(|(_, value)| &value[..]).collect()
    }

    /// The value of a header that is there at most once; empty = it is not.
    pub fn text(&self, name: &str) -> &str {
        match self.all(name)[..] {
            [] => "",
            [value] => std::str::from_utf8(value).unwrap(),
            _ => panic!("{name} is there several times: {self:?}"),
        }
    }
}

impl RawAnswer {
    pub fn status(&self) -> u16 {
        self.head.status
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }
}

async fn patiently<T>(future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(PATIENCE, future).await.expect("nothing came")
}
