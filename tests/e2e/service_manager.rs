//! What a service manager does, as far as a service sees it: it listens to notifications (sd_notify(3)) and keeps descriptors.

use super::harness::{Launch, PATIENCE};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt::PassCred};
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::mpsc;

pub struct ServiceManager {
    dir: TempDir,
    messages: mpsc::UnboundedReceiver<Message>,
    /// The process of the service; none = whoever says something next.
    main: Option<i32>,
    /// Those of earlier starts.
    ended: Vec<i32>,
    /// By name.
    pub kept: Vec<(String, OwnedFd)>,
    /// All lines so far.
    pub said: Vec<String>,
    /// Lines that nobody has asked for yet.
    fresh: Vec<String>,
}

struct Message {
    sender: i32,
    text: String,
    fds: Vec<OwnedFd>,
}

impl ServiceManager {
    pub fn new() -> ServiceManager {
        let dir = TempDir::new().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        setsockopt(&socket, PassCred, &true).unwrap();
        let (sender, messages) = mpsc::unbounded_channel();
        // It ends with the test's process.
        std::thread::spawn(move || while sender.send(receive(&socket)).is_ok() {});
        ServiceManager {
            dir,
            messages,
            main: None,
            ended: Vec::new(),
            kept: Vec::new(),
            said: Vec::new(),
            fresh: Vec::new(),
        }
    }

    /// Has a service know of this manager, as its main process.
    pub fn over(&mut self, launch: Launch) -> Launch {
        self.ended.extend(self.main.take());
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
        let Message { sender, text, fds } = self.messages.recv().await.unwrap();
        // As `NotifyAccess=main` has it (systemd.service(5)), under which all else is dropped.
        if !self.ended.contains(&sender) {
            assert_eq!(
                *self.main.get_or_insert(sender),
                sender,
                "it is not the main process that says {text}"
            );
        }
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if let Some(main) = lines.iter().find_map(|line| line.strip_prefix("MAINPID=")) {
            self.main = Some(main.parse().unwrap());
        }
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

fn receive(socket: &UnixDatagram) -> Message {
    let mut buffer = vec![0; 4096];
    let mut space = nix::cmsg_space!([RawFd; 4], nix::sys::socket::UnixCredentials);
    let (length, sender, fds) = {
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags).unwrap();
        let (mut sender, mut fds) = (0, Vec::new());
        for part in message.cmsgs().unwrap() {
            match part {
                ControlMessageOwned::ScmRights(rights) => {
                    // SAFETY: they have just been received, and nobody else knows of them.
                    fds.extend(rights.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
                }
                ControlMessageOwned::ScmCredentials(credentials) => sender = credentials.pid(),
                _ => {}
            }
        }
        (message.bytes, sender, fds)
    };
    Message { sender, text: String::from_utf8(buffer[..length].to_vec()).unwrap(), fds }
}
