//! The command line: one file a command. Data goes to stdout, talk to stderr.

mod args;
mod config;
mod process;
mod run;

use args::{Command, CommandLine};
use clap::Parser;
use std::process::ExitCode;

/// A command could not do its work.
const FAILURE: u8 = 1;
/// The command line, the environment or the configuration file is wrong.
const USAGE: u8 = 2;

/// Runs the command line of this process and returns its exit code: 0, 1 for a failure, 2 for a wrong command line
/// or configuration.
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
        Command::Config(flags) => config::print(flags, process),
    }
}

fn report(error: &dyn std::fmt::Display) {
    eprintln!("error: {error}");
}
