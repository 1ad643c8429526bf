//! `buntime rm`: deletes an app or one version of it. Asks first.

use super::console::Console;
use super::failure::Failure;
use super::remote::{Output, Remote};
use super::session::Session;
use super::target::Target;
use super::text::escape;
use clap::Args;
use std::io::{self, BufRead, IsTerminal, Write};

#[derive(Debug, Args)]
pub struct Arguments {
    /// The app with all its versions and aliases, or one version
    #[arg(value_name = "APP[@VERSION]")]
    target: Target,
    /// Delete without asking
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    pub remote: Remote,
    #[command(flatten)]
    pub output: Output,
}

pub async fn run(arguments: &Arguments, session: &Session) -> Result<(), Failure> {
    let target = &arguments.target;
    if !arguments.yes {
        let what = if target.version.is_some() { "" } else { " with all its versions and aliases" };
        ask(&target.to_string(), what, &session.console)?;
    }
    let answer = match &target.version {
        Some(version) => session.client.delete_version(&target.app, version).await?,
        None => session.client.delete_app(&target.app).await?,
    };
    let versions: Vec<_> = answer.value.versions.iter().map(|version| escape(version)).collect();
    session.console.talk(&said(target, &versions.join(", ")));
    if session.console.json { session.console.raw(&answer.raw) } else { Ok(()) }
}

fn said(target: &Target, versions: &str) -> String {
    match (&target.version, versions) {
        (Some(_), _) => format!("deleted {target}"),
        (None, "") => format!("deleted {target}; it had no versions"),
        (None, _) => format!("deleted {target} with its versions {versions}"),
    }
}

/// Asks whether `target` is to be deleted, with what goes with it.
pub fn ask(target: &str, what: &str, console: &Console) -> Result<(), Failure> {
    if !io::stdin().is_terminal() || !console.stderr_is_terminal {
        return Err(refused(target));
    }
    eprint!("Delete {target}{what}? [y/N] ");
    let _ = io::stderr().flush(); // a prompt that is not seen is answered with nothing, which is no
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(|error| Failure::io("read the answer", &error))?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::new(super::failure::Exit::Failure, "nothing was deleted")),
    }
}

fn refused(target: &str) -> Failure {
    Failure::usage(format!("{target} is not deleted without a yes, and there is no terminal to ask on"))
        .hint("say it with --yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_terminal_a_yes_is_needed() {
        insta::assert_snapshot!(refused("shop@1.0.0").text(str::to_owned), @r"
        error: shop@1.0.0 is not deleted without a yes, and there is no terminal to ask on

        hint: say it with --yes
        ");
    }

    #[test]
    fn what_was_deleted_is_said() {
        let (app, version): (Target, Target) = ("shop".parse().unwrap(), "shop@1.0.0".parse().unwrap());
        let lines = [said(&app, "1.0.0, 2.0.0"), said(&app, ""), said(&version, "1.0.0")];
        insta::assert_snapshot!(lines.join("\n"), @r"
        deleted shop with its versions 1.0.0, 2.0.0
        deleted shop; it had no versions
        deleted shop@1.0.0
        ");
    }
}
