//! Directories, the port, and the admin socket.

use super::{Check, there};
use crate::cli::client::{Client, Transport};
use crate::cli::text::{escape, size};
use crate::config::{Config, Listen};
use rustix::fs::{Access, access, statvfs};
use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Free bytes: below the first something is about to fail, below the second larger deployments will.
const SCARCE: u64 = 100 << 20;
const LITTLE: u64 = 1 << 30;

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
    checks.push(disk(&config.state_dir));
    checks
}

pub fn network(config: &Config) -> Vec<Check> {
    let (socket, url) = admin_socket(&config.admin_socket);
    vec![listener(&config.listen, url.as_deref()), socket]
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

fn disk(dir: &Path) -> Check {
    let dir = there(dir);
    match statvfs(dir) {
        Ok(stat) => free(stat.f_bavail.saturating_mul(stat.f_frsize), dir),
        Err(error) => Check::warn("disk space", format!("cannot be told: {error}"), "look with `df`"),
    }
}

fn free(bytes: u64, dir: &Path) -> Check {
    const NAME: &str = "disk space";
    let detail = format!("{} free at {}", size(bytes), dir.display());
    if bytes < SCARCE {
        Check::fail(NAME, detail, "make room: the compiled shim alone needs more than 100 MiB")
    } else if bytes < LITTLE {
        Check::warn(NAME, detail, "make room for what is deployed")
    } else {
        Check::ok(NAME, detail)
    }
}

/// `url`: where the runtime listens that answers on the admin socket.
fn listener(listen: &Listen, url: Option<&str>) -> Check {
    const NAME: &str = "listener";
    let address = match listen {
        Listen::Tcp { host, port } => SocketAddr::new(*host, *port),
        Listen::Unix(path) => return unix_listener(NAME, path),
    };
    let own = format!(":{}", address.port());
    match TcpListener::bind(address) {
        Ok(_) => Check::ok(NAME, format!("{address} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse && url.is_some_and(|url| url.ends_with(&own)) => {
            Check::ok(NAME, format!("{address} is that of the runtime that runs"))
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Check::fail(
            NAME,
            format!("{address}: {error}"),
            "ports below 1024 take root, or AmbientCapabilities=CAP_NET_BIND_SERVICE in a unit of systemd",
        ),
        Err(error) => Check::fail(
            NAME,
            format!("{address}: {error}"),
            "end what listens there, or name another with --port or --host",
        ),
    }
}

fn unix_listener(name: &'static str, path: &Path) -> Check {
    let above = there(path.parent().unwrap_or(path));
    if UnixStream::connect(path).is_ok() {
        Check::ok(name, format!("{} is listened on already", path.display()))
    } else if writable(above) {
        Check::ok(name, format!("{} can be made", path.display()))
    } else {
        let detail = format!("{} cannot be made: {} is not writable", path.display(), above.display());
        Check::fail(name, detail, "name another with --host unix:PATH")
    }
}

fn admin_socket(path: &Path) -> (Check, Option<String>) {
    const NAME: &str = "admin socket";
    let shown = path.display();
    match UnixStream::connect(path).map_err(|error| error.kind()) {
        Ok(_) => {}
        Err(ErrorKind::PermissionDenied) => {
            let hint = "run this as the user that the runtime runs as";
            return (Check::fail(NAME, format!("{shown}: permission denied"), hint), None);
        }
        Err(_) => return (Check::ok(NAME, format!("no runtime runs at {shown}")), None),
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let answer = runtime.map(|runtime| {
        runtime.block_on(async { Client::new(Transport::socket(path, "/api")).runtime().await })
    });
    if let Ok(Ok(answer)) = answer {
        let found = answer.value;
        let detail = format!("Buntime {}, process {}, answers at {shown}", escape(&found.version), found.pid);
        return (Check::ok(NAME, detail), found.url);
    }
    let detail = format!("what listens at {shown} does not answer as Buntime does");
    (Check::fail(NAME, detail, "look what it is, or name another with --admin-socket"), None)
}

fn writable(path: &Path) -> bool {
    access(path, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::State::{Fail, Ok, Warn};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

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
    fn a_port_in_use_is_a_failure_unless_it_is_the_runtimes_own() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let listen = Listen::Tcp { host: address.ip(), port: address.port() };
        let own = format!("http://127.0.0.1:{}", address.port());
        let states = [None, Some("http://127.0.0.1:1"), Some(&*own)].map(|url| listener(&listen, url).state);
        assert_eq!(states, [Fail, Fail, Ok]);
        assert_eq!(listener(&Listen::Tcp { host: address.ip(), port: 0 }, None).state, Ok);
    }

    #[test]
    fn what_does_not_answer_on_the_admin_socket_is_a_failure_and_nothing_there_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        assert_eq!(admin_socket(&path).0.state, Ok);
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || listener.incoming().for_each(drop));
        assert_eq!(admin_socket(&path).0.state, Fail);
    }

    #[test]
    fn free_space_is_judged() {
        assert_eq!(
            [1 << 20, 200 << 20, 2 << 30].map(|bytes| free(bytes, Path::new("/")).state),
            [Fail, Warn, Ok]
        );
    }
}
