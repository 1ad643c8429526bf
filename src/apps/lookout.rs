//! Has the watcher's thread do something at once: for the API, which knows that a tree is whole or gone.

use super::manifest::Ceilings;
use crate::model::{App, AppName, AppVersion};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;

/// The way to the thread of a `Watcher`. Clones lead to the same one.
#[derive(Clone, Debug)]
pub struct Lookout {
    orders: Sender<(Order, Reply)>,
    bell: Arc<UnixStream>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookError {
    #[error("{} is no entry of a worker directory", .0.display())]
    Elsewhere(PathBuf),
    #[error("the worker directories are no longer watched")]
    Ended,
}

/// What the thread is to do.
#[derive(Debug)]
pub(super) enum Order {
    Look(PathBuf),
    Reread(Ceilings),
    Disable { app: AppName, version: AppVersion, disabled: bool },
    Read { app: AppName, version: AppVersion, dir: PathBuf, read: oneshot::Sender<Arc<App>> },
}

pub(super) type Reply = oneshot::Sender<Result<(), LookError>>;

/// The thread's end.
pub(super) struct Orders {
    orders: Receiver<(Order, Reply)>,
    bell: UnixStream,
}

impl Lookout {
    pub(super) fn new() -> io::Result<(Lookout, Orders)> {
        let (here, there) = UnixStream::pair()?;
        here.set_nonblocking(true)?;
        there.set_nonblocking(true)?;
        let (sender, receiver) = channel();
        let lookout = Lookout { orders: sender, bell: Arc::new(here) };
        Ok((lookout, Orders { orders: receiver, bell: there }))
    }

    /// Looks at a version's directory (`shop@1.0.0`, `shop/1.0.0`, `@team/shop`, below a worker directory as it was
    /// configured) that was put in its place whole, or taken away, by one rename: without the time that a tree must
    /// otherwise have been quiet. When this returns the index has it and its changes were told.
    ///
    /// Versions beside it in the same directory, which somebody may still be copying, wait for their quiet.
    ///
    /// # Errors
    /// The path is nowhere where apps are, or the watcher has ended.
    pub async fn look(&self, path: PathBuf) -> Result<(), LookError> {
        self.order(Order::Look(path)).await
    }

    /// Reads the manifests of all versions again, and what else decides how they are run (`.env`, `package.json`), under these
    /// ceilings. What has changed is a new revision. When this returns the index has it and its changes were told.
    ///
    /// # Errors
    /// The watcher has ended.
    pub async fn reread(&self, ceilings: Ceilings) -> Result<(), LookError> {
        self.order(Order::Reread(ceilings)).await
    }

    /// Disables a version, or enables it again: what is disabled does not resolve and its workers drain; what is enabled is
    /// there as it was read, as a new revision. When this returns the index has it and its changes were told. It need
    /// not be on disk.
    ///
    /// # Errors
    /// The watcher has ended.
    pub async fn set_disabled(
        &self,
        app: AppName,
        version: AppVersion,
        disabled: bool,
    ) -> Result<(), LookError> {
        self.order(Order::Disable { app, version, disabled }).await
    }

    /// Reads a directory, wherever it is, as this version would be read, with a key of its own. Nobody is told and nothing
    /// resolves to it. None = there is nothing to serve in it, or its manifest disables it.
    ///
    /// # Errors
    /// The watcher has ended.
    pub async fn read(
        &self,
        app: AppName,
        version: AppVersion,
        dir: PathBuf,
    ) -> Result<Option<Arc<App>>, LookError> {
        let (read, mut found) = oneshot::channel();
        self.order(Order::Read { app, version, dir, read }).await?;
        Ok(found.try_recv().ok())
    }

    async fn order(&self, order: Order) -> Result<(), LookError> {
        let (reply, answer) = oneshot::channel();
        self.orders.send((order, reply)).map_err(|_| LookError::Ended)?;
        // A bell that cannot be rung once more is still ringing.
        let _ = (&*self.bell).write(&[0]);
        // A thread that ends drops the orders that it has not carried out.
        answer.await.unwrap_or(Err(LookError::Ended))
    }
}

impl Orders {
    /// What was ordered since the last call. Does not wait.
    pub fn take(&mut self) -> Vec<(Order, Reply)> {
        // First the bell: an order that comes after this rings again.
        while self.bell.read(&mut [0; 64]).is_ok_and(|read| read > 0) {}
        self.orders.try_iter().collect()
    }
}

impl AsFd for Orders {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
