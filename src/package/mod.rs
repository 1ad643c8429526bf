//! Packages: uploaded archives that become app versions on disk.
//!
//! `Staging` is a hidden directory inside a worker directory. `Staging::receive` unpacks an archive into it and gives
//! a `Staged` tree; `check` reads that tree as an app; `install` renames it into place. Until that rename nothing of
//! it can be seen, and after it all of it can. `remove` takes it away by one rename;
//! `sweep` removes what a crash left behind; `pack` makes archives.
//!
//! An archive is hostile until it is unpacked: it is read as a stream within `Limits`, its names are judged before
//! anything is made of them, and the kernel keeps every file beneath the staging directory. Everything here blocks on
//! the disk.

mod check;
mod error;
mod identity;
mod ignore;
mod install;
mod limits;
mod names;
mod pack;
mod place;
mod remove;
mod source;
mod staging;
mod step;
mod sync;
mod tar;
mod tree;
mod unpack;
mod zip;

pub use check::{Checked, check};
pub use error::{Code, PackageError};
pub use install::{Installed, install, install_at};
pub use limits::Limits;
pub use pack::{Packed, pack};
pub use place::locate;
pub use remove::{Removed, remove, remove_at};
pub use staging::{Staged, Staging, sweep};
pub use unpack::{Kind, Summary, unpack};

#[cfg(test)]
mod tests;
