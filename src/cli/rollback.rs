//! `buntime rollback`: an alias goes back to what it stood for before, or to a version that is named.

use super::alias::said;
use super::failure::Failure;
use super::remote::{Output, Remote};
use super::session::Session;
use crate::api::types::SetAlias;
use crate::model::{AliasName, AppName, AppVersion};
use clap::Args;

#[derive(Debug, Args)]
pub struct Arguments {
    /// The app, as in shop or @team/shop
    #[arg(value_name = "APP")]
    app: AppName,
    /// The alias that is to go back
    #[arg(long, value_name = "ALIAS", default_value = "latest", value_parser = |text: &str| AliasName::parse(text))]
    alias: AliasName,
    /// The version that it is to stand for; else what it stood for before
    #[arg(long, value_name = "VERSION", value_parser = |text: &str| AppVersion::parse(text))]
    to: Option<AppVersion>,
    #[command(flatten)]
    pub remote: Remote,
    #[command(flatten)]
    pub output: Output,
}

pub async fn run(arguments: &Arguments, session: &Session) -> Result<(), Failure> {
    let Arguments { app, alias, to, .. } = arguments;
    let answer = match to {
        None => session.client.rollback(app, alias.as_str()).await?,
        Some(version) => {
            let to = SetAlias { version: Some(version.to_string()), ..SetAlias::default() };
            session.client.set_alias(app, alias.as_str(), &to).await?
        }
    };
    session.console.talk(&said(app.as_str(), &answer.value));
    if session.console.json { session.console.raw(&answer.raw) } else { Ok(()) }
}
