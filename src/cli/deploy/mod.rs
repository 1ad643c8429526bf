//! `buntime deploy`: packs a directory, uploads it as it is packed, and waits until the new version serves.

mod progress;
mod source;

use super::alias::weights;
use super::console::Console;
use super::failure::{Exit, Failure};
use super::remote::{Output, Remote};
use super::session::Session;
use super::start;
use super::text::{count, escape, size};
use crate::api::types::Deployment;
use crate::cli::client::{self, Body, Upload, streamed};
use crate::model::{AliasName, AppName, AppVersion};
use clap::Args;
use progress::Progress;
use source::Source;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct Arguments {
    /// The app's directory, or an archive of it (.tar.zst, .tgz, .zip)
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// What the app is called; else what its manifest or package.json says
    #[arg(long, value_name = "NAME")]
    name: Option<AppName>,
    /// Which version it is; else what its manifest or package.json says
    #[arg(long, value_name = "VERSION", value_parser = |text: &str| AppVersion::parse(text))]
    version: Option<AppVersion>,
    /// The alias that is to stand for it when it serves
    #[arg(long, value_name = "ALIAS", default_value = "latest", value_parser = |text: &str| AliasName::parse(text))]
    alias: AliasName,
    /// Set no alias: the version can be asked for, and what the name means stays
    #[arg(long, conflicts_with = "alias")]
    no_alias: bool,
    /// Replace the version if it is there already
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    pub remote: Remote,
    #[command(flatten)]
    pub output: Output,
}

pub async fn run(arguments: &Arguments, session: &Session) -> Result<(), Failure> {
    let Session { client, console } = session;
    let upload = Upload {
        name: arguments.name.as_ref().map(AppName::to_string),
        version: arguments.version.as_ref().map(AppVersion::to_string),
        alias: (!arguments.no_alias).then(|| arguments.alias.as_str().to_owned()),
        replace: arguments.replace,
    };
    let answer = sent(&arguments.dir, console, async |media_type, package| {
        client.deploy(&upload, media_type, package).await
    });
    let answer = answer.await.map_err(in_flags)?;
    let deployment = &answer.value;
    console.talk(&said(deployment));
    for warning in &deployment.warnings {
        console.warn(&escape(warning));
    }
    if console.json {
        console.raw(&answer.raw)?;
    } else {
        console.data(&format!("{}\n", escape(&url(deployment, client.address()))))?;
    }
    if deployment.drained { Ok(()) } else { Err(not_drained(deployment)) }
}

/// Uploads a directory as it is packed, or an archive, and waits for the answer.
pub(super) async fn sent<T>(
    dir: &Path,
    console: &Console,
    send: impl AsyncFnOnce(&'static str, Body) -> client::Result<T>,
) -> Result<T, Failure> {
    let source = Source::open(dir)?;
    let progress = Progress::begin(console.shows_progress(), source.size());
    let media_type = source.media_type();
    let (chunks, packing) = source.send(progress.clone());
    let (answer, packed) = tokio::join!(send(media_type, streamed(chunks)), packing);
    progress.end();
    match (answer, packed) {
        (Ok(answer), _) => Ok(answer),
        // Then the request was broken off, and that is not the news.
        (Err(_), Err(failure)) => Err(failure),
        (Err(error), Ok(())) => Err(error.into()),
    }
}

/// Where the new version is reached, as seen from here.
fn url(deployment: &Deployment, address: Option<&str>) -> String {
    match (address, &deployment.url) {
        (Some(address), _) => format!("{address}{}", deployment.path),
        (None, Some(url)) => url.clone(),
        (None, None) => deployment.path.clone(),
    }
}

fn said(deployment: &Deployment) -> String {
    let Deployment { name, version, files, bytes, replaced, .. } = deployment;
    let done = if *replaced { "replaced" } else { "deployed" };
    let mut text = format!(
        "{done} {}@{} ({}, {})\n",
        escape(name),
        escape(version),
        count(*files, "file"),
        size(*bytes)
    );
    text += &start::steps(&deployment.start.steps);
    if let Some(alias) = &deployment.alias {
        let before = match &deployment.previous {
            Some(previous) => format!(" (before: {})", weights(previous)),
            None => String::new(),
        };
        text += &format!("{} is now {}{before}\n", escape(alias), escape(version));
    }
    text
}

fn not_drained(deployment: &Deployment) -> Failure {
    let Deployment { name, version, .. } = deployment;
    let message = format!(
        "{}@{} serves; what served before still has requests in flight",
        escape(name),
        escape(version)
    );
    Failure::new(Exit::NotDrained, message).hint(
        "`buntime ps` shows the workers that drain; they end by themselves, at the latest after drainTimeout",
    )
}

/// The runtime's hints in the words of this command.
fn in_flags(failure: Failure) -> Failure {
    let hint = match failure.problem().map(|problem| problem.code.as_str()) {
        Some("package_version_missing") => {
            "say which with --version, or put `version` in package.json or manifest.yaml"
        }
        Some("package_name_missing") => "say it with --name, or put `name` in package.json or manifest.yaml",
        Some("package_already_there") => "deploy it as another version, or say --replace",
        _ => return failure,
    };
    failure.hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;
    use std::collections::BTreeMap;

    #[test]
    fn a_deployment_is_told_with_its_steps() {
        let deployment = samples::deployment();
        let bare =
            Deployment { alias: None, previous: None, replaced: true, files: 1, ..samples::deployment() };
        insta::assert_snapshot!(format!("{}---\n{}", said(&deployment), said(&bare)));
    }

    #[test]
    fn the_address_is_that_of_the_command_where_it_has_one() {
        let deployment = samples::deployment();
        assert_eq!(url(&deployment, Some("https://apps.example.com")), "https://apps.example.com/shop/");
        assert_eq!(url(&deployment, None), "http://127.0.0.1:8000/shop/");
        assert_eq!(url(&Deployment { url: None, ..deployment }, None), "/shop/");
    }

    #[test]
    fn a_version_that_serves_while_the_one_before_drains_is_a_failure_of_its_own() {
        let failure = not_drained(&samples::deployment());
        assert_eq!(failure.exit as u8, 8);
        insta::assert_snapshot!(failure.text(str::to_owned));
    }

    #[test]
    fn what_an_alias_meant_before_is_said() {
        let previous = Some(BTreeMap::from([("1.0.0".to_owned(), 90), ("1.1.0".to_owned(), 10)]));
        let text = said(&Deployment { previous, ..samples::deployment() });
        assert!(text.ends_with("latest is now 2.0.0 (before: 1.0.0 90%, 1.1.0 10%)\n"), "{text}");
    }
}
