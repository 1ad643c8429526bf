//! `buntime run`: from the configuration to a serving supervisor.

use super::args::ConfigFlags;
use super::process::Process;
use super::{FAILURE, USAGE, report};
use crate::config::{Config, Inputs, Loaded, bun};
use crate::inherit::Inheritance;
use crate::server::{Birth, Loader};
use crate::telemetry;
use std::fmt::Display;
use std::process::ExitCode;
use std::sync::Arc;

const ROOT_KEY_FILE: &str = "RUNTIME_ROOT_KEY_FILE";

/// What ends the process, for those who started it.
pub struct Failure {
    code: u8,
    reason: String,
}

impl Failure {
    fn new(code: u8, reason: &dyn Display) -> Failure {
        Failure { code, reason: reason.to_string() }
    }

    pub fn report(self) -> ExitCode {
        report(&self.reason);
        ExitCode::from(self.code)
    }
}

pub fn run(flags: ConfigFlags, mut process: Process) -> ExitCode {
    let inheritance = std::mem::take(&mut process.inheritance);
    // It is open until the end, by which the process before knows that all has been said.
    let before = inheritance.predecessor.as_ref().and_then(|predecessor| predecessor.report().ok());
    let Err(failure) = serve(flags, process, inheritance) else { return ExitCode::SUCCESS };
    if let Some(before) = &before {
        before.failed(&failure.reason);
    }
    failure.report()
}

fn serve(flags: ConfigFlags, process: Process, inheritance: Inheritance) -> Result<(), Failure> {
    let loader = loader(&flags, &process);
    let Loaded { config, warnings, .. } = load(flags, process)?;
    let bun = bun::inspect(&config.bun, &config.environment).map_err(|error| Failure::new(USAGE, &error))?;
    config.prepare_dirs().map_err(|error| Failure::new(USAGE, &error))?;
    let logs = Arc::new(telemetry::start(config.log).map_err(|error| Failure::new(FAILURE, &error))?);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let result = crate::server::serve(config, bun, Birth { inheritance, loader, logs: Arc::clone(&logs) });
    // What is still queued must be out before the error that ends it all, and before the process.
    logs.flush();
    result.map_err(|error| Failure::new(FAILURE, &format_args!("{error:#}")))
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

/// # Errors
/// What is wrong with the configuration.
pub fn load(flags: ConfigFlags, process: Process) -> Result<Loaded, Failure> {
    let working_dir = std::env::current_dir().map_err(|error| {
        Failure::new(FAILURE, &format_args!("cannot tell the working directory: {error}"))
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
        // A service manager tries again after the one and not after the other.
        Failure::new(if error.may_pass() { FAILURE } else { USAGE }, &error)
    })
}
