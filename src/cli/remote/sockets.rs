//! Where an admin socket may be.

use super::Surroundings;
use crate::cli::failure::{Exit, Failure};
use std::io::{Error, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Of the socket in a directory.
pub const NAME: &str = "admin.sock";
/// Where the unit of systemd has it.
const OF_SERVICE: &str = "/run/buntime/admin.sock";

/// The places where `buntime run` puts it, and that of a service.
pub fn candidates(around: &Surroundings<'_>) -> Vec<PathBuf> {
    // systemd gives a colon-separated list when the unit names several; the first is ours.
    let dir = |name: &str| {
        let value = around.environment.get(name)?.to_str()?;
        let first = value.split(':').next().filter(|first| !first.is_empty())?;
        Some(around.working_dir.join(first))
    };
    let state = dir("RUNTIME_STATE_DIR").or_else(|| dir("STATE_DIRECTORY"));
    let state = state.unwrap_or_else(|| around.working_dir.join(".buntime"));
    let dirs = [dir("RUNTIME_DIRECTORY"), Some(state)];
    let mut paths: Vec<PathBuf> = dirs.into_iter().flatten().map(|dir| dir.join(NAME)).collect();
    paths.push(OF_SERVICE.into());
    paths
}

/// The first that somebody listens on. Nobody has named these places, so what is there must be ours or root's: anybody may
/// have put a socket into a directory that we happen to be in.
pub fn first(paths: &[PathBuf]) -> Result<PathBuf, Failure> {
    let own = nix::unistd::geteuid().as_raw();
    let mut tried = Vec::new();
    for path in paths {
        match std::fs::metadata(path).map(|meta| meta.uid()) {
            Ok(owner) if owner != own && owner != 0 => {
                tried.push((path.as_path(), Error::other(format!("it belongs to user {owner}"))));
                continue;
            }
            _ => {}
        }
        match UnixStream::connect(path) {
            Ok(_) => return Ok(path.clone()),
            Err(error) => tried.push((path.as_path(), error)),
        }
    }
    Err(unreachable(&tried))
}

fn unreachable(tried: &[(&Path, Error)]) -> Failure {
    let lines = tried.iter().map(|(path, error)| format!("  {}: {}\n", path.display(), reason(error)));
    let hint = if tried.iter().any(|(_, error)| error.kind() == ErrorKind::PermissionDenied) {
        "run this as the user that the runtime runs as, or reach it with --url and a key"
    } else {
        "start one with `buntime run --worker-dirs DIR`; or name it with --admin-socket, --state-dir or --url"
    };
    Failure::new(Exit::Unreachable, "no runtime answers here; these sockets were tried:")
        .details(lines.collect::<String>())
        .hint(hint)
}

fn reason(error: &Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "not there".into(),
        ErrorKind::ConnectionRefused => "nobody listens on it".into(),
        ErrorKind::PermissionDenied => "permission denied".into(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_no_socket_answers_it_says_which_were_tried_and_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let dead = dir.path().join("dead.sock");
        drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
        let failure = first(&[dir.path().join("none.sock"), dead]).unwrap_err();
        assert_eq!(failure.exit, Exit::Unreachable);
        let text = failure.text(str::to_owned).replace(dir.path().to_str().unwrap(), "DIR");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_socket_that_somebody_else_has_put_there_is_not_used() {
        if !nix::unistd::geteuid().is_root() {
            return eprintln!("SKIPPED: only root can give a socket to another user");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(first(std::slice::from_ref(&path)).is_ok());
        std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
        let failure = first(&[path]).unwrap_err();
        assert!(failure.text(str::to_owned).contains("it belongs to user 65534"));
    }

    #[test]
    fn a_socket_of_another_user_is_told_from_one_that_is_not_there() {
        let failure = unreachable(&[(Path::new("/run/x"), ErrorKind::PermissionDenied.into())]);
        insta::assert_snapshot!(failure.text(str::to_owned));
    }
}
