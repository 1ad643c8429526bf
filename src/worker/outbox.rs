//! Bytes that wait to be written to one socket: small frames are collected, large bodies are passed on as they are.

use super::socket::Socket;
use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

/// Shorter pieces are copied behind what is already there: cheaper than a slice of their own in the system call.
const COPY_BELOW: usize = 8 * 1024;
const SLICES: usize = 32;

#[derive(Default)]
pub struct Outbox {
    queue: VecDeque<Bytes>,
    tail: BytesMut,
}

impl Outbox {
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.tail.is_empty()
    }

    /// Where frames are appended.
    pub fn tail(&mut self) -> &mut BytesMut {
        &mut self.tail
    }

    /// Appends a piece of body.
    pub fn push(&mut self, piece: Bytes) {
        if piece.len() < COPY_BELOW {
            self.tail.extend_from_slice(&piece);
            return;
        }
        if !self.tail.is_empty() {
            self.queue.push_back(self.tail.split().freeze());
        }
        self.queue.push_back(piece);
    }

    /// Writes until everything is out or the socket takes no more.
    ///
    /// # Errors
    /// Those of the socket; `WriteZero` where it takes nothing although it says it is ready.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, socket: &mut Socket) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let pieces = self.queue.iter().map(|piece| &piece[..]).chain([&self.tail[..]]);
            let count =
                slices.iter_mut().zip(pieces).map(|(slice, piece)| *slice = IoSlice::new(piece)).count();
            let written = ready!(socket.poll_write(cx, &slices[..count]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut written: usize) {
        while let Some(first) = self.queue.front_mut() {
            if written < first.len() {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.queue.pop_front();
        }
        self.tail.advance(written);
    }
}
