//! Keeping a worker from other processes: it may signal only what it has started, look only into that, and connect to no abstract
//! socket (unix(7)) of others.
//!
//! A Landlock domain (landlock(7)) is what a process and its descendants share. Whoever is in one can trace nobody
//! outside of it, which is also what reading `/proc/PID/{environ,mem,fd,cwd,…}` takes, and with its scopes (Linux 6.12)
//! signal nobody there, nor connect to an abstract socket there. Files and other sockets are as they were. The supervisor is in none, so it signals whom it likes.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const CREATE_RULESET_VERSION: u32 = 1;
const SCOPE_ABSTRACT_UNIX_SOCKET: u64 = 1;
const SCOPE_SIGNAL: u64 = 1 << 1;
const SCOPES: u64 = SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL;
const ACCESS_FS_REFER: u64 = 1 << 13;
const RULE_PATH_BENEATH: u32 = 1;
/// The first version with scopes, and the first that can allow files to be moved between directories, which
/// every ruleset about files would forbid.
const ABI_WITH_SIGNALS: i64 = 6;
const ABI_WITH_REFER: i64 = 2;

#[repr(C)]
#[derive(Default)]
struct RulesetAttr {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

#[repr(C, packed)]
struct PathBeneathAttr {
    allowed_access: u64,
    parent_fd: i32,
}

/// What a domain of its own is made from for every worker.
#[derive(Debug)]
pub struct Domain {
    ruleset: Option<OwnedFd>,
}

impl Domain {
    /// The best that this kernel has.
    pub fn new() -> Domain {
        let abi = abi();
        if abi < ABI_WITH_REFER {
            tracing::warn!(
                landlock = abi,
                "this kernel does not keep apps from each other: workers of the same user can read each other's data, memory and environment through /proc, and signal each other and, where that is its user too, the supervisor; that takes Linux 5.19 with Landlock, and 6.12 for signals"
            );
        } else if abi < ABI_WITH_SIGNALS {
            tracing::warn!(
                landlock = abi,
                "this kernel does not keep workers from signalling each other and the supervisor, nor from abstract sockets: that takes Linux 6.12 with Landlock"
            );
        }
        Domain::of(abi)
    }

    /// None at all.
    pub fn none() -> Domain {
        Domain { ruleset: None }
    }

    fn of(abi: i64) -> Domain {
        let made = match abi {
            ABI_WITH_SIGNALS.. => create(&RulesetAttr { scoped: SCOPES, ..RulesetAttr::default() }, 24),
            // A ruleset that allows all it is about: the domain alone is what it is for.
            ABI_WITH_REFER.. => allow_all(),
            _ => return Domain::none(),
        };
        if let Err(error) = &made {
            tracing::warn!(%error, "workers are not kept from looking into each other");
        }
        Domain { ruleset: made.ok() }
    }

    /// None = the kernel has no such thing.
    pub fn fd(&self) -> Option<i32> {
        self.ruleset.as_ref().map(AsRawFd::as_raw_fd)
    }
}

/// The version of Landlock that this kernel has; zero or less = none.
pub fn abi() -> i64 {
    // SAFETY: with this flag the call reads no memory.
    unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0, CREATE_RULESET_VERSION)
    }
}

/// `size` = so much of the structure as the kernel knows.
fn create(attr: &RulesetAttr, size: usize) -> io::Result<OwnedFd> {
    // SAFETY: `attr` has the layout of the kernel's structure and is at least `size` bytes long.
    let fd = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::from_ref(attr), size, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just made this descriptor (with close-on-exec) and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn allow_all() -> io::Result<OwnedFd> {
    let attr = RulesetAttr { handled_access_fs: ACCESS_FS_REFER, ..RulesetAttr::default() };
    let ruleset = create(&attr, 8)?;
    let root = File::open("/")?;
    let rule = PathBeneathAttr { allowed_access: ACCESS_FS_REFER, parent_fd: root.as_raw_fd() };
    // SAFETY: `rule` has the layout of the kernel's structure, and both descriptors are open.
    let added = unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            RULE_PATH_BENEATH,
            std::ptr::from_ref(&rule),
            0,
        )
    };
    if added == -1 { Err(io::Error::last_os_error()) } else { Ok(ruleset) }
}

/// Puts the calling process into a new domain. Nothing but a system call. −1 = `errno` tells why not.
pub fn enter(ruleset: i32) -> libc::c_long {
    // SAFETY: a system call on plain integers.
    unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset, 0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::exec::{Fds, Image};
    use std::collections::BTreeMap;
    use std::io::Read;
    use std::path::Path;

    /// What a shell says that is in a domain of its own.
    fn say(domain: &Domain, script: &str) -> String {
        let args = ["-c".into(), script.into()];
        let image = Image::new(Path::new("/bin/sh"), &args, &BTreeMap::new(), Path::new("/tmp")).unwrap();
        let null = File::options().read(true).write(true).open("/dev/null").unwrap();
        let (output, end) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
        let null = null.as_raw_fd();
        let fds =
            Fds { stdin: null, stdout: end.as_raw_fd(), stderr: end.as_raw_fd(), link: null, page: null };
        let process = image.start(&fds, domain, None).unwrap();
        drop(end);
        let mut text = String::new();
        File::from(output).read_to_string(&mut text).unwrap();
        process.reap();
        text
    }

    /// Whatever version this kernel has, and the older ones that it still speaks.
    fn versions() -> Vec<(i64, Domain)> {
        let abi = abi();
        let known = [ABI_WITH_REFER, ABI_WITH_SIGNALS].into_iter().filter(|version| *version <= abi);
        let versions: Vec<_> = known.map(|version| (version, Domain::of(version))).collect();
        assert!(!versions.is_empty() || std::env::var_os("CI").is_none(), "this kernel has no Landlock");
        if versions.is_empty() {
            eprintln!("skipped: this kernel has no Landlock");
        }
        versions
    }

    #[test]
    fn nobody_outside_can_be_signalled_or_looked_into() {
        let mut other = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = other.id();
        for (version, domain) in versions() {
            let looked = say(&domain, &format!("cat /proc/{pid}/environ; readlink /proc/{pid}/cwd"));
            assert!(looked.contains("Permission denied") && !looked.contains('='), "{version}: {looked}");
            if version >= ABI_WITH_SIGNALS {
                let told = say(&domain, &format!("kill -TERM {pid} || kill -TERM $PPID || echo cannot"));
                assert!(told.ends_with("cannot\n"), "{version}: {told}");
                assert!(other.try_wait().unwrap().is_none());
            }
        }
        other.kill().unwrap();
        other.wait().unwrap();
    }

    #[test]
    fn abstract_sockets_of_others_are_out_of_reach_and_its_own_are_not() {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::net::{SocketAddr, UnixListener};
        let Some(bun) =
            crate::testing::bun("abstract_sockets_of_others_are_out_of_reach_and_its_own_are_not")
        else {
            return;
        };
        let name = format!("buntime-test-{}", std::process::id());
        let _listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        // A child connects to what its parent listens on, then to what the test does.
        let script = "import net from 'node:net';
            const [bun, name] = [process.execPath, process.env.NAME ?? process.argv[2]];
            const connect = (to) => new Promise((done) => net.connect('\\0' + to, () => done('connected')).on('error', () => done('refused')));
            if (process.env.NAME) {
                console.log(await connect(name + '-own'), await connect(name));
                process.exit();
            }
            net.createServer((socket) => socket.end()).listen('\\0' + name + '-own', async () => {
                const env = { ...process.env, NAME: name };
                console.log(await new Response(Bun.spawn([bun, process.argv[1]], { env }).stdout).text());
                process.exit();
            });";
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("abstract.mjs");
        std::fs::write(&file, script).unwrap();
        for (version, domain) in versions() {
            let script = format!("'{}' '{}' {name}", bun.display(), file.display());
            let told = say(&domain, &script);
            let other = if version >= ABI_WITH_SIGNALS { "refused" } else { "connected" };
            assert_eq!(told, format!("connected {other}\n\n"), "{version}");
        }
    }

    #[test]
    fn what_a_worker_has_started_it_may_signal_and_look_into_and_files_are_as_they_were() {
        let script = "exec 2>/dev/null; sleep 1000 & cat /proc/$!/environ >/dev/null && kill $! && wait $!; echo $?
            d=$(mktemp -d) && mkdir $d/a $d/b && echo text > $d/a/file && mv $d/a/file $d/b/ && ln $d/b/file $d/a/
            cat $d/a/file; rm -r $d";
        for (version, domain) in versions() {
            // 128 and the number of SIGTERM.
            assert_eq!(say(&domain, script), "143\ntext\n", "{version}");
        }
    }

    #[test]
    fn without_landlock_workers_start_all_the_same() {
        let none = Domain::of(0);
        assert_eq!((none.fd(), say(&none, "echo $PPID")), (None, format!("{}\n", std::process::id())));
    }
}
