//! What the system says of itself in files: `/proc` and `/sys`, or what tests put in their place.

use std::fs;
use std::path::{Path, PathBuf};

/// A root directory with `proc` and `sys` in it.
#[derive(Debug)]
pub struct System(PathBuf);

/// A process that has a socket open.
#[derive(Debug, PartialEq, Eq)]
pub struct Holder {
    pub pid: u32,
    pub name: String,
}

impl System {
    pub fn real() -> System {
        System("/".into())
    }

    #[cfg(test)]
    pub fn at(root: &Path) -> System {
        System(root.to_owned())
    }

    /// A path below the root, which has no slash at its beginning.
    pub fn path(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    pub fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.path(path)).ok()
    }

    /// A setting that is a number. `max` is the largest.
    pub fn number(&self, path: &str) -> Option<u64> {
        let text = self.read(path)?;
        match text.trim() {
            "max" => Some(u64::MAX),
            number => number.parse().ok(),
        }
    }

    /// The directory of this process's control group, as it is mounted where it usually is.
    pub fn cgroup(&self) -> Option<PathBuf> {
        let own = self.read("proc/self/cgroup")?;
        let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?.to_owned();
        Some(self.path("sys/fs/cgroup").join(path))
    }

    /// Who listens on a TCP port, as far as it can be seen (proc_net_tcp(5)): processes of others only by root.
    pub fn listener(&self, port: u16) -> Option<Holder> {
        let inodes: Vec<String> = ["proc/net/tcp", "proc/net/tcp6"]
            .iter()
            .filter_map(|file| self.read(file))
            .flat_map(|table| listening(&table, port))
            .collect();
        let processes = fs::read_dir(self.path("proc")).ok()?.flatten();
        let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let pid = pids.find(|pid| self.has_open(*pid, &inodes))?;
        let name = self.read(&format!("proc/{pid}/comm")).unwrap_or_default().trim().to_owned();
        Some(Holder { pid, name })
    }

    fn has_open(&self, pid: u32, inodes: &[String]) -> bool {
        let Ok(open) = fs::read_dir(self.path(&format!("proc/{pid}/fd"))) else { return false };
        let mut targets = open.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
        targets.any(|target| inodes.iter().any(|inode| target == Path::new(&format!("socket:[{inode}]"))))
    }
}

/// The sockets of a table that listen on this port.
fn listening(table: &str, port: u16) -> Vec<String> {
    const LISTENS: &str = "0A";
    let local = format!(":{port:04X}");
    let fields = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    fields
        .filter(|fields| fields.len() > 9 && fields[1].ends_with(&local) && fields[3] == LISTENS)
        .map(|fields| fields[9].to_owned())
        .collect()
}

#[cfg(test)]
pub mod testing {
    use super::*;

    /// A root with these files, and links: `a → b`.
    pub fn fake(files: &[(&str, &str)]) -> (tempfile::TempDir, System) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match text.strip_prefix("→ ") {
                Some(target) => std::os::unix::fs::symlink(target, path).unwrap(),
                None => fs::write(path, text).unwrap(),
            }
        }
        let system = System::at(dir.path());
        (dir, system)
    }
}

#[cfg(test)]
mod tests {
    use super::testing::fake;
    use super::*;

    #[test]
    fn who_listens_on_a_port_is_found_by_its_socket() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0
   1: 0100007F:1F41 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0\n";
        let (_dir, system) = fake(&[
            ("proc/net/tcp", table),
            ("proc/7/fd/3", "→ socket:[1]"),
            ("proc/12/fd/0", "→ /dev/null"),
            ("proc/12/fd/5", "→ socket:[4711]"),
            ("proc/12/comm", "nginx\n"),
            ("proc/13/fd/5", "→ socket:[4712]"),
        ]);
        assert_eq!(system.listener(8000), Some(Holder { pid: 12, name: "nginx".into() }));
        assert_eq!(system.listener(8001), None, "it is connected, and does not listen");
        assert_eq!(System::at(Path::new("/nowhere")).listener(8000), None);
    }

    #[test]
    fn numbers_and_control_groups_are_read() {
        let (dir, system) = fake(&[
            ("proc/sys/net/core/somaxconn", "4096\n"),
            ("proc/self/cgroup", "1:name=systemd:/x\n0::/system.slice/b.service\n"),
            ("sys/fs/cgroup/system.slice/b.service/pids.max", "max\n"),
        ]);
        assert_eq!(system.number("proc/sys/net/core/somaxconn"), Some(4096));
        let cgroup = system.cgroup().unwrap();
        assert_eq!(cgroup, dir.path().join("sys/fs/cgroup/system.slice/b.service"));
        assert_eq!(system.number("sys/fs/cgroup/system.slice/b.service/pids.max"), Some(u64::MAX));
        assert_eq!(system.number("proc/none"), None);
    }
}
