//! What a process hands to the one that replaces it.

use super::detached::Detached;
use super::predecessor::{
    FAILED, FORMAT, MAX_MESSAGE, MAX_REASON, MAX_SOCKETS, Message, READY, RELEASED, WITHDRAWN,
};
use super::{HandoverError, Link, VARIABLE};
use crate::access::RootKey;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use std::ffi::OsStr;
use std::io::{IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long a process has to end that was told to, or has said that it will.
const END_LIMIT: Duration = Duration::from_secs(5);
/// The same for one that has let go of its socket.
const MOMENT: Duration = Duration::from_millis(200);

/// The process that is to replace this one. Until it serves, this one does.
pub struct Offer {
    socket: UnixStream,
    process: Detached,
}

/// What ends a wait for the program.
pub struct Stopper(pub(super) UnixStream);

impl Offer {
    /// Starts a program that is to take over `sockets`, each with its name. The root key is handed on where the program could not
    /// read it again. Blocks for a moment.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn make(
        mut program: Command,
        sockets: &[(String, BorrowedFd<'_>)],
        root_key: Option<&RootKey>,
    ) -> Result<Offer, HandoverError> {
        let (socket, theirs) = UnixStream::pair()?;
        program.env(VARIABLE, "1").stdin(Stdio::from(OwnedFd::from(theirs)));
        let offer = Offer { process: Detached::start(program)?, socket };
        match send(&offer.socket, sockets, root_key) {
            // One that was too quick for it may have said why.
            Ok(()) | Err(HandoverError::Io(_)) => Ok(offer),
            Err(error) => {
                offer.process.end(END_LIMIT);
                Err(error)
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Waits until the program could serve, if it were let. Blocks.
    ///
    /// # Errors
    /// It broke off before, and has ended.
    pub fn accepted(self) -> Result<Offer, HandoverError> {
        let mut word = [0];
        let mut socket = &self.socket;
        let reason = match socket.read(&mut word) {
            Ok(1..) if word[0] == READY => return Ok(self),
            Ok(1..) if word[0] == FAILED => self.reason(),
            // One that has not read what it was sent breaks off.
            _ => None,
        };
        // It is ending by itself, and may still have something to say to others.
        if !self.process.ends(if reason.is_some() { END_LIMIT } else { MOMENT }) {
            self.process.end(END_LIMIT);
        }
        Err(HandoverError::Ended(reason))
    }

    fn reason(&self) -> Option<String> {
        self.socket.set_read_timeout(Some(END_LIMIT)).ok()?;
        let mut text = Vec::new();
        // What has come until it takes too long is there all the same.
        let _ = (&self.socket).take(MAX_REASON).read_to_end(&mut text);
        let text = String::from_utf8_lossy(&text).trim().to_owned();
        (!text.is_empty()).then_some(text)
    }

    /// Tells the program that it is the service from here on.
    ///
    /// # Errors
    /// It is gone.
    pub fn release(self) -> Result<Link, HandoverError> {
        let released = (&self.socket).write_all(&[RELEASED]);
        released.map_err(|_| HandoverError::Ended(None))?;
        Ok(Link::new(self.socket)?)
    }

    /// The program was waited for, and is not wanted any more. Blocks until it has ended.
    pub fn withdraw(self) {
        self.process.end(END_LIMIT);
    }

    /// # Errors
    /// The system allows no further descriptor.
    pub fn stopper(&self) -> std::io::Result<Stopper> {
        Ok(Stopper(self.socket.try_clone()?))
    }
}

impl Stopper {
    /// Ends the wait, and with it the program.
    pub fn withdraw(&self) {
        // It may have ended by itself.
        let _ = (&self.0).write_all(&[WITHDRAWN]);
        let _ = self.0.shutdown(Shutdown::Read);
    }
}

/// Hands over, in one message.
pub(super) fn send(
    socket: &UnixStream,
    sockets: &[(String, BorrowedFd<'_>)],
    root_key: Option<&RootKey>,
) -> Result<(), HandoverError> {
    let message = Message {
        format: FORMAT,
        sockets: sockets.iter().map(|(name, _)| name.clone()).collect(),
        root_key: root_key.map(RootKey::to_hex),
    };
    let text = serde_json::to_vec(&message).map_err(std::io::Error::from)?;
    if text.len() >= MAX_MESSAGE || sockets.len() > MAX_SOCKETS {
        return Err(HandoverError::TooLong);
    }
    let fds: Vec<RawFd> = sockets.iter().map(|(_, socket)| socket.as_raw_fd()).collect();
    let rights = [ControlMessage::ScmRights(&fds)];
    let slices = [IoSlice::new(&text)];
    // A socket's buffer holds far more, so it takes all of it.
    sendmsg::<()>(socket.as_raw_fd(), &slices, &rights, MsgFlags::MSG_NOSIGNAL, None)
        .map_err(std::io::Error::from)?;
    Ok(())
}

/// Variables that are for one process alone (sd_listen_fds(3), sd_watchdog_enabled(3)).
pub fn is_for_one_process(name: &OsStr) -> bool {
    ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID", VARIABLE].iter().any(|own| name == *own)
}
