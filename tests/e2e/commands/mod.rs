//! The client commands against a real runtime: what a person types, and what comes back.

mod deploying;
mod following;
mod keys;
mod plugins;
mod terminal;
mod tls;
mod tour;

use super::harness::{PATIENCE, Server};
use std::path::Path;
use std::process::{Output, Stdio};
use tempfile::TempDir;
use tokio::process::Command;

/// A person at a shell: a home, a directory to work in, and where the runtime is.
struct Person {
    home: TempDir,
    runtime: Vec<String>,
    variables: Vec<(String, String)>,
}

/// What a command did.
struct Done {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Person {
    /// Beside the runtime: by its admin socket.
    fn beside(server: &Server) -> Person {
        let state = server.state_dir().to_str().unwrap().to_owned();
        Person { runtime: vec!["--state-dir".into(), state], ..Person::somewhere() }
    }

    /// Who has not been told of any runtime.
    fn somewhere() -> Person {
        Person { home: TempDir::new().unwrap(), runtime: Vec::new(), variables: Vec::new() }
    }

    fn with(mut self, name: &str, value: &str) -> Person {
        self.variables.push((name.into(), value.into()));
        self
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.home.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_buntime"));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(self.variables.clone())
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs a command that speaks with the runtime.
    async fn types(&self, line: &str) -> Done {
        let words = line.split(' ').chain(self.runtime.iter().map(String::as_str)).collect::<Vec<_>>();
        self.runs(&words).await
    }

    /// Runs a command that does not.
    async fn runs(&self, arguments: &[&str]) -> Done {
        let output = tokio::time::timeout(PATIENCE, self.command(arguments).output()).await;
        let Output { status, stdout, stderr } = output.expect("the command did not end").unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Done { code: status.code().unwrap_or(-1), stdout: text(stdout), stderr: text(stderr) }
    }

    /// Begins an app, with another version than that of the template.
    async fn begins(&self, template: &str, name: &str, version: &str) {
        self.runs(&["new", template, name, "--no-install"]).await.ok();
        let file = match template {
            "static" => self.path(name).join("manifest.yaml"),
            _ => self.path(name).join("package.json"),
        };
        replace(&file, "0.1.0", version);
    }
}

impl Done {
    /// What it printed, if it went well.
    #[track_caller]
    fn ok(&self) -> &str {
        assert_eq!(self.code, 0, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        &self.stdout
    }

    /// What it said, if it failed so.
    #[track_caller]
    fn failed(&self, code: i32) -> &str {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        &self.stderr
    }

    #[track_caller]
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(self.ok()).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

fn replace(file: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(file, text.replace(from, to)).unwrap();
}

/// The cells of one line of a table, which holds this word.
#[track_caller]
fn row<'t>(table: &'t str, word: &str) -> Vec<&'t str> {
    let found = table.lines().find(|line| line.split("  ").any(|cell| cell.trim() == word));
    let line = found.unwrap_or_else(|| panic!("no {word} in:\n{table}"));
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
}
