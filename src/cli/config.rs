//! `buntime config`: prints the effective configuration.

use super::args::ConfigFlags;
use super::process::Process;
use super::{FAILURE, report};
use std::io::Write;
use std::process::ExitCode;

pub fn print(flags: ConfigFlags, process: Process) -> ExitCode {
    let loaded = match super::run::load(flags, process) {
        Ok(loaded) => loaded,
        Err(failure) => return failure.report(),
    };
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    match std::io::stdout().write_all(loaded.to_string().as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&format_args!("cannot write to stdout: {error}"));
            ExitCode::from(FAILURE)
        }
    }
}
