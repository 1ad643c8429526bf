//! What a process hands to the one that replaces it.

use super::predecessor::{FORMAT, MAX_MESSAGE, MAX_SOCKETS, Message};
use super::{HandoverError, VARIABLE};
use crate::access::RootKey;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use std::ffi::OsStr;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// How often, and after which time each, it is looked whether a program that has let go of us has ended.
const LOOKS: u32 = 20;
const LOOK: Duration = Duration::from_millis(10);

/// The process that is to replace this one. Until it serves, this one does.
pub struct Offer {
    socket: UnixStream,
    pub child: Child,
}

impl Offer {
    /// Starts a program that is to take over `sockets`, each with its name. The root key is handed on where the program could not
    /// read it again.
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
        let child = program.spawn()?;
        // What was opened for the child alone is closed here, so that its end is seen.
        drop(program);
        let mut offer = Offer { socket, child };
        if let Err(error) = send(&offer.socket, sockets, root_key) {
            let ended = offer.withdraw();
            return Err(match error {
                // It was too quick for it.
                HandoverError::Io(error) if error.kind() == ErrorKind::BrokenPipe => {
                    HandoverError::Ended(ended)
                }
                error => error,
            });
        }
        Ok(offer)
    }

    /// Waits until the program serves. Blocks.
    ///
    /// # Errors
    /// It broke off before, and has ended.
    pub fn accepted(&mut self) -> Result<(), HandoverError> {
        let mut word = [0];
        match self.socket.read(&mut word) {
            Ok(1..) => Ok(()),
            // One that has not read what it was sent breaks off.
            Ok(0) | Err(_) => Err(HandoverError::Ended(self.withdraw())),
        }
    }

    /// Tells the program that it is the service now, and lets it go.
    ///
    /// # Errors
    /// It is gone.
    pub fn release(mut self) -> std::io::Result<()> {
        self.socket.write_all(b".")
    }

    /// A second handle on the socket, to end a wait for it.
    ///
    /// # Errors
    /// The system allows no further descriptor.
    pub fn stopper(&self) -> std::io::Result<UnixStream> {
        self.socket.try_clone()
    }

    /// Ends the program; how it has ended. One that is ending has a moment to do so by itself, and say why.
    pub fn withdraw(&mut self) -> Option<ExitStatus> {
        for _ in 0..LOOKS {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            std::thread::sleep(LOOK);
        }
        let _ = self.child.kill();
        self.child.wait().ok()
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
