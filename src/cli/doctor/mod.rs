//! `buntime doctor`: whether this machine has what Buntime needs, and what to do where it has not.

mod kernel;
mod limits;
mod network;
mod places;
mod system;
mod why;

use self::system::System;
use self::why::why;
use super::args::ConfigFlags;
use super::console::Console;
use super::failure::{Exit, Failure};
use super::process::Process;
use super::remote::Output;
use super::text::{count, escape, escape_lines};
use crate::config::settings::{BUN, WORKER_DIRS};
use crate::config::{Config, ConfigError, Flags, Inputs, Loaded, bun};
use clap::Args;
use serde::Serialize;
use std::path::Path;

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    output: Output,
    /// Only tries to make namespaces; the exit code says whether that went well.
    #[arg(long, hide = true)]
    probe_namespaces: bool,
    #[command(flatten)]
    flags: ConfigFlags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    /// It works without.
    Warn,
    Fail,
}

/// What was looked at, and what was found.
#[derive(Clone, Debug, Serialize)]
struct Check {
    name: &'static str,
    state: State,
    /// What was found.
    detail: String,
    /// Why it matters.
    why: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Check {
    fn ok(name: &'static str, detail: impl Into<String>) -> Check {
        Check { name, state: State::Ok, detail: detail.into(), why: why(name), hint: None }
    }

    fn warn(name: &'static str, detail: impl Into<String>, hint: &str) -> Check {
        Check { name, state: State::Warn, detail: detail.into(), why: why(name), hint: Some(hint.to_owned()) }
    }

    fn fail(name: &'static str, detail: impl Into<String>, hint: &str) -> Check {
        Check { name, state: State::Fail, detail: detail.into(), why: why(name), hint: Some(hint.to_owned()) }
    }

    /// From an error of ours, which has its hint behind an empty line.
    fn error(name: &'static str, error: &dyn std::fmt::Display) -> Check {
        let text = escape_lines(&error.to_string());
        let (detail, hint) = text.split_once("\n\nhint: ").map_or((&*text, None), |(d, h)| (d, Some(h)));
        Check {
            name,
            state: State::Fail,
            detail: detail.to_owned(),
            why: why(name),
            hint: hint.map(str::to_owned),
        }
    }
}

impl Arguments {
    pub fn console(&self, process: &Process) -> Console {
        Console::new(self.output.json, self.output.quiet, &process.environment)
    }
}

pub fn run(arguments: Arguments, console: &Console, process: &Process) -> Result<(), Failure> {
    if arguments.probe_namespaces {
        return kernel::probe_namespaces();
    }
    let system = System::real();
    let mut checks = Vec::new();
    let config = if let Some(config) = configuration(arguments.flags.0, process, &mut checks)? {
        checks.extend(places::directories(&config));
        checks.extend(network::all(&system, &config));
        Some(config)
    } else {
        None
    };
    checks.extend(limits::all(&system, config.as_ref(), process.descriptor_limit));
    checks.extend(kernel::features(&system));
    if console.json {
        console.raw(serde_json::json!({ "checks": checks }).to_string().as_bytes())?;
    } else {
        let shown = checks.iter().filter(|check| !console.quiet || check.state != State::Ok);
        console.data(&render(shown, |word| console.paint_data(word)))?;
    }
    match checks.iter().filter(|check| check.state == State::Fail).count() {
        0 => Ok(()),
        failed => Err(Failure::new(Exit::Failure, format!("{} failed", count(failed as u64, "check")))),
    }
}

/// The configuration as `run` would have it with these flags. What is missing of it is a check that failed, and has a
/// stand-in where the rest can be looked at without it.
fn configuration(
    mut flags: Flags,
    process: &Process,
    checks: &mut Vec<Check>,
) -> Result<Option<Config>, Failure> {
    let working_dir =
        std::env::current_dir().map_err(|error| Failure::io("tell the working directory", &error))?;
    let (mut no_dirs, mut no_bun) = (false, None);
    let loaded = loop {
        let inputs = Inputs {
            flags: flags.clone(),
            environment: process.environment.clone(),
            working_dir: &working_dir,
            stderr: process.stderr,
            descriptor_limit: process.descriptor_limit,
            secrets: process.secrets.clone(),
        };
        match Config::load(inputs) {
            Err(ConfigError::NoWorkerDirs) if !no_dirs => {
                no_dirs = true;
                flags.set(&WORKER_DIRS, ".".into());
            }
            Err(error @ ConfigError::BunNotFound { .. }) if no_bun.is_none() => {
                no_bun = Some(error);
                flags.set(&BUN, "/bin/sh".into());
            }
            loaded => break loaded,
        }
    };
    let Loaded { mut config, warnings, .. } = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            checks.push(Check::error("configuration", &error));
            return Ok(None);
        }
    };
    checks.push(match warnings.is_empty() {
        true => Check::ok("configuration", "valid"),
        false => Check::warn(
            "configuration",
            escape(&warnings.join("; ")),
            "`buntime config` shows where each value came from",
        ),
    });
    checks.push(match no_bun {
        Some(error) => Check::error("bun", &error),
        None => match bun::inspect(&config.bun, &config.environment) {
            Ok(bun) => Check::ok("bun", format!("{} at {}", bun.version, bun.path.display())),
            Err(error) => Check::error("bun", &error),
        },
    });
    if no_dirs {
        config.worker_dirs.clear();
    }
    Ok(Some(config))
}

fn render<'c>(checks: impl Iterator<Item = &'c Check>, paint: impl Fn(&str) -> String) -> String {
    const INDENT: &str = "\n                          ";
    let mut text = String::new();
    for Check { name, state, detail, why, hint } in checks {
        let word = match state {
            State::Ok => "ok",
            State::Warn => "warn",
            State::Fail => "fail",
        };
        let detail = detail.trim_end().replace('\n', INDENT);
        text += &format!("{}{:pad$}{name:18}  {detail}\n", paint(word), "", pad = 6 - word.len());
        // Where all is well nobody asks.
        if *state != State::Ok && !why.is_empty() {
            text += &format!("{}why: {why}\n", &INDENT[1..]);
        }
        if let Some(hint) = hint {
            text += &format!("{}hint: {}\n", &INDENT[1..], hint.replace('\n', INDENT));
        }
    }
    text
}

/// The nearest directory of this path that is there.
fn there(path: &Path) -> &Path {
    path.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::{PORT, Setting};

    #[test]
    fn each_check_is_a_line_with_what_to_do() {
        let checks = [
            Check::ok("bun", "1.4.5 at /usr/bin/bun"),
            Check::warn("user namespaces", "not allowed", "allow them"),
            Check::error(
                "state directory",
                &"cannot use /x:\npermission denied\n\nhint: name another\nor that",
            ),
        ];
        insta::assert_snapshot!(render(checks.iter(), str::to_owned));
        insta::assert_snapshot!(serde_json::to_string_pretty(&checks[1..]).unwrap());
    }

    fn look(flags: &[(&'static Setting, &str)]) -> (Option<Config>, Vec<Check>) {
        let mut all = Flags::default();
        flags.iter().for_each(|(setting, value)| all.set(setting, (*value).to_owned()));
        let process = Process {
            environment: [("NODE_ENV", "test")].into_iter().collect(),
            secrets: Default::default(),
            descriptor_limit: 1024,
            stderr: crate::config::Stderr::Other,
            inheritance: Default::default(),
        };
        let mut checks = Vec::new();
        (configuration(all, &process, &mut checks).unwrap(), checks)
    }

    #[test]
    fn without_worker_directories_or_bun_the_rest_is_looked_at_all_the_same() {
        let (config, checks) = look(&[]);
        assert!(config.unwrap().worker_dirs.is_empty());
        let bun = checks.iter().find(|check| check.name == "bun").unwrap();
        // A bun in node_modules above would be one.
        assert!(bun.state == State::Ok || bun.detail.contains("bun was not found"), "{bun:?}");
    }

    #[test]
    fn a_configuration_that_is_wrong_is_a_check_that_failed() {
        let (config, checks) = look(&[(&PORT, "x")]);
        assert!(config.is_none());
        assert_eq!((checks.len(), checks[0].state), (1, State::Fail));
        assert!(checks[0].detail.starts_with("--port: `x` is not valid"), "{}", checks[0].detail);
    }

    #[test]
    fn the_nearest_directory_is_found() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(there(&dir.path().join("a/b/c")), dir.path());
    }
}
