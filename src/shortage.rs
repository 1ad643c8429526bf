//! What the machine has too little of, told from an error of the system. Nothing is wrong then with what was to be done: it
//! works again when there is enough.

use std::error::Error;
use std::io::{self, ErrorKind};

/// What there is too little of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// This process has as many open as it may (EMFILE).
    Descriptors,
    /// All processes together have (ENFILE).
    Files,
    /// Of processes and threads (EAGAIN of clone(2)).
    Processes,
    Memory,
    Disk,
    /// Of what the kernel counts: namespaces, mounts, watches (ENOSPC as well).
    Counted,
    /// A file system that cannot be written at all. After an error of the disk Linux makes one so by itself.
    ReadOnly,
}

impl Shortage {
    /// None = the error says something else. What made the process wait (EAGAIN) counts as a want of processes, so an error of a
    /// descriptor that does not block is not to be asked about.
    pub fn of(error: &io::Error) -> Option<Shortage> {
        // Errors of ours have that of the system as their source.
        let mut cause: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(error) = cause {
            let of_system = error.downcast_ref::<io::Error>();
            if let Some(code) = of_system.and_then(io::Error::raw_os_error) {
                return Shortage::of_code(code);
            }
            // An error of the system has what is in it for no source.
            if of_system.and_then(io::Error::get_ref).is_some_and(|inner| inner.is::<Counted>()) {
                return Some(Shortage::Counted);
            }
            cause = error.source();
        }
        Shortage::of_kind(error.kind())
    }

    /// Where only that was passed on.
    fn of_kind(kind: ErrorKind) -> Option<Shortage> {
        Some(match kind {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Shortage::Disk,
            ErrorKind::ReadOnlyFilesystem => Shortage::ReadOnly,
            ErrorKind::OutOfMemory => Shortage::Memory,
            _ => return None,
        })
    }

    fn of_code(code: i32) -> Option<Shortage> {
        Some(match code {
            libc::EMFILE => Shortage::Descriptors,
            libc::ENFILE => Shortage::Files,
            libc::EAGAIN => Shortage::Processes,
            libc::ENOMEM => Shortage::Memory,
            libc::ENOSPC | libc::EDQUOT => Shortage::Disk,
            libc::EROFS => Shortage::ReadOnly,
            _ => return None,
        })
    }

    /// What the operator can do.
    pub fn hint(self) -> &'static str {
        match self {
            Shortage::Descriptors => {
                "raise the limit on descriptors (`ulimit -Hn`, LimitNOFILE= of the service), or lower --max-connections"
            }
            Shortage::Files => "raise the system's limit on open files: sysctl fs.file-max",
            Shortage::Processes => {
                "the system allows no further process: see `ulimit -u` and TasksMax= of the service"
            }
            Shortage::Memory => {
                "the system has no memory for a further process: lower --pool-size, or give the machine more"
            }
            Shortage::Disk => "the disk of the state directory is full: make room (`df -h`, `df -i`)",
            Shortage::Counted => {
                "a limit of the kernel is reached: see sysctl user.max_mnt_namespaces, user.max_user_namespaces, fs.mount-max \
                 and fs.epoll.max_user_watches"
            }
            Shortage::ReadOnly => {
                "the disk of the state directory cannot be written: look at `dmesg`, and mount it writable again"
            }
        }
    }
}

/// No room (ENOSPC) of a call that writes to no disk: unshare(2), move_mount(2), epoll_ctl(2).
#[derive(Debug, thiserror::Error)]
#[error("a limit of the kernel is reached: {0}")]
struct Counted(io::Error);

/// Says so in an error of such a call. Every other one stays what it is.
pub fn of_no_disk(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::ENOSPC) => io::Error::new(error.kind(), Counted(error)),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("at some step")]
    struct AtAStep {
        source: io::Error,
    }

    #[test]
    fn a_shortage_is_found_wherever_the_systems_error_is() {
        let full = || io::Error::from_raw_os_error(libc::ENOSPC);
        let within = io::Error::new(full().kind(), AtAStep { source: full() });
        assert_eq!([full(), within].map(|error| Shortage::of(&error)), [Some(Shortage::Disk); 2]);
        let counted = || of_no_disk(full());
        let within = io::Error::new(counted().kind(), AtAStep { source: counted() });
        assert_eq!([counted(), within].map(|error| Shortage::of(&error)), [Some(Shortage::Counted); 2]);
        assert!(counted().to_string().ends_with("(os error 28)"), "{}", counted());
        let other = of_no_disk(io::Error::from_raw_os_error(libc::ENOENT));
        assert_eq!([other, io::Error::other("of ours")].map(|error| Shortage::of(&error)), [None; 2]);
    }
}
