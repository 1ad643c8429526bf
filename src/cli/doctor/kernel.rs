//! What the kernel has, and what it lets this process have.

use super::Check;
use crate::cli::failure::{Exit, Failure};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{Access, access};
use rustix::process::{PidfdFlags, getpid, pidfd_open};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Below so many descriptors a busy supervisor turns connections away.
const DESCRIPTORS: u64 = 4096;

pub fn features() -> Vec<Check> {
    vec![landlock(crate::worker::landlock_abi()), pidfd(), namespaces(), cgroup()]
}

pub fn descriptors(limit: u64) -> Check {
    if limit >= DESCRIPTORS {
        return Check::ok("descriptors", format!("up to {limit}"));
    }
    Check::warn(
        "descriptors",
        format!("only up to {limit}, which is also the limit on connections"),
        "raise it with `ulimit -Hn 65536`, or LimitNOFILE=65536 in a unit of systemd",
    )
}

fn landlock(abi: i64) -> Check {
    const NAME: &str = "landlock";
    match abi {
        6.. => Check::ok(NAME, format!("version {abi}")),
        2.. => Check::warn(
            NAME,
            format!("version {abi}: it does not keep workers from signalling each other and the supervisor"),
            "that takes Linux 6.12 or newer",
        ),
        _ => Check::warn(
            NAME,
            "not there: workers are not kept from looking into each other",
            "use Linux 6.12 or newer with Landlock among its security modules (`lsm=` on its command line)",
        ),
    }
}

fn pidfd() -> Check {
    match pidfd_open(getpid(), PidfdFlags::empty()) {
        Ok(_) => Check::ok("pidfd", "there"),
        Err(error) => Check::fail(
            "pidfd",
            format!("pidfd_open(2) fails: {error}"),
            "use Linux 5.3 or newer, and a container that lets it through",
        ),
    }
}

/// Another process tries it: the one that did could not go back.
fn namespaces() -> Check {
    const NAME: &str = "user namespaces";
    let tried = std::env::current_exe().and_then(|exe| {
        let mut command = Command::new(exe);
        command.args(["doctor", "--probe-namespaces"]).env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()
    });
    match tried {
        Ok(status) if status.success() => Check::ok(NAME, "allowed"),
        Ok(_) => Check::warn(
            NAME,
            "not allowed",
            "look at the settings user.max_user_namespaces, kernel.unprivileged_userns_clone and \
             kernel.apparmor_restrict_unprivileged_userns, and at what the container allows",
        ),
        Err(error) => {
            Check::warn(NAME, format!("cannot be tried: {error}"), "run it where it may start processes")
        }
    }
}

/// Done by the one thread of a process that does nothing else.
pub fn probe_namespaces() -> Result<(), Failure> {
    // The second is made in the first, and takes the rights that one has there.
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)
        .map_err(|error| Failure::new(Exit::Failure, format!("unshare(2) fails: {error}")))
}

fn cgroup() -> Check {
    const NAME: &str = "cgroup v2";
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let Some(path) = own.lines().find_map(|line| line.strip_prefix("0::/")) else {
        return Check::warn(NAME, "not there", "boot with the unified hierarchy of cgroups");
    };
    let dir = Path::new("/sys/fs/cgroup").join(path);
    if !dir.join("cgroup.controllers").exists() {
        return Check::warn(
            NAME,
            format!("{} cannot be seen", dir.display()),
            "mount the unified hierarchy at /sys/fs/cgroup",
        );
    }
    match access(&dir, Access::WRITE_OK) {
        Ok(()) => Check::ok(NAME, format!("{} is writable", dir.display())),
        Err(_) => Check::warn(
            NAME,
            format!("{} is not writable", dir.display()),
            "with Delegate=yes in a unit of systemd it is",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::State::{Ok, Warn};

    #[test]
    fn limits_and_versions_are_judged() {
        assert_eq!([100, 4096].map(|limit| descriptors(limit).state), [Warn, Ok]);
        assert_eq!([-1, 0, 2, 5, 6, 9].map(|abi| landlock(abi).state), [Warn, Warn, Warn, Warn, Ok, Ok]);
        assert_eq!(pidfd().state, Ok);
    }
}
