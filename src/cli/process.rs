//! What this process does to itself before it does anything else: it takes its secrets out of sight, forbids others
//! to look into its memory, keeps what it inherited from the programs that it starts, and raises its limit on descriptors.
//!
//! Unsafe code is allowed here: it runs before any thread exists.

use crate::config::settings::SECRETS;
use crate::config::{Environment, Secrets, Stderr};
use crate::inherit::{self, Inheritance, Inherited, Predecessor, is_for_one_process};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::ffi::{CStr, OsStr, OsString, c_char};
use std::io::IsTerminal;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// What the process knows about its surroundings.
#[derive(Debug)]
pub struct Process {
    /// Without the secrets.
    pub environment: Environment,
    pub secrets: Secrets,
    pub descriptor_limit: u64,
    pub stderr: Stderr,
    pub inheritance: Inheritance,
}

/// Secures the process. To be called once, first of all in `main`.
pub fn secure() -> Process {
    let mut variables = take_environment();
    let mut secrets = Secrets::default();
    variables.retain(|(name, value)| match SECRETS.iter().find(|secret| name == OsStr::new(secret)) {
        Some(secret) => {
            secrets.push(secret, value.clone());
            false
        }
        None => true,
    });
    for (name, value) in &variables {
        // SAFETY: no other thread exists yet that could read the environment.
        unsafe { std::env::set_var(name, value) };
    }
    forbid_inspection();
    keep_descriptors();
    let inheritance = take_inheritance();
    variables.retain(|(name, _)| !is_for_one_process(name));
    let stderr = stderr_kind(&variables);
    Process {
        environment: variables.into_iter().collect(),
        secrets,
        descriptor_limit: raise_descriptor_limit(),
        stderr,
        inheritance,
    }
}

/// Takes listening sockets that the service manager has opened (sd_listen_fds(3)), and the socket of the process that this one
/// replaces, which is its standard input.
fn take_inheritance() -> Inheritance {
    let mut inheritance = Inheritance::default();
    match sd_notify::listen_fds_with_names() {
        Ok(sockets) => {
            for (socket, name) in sockets {
                // SAFETY: it is open, and whoever started this process has opened it for it: nobody else knows of it.
                let socket = unsafe { OwnedFd::from_raw_fd(socket) };
                inheritance.sockets.push(Inherited { name, socket });
            }
        }
        Err(error) => {
            super::report(&format_args!("the sockets of the service manager cannot be used: {error}"));
            std::process::exit(i32::from(super::USAGE));
        }
    }
    inheritance.watchdog = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero());
    if std::env::var_os(inherit::VARIABLE).is_some() {
        let taken = rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3);
        let null = std::fs::File::open("/dev/null");
        if let (Ok(socket), Ok(null)) = (taken, null)
            && rustix::stdio::dup2_stdin(null).is_ok()
        {
            inheritance.predecessor = Some(Predecessor::new(socket.into()));
        }
    }
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_for_one_process(name)).collect::<Vec<_>>() {
        // SAFETY: no other thread exists yet that could read the environment.
        unsafe { std::env::remove_var(name) };
    }
    inheritance
}

/// Copies the environment and overwrites the block in which the kernel handed it over. That block is what
/// `/proc/PID/environ` shows (proc_pid_environ(5)), and removing a variable does not touch it.
fn take_environment() -> Vec<(OsString, OsString)> {
    unsafe extern "C" {
        static mut environ: *mut *mut c_char;
    }
    let mut variables = Vec::new();
    // SAFETY: no other thread exists yet. `environ` is null or an array of pointers to NUL-terminated strings that
    // ends with null (environ(7)); nothing was set so far, so the strings lie in the writable block that execve(2)
    // laid out. Each is read to the end before its bytes are overwritten and its NUL stays. A null `environ` is
    // an empty environment to libc (clearenv(3)).
    unsafe {
        let mut entry = environ;
        while !entry.is_null() && !(*entry).is_null() {
            let bytes = CStr::from_ptr(*entry).to_bytes();
            // A name may not be empty; the first byte is part of it even if it is `=`.
            if let Some(equals) = bytes.iter().skip(1).position(|b| *b == b'=').map(|at| at + 1) {
                let (name, value) = (&bytes[..equals], &bytes[equals + 1..]);
                variables.push((OsStr::from_bytes(name).to_owned(), OsStr::from_bytes(value).to_owned()));
            }
            let length = bytes.len();
            for offset in 0..length {
                (*entry).add(offset).write_volatile(0);
            }
            entry = entry.add(1);
        }
        environ = std::ptr::null_mut();
    }
    variables
}

/// Makes the process non-dumpable: no core file, no ptrace, and `/proc/PID/{environ,mem,fd,…}` for root alone
/// (PR_SET_DUMPABLE, prctl(2)).
fn forbid_inspection() {
    #[cfg(target_os = "linux")]
    if let Err(error) = nix::sys::prctl::set_dumpable(false) {
        super::report(&format_args!("cannot make the process non-dumpable: {error}"));
        std::process::exit(i32::from(super::FAILURE));
    }
}

/// Has no program that this process starts inherit a descriptor that it inherited itself, other than the standard ones.
fn keep_descriptors() {
    // SAFETY: it changes flags of descriptors and touches no memory. Where the kernel does not know it (before Linux 5.11),
    // things stay as they are.
    #[cfg(target_os = "linux")]
    unsafe {
        libc::close_range(3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_int);
    }
}

/// Raises the soft limit on open descriptors to the hard one and returns what then holds.
fn raise_descriptor_limit() -> u64 {
    // What POSIX guarantees, for the case that the limit cannot even be read.
    const LEAST: u64 = 20;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return LEAST };
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    }
}

fn stderr_kind(variables: &[(OsString, OsString)]) -> Stderr {
    let journal = variables.iter().find(|(name, _)| name == "JOURNAL_STREAM");
    if journal.is_some_and(|(_, value)| is_stderr(value)) {
        Stderr::Journal
    } else if std::io::stderr().is_terminal() {
        Stderr::Terminal
    } else {
        Stderr::Other
    }
}

/// `JOURNAL_STREAM` holds device and inode of the journal's stream; it is inherited by children whose stderr leads
/// elsewhere, so it has to be compared (systemd.exec(5)).
fn is_stderr(journal_stream: &OsStr) -> bool {
    let Ok(stat) = rustix::fs::fstat(std::io::stderr()) else { return false };
    journal_stream == OsStr::new(&format!("{}:{}", stat.st_dev, stat.st_ino))
}
