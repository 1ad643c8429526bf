//! What is uploaded: a directory, packed while it is sent, or an archive as it is.

use super::progress::Progress;
use crate::cli::failure::{Exit, Failure};
use crate::package::{Kind, PackageError, pack};
use bytes::{Bytes, BytesMut};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// What is sent at once, in bytes.
const CHUNK: usize = 64 << 10;
/// Pieces that are packed ahead.
const AHEAD: usize = 4;

#[derive(Debug)]
pub enum Source {
    Directory(PathBuf),
    Archive { path: PathBuf, file: File, kind: Kind, size: u64 },
}

/// Writes into the body of a request.
struct Pipe {
    chunks: Sender<io::Result<Bytes>>,
    buffer: BytesMut,
    progress: Progress,
    /// Nobody takes the body any more.
    closed: bool,
}

impl Source {
    pub fn open(path: &Path) -> Result<Source, Failure> {
        let shown = path.display();
        let mut file =
            File::open(path).map_err(|error| Failure::usage(format!("cannot open {shown}: {error}")))?;
        let meta = file.metadata().map_err(|error| Failure::io(format_args!("look at {shown}"), &error))?;
        if meta.is_dir() {
            return Ok(Source::Directory(path.to_owned()));
        }
        let mut first = Vec::new();
        let read = Read::by_ref(&mut file).take(4).read_to_end(&mut first).and_then(|_| file.rewind());
        read.map_err(|error| Failure::io(format_args!("read {shown}"), &error))?;
        let kind = Kind::of(&first).ok_or_else(|| {
            Failure::usage(format!("{shown} is neither a directory nor an archive of a known kind"))
                .hint("name the directory of an app, or a .tar.zst, .tgz or .zip of one")
        })?;
        Ok(Source::Archive { path: path.to_owned(), file, kind, size: meta.len() })
    }

    /// In bytes, where it is known before it is sent.
    pub fn size(&self) -> Option<u64> {
        match self {
            Source::Directory(_) => None,
            Source::Archive { size, .. } => Some(*size),
        }
    }

    pub fn media_type(&self) -> &'static str {
        match self {
            Source::Directory(_) | Source::Archive { kind: Kind::TarZst, .. } => "application/zstd",
            Source::Archive { kind: Kind::TarGz, .. } => "application/gzip",
            Source::Archive { kind: Kind::Zip, .. } => "application/zip",
        }
    }

    /// Sends it from a thread of its own: the body's pieces, and whether all was sent.
    pub fn send(
        self,
        progress: Progress,
    ) -> (Receiver<io::Result<Bytes>>, impl Future<Output = Result<(), Failure>>) {
        let (sender, receiver) = channel(AHEAD);
        let mut pipe = Pipe { chunks: sender, buffer: BytesMut::new(), progress, closed: false };
        let work = tokio::task::spawn_blocking(move || {
            let sent = self
                .write(&mut pipe)
                .and_then(|()| pipe.pass_on().map_err(|error| Failure::io("send the package", &error)));
            match sent {
                // Whoever closed it has an answer, or an error that says why.
                Err(_) if pipe.closed => Ok(()),
                Err(failure) => {
                    let broken = io::Error::other("the package could not be made");
                    let _ = pipe.chunks.blocking_send(Err(broken)); // closed = broken off already
                    Err(failure)
                }
                Ok(()) => {
                    pipe.progress.sent();
                    Ok(())
                }
            }
        });
        let result = async {
            work.await
                .unwrap_or_else(|error| Err(Failure::new(Exit::Failure, format!("packing failed: {error}"))))
        };
        (receiver, result)
    }

    fn write(self, out: &mut Pipe) -> Result<(), Failure> {
        match self {
            Source::Directory(dir) => pack(&dir, Kind::TarZst, out).map(drop).map_err(Failure::from),
            Source::Archive { path, mut file, .. } => io::copy(&mut file, out)
                .map(drop)
                .map_err(|error| Failure::io(format_args!("send {}", path.display()), &error)),
        }
    }
}

impl From<PackageError> for Failure {
    fn from(error: PackageError) -> Failure {
        let failure = Failure::new(Exit::Failure, error.message);
        match error.hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl Pipe {
    fn pass_on(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = self.buffer.split().freeze();
        self.progress.advance(chunk.len());
        self.chunks.blocking_send(Ok(chunk)).map_err(|_| {
            self.closed = true;
            io::ErrorKind::BrokenPipe.into()
        })
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.pass_on()?;
        }
        Ok(bytes.len())
    }

    /// Pieces are sent when they are large enough, and at the end.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::Staging;

    async fn collect(source: Source) -> (io::Result<Vec<u8>>, Result<(), Failure>) {
        let (mut chunks, work) = source.send(Progress::begin(false, None));
        let collect = async {
            let mut all = Vec::new();
            while let Some(chunk) = chunks.recv().await {
                all.extend_from_slice(&chunk?);
            }
            Ok(all)
        };
        tokio::join!(collect, work)
    }

    #[tokio::test]
    async fn a_directory_is_sent_as_an_archive_that_unpacks() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("index.ts"), vec![b'x'; 300_000]).unwrap();
        let source = Source::open(dir.path()).unwrap();
        assert_eq!((source.media_type(), source.size()), ("application/zstd", None));
        let (bytes, sent) = collect(source).await;
        sent.unwrap();
        let workers = tempfile::tempdir().unwrap();
        let staging = Staging::create(workers.path()).unwrap();
        let staged = staging.receive(io::Cursor::new(bytes.unwrap()), &Default::default()).unwrap();
        assert_eq!(std::fs::read(staged.path().join("index.ts")).unwrap().len(), 300_000);
    }

    #[tokio::test]
    async fn an_archive_is_sent_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.whatever");
        let archive = [&b"\x1f\x8b"[..], &[7; 200_000]].concat();
        std::fs::write(&path, &archive).unwrap();
        let source = Source::open(&path).unwrap();
        assert_eq!((source.media_type(), source.size()), ("application/gzip", Some(200_002)));
        let (bytes, sent) = collect(source).await;
        sent.unwrap();
        assert_eq!(bytes.unwrap(), archive);
    }

    #[tokio::test]
    async fn what_cannot_be_packed_breaks_the_request_off_and_says_why() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link")).unwrap();
        let (bytes, sent) = collect(Source::open(dir.path()).unwrap()).await;
        assert!(bytes.is_err());
        insta::assert_snapshot!(sent.unwrap_err().text(str::to_owned));
    }

    #[tokio::test]
    async fn when_the_answer_comes_early_packing_ends_without_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let noise: Vec<u8> = (0..4_000_000u64)
            .map(|n| (n.wrapping_mul(n).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
            .collect();
        std::fs::write(dir.path().join("noise"), noise).unwrap();
        let (chunks, work) = Source::open(dir.path()).unwrap().send(Progress::begin(false, None));
        drop(chunks);
        work.await.unwrap();
    }

    #[test]
    fn what_is_no_package_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "text").unwrap();
        let texts =
            [&file, &dir.path().join("none")].map(|path| Source::open(path).unwrap_err().text(str::to_owned));
        insta::assert_snapshot!(texts.join("").replace(dir.path().to_str().unwrap(), "DIR"));
    }
}
