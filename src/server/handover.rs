//! Another process in this one's place: the program is started again, as it is on disk now, and given the sockets. Until it serves,
//! this process does; and for as long as it does not come to that.

use super::house::House;
use super::manager::Manager;
use crate::inherit::{HandoverError, Offer, Predecessor};
use std::ffi::OsString;
use std::net::Shutdown;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::PoisonError;
use std::time::Duration;

/// How long changes that are on their way are waited for.
const CHANGES_LIMIT: Duration = Duration::from_secs(30);
/// How long the new process may take to serve.
const LIMIT: Duration = Duration::from_secs(120);
/// The first process of a system or a container (pid_namespaces(7)): with it everything else ends.
const FIRST: u32 = 1;

/// How this process was started.
#[derive(Clone, Debug)]
pub struct Program {
    pub path: PathBuf,
    pub args: Vec<OsString>,
    /// Where relative paths begin. A thread that enters a mount namespace is in its root from then on (setns(2)).
    pub dir: PathBuf,
}

/// Ends the wait for a process, and the process with it, when it is dropped.
struct Waiting(Option<UnixStream>);

impl Program {
    /// Of this process. A path is taken as it was typed: what it leads to may be another file by then.
    ///
    /// # Errors
    /// It cannot be told.
    pub fn of_this_process() -> std::io::Result<Program> {
        let mut args = std::env::args_os();
        let typed = args.next().map(PathBuf::from).filter(|path| path.components().count() > 1);
        let path = match typed.map(std::path::absolute).transpose()?.filter(|path| path.is_file()) {
            Some(path) => path,
            None => std::env::current_exe()?,
        };
        Ok(Program { path, args: args.collect(), dir: std::env::current_dir()? })
    }
}

/// Starts the program and hands everything over. When this returns, the other process serves and this one is to end; on an
/// error nothing has changed.
///
/// # Errors
/// Why the other one does not serve.
pub async fn hand_over(house: &House, manager: &Manager, program: &Program) -> Result<(), HandoverError> {
    if std::process::id() == FIRST {
        return Err(HandoverError::First);
    }
    tracing::info!(program = %program.path.display(), "starting a process to take over");
    // What the other one reads is to be true until it serves.
    let still = house.site.api.standstill.hold(CHANGES_LIMIT).await.ok_or(HandoverError::Busy)?;
    let _turn =
        tokio::time::timeout(CHANGES_LIMIT, house.plugins.turn()).await.map_err(|_| HandoverError::Busy)?;
    let mut offer = make(house, program)?;
    let pid = offer.child.id();
    let mut waiting = Waiting(Some(offer.stopper()?));
    let accepted = tokio::task::spawn_blocking(move || offer.accepted().map(|()| offer));
    let offer = match tokio::time::timeout(LIMIT, accepted).await {
        Err(_) => return Err(HandoverError::Late(LIMIT)),
        Ok(accepted) => accepted.map_err(std::io::Error::other)??,
    };
    waiting.0 = None;
    // First it is the service, then it says so.
    manager.replaced_by(pid);
    let manager = manager.clone();
    let released = tokio::task::spawn_blocking(move || {
        manager.flush();
        offer.release()
    });
    if let Ok(Err(error)) = released.await {
        tracing::warn!(%error, "the new process was not told that it is the service");
    }
    still.over();
    tracing::info!(pid, "another process has taken over");
    Ok(())
}

fn make(house: &House, program: &Program) -> Result<Offer, HandoverError> {
    let config = house.config.load();
    let mut command = Command::new(&program.path);
    command.args(&program.args).current_dir(&program.dir);
    // It was taken out of the environment.
    if let Some(file) = &config.root_key_file {
        command.env("RUNTIME_ROOT_KEY_FILE", file);
    }
    let root_key = config.root_key.as_ref().filter(|_| config.root_key_file.is_none());
    let heirlooms = house.heirlooms.lock().unwrap_or_else(PoisonError::into_inner);
    let sockets: Vec<(String, BorrowedFd<'_>)> = heirlooms.iter().collect();
    Offer::make(command, &sockets, root_key)
}

/// This process serves: the one before may end.
pub async fn take_over(predecessor: Predecessor) {
    let replaced = tokio::task::spawn_blocking(move || predecessor.replace()).await;
    if let Ok(Err(error)) = replaced {
        tracing::warn!(%error, "the process before this one is gone");
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(socket) = &self.0 {
            // Who waits reads the end, and ends the process.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}
