//! `buntime restart`: workers are replaced, the new ones before the old ones end.

use super::failure::Failure;
use super::remote::{Output, Remote};
use super::session::Session;
use super::target::Target;
use super::text::{count, escape};
use clap::Args;

#[derive(Debug, Args)]
pub struct Arguments {
    /// The app, or one version of it
    #[arg(value_name = "APP[@VERSION]", required_unless_present = "worker")]
    target: Option<Target>,
    /// One worker, by its id in `buntime ps`
    #[arg(long, value_name = "ID", conflicts_with = "target")]
    worker: Option<String>,
    #[command(flatten)]
    pub remote: Remote,
    #[command(flatten)]
    pub output: Output,
}

pub async fn run(arguments: &Arguments, session: &Session) -> Result<(), Failure> {
    let (answer, what) = match (&arguments.worker, &arguments.target) {
        (Some(id), _) => (session.client.restart_worker(id).await?, format!("worker {}", escape(id))),
        (None, Some(target)) => {
            let answer = match &target.version {
                Some(version) => session.client.restart_version(&target.app, version).await?,
                None => session.client.restart_app(&target.app).await?,
            };
            (answer, target.to_string())
        }
        (None, None) => return Err(Failure::usage("it is not said what is to be restarted")),
    };
    session.console.talk(&said(&what, answer.value.workers));
    if session.console.json { session.console.raw(&answer.raw) } else { Ok(()) }
}

fn said(what: &str, workers: u32) -> String {
    match workers {
        0 => format!("{what} has no workers now: nothing to restart"),
        _ => format!("restarted {what}: {}", count(workers.into(), "worker")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_many_were_restarted_is_said() {
        let lines = [said("shop", 0), said("shop@1.0.0", 1), said("shop", 3)];
        insta::assert_snapshot!(lines.join("\n"), @r"
        shop has no workers now: nothing to restart
        restarted shop@1.0.0: 1 worker
        restarted shop: 3 workers
        ");
    }
}
