//! What the kernel has, and what it lets this process have.

use super::Check;
use super::system::System;
use crate::cli::failure::{Exit, Failure};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{Access, access};
use rustix::process::{PidfdFlags, getpid, pidfd_open};
use std::fs;
use std::process::{Command, Stdio};

pub fn features(system: &System) -> Vec<Check> {
    [
        landlock(crate::worker::landlock_abi()),
        pidfd(),
        close_range(crate::worker::can_close_range()),
        namespaces(),
    ]
    .into_iter()
    .chain(nix::unistd::geteuid().is_root().then(|| capabilities(system)))
    .chain([descendants(system), seccomp(system), cgroup(system)])
    .collect()
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

fn close_range(there: bool) -> Check {
    const NAME: &str = "close_range";
    match there {
        true => Check::ok(NAME, "there"),
        false => Check::fail(
            NAME,
            "close_range(2) does not close descriptors when a program begins",
            "use Linux 5.11 or newer, and a container that lets it through",
        ),
    }
}

/// What root needs (decision 0018), by numbers of linux/capability.h. Whether a port below 1024 can be had is tried.
const CAPABILITIES: [(u32, &str); 9] = [
    (0, "CAP_CHOWN"),
    (1, "CAP_DAC_OVERRIDE"),
    (3, "CAP_FOWNER"),
    (5, "CAP_KILL"),
    (6, "CAP_SETGID"),
    (7, "CAP_SETUID"),
    (18, "CAP_SYS_CHROOT"),
    (19, "CAP_SYS_PTRACE"),
    (21, "CAP_SYS_ADMIN"),
];

/// Of a process that is root, which may have been left few (proc_pid_status(5)).
fn capabilities(system: &System) -> Check {
    const NAME: &str = "capabilities";
    let status = system.read("proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let Some(effective) = effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()) else {
        return Check::warn(NAME, "the system does not say which there are", "mount /proc");
    };
    let missing = CAPABILITIES.iter().filter(|(number, _)| effective >> number & 1 == 0);
    let missing: Vec<&str> = missing.map(|(_, name)| *name).collect();
    match missing.is_empty() {
        true => Check::ok(NAME, "root has those that it needs"),
        false => Check::warn(
            NAME,
            format!("this is root without {}", missing.join(", ")),
            "name them in CapabilityBoundingSet= of a unit of systemd or with --cap-add of a container, or run it as a user \
             of its own",
        ),
    }
}

/// What workers have started themselves outlives them where this process is killed, unless somebody else ends it.
fn descendants(system: &System) -> Check {
    const NAME: &str = "descendants";
    let first = system.read("proc/1/comm").unwrap_or_default();
    // The first process of a container that is no init is what the container is for.
    let in_container = system.path("run/.containerenv").exists() || system.path(".dockerenv").exists();
    let namespaces = system.number("proc/sys/user/max_pid_namespaces").unwrap_or(0) > 0;
    if first.trim() == "systemd" {
        Check::ok(NAME, "as a unit of systemd, all that is left of it ends with it")
    } else if in_container {
        Check::ok(NAME, "in a container, all that is left of it ends with it")
    } else {
        let can = if namespaces { "; pid namespaces are there" } else { "" };
        Check::warn(
            NAME,
            format!(
                "after a kill -9 of the runtime workers end, and what they have started themselves may stay{can}"
            ),
            "run it as a unit of systemd, in a container, or below `unshare --pid --fork --kill-child --mount-proc`",
        )
    }
}

fn seccomp(system: &System) -> Check {
    const NAME: &str = "seccomp";
    let actions = system.read("proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    match actions.split_whitespace().any(|action| action == "errno") {
        true => Check::ok(NAME, "there"),
        false => Check::warn(NAME, "not there", "use a kernel with CONFIG_SECCOMP_FILTER"),
    }
}

/// The controllers with which a worker's memory, processes and processor time can be bounded.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

fn cgroup(system: &System) -> Check {
    const NAME: &str = "cgroup v2";
    let Some(dir) = system.cgroup() else {
        return Check::warn(NAME, "not there", "boot with the unified hierarchy of cgroups");
    };
    let Ok(controllers) = fs::read_to_string(dir.join("cgroup.controllers")) else {
        return Check::warn(
            NAME,
            format!("{} cannot be seen", dir.display()),
            "mount the unified hierarchy at /sys/fs/cgroup",
        );
    };
    let missing: Vec<&str> = CONTROLLERS
        .into_iter()
        .filter(|wanted| !controllers.split_whitespace().any(|there| there == *wanted))
        .collect();
    match access(&dir, Access::WRITE_OK) {
        Ok(()) if missing.is_empty() => {
            Check::ok(NAME, format!("{} is writable, with {}", dir.display(), controllers.trim()))
        }
        Ok(()) => Check::warn(
            NAME,
            format!("{} is writable, without {}", dir.display(), missing.join(", ")),
            "with Delegate=yes in a unit of systemd they are there",
        ),
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
    use crate::cli::doctor::State::{Fail, Ok, Warn};
    use crate::cli::doctor::system::testing::fake;

    #[test]
    fn versions_and_calls_are_judged() {
        assert_eq!([-1, 0, 2, 5, 6, 9].map(|abi| landlock(abi).state), [Warn, Warn, Warn, Warn, Ok, Ok]);
        assert_eq!([true, false].map(|there| close_range(there).state), [Ok, Fail]);
        assert_eq!(pidfd().state, Ok);
    }

    #[test]
    fn root_is_told_which_capabilities_it_lacks() {
        for (status, state, word) in [
            ("Name:\tbuntime\nCapEff:\t000001ffffffffff\n", Ok, "has those"),
            ("CapEff:\t00000000002c00eb\n", Ok, "has those"),
            ("CapEff:\t00000000002c00cb\n", Warn, "root without CAP_KILL"),
            // As containers start with.
            ("CapEff:\t00000000a80425fb\n", Warn, "root without CAP_SYS_PTRACE, CAP_SYS_ADMIN"),
            ("", Warn, "does not say"),
        ] {
            let (_dir, system) = fake(&[("proc/self/status", status)]);
            let check = capabilities(&system);
            assert!(check.state == state && check.detail.contains(word), "{check:?}");
        }
    }

    #[test]
    fn what_ends_with_the_runtime_depends_on_where_it_runs() {
        for (files, state) in [
            (&[("proc/1/comm", "systemd\n")][..], Ok),
            (&[("proc/1/comm", "buntime\n"), (".dockerenv", "")], Ok),
            (&[("proc/1/comm", "init\n"), ("proc/sys/user/max_pid_namespaces", "1000\n")], Warn),
            (&[], Warn),
        ] {
            let (_dir, system) = fake(files);
            assert_eq!(descendants(&system).state, state, "{files:?}");
        }
    }

    #[test]
    fn what_workers_could_be_bounded_with_is_looked_for() {
        let own = ("proc/self/cgroup", "0::/b.service\n");
        let all = ("sys/fs/cgroup/b.service/cgroup.controllers", "cpuset cpu io memory pids\n");
        let some = ("sys/fs/cgroup/b.service/cgroup.controllers", "cpu pids\n");
        for (files, state, word) in [
            (&[own, all][..], Ok, "writable, with cpuset cpu io memory pids"),
            (&[own, some], Warn, "without memory"),
            (&[own], Warn, "cannot be seen"),
            (&[("proc/self/cgroup", "1:name=systemd:/\n")], Warn, "not there"),
        ] {
            let (_dir, system) = fake(files);
            let check = cgroup(&system);
            assert!(check.state == state && check.detail.contains(word), "{check:?}");
        }
        for (actions, state) in [("kill_process trap errno allow\n", Ok), ("", Warn)] {
            let (_dir, system) = fake(&[("proc/sys/kernel/seccomp/actions_avail", actions)]);
            assert_eq!(seccomp(&system).state, state);
        }
    }
}
