//! The port and the admin socket.

use super::places::writable;
use super::system::{Holder, System};
use super::{Check, there};
use crate::cli::client::{Client, Transport};
use crate::cli::text::escape;
use crate::config::{Config, Listen, MAX_SOCKET_PATH};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::Path;

pub fn all(system: &System, config: &Config) -> Vec<Check> {
    let (socket, running) = admin_socket(&config.admin_socket);
    let mut checks = vec![listener(system, &config.listen, running.as_ref())];
    if let (Some(port), Listen::Tcp { host, .. }) = (config.http_port(), &config.listen) {
        checks.push(http_listener(system, SocketAddr::new(*host, port), running.as_ref()));
    }
    checks.push(socket);
    checks
}

/// The runtime that answers on the admin socket.
#[derive(Debug)]
struct Running {
    pid: u32,
    /// Where it listens, if that is a port.
    url: Option<String>,
}

fn listener(system: &System, listen: &Listen, running: Option<&Running>) -> Check {
    const NAME: &str = "listener";
    let address = match listen {
        Listen::Tcp { host, port } => SocketAddr::new(*host, *port),
        Listen::Unix(path) => return unix_listener(NAME, path),
    };
    let url = running.and_then(|running| running.url.as_deref());
    let is_own = |_: Option<&Holder>| url.is_some_and(|url| leads_to(url, address.port()));
    port(NAME, system, address, is_own, "end what listens there, or name another with --port or --host")
}

/// The one without TLS beside the one with it. The runtime does not tell which it is.
fn http_listener(system: &System, address: SocketAddr, running: Option<&Running>) -> Check {
    let is_own = |who: Option<&Holder>| {
        running.is_some_and(|running| who.is_some_and(|holder| holder.pid == running.pid))
    };
    let hint = "end what listens there, or name another with --http-port";
    port("http listener", system, address, is_own, hint)
}

/// `is_own`: whether what listens there is the runtime that runs, by the process, where that can be seen.
fn port(
    name: &'static str,
    system: &System,
    address: SocketAddr,
    is_own: impl FnOnce(Option<&Holder>) -> bool,
    hint: &str,
) -> Check {
    let Err(error) = TcpListener::bind(address) else {
        return Check::ok(name, format!("{address} is free"));
    };
    if error.kind() == ErrorKind::PermissionDenied {
        let hint =
            "ports below 1024 take root, or AmbientCapabilities=CAP_NET_BIND_SERVICE in a unit of systemd";
        return Check::fail(name, format!("{address}: {error}"), hint);
    }
    let holder = system.listener(address.port());
    if error.kind() == ErrorKind::AddrInUse && is_own(holder.as_ref()) {
        return Check::ok(name, format!("{address} is that of the runtime that runs"));
    }
    let who =
        holder.map_or(String::new(), |Holder { pid, name }| format!(" by {}, process {pid}", escape(&name)));
    Check::fail(name, format!("{address}: {error}{who}"), hint)
}

fn leads_to(url: &str, port: u16) -> bool {
    let Ok(uri) = url.parse::<http::Uri>() else { return false };
    uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 }) == port
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

fn admin_socket(path: &Path) -> (Check, Option<Running>) {
    const NAME: &str = "admin socket";
    let shown = path.display();
    if path.as_os_str().len() > MAX_SOCKET_PATH {
        let detail = format!("{shown}: the path of a socket has at most {MAX_SOCKET_PATH} bytes");
        return (Check::fail(NAME, detail, "name a shorter one with --admin-socket"), None);
    }
    match UnixStream::connect(path).map_err(|error| error.kind()) {
        Ok(_) => {}
        Err(ErrorKind::PermissionDenied) => {
            let hint = "run this as the user that the runtime runs as";
            return (Check::fail(NAME, format!("{shown}: permission denied"), hint), None);
        }
        Err(_) if !can_be_made(path) => {
            let detail = format!("{shown} cannot be made: its directory is not writable");
            return (Check::fail(NAME, detail, "name another with --admin-socket"), None);
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
        return (Check::ok(NAME, detail), Some(Running { pid: found.pid, url: found.url }));
    }
    let detail = format!("what listens at {shown} does not answer as Buntime does");
    (Check::fail(NAME, detail, "look what it is, or name another with --admin-socket"), None)
}

fn can_be_made(path: &Path) -> bool {
    writable(there(path.parent().unwrap_or(path)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::State::{Fail, Ok};
    use std::os::unix::net::UnixListener;

    #[test]
    fn the_usual_ports_stand_in_no_url() {
        for (url, port) in [("https://a.test", 443), ("http://a.test", 80), ("https://a.test:8443", 8443)] {
            assert!(leads_to(url, port) && !leads_to(url, port + 1), "{url}");
        }
    }

    #[test]
    fn a_port_in_use_is_a_failure_unless_it_is_the_runtimes_own() {
        let system = System::real();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let listen = Listen::Tcp { host: address.ip(), port: address.port() };
        let own = format!("http://127.0.0.1:{}", address.port());
        let runs = |url: &str| Some(Running { pid: 1, url: Some(url.to_owned()) });
        let states = [None, runs("http://127.0.0.1:1"), runs(&own)]
            .map(|running| listener(&system, &listen, running.as_ref()).state);
        assert_eq!(states, [Fail, Fail, Ok]);
        let runs = |pid| Some(Running { pid, url: Some("https://127.0.0.1".into()) });
        let states = [None, runs(1), runs(std::process::id())]
            .map(|running| http_listener(&system, address, running.as_ref()).state);
        assert_eq!(states, [Fail, Fail, Ok], "the port without TLS");
        let own = format!("process {}", std::process::id());
        assert!(listener(&system, &listen, None).detail.ends_with(&own), "it says who has it");
        assert_eq!(listener(&system, &Listen::Tcp { host: address.ip(), port: 0 }, None).state, Ok);
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
    fn an_admin_socket_whose_path_is_too_long_is_a_failure() {
        let long = Path::new("/tmp").join("x".repeat(MAX_SOCKET_PATH));
        assert_eq!(admin_socket(&long).0.state, Fail);
    }
}
