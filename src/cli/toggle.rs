//! `buntime enable` and `buntime disable`: whether a version can be asked for.

use super::failure::Failure;
use super::remote::{Output, Remote};
use super::session::Session;
use super::target::Exact;
use clap::Args;

#[derive(Debug, Args)]
pub struct Arguments {
    /// The version, as in shop@1.2.0
    #[arg(value_name = "APP@VERSION")]
    version: Exact,
    #[command(flatten)]
    pub remote: Remote,
    #[command(flatten)]
    pub output: Output,
}

pub async fn run(arguments: &Arguments, enable: bool, session: &Session) -> Result<(), Failure> {
    let Exact { app, version } = &arguments.version;
    let (answer, done) = if enable {
        (session.client.enable(app, version).await?, "enabled")
    } else {
        (session.client.disable(app, version).await?, "disabled")
    };
    session.console.talk(&format!("{done} {}", arguments.version));
    if session.console.json { session.console.raw(&answer.raw) } else { Ok(()) }
}
