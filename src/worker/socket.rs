//! A Unix stream socket that wakes nobody for nothing.
//!
//! When the other end of a Unix socket reads, whoever polls this one for room to write is woken, each time. tokio's
//! `UnixStream` always does; this one asks for it only while there is no room. A request then wakes the supervisor once, when it is
//! answered, and not also when the worker has read it.

use bytes::BytesMut;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, sendmsg};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Sleep;

/// So many writes in a row that the socket took at once, and nobody asks for room any more.
const EASY_WRITES: u32 = 64;

/// How long to wait where the system allows no further descriptor.
const PAUSE: Duration = Duration::from_millis(10);

pub struct Socket {
    stream: AsyncFd<UnixStream>,
    /// Asks for room; since the socket had none. A descriptor of its own, as each can be registered only once.
    room: Option<Room>,
    /// Looks again after a while: for want of a descriptor nobody could be asked.
    pause: Option<Pin<Box<Sleep>>>,
}

struct Room {
    fd: AsyncFd<OwnedFd>,
    easy_writes: u32,
}

impl Socket {
    /// # Errors
    /// Those of epoll_ctl(2).
    pub fn new(stream: UnixStream) -> io::Result<Socket> {
        stream.set_nonblocking(true)?;
        // SAFETY: the stream keeps its descriptor open, and stays in the AsyncFd until that is dropped.
        let stream = unsafe { AsyncFd::register_with_interest(stream, Interest::READABLE) }?;
        Ok(Socket { stream, room: None, pause: None })
    }

    /// Reads into the room that `input` has. 0 = the other end has closed.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, input: &mut BytesMut) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.stream.poll_read_ready_mut(cx))?;
            let room = input.spare_capacity_mut();
            let wanted = room.len();
            match rustix::io::read(guard.get_inner(), room).map(|(read, _)| read.len()) {
                Ok(read) => {
                    if read > 0 && read < wanted {
                        // That was all: one system call less than to be told so.
                        guard.clear_ready();
                    }
                    // SAFETY: `read` has initialised the first `read` bytes of the spare capacity.
                    unsafe { input.set_len(input.len() + read) };
                    return Poll::Ready(Ok(read));
                }
                Err(rustix::io::Errno::AGAIN) => guard.clear_ready(),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Writes as much as the socket takes.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let fd = self.as_raw_fd();
        let send = || sendmsg::<()>(fd, pieces, &[], MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL, None);
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            let sent = match &self.room {
                None => send(),
                Some(room) => {
                    let mut ready = ready!(room.fd.poll_write_ready(cx))?;
                    let sent = send();
                    if sent == Err(Errno::EAGAIN) {
                        ready.clear_ready(); // what this look has seen, not what comes after it
                    }
                    sent
                }
            };
            match sent {
                Ok(written) => {
                    self.was_easy();
                    return Poll::Ready(Ok(written));
                }
                Err(Errno::EAGAIN) => {
                    if self.ask_for_room().is_err() {
                        self.pause = Some(Box::pin(tokio::time::sleep(PAUSE)));
                    }
                }
                Err(Errno::EINTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    fn was_easy(&mut self) {
        if let Some(room) = &mut self.room {
            room.easy_writes += 1;
            if room.easy_writes >= EASY_WRITES {
                self.room = None;
            }
        }
    }

    fn ask_for_room(&mut self) -> io::Result<()> {
        match &mut self.room {
            Some(room) => room.easy_writes = 0,
            None => {
                let fd = self.stream.get_ref().as_fd().try_clone_to_owned()?;
                // SAFETY: an OwnedFd is an open descriptor, and it stays in the AsyncFd until that is dropped.
                let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::WRITABLE) }?;
                self.room = Some(Room { fd, easy_writes: 0 });
            }
        }
        Ok(())
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::io::{Read, Write};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const MUCH: usize = 8 << 20;

    async fn write_all(socket: &mut Socket, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            at += poll_fn(|cx| socket.poll_write(cx, &[IoSlice::new(&bytes[at..])])).await.unwrap();
        }
    }

    /// How often the runtime's thread is woken while the other end reads what was written.
    fn wakes_of_a_read(much_before: bool) -> usize {
        let woken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&woken);
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().on_thread_unpark(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        runtime.build().unwrap().block_on(async {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            let mut socket = Socket::new(ours).unwrap();
            if much_before {
                let reader = tokio::task::spawn_blocking(move || {
                    theirs.read_exact(&mut vec![0; MUCH]).unwrap();
                    theirs
                });
                write_all(&mut socket, &vec![1; MUCH]).await;
                theirs = reader.await.unwrap();
                for _ in 0..EASY_WRITES {
                    write_all(&mut socket, b"x").await;
                }
            }
            write_all(&mut socket, b"request").await;
            // Whatever has woken the thread until now has done so after this.
            tokio::time::sleep(Duration::from_millis(5)).await;
            let (done, read) = tokio::sync::oneshot::channel();
            let before = woken.load(Ordering::Relaxed);
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(20));
                assert!(theirs.read(&mut [0; 1000]).unwrap() >= 7);
                std::thread::sleep(Duration::from_millis(20));
                done.send(theirs).unwrap();
            });
            let _theirs = read.await.unwrap();
            woken.load(Ordering::Relaxed) - before
        })
    }

    #[test]
    fn the_other_end_may_read_and_nobody_is_woken() {
        assert_eq!(wakes_of_a_read(false), 1, "by the channel alone");
        assert_eq!(wakes_of_a_read(true), 1, "after there was no room for a while");
    }

    #[tokio::test]
    async fn what_there_is_no_room_for_goes_out_when_there_is() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut socket = Socket::new(ours).unwrap();
        let sent: Vec<u8> = (0..MUCH).map(|at| (at / 1000) as u8).collect();
        let reader = tokio::task::spawn_blocking(move || {
            let mut read = vec![0; MUCH];
            for piece in read.chunks_mut(100_000) {
                theirs.read_exact(piece).unwrap();
                theirs.write_all(b"!").unwrap();
            }
            read
        });
        write_all(&mut socket, &sent).await;
        assert!(reader.await.unwrap() == sent);
        let mut input = BytesMut::with_capacity(MUCH);
        while poll_fn(|cx| socket.poll_read(cx, &mut input)).await.unwrap() > 0 {}
        assert_eq!(input.len(), MUCH.div_ceil(100_000));
    }

    #[tokio::test]
    async fn a_closed_end_is_an_error_to_write_to() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut socket = Socket::new(ours).unwrap();
        drop(theirs);
        let error = poll_fn(|cx| socket.poll_write(cx, &[IoSlice::new(b"x")])).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
