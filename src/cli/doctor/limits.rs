//! The limits of this process and of the system, against what the configuration allows.

use super::Check;
use super::system::System;
use crate::cli::text::count;
use crate::config::Config;
use crate::server::limits::Fit;
use nix::sys::resource::{Resource, getrlimit};
use std::fs;
use std::path::Path;

/// As many connections may wait to be accepted (`BACKLOG` of the listener).
const BACKLOG: u64 = 4096;
/// Threads of one bun process, which count as processes.
const THREADS: u64 = 16;
/// Directories that are watched at most.
const WATCHES: u64 = 8000;
/// One for the apps, and some for whoever else has this user.
const INSTANCES: u64 = 8;

/// `limit`: of descriptors, for this process.
pub fn all(system: &System, config: Option<&Config>, limit: u64) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Some(config) = config {
        checks.push(descriptors(limit, config));
        let wanted = (config.pool_size + config.spares) as u64 * THREADS;
        let soft = getrlimit(Resource::RLIMIT_NPROC).map_or(u64::MAX, |(soft, _)| soft);
        let tasks = system.cgroup().and_then(|dir| read_number(&dir.join("pids.max")));
        checks.push(processes(wanted, soft, tasks));
        checks.push(watches(system, watched(&config.worker_dirs)));
    }
    checks.push(backlog(system));
    checks
}

fn descriptors(limit: u64, config: &Config) -> Check {
    judged(limit, Fit::of(limit, config), config.max_connections, config.pool_size + config.spares)
}

fn judged(limit: u64, fit: Fit, connections: usize, workers: usize) -> Check {
    const NAME: &str = "descriptors";
    const HINT: &str = "raise it with `ulimit -Hn 65536`, or LimitNOFILE=65536 in a unit of systemd; or lower --max-connections or \
                        --pool-size";
    let there =
        format!("{} and {}", count(connections as u64, "connection"), count(workers as u64, "worker"));
    match fit {
        Fit::Enough => Check::ok(NAME, format!("up to {limit}, enough for {there}")),
        Fit::Tight { wanted } => Check::warn(NAME, format!("up to {limit}, and {there} take {wanted}"), HINT),
        Fit::Hopeless { least } => {
            Check::fail(NAME, format!("up to {limit}, and it takes at least {least}"), HINT)
        }
    }
}

/// `soft`: of the user; `tasks`: of the control group.
fn processes(wanted: u64, soft: u64, tasks: Option<u64>) -> Check {
    const NAME: &str = "processes";
    let (limit, hint) = match tasks.filter(|tasks| *tasks < soft) {
        Some(tasks) => (tasks, "raise TasksMax= in the unit of systemd, or --pids-limit of the container"),
        None => (soft, "raise it with `ulimit -u`, or LimitNPROC= in a unit of systemd"),
    };
    if limit == u64::MAX {
        Check::ok(NAME, "no limit of its own")
    } else if limit >= wanted {
        Check::ok(NAME, format!("up to {limit}, threads included"))
    } else {
        let detail = format!("up to {limit}, threads included, and a full pool takes about {wanted}");
        Check::warn(NAME, detail, hint)
    }
}

fn watches(system: &System, directories: u64) -> Check {
    const NAME: &str = "file watches";
    let most = system.number("proc/sys/fs/inotify/max_user_watches");
    let instances = system.number("proc/sys/fs/inotify/max_user_instances");
    match (most, instances) {
        (None, _) | (_, None) => Check::warn(
            NAME,
            "not there",
            "use a kernel with inotify: without it changes are noticed once a minute",
        ),
        (_, Some(instances)) if instances < INSTANCES => Check::warn(
            NAME,
            format!("a user may have only {instances} instances of inotify"),
            "sysctl fs.inotify.max_user_instances=128",
        ),
        (Some(most), _) if most < directories.min(WATCHES) => Check::warn(
            NAME,
            format!("a user may watch {most} directories, and there are {directories}"),
            "sysctl fs.inotify.max_user_watches=65536",
        ),
        (Some(most), _) => Check::ok(NAME, format!("up to {most}, for {}", directory_count(directories))),
    }
}

fn directory_count(directories: u64) -> String {
    if directories == 1 { "1 directory".into() } else { format!("{directories} directories") }
}

fn backlog(system: &System) -> Check {
    const NAME: &str = "backlog";
    match system.number("proc/sys/net/core/somaxconn") {
        None => Check::ok(NAME, "the system does not say how many connections may wait"),
        Some(most) if most < BACKLOG => Check::warn(
            NAME,
            format!("{most} connections may wait to be accepted, of {BACKLOG} that are asked for"),
            "sysctl net.core.somaxconn=4096",
        ),
        Some(_) => Check::ok(NAME, format!("{BACKLOG} connections may wait to be accepted")),
    }
}

/// About as many directories as are watched: those that hold apps, and those in them.
fn watched(worker_dirs: &[impl AsRef<Path>]) -> u64 {
    let dirs = |dir: &Path| -> Vec<_> {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten().take(2 * WATCHES as usize);
        entries
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path())
            .collect()
    };
    let mut found = 0;
    for dir in worker_dirs {
        let apps = dirs(dir.as_ref());
        let scoped = apps
            .iter()
            .filter(|app| app.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"@")));
        found += 1 + apps.len() as u64 + scoped.map(|scope| dirs(scope).len() as u64).sum::<u64>();
    }
    found
}

fn read_number(path: &Path) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    if text.trim() == "max" { Some(u64::MAX) } else { text.trim().parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::State::{Fail, Ok, Warn};
    use crate::cli::doctor::system::testing::fake;

    #[test]
    fn descriptors_are_judged_by_what_the_configuration_allows() {
        let fits = [Fit::Enough, Fit::Tight { wanted: 900 }, Fit::Hopeless { least: 64 }];
        assert_eq!(fits.map(|fit| judged(100, fit, 10, 5).state), [Ok, Warn, Fail]);
    }

    #[test]
    fn processes_are_judged_by_the_lower_of_two_limits() {
        for (wanted, soft, tasks, state, word) in [
            (100, u64::MAX, None, Ok, "no limit"),
            (100, u64::MAX, Some(u64::MAX), Ok, "no limit"),
            (100, 200, None, Ok, "up to 200"),
            (100, 200, Some(99), Warn, "up to 99"),
            (100, 50, Some(150), Warn, "up to 50"),
        ] {
            let check = processes(wanted, soft, tasks);
            assert!(check.state == state && check.detail.contains(word), "{check:?}");
        }
        assert!(processes(100, 200, Some(99)).hint.unwrap().contains("TasksMax"));
    }

    #[test]
    fn settings_of_the_kernel_are_judged() {
        for (watches_of_a_user, instances, somaxconn, states) in [
            ("65536", "128", "4096", [Ok, Ok]),
            ("10", "128", "128", [Warn, Warn]),
            ("65536", "1", "8192", [Warn, Ok]),
        ] {
            let (_dir, system) = fake(&[
                ("proc/sys/fs/inotify/max_user_watches", watches_of_a_user),
                ("proc/sys/fs/inotify/max_user_instances", instances),
                ("proc/sys/net/core/somaxconn", somaxconn),
            ]);
            assert_eq!([watches(&system, 20).state, backlog(&system).state], states);
        }
        let (_dir, nothing) = fake(&[]);
        assert_eq!([watches(&nothing, 20).state, backlog(&nothing).state], [Warn, Ok]);
    }

    #[test]
    fn directories_that_are_watched_are_counted_scopes_included() {
        let dir = tempfile::tempdir().unwrap();
        for app in ["one", "two@1.0.0", "@team/three", "@team/four"] {
            fs::create_dir_all(dir.path().join(app)).unwrap();
        }
        fs::write(dir.path().join("file"), "").unwrap();
        assert_eq!(watched(&[dir.path(), Path::new("/nowhere")]), 1 + 3 + 2 + 1);
    }
}
