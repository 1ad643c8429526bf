//! `buntime run`: from the configuration to a serving supervisor.

use super::args::ConfigFlags;
use super::process::Process;
use super::{FAILURE, USAGE, report};
use crate::config::{Config, Inputs, Loaded, bun};
use crate::telemetry;
use std::process::ExitCode;

pub fn run(flags: ConfigFlags, process: Process) -> ExitCode {
    let Loaded { config, warnings, .. } = match load(flags, process) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let bun = match bun::inspect(&config.bun, &config.environment) {
        Ok(bun) => bun,
        Err(error) => {
            report(&error);
            return ExitCode::from(USAGE);
        }
    };
    if let Err(error) = config.prepare_dirs() {
        report(&error);
        return ExitCode::from(USAGE);
    }
    let logs = match telemetry::start(config.log) {
        Ok(logs) => logs,
        Err(error) => {
            report(&error);
            return ExitCode::from(FAILURE);
        }
    };
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let result = crate::server::serve(config, bun);
    // What is still queued must be out before the error that ends it all, and before the process.
    logs.flush();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&format_args!("{error:#}"));
            ExitCode::from(FAILURE)
        }
    }
}

/// Loads the configuration or reports what is wrong with it.
pub fn load(flags: ConfigFlags, process: Process) -> Result<Loaded, ExitCode> {
    let working_dir = std::env::current_dir().map_err(|error| {
        report(&format_args!("cannot tell the working directory: {error}"));
        ExitCode::from(FAILURE)
    })?;
    let inputs = Inputs {
        flags: flags.0,
        environment: process.environment,
        working_dir: &working_dir,
        stderr: process.stderr,
        descriptor_limit: process.descriptor_limit,
        secrets: process.secrets,
    };
    Config::load(inputs).map_err(|error| {
        report(&error);
        ExitCode::from(USAGE)
    })
}
