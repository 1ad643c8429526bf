//! The process that this one replaces, seen from this one.

use super::Inherited;
use crate::access::RootKey;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use serde::{Deserialize, Serialize};
use std::io::{self, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process::ExitStatus;
use std::time::Duration;

/// Of [`Message`]. A process that hands over and one that takes over may be of different versions of Buntime.
pub(super) const FORMAT: u32 = 1;
/// Bytes.
pub(super) const MAX_MESSAGE: usize = 16 << 10;
/// Sockets that are handed over at most. The kernel allows 253 (unix(7)).
pub(super) const MAX_SOCKETS: usize = 64;
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
    #[error("the new process ended before it served{}", status(.0))]
    Ended(Option<ExitStatus>),
    #[error("the new process did not serve within {0:?}")]
    Late(Duration),
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

fn status(status: &Option<ExitStatus>) -> String {
    status.map(|status| format!(" ({status})")).unwrap_or_default()
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

    /// This process serves. Returns when it is the service, and the other one ends. Blocks.
    ///
    /// # Errors
    /// The other one is gone.
    pub fn replace(mut self) -> io::Result<()> {
        self.socket.write_all(b".")?;
        self.socket.read_exact(&mut [0])
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
            (b"{\"format\":2,\"sockets\":[]}", "another format of handing over (2, and this one 1)"),
            (b"{\"format\":1,\"sockets\":[\"http\"]}", "1 names, 0 sockets"),
            (b"{\"format\":1,\"sockets\":[],\"root_key\":\"xyz\"}", "no hash"),
        ] {
            let error = message(text).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        assert!(message(b"{\"format\":1,\"sockets\":[]}").unwrap().sockets.is_empty());
    }

    #[test]
    fn a_program_that_ends_has_not_taken_over() {
        let mut reads = Command::new("head");
        reads.args(["-c", "1"]).stdout(std::process::Stdio::null());
        let mut offer = Offer::make(reads, &[], None).unwrap();
        assert!(matches!(offer.accepted(), Err(HandoverError::Ended(_))));
        offer.withdraw();
        let mut sleep = Command::new("sleep");
        sleep.arg("1000");
        let mut offer = Offer::make(sleep, &[], None).unwrap();
        let stopper = offer.stopper().unwrap();
        stopper.shutdown(std::net::Shutdown::Both).unwrap();
        assert!(offer.accepted().is_err(), "a wait can be ended");
        offer.withdraw();
        assert!(Offer::make(Command::new("/no/such/program"), &[], None).is_err());
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
