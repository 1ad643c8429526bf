//! `buntime plugins`: which there are, on and off, their settings; plugins that come and go; the beginning of one.

mod config;
mod install;
pub mod new;
mod show;

use super::failure::Failure;
use super::remote::{Common, Output, Remote};
use super::rm;
use super::session::Session;
use super::text::escape;
use crate::plugin::manifest::PluginName;
use clap::{Args, Subcommand};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the plugins; so does no command at all
    #[command(visible_alias = "ls")]
    List(Common),
    /// Show all that is known of a plugin
    Show(Named),
    /// Turn a plugin on, for good; if it does not start, nothing changes
    Enable(Named),
    /// Turn a plugin off, for good
    Disable(Named),
    /// Show the settings of a plugin, or change them
    #[command(
        after_help = "A value is read as the setting's type says: true, 30s, 10mb, [\"a\", \"b\"], {\"a.example\": {\"app\": \"shop\"}}. What is
given for an object is merged into it; null in it takes an entry away.

Examples:
  buntime plugins config hello                          what is set, and what can be
  buntime plugins config hello greeting=hi --unset limit
  buntime plugins config hello --from-file token=token.txt"
    )]
    Config(Box<config::Arguments>),
    /// Install a plugin: a directory, which is packed, or an archive
    Install(Box<install::Arguments>),
    /// Delete a plugin and its settings
    Rm(Remove),
    /// Load all plugins anew from what is on disk
    Reload(Common),
    /// Begin a plugin in TypeScript
    #[command(after_help = "Example:
  buntime plugins new hello && buntime plugins install hello")]
    New(new::Arguments),
}

#[derive(Debug, Args)]
struct Named {
    /// The plugin, as in hello or @team/hello
    #[arg(value_name = "NAME")]
    name: PluginName,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
struct Remove {
    #[command(flatten)]
    named: Named,
    /// Delete without asking
    #[arg(long, short)]
    yes: bool,
}

impl Arguments {
    /// What needs no runtime.
    pub fn begins(&self) -> Option<&new::Arguments> {
        match &self.command {
            Some(Command::New(new)) => Some(new),
            _ => None,
        }
    }

    pub fn flags(&self) -> (&Remote, Output) {
        match &self.command {
            None | Some(Command::New(_)) => (&self.common.remote, self.common.output),
            Some(Command::List(common) | Command::Reload(common)) => (&common.remote, common.output),
            Some(Command::Show(named) | Command::Enable(named) | Command::Disable(named)) => {
                (&named.remote, named.output)
            }
            Some(Command::Rm(remove)) => (&remove.named.remote, remove.named.output),
            Some(Command::Config(config)) => (&config.remote, config.output),
            Some(Command::Install(install)) => (&install.remote, install.output),
        }
    }
}

pub async fn run(arguments: &Arguments, session: &Session) -> Result<(), Failure> {
    let Session { client, console } = session;
    match &arguments.command {
        None | Some(Command::List(_) | Command::New(_)) => {
            let list = client.plugins().await?;
            if list.value.plugins.is_empty() {
                console.talk("there are no plugins");
            }
            console.answer(&list, |list| show::table(&list.plugins))
        }
        Some(Command::Show(named)) => {
            let plugin = client.plugin(&named.name).await?;
            console.answer(&plugin, show::one)
        }
        Some(Command::Enable(named)) => {
            let plugin = client.enable_plugin(&named.name).await?;
            console.talk(&format!("enabled {}", named.name));
            for warning in show::warnings(&plugin.value) {
                console.warn(&warning);
            }
            if console.json { console.raw(&plugin.raw) } else { Ok(()) }
        }
        Some(Command::Disable(named)) => {
            let plugin = client.disable_plugin(&named.name).await?;
            console.talk(&format!("disabled {}", named.name));
            if console.json { console.raw(&plugin.raw) } else { Ok(()) }
        }
        Some(Command::Config(config)) => config::run(config, session).await,
        Some(Command::Install(install)) => install::run(install, session).await,
        Some(Command::Rm(Remove { named, yes })) => {
            if !yes {
                rm::ask(named.name.as_str(), " and its settings", console)?;
            }
            let removed = client.remove_plugin(&named.name).await?;
            let left =
                if removed.value.built_in { "; the one in the binary is there, turned off" } else { "" };
            console.talk(&format!("deleted {}{left}", named.name));
            if console.json { console.raw(&removed.raw) } else { Ok(()) }
        }
        Some(Command::Reload(_)) => {
            let list = client.reload_plugins().await?;
            console.talk("loaded all plugins anew");
            for plugin in &list.value.plugins {
                if let Some(error) = plugin.error.as_deref().filter(|_| plugin.enabled) {
                    console.warn(&format!("{}: {}", escape(&plugin.name), super::text::escape_lines(error)));
                }
            }
            console.answer(&list, |list| show::table(&list.plugins))
        }
    }
}
