//! `buntime versions APP`.

use super::failure::Failure;
use super::remote::{Output, Remote};
use super::session::Session;
use super::table::{self, number, text};
use super::text::escape;
use crate::api::types::{AppKind, Version, VersionState};
use crate::model::AppName;
use clap::Args;

#[derive(Debug, Args)]
pub struct Arguments {
    /// The app, as in shop or @team/shop
    #[arg(value_name = "APP")]
    app: AppName,
    #[command(flatten)]
    pub remote: Remote,
    #[command(flatten)]
    pub output: Output,
}

pub async fn run(arguments: &Arguments, session: &Session) -> Result<(), Failure> {
    let list = session.client.versions(&arguments.app).await?;
    session.console.answer(&list, |list| render(&list.versions))
}

fn render(versions: &[Version]) -> String {
    let columns =
        [text("VERSION"), text("KIND"), text("STATE"), number("WORKERS"), text("ALIASES"), text("ERROR")];
    let rows = versions.iter().map(|version| {
        let aliases: Vec<_> = version.aliases.iter().map(|alias| escape(alias)).collect();
        // What the start of a worker left to say has many lines; the first says what happened.
        let error = version.error.as_deref().and_then(|error| error.lines().next()).unwrap_or_default();
        vec![
            escape(&version.version).into_owned(),
            kind(version.kind).to_owned(),
            state(version).to_owned(),
            version.workers.to_string(),
            aliases.join(" "),
            escape(error).into_owned(),
        ]
    });
    table::render(&columns, rows)
}

pub fn kind(kind: AppKind) -> &'static str {
    match kind {
        AppKind::Worker => "worker",
        AppKind::Static => "static",
        AppKind::Broken => "broken",
        AppKind::Unknown => "unknown",
    }
}

fn state(version: &Version) -> &'static str {
    match (version.state, version.kind, version.proven) {
        (VersionState::Disabled, ..) => "disabled",
        (VersionState::Manifest, ..) => "disabled by its manifest",
        (VersionState::Enabled, AppKind::Broken, _) => "unavailable",
        (VersionState::Enabled, AppKind::Worker, false) => "unproven",
        (VersionState::Enabled, ..) => "enabled",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;

    #[test]
    fn versions_are_a_table_with_what_is_wrong() {
        insta::assert_snapshot!(render(&samples::versions()));
    }
}
