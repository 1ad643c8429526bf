//! A version's package, made while it is sent.

use super::blocking;
use super::error::Result;
use crate::model::{AppName, AppVersion};
use crate::package::{self, Kind, PackageError};
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderValue;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use http_body::Frame;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use tokio::sync::mpsc;

/// Bytes that go to the client at once.
const PIECE: usize = 64 * 1024;
/// Pieces that wait for a slow client.
const PIECES: usize = 4;

type Piece = Result<Bytes, PackageError>;

/// Where the packer writes to. It fails when the client has gone.
struct Pipe(mpsc::Sender<Piece>);

/// The answer with the package. What cannot be packed is an error before anything is sent, unless it is found later: then
/// the body breaks off.
pub async fn pack(dir: PathBuf, kind: Kind, name: &AppName, version: &AppVersion) -> Result<Response> {
    let (sender, mut pieces) = mpsc::channel::<Piece>(PIECES);
    let packing = blocking(move || {
        let mut out = BufWriter::with_capacity(PIECE, Pipe(sender.clone()));
        let packed = package::pack(&dir, kind, &mut out);
        let sent = packed.and_then(|_| out.flush().map_err(gone));
        if let Err(error) = sent {
            let _ = sender.blocking_send(Err(error)); // the client may have gone
        }
        // What is left in the buffer belongs to no whole package.
        let _ = out.into_parts();
    });
    tokio::spawn(packing);
    let first = pieces.recv().await.transpose()?;
    let rest = futures_util::stream::unfold((first.map(Ok), pieces), |(first, mut pieces)| async move {
        let piece = match first {
            Some(piece) => piece,
            None => pieces.recv().await?,
        };
        Some((piece.map(Frame::data), (None, pieces)))
    });
    let (media, suffix) = match kind {
        Kind::TarZst => ("application/zstd", "tar.zst"),
        _ => ("application/gzip", "tgz"),
    };
    let file = format!("{}-{version}.{suffix}", name.as_str().trim_start_matches('@').replace('/', "-"));
    let mut response = Response::new(Body::new(http_body_util::StreamBody::new(rest)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    if let Ok(value) = HeaderValue::try_from(format!("attachment; filename=\"{file}\"")) {
        response.headers_mut().insert(CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

fn gone(error: io::Error) -> PackageError {
    PackageError { code: package::Code::Io, message: error.to_string(), hint: None, cause: Some(error) }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = Bytes::copy_from_slice(bytes);
        let sent = self.0.blocking_send(Ok(piece));
        sent.map(|()| bytes.len()).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
