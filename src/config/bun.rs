//! The bun binary: where it is, which one it really is, and whether it is new enough.

use super::{Environment, Source};
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The oldest version that the shim works with.
pub const MINIMUM: semver::Version = semver::Version::new(1, 4, 0);

/// A bun binary that was run and is new enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bun {
    /// Absolute, and the real binary: not a link or a script that leads to it.
    pub path: PathBuf,
    pub version: semver::Version,
}

#[derive(Debug, thiserror::Error)]
pub enum BunError {
    #[error("cannot run {}: {source}\n\nhint: install bun {MINIMUM} or newer with `npm install -g bun`, or name it with --bun FILE", path.display())]
    Start { path: PathBuf, source: std::io::Error },
    #[error("{} does not answer as bun does: {answer}\n\nhint: install bun {MINIMUM} or newer with `npm install -g bun`, or name it with --bun FILE", path.display())]
    Answer { path: PathBuf, answer: String },
    #[error("{} is bun {version}, and Buntime needs {MINIMUM} or newer\n\nhint: `npm install -g bun@latest`, or name another with --bun FILE", path.display())]
    TooOld { path: PathBuf, version: semver::Version },
}

/// Looks for `bun` on `PATH`, then for `node_modules/.bin/bun` in the working directory and above.
pub fn find(path: Option<&OsStr>, working_dir: &Path) -> Option<(PathBuf, Source)> {
    let on_path = path.map(std::env::split_paths).into_iter().flatten();
    // An empty entry of PATH means the working directory (POSIX); nobody who starts a service wants that.
    let on_path = on_path.filter(|dir| dir.is_absolute()).map(|dir| dir.join("bun"));
    if let Some(found) = on_path.into_iter().find(|file| is_executable(file)) {
        return Some((found, Source::Default("on PATH".into())));
    }
    let above = working_dir.ancestors().map(|dir| dir.join("node_modules/.bin/bun"));
    let found = above.into_iter().find(|file| is_executable(file))?;
    Some((found, Source::Default("in node_modules".into())))
}

pub fn is_executable(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Runs the binary once to learn its real path and its version.
///
/// # Errors
/// It cannot be run, is something else than bun, or is older than [`MINIMUM`].
pub fn inspect(path: &Path, environment: &Environment) -> Result<Bun, BunError> {
    // Variables such as BUN_OPTIONS would change what it does; a wrapper script needs these two.
    let basic = ["PATH", "HOME"].into_iter().filter_map(|name| Some((name, environment.get(name)?)));
    let output = Command::new(path)
        .env_clear()
        .envs(basic)
        .args(["--no-install", "--no-env-file", "-e", "console.log(Bun.version + ' ' + process.execPath)"])
        // Away from any bunfig.toml or tsconfig.json.
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .map_err(|source| BunError::Start { path: path.to_owned(), source })?;
    read_answer(path, &output.stdout).map_err(|error| match error {
        // A wrapper that could not start bun says why on stderr.
        BunError::Answer { path, answer } if answer.is_empty() => {
            let said = String::from_utf8_lossy(&output.stderr);
            BunError::Answer { path, answer: format!("{} {}", output.status, first_line(&said)) }
        }
        other => other,
    })
}

fn read_answer(path: &Path, stdout: &[u8]) -> Result<Bun, BunError> {
    let text = String::from_utf8_lossy(stdout);
    let line = first_line(&text);
    let wrong = || BunError::Answer { path: path.to_owned(), answer: line.to_owned() };
    let (version, real) = line.split_once(' ').ok_or_else(wrong)?;
    let version = semver::Version::parse(version).map_err(|_| wrong())?;
    let real = PathBuf::from(real);
    if !real.is_absolute() {
        return Err(wrong());
    }
    // A canary of the minimum sorts before it; its number is what counts.
    if (version.major, version.minor, version.patch) < (MINIMUM.major, MINIMUM.minor, MINIMUM.patch) {
        return Err(BunError::TooOld { path: path.to_owned(), version });
    }
    Ok(Bun { path: real, version })
}

fn first_line(text: &str) -> &str {
    let line = text.lines().next().unwrap_or("").trim();
    line.get(..line.floor_char_boundary(200)).unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Result<Bun, String> {
        read_answer(Path::new("/x/bun"), text.as_bytes()).map_err(|e| e.to_string())
    }

    #[test]
    fn bun_is_taken_by_its_real_path() {
        let bun = answer("1.4.5 /opt/bun/bin/bun\n").unwrap();
        assert_eq!(bun, Bun { path: "/opt/bun/bin/bun".into(), version: semver::Version::new(1, 4, 5) });
    }

    #[test]
    fn a_bun_that_is_too_old_is_refused_with_the_version_that_is_needed() {
        let error = answer("1.3.9 /opt/bun/bin/bun\n").unwrap_err();
        assert!(error.contains("is bun 1.3.9, and Buntime needs 1.4.0 or newer"), "{error}");
        assert!(error.contains("hint: "), "{error}");
        assert!(answer("1.4.0-canary.1 /b").is_ok());
    }

    #[test]
    fn a_program_that_is_not_bun_is_refused() {
        for text in ["", "v20.1.0\n", "hello world", "1.4.5 bun"] {
            assert!(answer(text).unwrap_err().contains("does not answer as bun does"), "{text}");
        }
    }

    #[test]
    fn bun_on_path_comes_before_node_modules_and_node_modules_are_searched_upward() {
        let dir = tempfile::tempdir().unwrap();
        let executable = |path: &Path| {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        let (bin, project) = (dir.path().join("bin"), dir.path().join("project"));
        let deep = project.join("a/b");
        std::fs::create_dir_all(&deep).unwrap();
        assert_eq!(find(Some(bin.as_os_str()), &deep), None);

        let module = project.join("node_modules/.bin/bun");
        executable(&module);
        assert_eq!(find(Some(bin.as_os_str()), &deep).unwrap().0, module);
        assert_eq!(find(None, &deep).unwrap().0, module);

        executable(&bin.join("bun"));
        assert_eq!(find(Some(bin.as_os_str()), &deep).unwrap().0, bin.join("bun"));
    }
}
