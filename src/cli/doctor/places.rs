//! Directories: whether they are there and writable, and what disk they are on.

use super::{Check, there};
use crate::cli::text::size;
use crate::config::Config;
use rustix::fs::{Access, access, statfs, statvfs};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Free bytes: below the first something is about to fail, below the second larger deployments will.
const SCARCE: u64 = 100 << 20;
const LITTLE: u64 = 1 << 30;
/// The same for files.
const FEW_FILES: u64 = 1_000;
const MANY_FILES: u64 = 50_000;
/// What the compiled shim takes (bun itself and a little more), and its files.
const SHIM: u64 = 150 << 20;
const SHIM_FILES: u64 = 20;

pub fn directories(config: &Config) -> Vec<Check> {
    const NAME: &str = "worker directories";
    let mut checks: Vec<Check> = config.worker_dirs.iter().map(|dir| worker_dir(NAME, dir)).collect();
    if config.worker_dirs.is_empty() {
        checks.push(Check::warn(
            NAME,
            "none is set",
            "name the directory that holds your apps: --worker-dirs DIR or RUNTIME_WORKER_DIRS",
        ));
    } else if !config.worker_dirs.iter().any(|dir| writable(dir)) {
        checks.push(Check::warn(
            NAME,
            "none is writable, so nothing can be deployed",
            "give this user the right to write to the first one",
        ));
    }
    checks.push(private_dir("state directory", &config.state_dir, "--state-dir"));
    checks.push(private_dir("cache directory", &config.cache_dir, "--cache-dir"));
    checks.push(file_system(&config.state_dir));
    checks.extend(disks(&config.state_dir, &config.cache_dir, &config.worker_dirs));
    checks
}

/// The disk of the state directory, and those of others that are on another one.
fn disks(state: &Path, cache: &Path, worker_dirs: &[PathBuf]) -> Vec<Check> {
    let mut checks = vec![disk("disk space", state, free)];
    if let Some(first) = worker_dirs.iter().find(|dir| writable(dir)).filter(|dir| apart(dir, state)) {
        checks.push(disk("disk space of apps", first, free));
    }
    if apart(cache, state) {
        checks.push(disk("disk space of cache", cache, free_for_cache));
    }
    checks
}

fn worker_dir(name: &'static str, dir: &Path) -> Check {
    let shown = dir.display();
    match fs::read_dir(dir) {
        Ok(_) if writable(dir) => Check::ok(name, format!("{shown} is there and writable")),
        Ok(_) => Check::ok(name, format!("{shown} is there, and not writable")),
        Err(error) => {
            Check::warn(name, format!("{shown} cannot be read: {error}"), "make it, or leave it out")
        }
    }
}

/// Whether two directories are on two file systems.
fn apart(one: &Path, other: &Path) -> bool {
    let device = |dir: &Path| fs::metadata(there(dir)).map(|meta| meta.dev()).ok();
    device(one) != device(other)
}

/// A directory of the supervisor's own, which `run` makes where it is missing.
fn private_dir(name: &'static str, dir: &Path, flag: &str) -> Check {
    let shown = dir.display();
    let another = format!("name another with {flag} DIR");
    let Ok(meta) = fs::metadata(dir) else {
        let above = there(dir);
        return if writable(above) {
            Check::ok(name, format!("{shown} is not there yet and can be made"))
        } else {
            Check::fail(
                name,
                format!("{shown} cannot be made: {} is not writable", above.display()),
                &another,
            )
        };
    };
    let mode = meta.mode() & 0o777;
    if !meta.is_dir() {
        Check::fail(name, format!("{shown} is not a directory"), &another)
    } else if meta.uid() != nix::unistd::geteuid().as_raw() {
        Check::fail(name, format!("{shown} belongs to user {}", meta.uid()), &another)
    } else if !writable(dir) {
        Check::fail(name, format!("{shown} is not writable"), &another)
    } else if mode != 0o700 {
        Check::warn(name, format!("{shown} has mode {mode:o}"), "`buntime run` will make it 700")
    } else {
        Check::ok(name, format!("{shown}, mode 700"))
    }
}

/// Free bytes and files, where there is a number of these.
type Judge = fn(&'static str, u64, Option<u64>, &Path) -> Check;

/// What is free where a directory is, or will be.
fn disk(name: &'static str, dir: &Path, judge: Judge) -> Check {
    let dir = there(dir);
    match statvfs(dir) {
        Ok(stat) => judge(
            name,
            stat.f_bavail.saturating_mul(stat.f_frsize),
            // Where it makes them as it needs them, it says that it has none.
            (stat.f_files > 0).then_some(stat.f_favail),
            dir,
        ),
        Err(error) => Check::warn(name, format!("cannot be told: {error}"), "look with `df`"),
    }
}

fn free(name: &'static str, bytes: u64, files: Option<u64>, dir: &Path) -> Check {
    let detail = shown(bytes, files, dir);
    if bytes < SCARCE {
        Check::fail(name, detail, "make room: look with `df -h` what is on it")
    } else if files.is_some_and(|files| files < FEW_FILES) {
        Check::fail(name, detail, "make room: look with `df -i` what has so many files")
    } else if bytes < LITTLE || files.is_some_and(|files| files < MANY_FILES) {
        Check::warn(name, detail, "make room for what is deployed")
    } else {
        Check::ok(name, detail)
    }
}

/// Nothing needs more room there than the shim, and without it all is served.
fn free_for_cache(name: &'static str, bytes: u64, files: Option<u64>, dir: &Path) -> Check {
    let detail = shown(bytes, files, dir);
    match bytes < SHIM || files.is_some_and(|files| files < SHIM_FILES) {
        true => Check::warn(name, detail, "make room, or name another directory with --cache-dir DIR"),
        false => Check::ok(name, detail),
    }
}

fn shown(bytes: u64, files: Option<u64>, dir: &Path) -> String {
    let files = files.map_or(String::new(), |files| format!(" and {files} files"));
    format!("{}{files} free at {}", size(bytes), dir.display())
}

/// Kinds of file systems by their number (statfs(2)), and what SQLite's write-ahead log makes of them: it takes memory that is
/// shared by processes of one machine, and locks that hold.
const KINDS: [(u32, &str, Trust); 14] = [
    (0xef53, "ext4", Trust::Yes),
    (0x5846_5342, "XFS", Trust::Yes),
    (0x9123_683e, "Btrfs", Trust::Yes),
    (0x2fc1_2fc1, "ZFS", Trust::Yes),
    (0xf2f5_2010, "F2FS", Trust::Yes),
    (0x0102_1994, "tmpfs", Trust::Gone),
    (0x794c_7630, "overlay", Trust::Layer),
    (0x6969, "NFS", Trust::Network),
    (0x517b, "SMB", Trust::Network),
    (0xff53_4d42, "CIFS", Trust::Network),
    (0xfe53_4d42, "SMB2", Trust::Network),
    (0x00c3_6400, "Ceph", Trust::Network),
    (0x0102_1997, "9P", Trust::Network),
    (0x6573_5546, "FUSE", Trust::Network),
];

#[derive(Clone, Copy)]
enum Trust {
    Yes,
    /// Empty after the next boot.
    Gone,
    /// The layer of a container, which goes with it.
    Layer,
    /// Another machine, or a program, has the files.
    Network,
}

fn file_system(dir: &Path) -> Check {
    const NAME: &str = "state file system";
    let dir = there(dir);
    match statfs(dir) {
        Ok(stat) => kind(stat.f_type as u32, dir),
        Err(error) => Check::warn(NAME, format!("cannot be told: {error}"), "look with `findmnt`"),
    }
}

fn kind(number: u32, dir: &Path) -> Check {
    const NAME: &str = "state file system";
    let shown = dir.display();
    let Some((_, name, trust)) = KINDS.iter().find(|(known, ..)| *known == number) else {
        return Check::ok(NAME, format!("{shown} is on one that is not known here ({number:#x})"));
    };
    let detail = format!("{shown} is on {name}");
    match trust {
        Trust::Yes => Check::ok(NAME, detail),
        Trust::Gone => {
            Check::warn(NAME, format!("{detail}: it is in memory"), "name another with --state-dir DIR")
        }
        Trust::Layer => Check::warn(
            NAME,
            format!("{detail}, which goes with its container"),
            "mount a volume there, or name another with --state-dir DIR",
        ),
        Trust::Network => Check::warn(
            NAME,
            format!("{detail}, on which a database with a write-ahead log is not safe"),
            "name a directory on a local disk with --state-dir DIR",
        ),
    }
}

pub fn writable(path: &Path) -> bool {
    access(path, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::State::{Fail, Ok, Warn};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_private_directory_is_judged_by_owner_and_mode() {
        let dir = tempfile::tempdir().unwrap();
        let state = |path: &Path| private_dir("state directory", path, "--state-dir").state;
        assert_eq!(state(&dir.path().join("a/b")), Ok);
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(state(dir.path()), Warn);
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(state(dir.path()), Ok);
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(state(&file), Fail);
    }

    #[test]
    fn free_space_is_judged() {
        for (bytes, files, state) in [
            (1 << 20, Some(1 << 20), Fail),
            (200 << 20, Some(1 << 20), Warn),
            (2 << 30, Some(1 << 20), Ok),
            (2 << 30, Some(10), Fail),
            (2 << 30, Some(10_000), Warn),
            (2 << 30, None, Ok),
        ] {
            assert_eq!(free("disk space", bytes, files, Path::new("/")).state, state, "{bytes} {files:?}");
        }
    }

    #[test]
    fn the_disk_of_the_cache_is_looked_at_where_it_is_another_one() {
        let state = tempfile::tempdir().unwrap();
        let names = |cache: &Path| -> Vec<_> {
            disks(state.path(), cache, &[]).iter().map(|check| check.name).collect()
        };
        assert_eq!(names(&state.path().join("cache")), ["disk space"]);
        assert_eq!(names(Path::new("/proc")), ["disk space", "disk space of cache"]);
        for (bytes, files, state) in [
            (1 << 20, Some(100), Warn),
            (1 << 30, Some(1), Warn),
            (1 << 30, Some(100), Ok),
            (1 << 30, None, Ok),
        ] {
            let check = free_for_cache("disk space of cache", bytes, files, Path::new("/"));
            assert_eq!(check.state, state, "{bytes} {files:?}");
        }
    }

    #[test]
    fn file_systems_are_judged_by_what_a_database_makes_of_them() {
        for (number, state) in [
            (0xef53, Ok),
            (0x9123_683e, Ok),
            (0x1234, Ok),
            (0x0102_1994, Warn),
            (0x794c_7630, Warn),
            (0x6969, Warn),
            (0x6573_5546, Warn),
        ] {
            assert_eq!(kind(number, Path::new("/state")).state, state, "{number:x}");
        }
    }
}
