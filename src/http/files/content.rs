//! The bytes of a file: at once where they are few, else as a stream that reads one chunk ahead.

use buntime_plugin::{Body, BodyError};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::fs::File;
use std::future::Future;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::task::JoinHandle;

/// Up to this many bytes are read in the call that opened the file.
const SMALL: u64 = 64 << 10;
/// What one read of a stream takes.
const CHUNK: u64 = 128 << 10;

/// `length` bytes of a file from `first` on. Blocks on the disk; a stream begins to read when it is first polled.
///
/// # Errors
/// The file cannot be read, or has become shorter.
pub fn read(file: File, first: u64, length: u64) -> io::Result<Body> {
    if length <= SMALL {
        return Ok(Body::from(read_chunk(&file, first, length)?));
    }
    Ok(Body::stream(FileStream {
        file: Arc::new(file),
        next: first,
        unread: length,
        unsent: length,
        reading: None,
    }))
}

/// Dropped when the client goes away: a read that is under way ends, and the file is closed with it.
struct FileStream {
    file: Arc<File>,
    /// Where the next read begins.
    next: u64,
    unread: u64,
    unsent: u64,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl FileStream {
    fn read_next(&mut self) {
        let (file, first, length) = (self.file.clone(), self.next, self.unread.min(CHUNK));
        self.next += length;
        self.unread -= length;
        self.reading = Some(tokio::task::spawn_blocking(move || read_chunk(&file, first, length)));
    }
}

impl http_body::Body for FileStream {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if this.reading.is_none() && this.unread > 0 {
            this.read_next();
        }
        let Some(reading) = &mut this.reading else { return Poll::Ready(None) };
        let chunk =
            ready!(Pin::new(reading).poll(context)).unwrap_or_else(|gone| Err(io::Error::other(gone)));
        this.reading = None;
        match chunk {
            Ok(chunk) => {
                this.unsent -= chunk.len() as u64;
                if this.unread > 0 {
                    this.read_next();
                }
                Poll::Ready(Some(Ok(Frame::data(chunk))))
            }
            Err(error) => {
                this.unread = 0;
                Poll::Ready(Some(Err(error.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.unsent == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.unsent)
    }
}

/// Exactly `length` bytes, or an error: a file that was cut short while it is sent must not look complete.
fn read_chunk(file: &File, first: u64, length: u64) -> io::Result<Bytes> {
    let mut chunk = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut chunk, first)?;
    Ok(Bytes::from(chunk))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body::Body as _;
    use http_body_util::BodyExt;
    use std::io::Write;

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn pattern(length: u64) -> Vec<u8> {
        (0..length).map(|i| (i % 251) as u8).collect()
    }

    #[tokio::test]
    async fn few_bytes_are_in_memory_and_many_are_a_stream() {
        for (length, in_memory) in [(0, true), (1, true), (SMALL, true), (SMALL + 1, false)] {
            let bytes = pattern(length);
            let body = read(file_of(&bytes), 0, length).unwrap();
            assert_eq!(matches!(body, Body::Full(_) | Body::Empty), in_memory, "{length}");
            assert_eq!(body.size_hint().exact(), Some(length));
            assert_eq!(body.collect().await.unwrap().to_bytes(), bytes);
        }
    }

    #[tokio::test]
    async fn a_stream_gives_its_part_in_bounded_chunks() {
        let bytes = pattern(5 * CHUNK);
        let (first, length) = (17, 3 * CHUNK + 5);
        let mut body = read(file_of(&bytes), first, length).unwrap();
        let (mut got, mut left) = (Vec::new(), length);
        while let Some(frame) = body.frame().await {
            let chunk = frame.unwrap().into_data().unwrap();
            assert!(chunk.len() as u64 <= CHUNK);
            left -= chunk.len() as u64;
            assert_eq!(body.size_hint().exact(), Some(left));
            got.extend_from_slice(&chunk);
        }
        assert!(body.is_end_stream());
        assert_eq!(got, bytes[17..][..length as usize]);
    }

    #[tokio::test]
    async fn a_file_that_is_cut_short_while_sent_ends_with_an_error() {
        let file = file_of(&pattern(5 * CHUNK));
        let cut = file.try_clone().unwrap();
        let mut body = read(file, 0, 5 * CHUNK).unwrap();
        body.frame().await.unwrap().unwrap();
        cut.set_len(CHUNK).unwrap();
        let rest = std::iter::repeat_with(|| ()).take(5);
        let mut failed = false;
        for () in rest {
            match body.frame().await {
                Some(Err(_)) => failed = true,
                Some(Ok(_)) => assert!(!failed, "nothing follows an error"),
                None => break,
            }
        }
        assert!(failed);
    }

    #[tokio::test]
    async fn a_client_that_goes_away_closes_the_file() {
        let file = file_of(&pattern(5 * CHUNK));
        let mut stream =
            FileStream { file: Arc::new(file), next: 0, unread: 5 * CHUNK, unsent: 5 * CHUNK, reading: None };
        stream.frame().await.unwrap().unwrap();
        let file = Arc::downgrade(&stream.file);
        let under_way = stream.reading.take().unwrap();
        drop(stream);
        under_way.await.unwrap().unwrap();
        assert!(file.upgrade().is_none());
    }
}
