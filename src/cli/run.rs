//! `buntime run`: from the configuration to a serving supervisor.

use super::args::ConfigFlags;
use super::process::Process;
use super::{FAILURE, USAGE, report};
use crate::config::{Config, Inputs, Loaded, bun};
use crate::server::{Birth, Loader};
use crate::telemetry;
use std::process::ExitCode;
use std::sync::Arc;

const ROOT_KEY_FILE: &str = "RUNTIME_ROOT_KEY_FILE";

pub fn run(flags: ConfigFlags, mut process: Process) -> ExitCode {
    let inheritance = std::mem::take(&mut process.inheritance);
    let loader = loader(&flags, &process);
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
        Ok(logs) => Arc::new(logs),
        Err(error) => {
            report(&error);
            return ExitCode::from(FAILURE);
        }
    };
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let result = crate::server::serve(config, bun, Birth { inheritance, loader, logs: Arc::clone(&logs) });
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

/// Reads the configuration again as it was read at first, but for a root key in the environment, which is not kept.
fn loader(flags: &ConfigFlags, process: &Process) -> Loader {
    let (flags, environment) = (flags.0.clone(), process.environment.clone());
    let (stderr, descriptor_limit) = (process.stderr, process.descriptor_limit);
    let file = process.secrets.get(ROOT_KEY_FILE).map(ToOwned::to_owned);
    let working_dir = std::env::current_dir().unwrap_or_default();
    Box::new(move || {
        Config::load(Inputs {
            flags: flags.clone(),
            environment: environment.clone(),
            working_dir: &working_dir,
            stderr,
            descriptor_limit,
            secrets: file.iter().map(|file| (ROOT_KEY_FILE, file.clone())).collect(),
        })
    })
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
