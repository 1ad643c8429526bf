//! The command line: one file a command. Data goes to stdout, talk to stderr.
//!
//! `run` and `config` stand alone. The others speak with a runtime: `remote` finds out with which, `client` speaks, and
//! `session` brings both together. What a command prints is made by functions from values to text, which are tested without a
//! runtime; `console` prints it.

mod alias;
mod apps;
mod args;
mod client;
mod completions;
mod config;
mod console;
mod context;
mod deploy;
mod dev;
mod doctor;
mod failure;
mod keys;
mod logs;
mod man;
mod new;
mod pack;
mod plugins;
mod process;
mod ps;
mod remote;
mod restart;
mod rm;
mod rollback;
mod run;
#[cfg(test)]
mod samples;
mod session;
mod start;
mod table;
mod target;
mod text;
mod toggle;
mod top;
mod versions;
mod wedge;

use args::{Command, CommandLine};
use clap::Parser;
use console::Console;
use failure::Failure;
use process::Process;
use remote::{Output, Remote};
use session::Session;
use std::io::Write;
use std::process::ExitCode;

/// A command could not do its work.
const FAILURE: u8 = 1;
/// The command line, the environment or the configuration file is wrong.
const USAGE: u8 = 2;

/// Runs the command line of this process and returns its exit code, which `failure::Exit` lists.
pub fn main() -> ExitCode {
    // First of all: no thread may exist, and nothing may have copied a secret.
    let process = process::secure();
    let command = match CommandLine::try_parse() {
        Ok(line) => line.command,
        Err(error) => {
            // Help and version come this way too, and go to stdout. A closed stdout leaves nobody to tell.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    match command {
        Command::Run(flags) => run::run(flags, process),
        Command::Dev(arguments) => dev::run(*arguments, process),
        Command::Config(flags) => config::print(flags, process),
        command => {
            let (console, done) = client_command(command, &process);
            match done {
                Ok(()) => ExitCode::SUCCESS,
                Err(failure) => {
                    console.failure(&failure);
                    ExitCode::from(failure.exit as u8)
                }
            }
        }
    }
}

/// All but `run`, `dev` and `config`.
fn client_command(command: Command, process: &Process) -> (Console, Result<(), Failure>) {
    match command {
        Command::Run(_) | Command::Dev(_) | Command::Config(_) => {
            (Console::new(false, false, &process.environment), Ok(()))
        }
        Command::Doctor(a) => local(a.console(process), |console| doctor::run(*a, console, process)),
        Command::New(a) => local(a.console(process), |console| new::run(&a, console, process)),
        Command::Pack(a) => local(a.console(process), |console| pack::run(&a, console)),
        Command::Context(a) => local(a.console(process), |console| context::run(&a, console, process)),
        Command::Completions(a) => {
            local(Console::new(false, false, &process.environment), |console| completions::run(&a, console))
        }
        Command::Man(a) => {
            local(Console::new(false, false, &process.environment), |console| man::run(&a, console))
        }
        Command::Deploy(a) => online(&a.remote, a.output, process, async |s| deploy::run(&a, s).await),
        Command::Apps(a) => online(&a.remote, a.output, process, async |s| apps::run(s).await),
        Command::Versions(a) => online(&a.remote, a.output, process, async |s| versions::run(&a, s).await),
        Command::Alias(a) => online(&a.remote, a.output, process, async |s| alias::run(&a, s).await),
        Command::Rollback(a) => online(&a.remote, a.output, process, async |s| rollback::run(&a, s).await),
        Command::Enable(a) => online(&a.remote, a.output, process, async |s| toggle::run(&a, true, s).await),
        Command::Disable(a) => {
            online(&a.remote, a.output, process, async |s| toggle::run(&a, false, s).await)
        }
        Command::Rm(a) => online(&a.remote, a.output, process, async |s| rm::run(&a, s).await),
        Command::Ps(a) => online(&a.remote, a.output, process, async |s| ps::run(s).await),
        Command::Top(a) => online(&a.remote, a.output, process, async |s| top::run(&a, s).await),
        Command::Logs(a) => online(&a.remote, a.output, process, async |s| logs::run(&a, s).await),
        Command::Tail(a) => {
            let a = a.following();
            online(&a.remote, a.output, process, async |s| logs::run(&a, s).await)
        }
        Command::Restart(a) => online(&a.remote, a.output, process, async |s| restart::run(&a, s).await),
        Command::Wedge(a) => online(&a.remote, a.output, process, async |s| wedge::run(s).await),
        Command::Keys(a) => {
            let (remote, output) = a.flags();
            online(remote, output, process, async |s| keys::run(&a, s).await)
        }
        Command::Plugins(a) => match a.begins() {
            Some(new) => local(new.console(process), |console| plugins::new::run(new, console)),
            None => {
                let (remote, output) = a.flags();
                online(remote, output, process, async |s| plugins::run(&a, s).await)
            }
        },
    }
}

fn local(
    console: Console,
    work: impl FnOnce(&Console) -> Result<(), Failure>,
) -> (Console, Result<(), Failure>) {
    let done = work(&console);
    (console, done)
}

fn online(
    remote: &Remote,
    output: Output,
    process: &Process,
    work: impl AsyncFnOnce(&Session) -> Result<(), Failure>,
) -> (Console, Result<(), Failure>) {
    let console = Console::new(output.json, output.quiet, &process.environment);
    (console, session::run(remote, console, process, work))
}

fn report(error: &dyn std::fmt::Display) {
    // Where it leads to may be full; a panic would hide the exit code too.
    let _ = writeln!(std::io::stderr(), "error: {error}");
}
