//! A version's package, made while it is sent.

use super::blocking;
use super::error::{ApiError, Result};
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
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::sync::{Semaphore, mpsc};

/// Bytes that go to the client at once.
const PIECE: usize = 64 * 1024;
/// Pieces that wait for a slow client.
const PIECES: usize = 4;
/// How long one piece waits for the client.
const PATIENCE: Duration = Duration::from_secs(60);
/// Packages that may be on their way out at once. Each holds one of the process's threads that may wait, which others need
/// too: those who look for a key, those who read static files.
pub const DOWNLOADS: usize = 8;

type Piece = Result<Bytes, PackageError>;

/// Where the packer writes to. It fails when the client has gone, or takes nothing for too long.
struct Pipe {
    pieces: mpsc::Sender<Piece>,
    patience: Duration,
}

/// The answer with the package. What cannot be packed is an error before anything is sent, unless it is found later: then
/// the body breaks off.
pub async fn pack(
    places: &Arc<Semaphore>,
    dir: PathBuf,
    kind: Kind,
    name: &AppName,
    version: &AppVersion,
) -> Result<Response> {
    let place = Arc::clone(places).try_acquire_owned().map_err(|_| {
        ApiError::later("downloads_busy", "Other packages are being downloaded.", Duration::from_secs(1))
    })?;
    let (sender, mut pieces) = mpsc::channel::<Piece>(PIECES + 1);
    // The error's place is kept for it: the client may take nothing.
    let last = sender.clone().try_reserve_owned().map_err(ApiError::internal)?;
    let packing = blocking(move || {
        let _place = place;
        let mut out = BufWriter::with_capacity(PIECE, Pipe { pieces: sender, patience: PATIENCE });
        let packed = package::pack(&dir, kind, &mut out);
        let sent = packed.and_then(|_| out.flush().map_err(gone));
        if let Err(error) = sent {
            last.send(Err(error));
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
    let file = format!("{}.{suffix}", name.package_name(version));
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
        // Packing is done on a thread for what waits, which belongs to the runtime and may block.
        match Handle::current().block_on(self.pieces.send_timeout(Ok(piece), self.patience)) {
            Ok(()) => Ok(bytes.len()),
            Err(SendTimeoutError::Timeout(_)) => Err(io::ErrorKind::TimedOut.into()),
            Err(SendTimeoutError::Closed(_)) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_that_takes_nothing_gets_no_thread_for_ever() {
        let (pieces, mut taken) = mpsc::channel::<Piece>(1);
        let mut pipe = Pipe { pieces, patience: Duration::from_millis(1) };
        let writing = blocking(move || (pipe.write(b"one"), pipe.write(b"two")));
        let (first, second) = writing.await.unwrap();
        assert_eq!(first.unwrap(), 3);
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(taken.recv().await.unwrap().unwrap(), "one");
        assert!(taken.recv().await.is_none());
    }
}
