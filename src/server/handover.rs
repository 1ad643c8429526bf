//! Another process in this one's place: the program is started again, as it is on disk now, and given the sockets. Until it serves,
//! this process does; and for as long as it does not come to that.

use super::house::House;
use super::manager::Manager;
use crate::inherit::{Answer, HandoverError, Link, Offer, Predecessor};
use std::ffi::OsString;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::task::spawn_blocking;

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

/// Starts the program and hands everything over, until `withdrawn` resolves. When this returns, the other process is the service and
/// this one is to end; on an error this one serves on.
///
/// # Errors
/// Why the other one does not serve.
pub async fn hand_over(
    house: &Arc<House>,
    manager: &Manager,
    program: &Program,
    withdrawn: impl Future<Output = ()>,
) -> Result<Link, HandoverError> {
    if std::process::id() == FIRST {
        return Err(HandoverError::First);
    }
    let mut withdrawn = std::pin::pin!(withdrawn);
    tracing::info!(program = %program.path.display(), "starting a process to take over");
    // What the other one reads is to be true until it serves.
    let stands = async {
        let still = house.site.api.standstill.hold(CHANGES_LIMIT).await.ok_or(HandoverError::Busy)?;
        let turn = tokio::time::timeout(CHANGES_LIMIT, house.plugins.turn()).await;
        Ok::<_, HandoverError>((still, turn.map_err(|_| HandoverError::Busy)?))
    };
    let (still, _turn) = tokio::select! {
        stands = stands => stands?,
        () = &mut withdrawn => return Err(HandoverError::Withdrawn),
    };
    let making = spawn_blocking({
        let (house, program) = (Arc::clone(house), program.clone());
        move || make(&house, &program)
    });
    let offer = making.await.map_err(io::Error::other)??;
    let pid = offer.pid();
    tracing::debug!(pid, "it has started");
    let stopper = offer.stopper()?;
    let mut accepted = spawn_blocking(move || offer.accepted());
    let given_up = tokio::select! {
        accepted = &mut accepted => Ok(accepted.map_err(io::Error::other)??),
        () = &mut withdrawn => Err(HandoverError::Withdrawn),
        () = tokio::time::sleep(LIMIT) => Err(HandoverError::Late(LIMIT)),
    };
    let offer = match given_up {
        Ok(offer) => offer,
        Err(error) => {
            stopper.withdraw();
            // It may have come in this moment.
            if let Ok(Ok(offer)) = accepted.await {
                let _ = spawn_blocking(|| offer.withdraw()).await;
            }
            return Err(error);
        }
    };
    // First it is the service, then it says so. From here on nothing is withdrawn.
    manager.replaced_by(pid);
    let flushes = manager.clone();
    let released = spawn_blocking(move || {
        flushes.flush();
        offer.release()
    });
    let link = match released.await.map_err(io::Error::other)? {
        Ok(link) => link,
        Err(error) => {
            manager.stays_the_service();
            return Err(error);
        }
    };
    still.over();
    tracing::info!(pid, "another process has taken over");
    Ok(link)
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

/// This process could serve. Returns whether it is to, with the way to the one before, if that is still there.
pub async fn take_over(predecessor: Predecessor) -> Option<Option<Link>> {
    match spawn_blocking(move || predecessor.replace()).await {
        Ok(Answer::Released(link)) => Some(link),
        Ok(Answer::Withdrawn) => None,
        Ok(Answer::Gone) | Err(_) => {
            tracing::warn!("the process before this one is gone");
            Some(None)
        }
    }
}
