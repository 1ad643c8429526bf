//! The process that this one replaces, seen from this one.

use super::{Inherited, Link};
use crate::access::RootKey;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use serde::{Deserialize, Serialize};
use std::io::{self, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Of [`Message`]. A process that hands over and one that takes over may be of different versions of Buntime.
pub(super) const FORMAT: u32 = 2;
/// Bytes.
pub(super) const MAX_MESSAGE: usize = 16 << 10;
/// Sockets that are handed over at most. The kernel allows 253 (unix(7)).
pub(super) const MAX_SOCKETS: usize = 64;
/// Said by the new process: all is there for it to serve.
pub(super) const READY: u8 = b'.';
/// Said by the new process, with the reason behind it: it will not serve.
pub(super) const FAILED: u8 = b'!';
/// Bytes of a reason that are read.
pub(super) const MAX_REASON: u64 = 16 << 10;
/// Said by the old process: the new one is the service.
pub(super) const RELEASED: u8 = b'.';
/// Said by the old process: it serves on, and the new one is to end.
pub(super) const WITHDRAWN: u8 = b'x';
/// It has sent its message before it looks after anything else.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is sent beside the descriptors.
#[derive(Serialize, Deserialize)]
pub(super) struct Message {
    pub format: u32,
    /// Names, in the order of the descriptors.
    pub sockets: Vec<String>,
    /// Its hash, in hex.
    pub root_key: Option<String>,
}

/// The process that this one replaces.
#[derive(Debug)]
pub struct Predecessor {
    socket: UnixStream,
}

/// What it says of a process that could serve.
#[derive(Debug)]
pub enum Answer {
    /// This process is the service. None = nothing more can be told.
    Released(Option<Link>),
    /// It serves on.
    Withdrawn,
    /// It has died: there is none but this process.
    Gone,
}

/// What it hands over.
#[derive(Debug, Default)]
pub struct Handed {
    pub sockets: Vec<Inherited>,
    /// Where this process cannot read it again.
    pub root_key: Option<RootKey>,
}

#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    #[error("the new process cannot be started: {0}")]
    Io(#[from] io::Error),
    #[error("the new process ended before it served{}", because(.0))]
    Ended(Option<String>),
    #[error("the new process did not serve within {0:?}")]
    Late(Duration),
    #[error("this process was told to end")]
    Withdrawn,
    #[error("a deployment or another change took too long to end")]
    Busy,
    #[error("there are too many sockets to hand over")]
    TooLong,
    #[error("the process before speaks another format of handing over ({0}, and this one {FORMAT})")]
    Format(u32),
    #[error("what the process before hands over makes no sense: {0}")]
    Nonsense(String),
    #[error(
        "the first process of a container or of a system (PID 1) cannot be replaced\n\nhint: start a new container"
    )]
    First,
}

fn because(reason: &Option<String>) -> String {
    reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default()
}

/// The way to say why this process does not serve.
#[derive(Debug)]
pub struct Report(UnixStream);

impl Report {
    /// Tells the process before, which serves on.
    pub fn failed(&self, reason: &dyn std::fmt::Display) {
        // It may be gone.
        let _ = write!(&self.0, "{}{reason}", char::from(FAILED));
    }
}

impl Predecessor {
    pub fn new(socket: UnixStream) -> Predecessor {
        Predecessor { socket }
    }

    /// What it hands over. Blocks for a moment.
    ///
    /// # Errors
    /// It is gone, or of another kind.
    pub fn receive(&self) -> Result<Handed, HandoverError> {
        self.socket.set_read_timeout(Some(PATIENCE))?;
        let mut text = vec![0; MAX_MESSAGE];
        let mut space = nix::cmsg_space!([RawFd; MAX_SOCKETS]);
        let (length, fds) = {
            let mut slices = [IoSliceMut::new(&mut text)];
            let received = recvmsg::<()>(
                self.socket.as_raw_fd(),
                &mut slices,
                Some(&mut space),
                MsgFlags::MSG_CMSG_CLOEXEC,
            )
            .map_err(io::Error::from)?;
            let mut fds = Vec::new();
            for message in received.cmsgs().map_err(io::Error::from)? {
                if let ControlMessageOwned::ScmRights(rights) = message {
                    fds.extend(rights.into_iter().map(own));
                }
            }
            (received.bytes, fds)
        };
        let nonsense = |error: &dyn std::fmt::Display| HandoverError::Nonsense(error.to_string());
        let message: Message = serde_json::from_slice(&text[..length]).map_err(|error| nonsense(&error))?;
        if message.format != FORMAT {
            return Err(HandoverError::Format(message.format));
        }
        if message.sockets.len() != fds.len() {
            return Err(nonsense(&format_args!("{} names, {} sockets", message.sockets.len(), fds.len())));
        }
        let sockets =
            message.sockets.into_iter().zip(fds).map(|(name, socket)| Inherited { name, socket }).collect();
        let root_key = match message.root_key {
            Some(hex) => Some(RootKey::from_hex(&hex).ok_or_else(|| nonsense(&"the root key is no hash"))?),
            None => None,
        };
        Ok(Handed { sockets, root_key })
    }

    /// This process could serve. Returns when the other one has said what is to be. Blocks.
    pub fn replace(mut self) -> Answer {
        let mut word = [0];
        // One that does not read any more may have said why.
        let _ = self.socket.write_all(&[READY]);
        let said = self.socket.set_read_timeout(None).and_then(|()| self.socket.read_exact(&mut word));
        match said.map(|()| word[0]) {
            Ok(RELEASED) => Answer::Released(Link::new(self.socket).ok()),
            Ok(_) => Answer::Withdrawn,
            Err(_) => Answer::Gone,
        }
    }

    /// For the case that it does not come to that.
    ///
    /// # Errors
    /// The system allows no further descriptor.
    pub fn report(&self) -> io::Result<Report> {
        Ok(Report(self.socket.try_clone()?))
    }
}

#[allow(unsafe_code)]
fn own(fd: RawFd) -> OwnedFd {
    use std::os::fd::FromRawFd;
    // SAFETY: recvmsg(2) has just opened it for this process, and nobody else knows of it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

#[cfg(test)]
mod tests {
    use super::super::offer::send;
    use super::super::{Bound, Offer};
    use super::*;
    use std::net::TcpListener;
    use std::os::fd::AsFd;
    use std::process::Command;

    const ROOT: &str = "0123456789abcdef0123456789abcdef";

    fn message(text: &[u8]) -> Result<Handed, HandoverError> {
        let (mut other, mine) = UnixStream::pair().unwrap();
        other.write_all(text).unwrap();
        drop(other);
        Predecessor::new(mine).receive()
    }

    #[test]
    fn what_makes_no_sense_is_an_error() {
        for (text, why) in [
            (&b"{}"[..], "makes no sense"),
            (b"", "makes no sense"),
            (b"{\"format\":3,\"sockets\":[]}", "another format of handing over (3, and this one 2)"),
            (b"{\"format\":2,\"sockets\":[\"http\"]}", "1 names, 0 sockets"),
            (b"{\"format\":2,\"sockets\":[],\"root_key\":\"xyz\"}", "no hash"),
        ] {
            let error = message(text).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        assert!(message(b"{\"format\":2,\"sockets\":[]}").unwrap().sockets.is_empty());
    }

    #[test]
    fn a_program_that_ends_has_not_taken_over() {
        let shell = |script: &str| {
            let mut program = Command::new("sh");
            program.args(["-c", script]);
            Offer::make(program, &[], None)
        };
        let ended = |offer: Offer| match offer.accepted() {
            Err(HandoverError::Ended(reason)) => reason,
            other => panic!("{:?}", other.map(|_| ())),
        };
        // Its standard input is the socket.
        assert_eq!(
            ended(shell("head -c 1 >&2; printf '!no such app\n' >&0").unwrap()).unwrap(),
            "no such app"
        );
        assert_eq!(ended(shell("exit 3").unwrap()), None);
        let offer = shell("exec sleep 1000").unwrap();
        offer.stopper().unwrap().withdraw();
        assert_eq!(ended(offer), None, "a wait can be ended");
        assert!(Offer::make(Command::new("/no/such/program"), &[], None).is_err());
    }

    #[tokio::test]
    async fn the_new_process_is_released_and_told_more() {
        let (theirs, mine) = UnixStream::pair().unwrap();
        let waits = tokio::task::spawn_blocking(move || Predecessor::new(mine).replace());
        let mut old = Link::new(theirs.try_clone().unwrap()).unwrap();
        theirs.set_nonblocking(false).unwrap();
        let mut word = [0];
        (&theirs).read_exact(&mut word).unwrap();
        assert_eq!(word, [READY]);
        (&theirs).write_all(&[RELEASED]).unwrap();
        let Answer::Released(Some(mut link)) = waits.await.unwrap() else { panic!() };
        old.say(super::super::Word::Reload);
        assert_eq!(link.hear().await, Some(super::super::Word::Reload));
        link.say(super::super::Word::End);
        theirs.set_nonblocking(true).unwrap();
        assert_eq!(old.hear().await, Some(super::super::Word::End));
    }

    #[test]
    fn a_process_that_is_not_wanted_any_more_is_not_one_whose_predecessor_has_died() {
        let (theirs, mine) = UnixStream::pair().unwrap();
        super::super::offer::Stopper(theirs).withdraw();
        assert!(matches!(Predecessor::new(mine).replace(), Answer::Withdrawn));
        let (theirs, mine) = UnixStream::pair().unwrap();
        drop(theirs);
        assert!(matches!(Predecessor::new(mine).replace(), Answer::Gone));
    }

    #[test]
    fn sockets_arrive_with_their_names_and_the_root_key_by_its_hash() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let key = RootKey::parse(ROOT).unwrap();
        let (mine, theirs) = UnixStream::pair().unwrap();
        send(&mine, &[("own-http".into(), listener.as_fd())], Some(&key)).unwrap();
        let handed = Predecessor::new(theirs).receive().unwrap();
        assert_eq!(handed.root_key.unwrap().to_hex(), key.to_hex());
        let [socket] = <[Inherited; 1]>::try_from(handed.sockets).unwrap();
        assert_eq!(socket.role(), ("http", true));
        assert!(matches!(socket.listener().unwrap(), Bound::Tcp(_, at) if at == address));
    }
}
