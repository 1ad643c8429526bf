//! The transcript in README.md is what happens.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Bounds a failure.
const PATIENCE: Duration = Duration::from_secs(30);
/// Where the transcript says that the runtime listens.
const ADDRESS: &str = "127.0.0.1:8000";

/// A line that is typed, and what comes.
struct Step {
    line: String,
    output: String,
}

/// Killed when dropped.
struct Runtime(Child);

impl Drop for Runtime {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The block behind the mark.
fn transcript() -> Vec<Step> {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let (_, marked) = readme.split_once("<!-- transcript").expect("README.md has no transcript");
    let (_, block) = marked.split_once("```console\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let mut steps: Vec<Step> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(typed), _) => steps.push(Step { line: typed.to_owned(), output: String::new() }),
            (None, Some(step)) => step.output += &format!("{line}\n"),
            (None, None) => panic!("the transcript begins with no command: {line}"),
        }
    }
    steps
}

/// What is the same every time: versions are, other numbers are not, and with them the width of columns.
fn shape(text: &str) -> String {
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    let mut shape = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let number = &rest[..rest.find(|c| !is_number(c)).unwrap_or(rest.len())];
        rest = &rest[number.len().max(c.len_utf8())..];
        match number {
            "" if c == ' ' && shape.ends_with(' ') => {}
            "" => shape.push(c),
            version if version.matches('.').count() == 2 => shape += version,
            _ => shape.push('#'),
        }
    }
    // A time may be long enough for another unit.
    shape.replace("# s\n", "# ms\n")
}

fn bun() -> PathBuf {
    if let Some(bun) = std::env::var_os("BUNTIME_TEST_BUN") {
        return bun.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join("bun")).find(|bun| bun.exists()).expect("no bun on PATH")
}

/// In the directory `home`, with the release's name on PATH.
fn typed(program: &Path, home: &Path, path: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(home).env_clear().env("HOME", home).env("PATH", path).stdin(Stdio::null());
    command
}

/// Whether the npm registry can be reached, from which the transcript installs packages.
fn has_packages(home: &Path, path: &str) -> bool {
    let new =
        typed(Path::new(env!("CARGO_BIN_EXE_buntime")), home, path).args(["new", "hono", "first"]).output();
    let said = String::from_utf8_lossy(&new.unwrap().stderr).into_owned();
    let has = home.join("first/node_modules/hono").exists();
    if !has {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "the npm registry is needed under CI: {said}");
        eprintln!("SKIPPED the transcript in README.md: no packages from the npm registry: {said}");
    }
    has
}

#[test]
fn the_transcript_in_the_readme_is_what_happens() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    std::fs::create_dir(home.join("apps")).unwrap();
    std::fs::create_dir(home.join("bin")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_buntime"), home.join("bin/buntime")).unwrap();
    let path = format!("{}:{}", home.join("bin").display(), std::env::var("PATH").unwrap());

    let steps = transcript();
    assert!(steps.len() > 5);
    if !has_packages(home, &path) {
        return;
    }
    let runtime = typed(Path::new(env!("CARGO_BIN_EXE_buntime")), home, &path)
        .args(["run", "--worker-dirs", "apps"])
        .env("RUNTIME_BUN", bun())
        .env("PORT", "0")
        // Compiled once for all tests.
        .env("RUNTIME_CACHE_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"))
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(home.join("log")).unwrap())
        .spawn()
        .unwrap();
    let _runtime = Runtime(runtime);
    let log = || std::fs::read_to_string(home.join("log")).unwrap();
    let end = Instant::now() + PATIENCE;
    let address = loop {
        let serving = log().lines().find_map(|line| {
            let value = serde_json::from_str::<serde_json::Value>(line).ok()?;
            Some(value["listen"].as_str()?.trim_start_matches("http://").to_owned())
        });
        if let Some(address) = serving
            && UnixStream::connect(home.join(".buntime/admin.sock")).is_ok()
        {
            break address;
        }
        assert!(Instant::now() < end, "it does not serve:\n{}", log());
        std::thread::sleep(Duration::from_millis(20));
    };

    for Step { line, output } in steps {
        // What only looks may look again: a spare takes its time.
        let looks = line == "buntime ps";
        let line = format!("exec 2>&1; {}", line.replace(ADDRESS, &address));
        let expected = output.replace(ADDRESS, &address);
        let end = Instant::now() + PATIENCE;
        let (done, said) = loop {
            let done = typed(Path::new("/bin/bash"), home, &path).args(["-c", &line]).output().unwrap();
            let said = String::from_utf8_lossy(&done.stdout).into_owned();
            if !looks || shape(&said) == shape(&expected) || Instant::now() > end {
                break (done, said);
            }
        };
        assert_eq!(shape(&said), shape(&expected), "{line}\n\n{said}\n{}", log());
        assert!(done.status.success(), "{line}");
    }
}
