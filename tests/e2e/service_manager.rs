//! What a service manager does, as far as a service sees it: it listens to notifications (sd_notify(3)) and keeps descriptors.

use super::harness::{Launch, PATIENCE};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::mpsc;

pub struct ServiceManager {
    dir: TempDir,
    messages: mpsc::UnboundedReceiver<(String, Vec<OwnedFd>)>,
    /// By name.
    pub kept: Vec<(String, OwnedFd)>,
    /// All lines so far.
    pub said: Vec<String>,
    /// Lines that nobody has asked for yet.
    fresh: Vec<String>,
}

impl ServiceManager {
    pub fn new() -> ServiceManager {
        let dir = TempDir::new().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        let (sender, messages) = mpsc::unbounded_channel();
        // It ends with the test's process.
        std::thread::spawn(move || while sender.send(receive(&socket)).is_ok() {});
        ServiceManager { dir, messages, kept: Vec::new(), said: Vec::new(), fresh: Vec::new() }
    }

    /// Has a service know of this manager.
    pub fn over(&self, launch: Launch) -> Launch {
        launch.env("NOTIFY_SOCKET", self.dir.path().join("notify").to_str().unwrap())
    }

    /// The next line that begins like this, those before it included.
    pub async fn hears(&mut self, start: &str) -> String {
        match self.hears_within(start, PATIENCE).await {
            Some(line) => line,
            None => panic!("{start} was not said: {:#?}", self.said),
        }
    }

    /// The same; none = it does not come in this time.
    pub async fn hears_within(&mut self, start: &str, within: Duration) -> Option<String> {
        let end = tokio::time::Instant::now() + within;
        loop {
            if let Some(at) = self.fresh.iter().position(|line| line.starts_with(start)) {
                return self.fresh.drain(..=at).next_back();
            }
            tokio::time::timeout_at(end, self.receive()).await.ok()?;
        }
    }

    async fn receive(&mut self) {
        let (text, fds) = self.messages.recv().await.unwrap();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let name = lines.iter().find_map(|line| line.strip_prefix("FDNAME=")).unwrap_or("stored").to_owned();
        if lines.iter().any(|line| line == "FDSTORE=1") {
            self.kept.extend(fds.into_iter().map(|socket| (name.clone(), socket)));
        }
        if lines.iter().any(|line| line == "FDSTOREREMOVE=1") {
            self.kept.retain(|(kept, _)| *kept != name);
        }
        self.fresh.extend(lines.clone());
        self.said.extend(lines);
    }
}

fn receive(socket: &UnixDatagram) -> (String, Vec<OwnedFd>) {
    let mut buffer = vec![0; 4096];
    let mut space = nix::cmsg_space!([RawFd; 4]);
    let (length, fds) = {
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags).unwrap();
        let mut fds = Vec::new();
        for rights in message.cmsgs().unwrap() {
            if let ControlMessageOwned::ScmRights(rights) = rights {
                // SAFETY: they have just been received, and nobody else knows of them.
                fds.extend(rights.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
        }
        (message.bytes, fds)
    };
    (String::from_utf8(buffer[..length].to_vec()).unwrap(), fds)
}
