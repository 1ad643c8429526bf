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
    let (socket, url) = admin_socket(&config.admin_socket);
    vec![listener(system, &config.listen, url.as_deref()), socket]
}

/// `url`: where the runtime listens that answers on the admin socket.
fn listener(system: &System, listen: &Listen, url: Option<&str>) -> Check {
    const NAME: &str = "listener";
    let address = match listen {
        Listen::Tcp { host, port } => SocketAddr::new(*host, *port),
        Listen::Unix(path) => return unix_listener(NAME, path),
    };
    match TcpListener::bind(address) {
        Ok(_) => Check::ok(NAME, format!("{address} is free")),
        Err(error)
            if error.kind() == ErrorKind::AddrInUse
                && url.is_some_and(|url| leads_to(url, address.port())) =>
        {
            Check::ok(NAME, format!("{address} is that of the runtime that runs"))
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Check::fail(
            NAME,
            format!("{address}: {error}"),
            "ports below 1024 take root, or AmbientCapabilities=CAP_NET_BIND_SERVICE in a unit of systemd",
        ),
        Err(error) => {
            let who = system.listener(address.port()).map_or(String::new(), |Holder { pid, name }| {
                format!(" by {}, process {pid}", escape(&name))
            });
            Check::fail(
                NAME,
                format!("{address}: {error}{who}"),
                "end what listens there, or name another with --port or --host",
            )
        }
    }
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

fn admin_socket(path: &Path) -> (Check, Option<String>) {
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
        return (Check::ok(NAME, detail), found.url);
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
        let states =
            [None, Some("http://127.0.0.1:1"), Some(&*own)].map(|url| listener(&system, &listen, url).state);
        assert_eq!(states, [Fail, Fail, Ok]);
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
