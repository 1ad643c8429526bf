//! `buntime plugins install`: packs a plugin's directory, uploads it, and waits until it is in.

use super::show;
use crate::api::types::{InstalledPlugin, PluginState};
use crate::cli::deploy::sent;
use crate::cli::failure::Failure;
use crate::cli::remote::{Output, Remote};
use crate::cli::session::Session;
use crate::cli::text::{count, escape, size};
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct Arguments {
    /// The plugin's directory, or an archive of it (.tar.zst, .tgz, .zip)
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Replace the plugin if it is there already; its settings stay
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    pub remote: Remote,
    #[command(flatten)]
    pub output: Output,
}

pub async fn run(arguments: &Arguments, session: &Session) -> Result<(), Failure> {
    let Session { client, console } = session;
    let answer = sent(&arguments.dir, console, async |media_type, package| {
        client.install_plugin(arguments.replace, media_type, package).await
    });
    let answer = answer.await.map_err(in_flags)?;
    console.talk(&said(&answer.value));
    for warning in show::warnings(&answer.value.plugin) {
        console.warn(&warning);
    }
    if console.json { console.raw(&answer.raw) } else { Ok(()) }
}

fn in_flags(failure: Failure) -> Failure {
    match failure.problem().is_some_and(|problem| problem.code == "plugin_already_there") {
        true => failure.hint("say --replace to replace it; its settings stay"),
        false => failure,
    }
}

fn said(installed: &InstalledPlugin) -> String {
    let InstalledPlugin { plugin, replaced, files, bytes, dropped } = installed;
    let done = if *replaced { "replaced" } else { "installed" };
    let name = escape(&plugin.name);
    let version =
        plugin.version.as_deref().map(|version| format!("@{}", escape(version))).unwrap_or_default();
    let mut text = format!("{done} {name}{version} ({}, {})\n", count(*files, "file"), size(*bytes));
    if !dropped.is_empty() {
        let dropped: Vec<_> = dropped.iter().map(|key| escape(key)).collect();
        text += &format!("it has no setting any more called {}\n", dropped.join(", "));
    }
    if plugin.state == PluginState::Disabled {
        text += &format!("it is off; turn it on with: buntime plugins enable {name}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;

    #[test]
    fn what_came_in_is_said() {
        let [off, .., on] = &samples::plugins()[..] else { panic!() };
        let of = |plugin: &crate::api::types::Plugin, replaced, dropped: &[&str]| InstalledPlugin {
            plugin: plugin.clone(),
            replaced,
            files: 3,
            bytes: 2048,
            dropped: dropped.iter().map(|key| (*key).to_owned()).collect(),
        };
        insta::assert_snapshot!([said(&of(off, false, &[])), said(&of(on, true, &["old"]))].join("---\n"));
    }
}
