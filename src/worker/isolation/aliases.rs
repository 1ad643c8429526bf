//! Other paths to the same directory: where its file system is mounted a second time (proc_pid_mountinfo(5)).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

struct Mount {
    device: String,
    /// Which directory of its file system is mounted.
    root: PathBuf,
    point: PathBuf,
}

/// All other paths by which `dir` is reached now.
pub fn of(dir: &Path) -> Vec<PathBuf> {
    let Ok(text) = std::fs::read("/proc/self/mountinfo") else { return Vec::new() };
    let Ok(itself) = std::fs::metadata(dir) else { return Vec::new() };
    let same = |path: &PathBuf| {
        std::fs::metadata(path).is_ok_and(|meta| (meta.dev(), meta.ino()) == (itself.dev(), itself.ino()))
    };
    candidates(&text, dir).into_iter().filter(same).collect()
}

fn candidates(mountinfo: &[u8], dir: &Path) -> Vec<PathBuf> {
    let mounts: Vec<Mount> = mountinfo.split(|byte| *byte == b'\n').filter_map(parse).collect();
    // Of those at one path the last one counts.
    let holds = |mount: &&Mount| dir.starts_with(&mount.point);
    let Some(own) = mounts.iter().filter(holds).max_by_key(|mount| mount.point.as_os_str().len()) else {
        return Vec::new();
    };
    let Ok(below) = dir.strip_prefix(&own.point) else { return Vec::new() };
    let in_file_system = own.root.join(below);
    let elsewhere = |mount: &Mount| {
        let below = in_file_system.strip_prefix(&mount.root).ok()?;
        // Joining nothing would add a slash.
        let path = if below.as_os_str().is_empty() { mount.point.clone() } else { mount.point.join(below) };
        (mount.device == own.device && path != dir).then_some(path)
    };
    mounts.iter().filter_map(elsewhere).collect()
}

fn parse(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ').skip(2);
    let device = String::from_utf8(fields.next()?.to_vec()).ok()?;
    Some(Mount { device, root: path(fields.next()?), point: path(fields.next()?) })
}

/// Blanks and backslashes are written as a backslash and three octal digits.
fn path(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if *first == b'\\' => {
                bytes.push(byte);
                rest = &after[3..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:21 / /proc rw - proc proc rw
24 22 8:2 /@home /home rw - btrfs /dev/sda2 rw,subvol=/@home
25 22 8:2 / /mnt/all\\040of\\040it rw - btrfs /dev/sda2 rw
26 22 8:2 /@home/me/apps /srv/apps rw - btrfs /dev/sda2 rw
27 22 8:1 /var/lib/buntime /state rw - ext4 /dev/sda1 rw
nonsense
";

    #[test]
    fn a_directory_is_found_wherever_its_file_system_is_mounted() {
        for (dir, others) in [
            ("/home/me/state", &["/mnt/all of it/@home/me/state"][..]),
            ("/home/me/apps/state", &["/mnt/all of it/@home/me/apps/state", "/srv/apps/state"]),
            ("/var/lib/buntime", &["/state"]),
            ("/var/lib/buntime/run", &["/state/run"]),
            ("/state/run", &["/var/lib/buntime/run"]),
            ("/var/lib/other", &[]),
            ("/proc/1", &[]),
        ] {
            let found = candidates(MOUNTS.as_bytes(), Path::new(dir));
            assert_eq!(found, others.iter().map(PathBuf::from).collect::<Vec<_>>(), "{dir}");
        }
        assert!(candidates(b"", Path::new("/x")).is_empty());
    }

    #[test]
    fn what_is_not_the_same_directory_is_no_alias() {
        let temp = tempfile::tempdir().unwrap();
        for path in of(temp.path()) {
            assert_ne!(path, temp.path());
            let inode = |path: &Path| std::fs::metadata(path).unwrap().ino();
            assert_eq!(inode(&path), inode(temp.path()));
        }
    }
}
