//! An archive that comes in as a body: written to disk as it comes, where nobody else can reach it.

use super::blocking;
use super::error::{ApiError, Result};
use crate::shortage::Shortage;
use axum::body::Body;
use http::StatusCode;
use http_body_util::BodyExt;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Longest archive, in bytes. What it unpacks to has its own limits.
pub const MAX_ARCHIVE: u64 = 512 << 20;
/// Longest silence of a client that sends one.
const SILENCE: Duration = Duration::from_secs(60);
/// Longest time for all of it.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// Writes a body to a file without a name in `dir`, which is gone when it is closed.
pub async fn receive(mut body: Body, dir: &Path) -> Result<File> {
    let dir = dir.to_owned();
    let file = blocking(move || nameless(&dir)).await?.map_err(unwritable)?;
    let file = Arc::new(file);
    let mut size = 0;
    let end = tokio::time::Instant::now() + LONGEST;
    loop {
        let limit = end.min(tokio::time::Instant::now() + SILENCE);
        let frame = tokio::time::timeout_at(limit, body.frame()).await.map_err(|_| {
            ApiError::new(StatusCode::REQUEST_TIMEOUT, "upload_stalled", "The package did not come in time.")
        })?;
        let bytes = match frame {
            None => break,
            Some(Err(_)) => return Err(ApiError::bad("body_broken", "The body broke off.")),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(bytes) => bytes,
                Err(_) => continue, // trailers
            },
        };
        size += bytes.len() as u64;
        if size > MAX_ARCHIVE {
            let detail = format!("The archive has more than {MAX_ARCHIVE} bytes.");
            return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail));
        }
        let out = Arc::clone(&file);
        blocking(move || (&*out).write_all(&bytes)).await?.map_err(unwritable)?;
    }
    if size == 0 {
        return Err(ApiError::bad("body_missing", "The request has no package in its body.")
            .hint("send a zip, a tgz or a tar.zst"));
    }
    (&*file).rewind().map_err(unwritable)?;
    // Every writer has been waited for.
    Arc::into_inner(file).ok_or_else(|| ApiError::internal("an upload is still being written"))
}

/// O_TMPFILE, or where the file system has none, a file that loses its name at once.
fn nameless(dir: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).mode(0o600);
    match options.clone().custom_flags(nix::libc::O_TMPFILE).open(dir) {
        Ok(file) => Ok(file),
        Err(_) => {
            let path = dir.join(format!(".upload-{}", uuid::Uuid::from_u128(random()?)));
            let file = options.create_new(true).open(&path)?;
            std::fs::remove_file(&path)?;
            Ok(file)
        }
    }
}

fn random() -> io::Result<u128> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(u128::from_ne_bytes(bytes))
}

fn unwritable(error: io::Error) -> ApiError {
    Shortage::of(&error).map_or_else(|| ApiError::internal(error), ApiError::short)
}
