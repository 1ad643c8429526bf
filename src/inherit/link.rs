//! What two processes of which one has replaced the other tell each other, until the older one has ended.

use nix::sys::socket::{MsgFlags, send};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream as StdStream;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

/// Said by a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Word {
    /// To the newer one: something has changed since it was read.
    Reload = b'h',
    /// The service is to end: do so soon.
    End = b't',
}

/// The way to the other process.
#[derive(Debug)]
pub struct Link(UnixStream);

impl Link {
    /// # Errors
    /// The system does not allow it.
    pub fn new(socket: StdStream) -> io::Result<Link> {
        socket.set_nonblocking(true)?;
        Ok(Link(UnixStream::from_std(socket)?))
    }

    /// The next word; none = the other process has ended. May be dropped, and called again.
    pub async fn hear(&mut self) -> Option<Word> {
        let mut word = [0];
        loop {
            match self.0.read(&mut word).await {
                Ok(0) | Err(_) => return None,
                Ok(_) if word[0] == Word::Reload as u8 => return Some(Word::Reload),
                Ok(_) if word[0] == Word::End as u8 => return Some(Word::End),
                // A version that knows more words.
                Ok(_) => {}
            }
        }
    }

    /// Says it, if there is still somebody.
    pub fn say(&self, word: Word) {
        // Not by tokio, which would have to be waited for. The buffer holds far more words than are ever said.
        let _ = send(self.0.as_raw_fd(), &[word as u8], MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[tokio::test]
    async fn words_are_heard_until_the_other_ends_and_unknown_ones_are_none() {
        let (mut other, mine) = StdStream::pair().unwrap();
        let mut link = Link::new(mine).unwrap();
        other.write_all(b"h?t").unwrap();
        assert_eq!(link.hear().await, Some(Word::Reload));
        assert_eq!(link.hear().await, Some(Word::End));
        let other = Link::new(other).unwrap();
        other.say(Word::End);
        assert_eq!(link.hear().await, Some(Word::End));
        drop(other);
        assert_eq!(link.hear().await, None);
        link.say(Word::End);
    }
}
