//! A command at work with a runtime.

use super::client::Client;
use super::console::Console;
use super::failure::{Exit, Failure};
use super::process::Process;
use super::remote::{Remote, Surroundings, resolve};

/// What a command needs to do its work.
#[derive(Debug)]
pub struct Session {
    pub client: Client,
    pub console: Console,
}

/// Connects as the flags say and does the work.
pub fn run(
    remote: &Remote,
    console: Console,
    process: &Process,
    work: impl AsyncFnOnce(&Session) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::io("start the runtime of this command", &error))?;
    runtime.block_on(async {
        let session = Session { client: connect(remote, process, &console)?, console };
        work(&session).await
    })
}

fn connect(remote: &Remote, process: &Process, console: &Console) -> Result<Client, Failure> {
    let working_dir = std::env::current_dir().map_err(|error| {
        Failure::new(Exit::Failure, format!("cannot tell the working directory: {error}"))
    })?;
    let around = Surroundings { environment: &process.environment, working_dir: &working_dir };
    let resolved = resolve(remote, &around)?;
    for warning in &resolved.warnings {
        console.warn(warning);
    }
    resolved.connect()
}
