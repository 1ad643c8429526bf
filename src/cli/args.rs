//! The grammar of the command line. The flags of the configuration are made from its table of settings.

use super::remote::Common;
use super::{
    alias, completions, context, deploy, dev, doctor, keys, logs, man, new, pack, plugins, restart, rm,
    rollback, toggle, versions,
};
use crate::config::Flags;
use crate::config::settings::SETTINGS;
use clap::{Arg, ArgMatches, Args, FromArgMatches, Parser, Subcommand};

/// Runs a fleet of Bun apps as supervised worker processes
#[derive(Debug, Parser)]
#[command(name = "buntime", version, arg_required_else_help = true, max_term_width = 100, after_help = EXIT_CODES)]
pub struct CommandLine {
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes:
  0  done
  1  failed
  2  the command line or the configuration is wrong
  3  the runtime cannot be reached
  4  not allowed: no key, or one that may not do this
  5  there is no such app, version, alias, worker, key or plugin
  6  it is there already
  7  the new version, or the plugin, did not start; what served before still does
  8  the new version serves, and what served before is still in use";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the apps of one or more directories
    #[command(after_help = "Examples:
  buntime run --worker-dirs ./apps
  buntime run --worker-dirs /srv/apps:/srv/more --port 80 --env production
  RUNTIME_WORKER_DIRS=/srv/apps HOST=unix:/run/buntime/http.sock buntime run

A flag wins over its variable, the variable over the configuration file, the file over the default.
SIGTERM or SIGINT finishes the requests in flight and ends; a second one ends at once.
SIGHUP reads the configuration, manifests and plugins again. SIGUSR2 starts the program again, as it is on disk now, hands it the
listeners, and ends when the new process serves.")]
    Run(ConfigFlags),
    /// Serve apps while they are edited
    #[command(
        after_help = "Each save replaces the app's workers without dropping a request, and reloads its pages. It takes the flags of
`run` too; NODE_ENV is development.

Examples:
  buntime dev
  buntime dev ./shop --port 3000
  buntime dev ./apps

Keys: r restarts workers; o opens a browser; l logs more or less; c clears; q quits; h helps."
    )]
    Dev(Box<dev::Arguments>),
    /// Print the effective configuration and where each value came from
    #[command(after_help = "Example:
  buntime config --worker-dirs ./apps --env production")]
    Config(ConfigFlags),
    /// Look whether this machine has what Buntime needs
    #[command(after_help = "It takes the flags of `run`, and looks at what `run` would use.
Exit code 1: a check failed.")]
    Doctor(Box<doctor::Arguments>),

    /// Begin an app
    #[command(after_help = "Example:
  buntime new http my-app && buntime deploy my-app")]
    New(new::Arguments),
    /// Make an archive of an app's directory
    Pack(pack::Arguments),
    /// Pack a directory, upload it, and wait until the new version serves
    #[command(
        after_help = "Prints the address of the app. What served before goes on until the new version is ready; if that
does not start, nothing changes.

Examples:
  buntime deploy
  buntime deploy ./shop --version 1.3.0 --alias beta
  BUNTIME_KEY=btk_... buntime deploy ./shop --url https://apps.example.com

Exit codes: 0 it serves; 7 it did not start; 8 it serves, and what served before is still in use.
Others: see `buntime --help`."
    )]
    Deploy(Box<deploy::Arguments>),

    /// List the apps
    Apps(Common),
    /// List the versions of an app
    Versions(versions::Arguments),
    /// List, set or delete what names such as latest stand for
    #[command(after_help = "Examples:
  buntime alias shop                                    what there is
  buntime alias shop latest 1.4.2
  buntime alias shop latest 1.4.2=95 1.5.0=5            one client in twenty gets 1.5.0
  buntime alias shop beta --rm")]
    Alias(alias::Arguments),
    /// Let an alias stand for what it stood for before
    Rollback(rollback::Arguments),
    /// Let a version be asked for again
    Enable(toggle::Arguments),
    /// Let a version not be asked for, without deleting it
    Disable(toggle::Arguments),
    /// Delete an app or one version of it
    Rm(rm::Arguments),

    /// List the workers
    Ps(Common),
    /// Watch the workers
    #[command(
        after_help = "Keys: q quits; arrows scroll; c, m, r, f, a, n sort by cpu, memory, requests, requests in flight, age, name."
    )]
    Top(Common),
    /// Show what apps print
    Logs(logs::Arguments),
    /// Go on with what apps print, as `logs --follow`
    Tail(logs::Arguments),
    /// Replace workers, the new ones before the old ones end
    Restart(restart::Arguments),

    /// List, make and revoke keys of the API
    Keys(keys::Arguments),
    /// List, change, install and begin plugins
    #[command(after_help = "Examples:
  buntime plugins                                       what there is
  buntime plugins enable @buntime/plugin-metrics
  buntime plugins config hello greeting=hi
  buntime plugins new hello && buntime plugins install hello")]
    Plugins(plugins::Arguments),
    /// Save addresses and keys of runtimes
    Context(context::Arguments),
    /// Print a script that completes commands in a shell
    #[command(after_help = "Example:
  buntime completions bash > /etc/bash_completion.d/buntime")]
    Completions(completions::Arguments),
    /// Get a runtime stuck that was started with BUNTIME_TEST_COMMANDS=1
    #[command(hide = true)]
    Wedge(Common),
    /// Print or write manual pages
    #[command(after_help = "Example:
  buntime man /usr/local/share/man/man1")]
    Man(man::Arguments),
}

/// The flags of the configuration, unparsed: `config` judges values from all its sources alike.
#[derive(Debug)]
pub struct ConfigFlags(pub Flags);

impl Args for ConfigFlags {
    fn augment_args(mut command: clap::Command) -> clap::Command {
        for setting in SETTINGS {
            let default = if setting.default.is_empty() {
                String::new()
            } else {
                format!("; default: {}", setting.default)
            };
            let help = format!("{} [env: {}{default}]", setting.help, setting.variable);
            let arg = Arg::new(setting.flag).long(setting.flag).value_name(setting.value_name).help(help);
            command = command.arg(arg.allow_hyphen_values(true));
        }
        command
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ConfigFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Flags::default();
        for setting in SETTINGS {
            if let Some(text) = matches.get_one::<String>(setting.flag) {
                flags.set(setting, text.clone());
            }
        }
        Ok(ConfigFlags(flags))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn error(arguments: &[&str]) -> String {
        CommandLine::try_parse_from(arguments).unwrap_err().to_string()
    }

    #[test]
    fn the_grammar_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn help_names_every_setting_with_its_variable_and_default() {
        let mut command = CommandLine::command().term_width(100);
        insta::assert_snapshot!(command.render_help());
        command.build();
        let run = command.find_subcommand_mut("run").unwrap();
        insta::assert_snapshot!(run.clone().term_width(100).render_help());
    }

    #[test]
    fn the_reference_has_every_command_and_every_exit_code() {
        let reference = include_str!("../../docs/cli.md");
        for command in CommandLine::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = command.get_name();
            assert!(reference.contains(&format!("`buntime {name}")), "{name} is not in docs/cli.md");
            for inner in command.get_subcommands().filter(|_| ["keys", "plugins"].contains(&name)) {
                let inner = format!("{name} {}", inner.get_name());
                assert!(reference.contains(&format!("`buntime {inner}")), "{inner} is not in docs/cli.md");
            }
        }
        for code in 0..=8 {
            let line = EXIT_CODES.lines().find(|line| line.starts_with(&format!("  {code}  ")));
            assert!(line.is_some() && reference.contains(&format!("\n| {code} | ")), "{code}");
        }
        assert_eq!(EXIT_CODES.lines().count(), 1 + 9);
    }

    #[test]
    fn each_command_explains_itself() {
        let mut all = CommandLine::command().term_width(100);
        all.build();
        let mut groups = vec![(String::new(), all)];
        while let Some((above, group)) = groups.pop() {
            for command in group
                .get_subcommands()
                .filter(|command| command.get_name() != "help" && !command.is_hide_set())
            {
                let name = format!("{above}{}", command.get_name());
                // Those of `run` are above, and these have the same flags.
                if !["run", "dev", "config", "doctor"].contains(&&*name) {
                    insta::assert_snapshot!(
                        format!("help-{name}"),
                        command.clone().term_width(100).render_long_help()
                    );
                }
                groups.push((format!("{name}-"), command.clone()));
            }
        }
    }

    #[test]
    fn a_mistyped_flag_is_answered_with_the_nearest_one() {
        insta::assert_snapshot!(error(&["buntime", "run", "--worker-dir", "apps"]));
    }

    #[test]
    fn the_root_key_is_never_a_flag() {
        assert!(error(&["buntime", "run", "--root-key", "x"]).contains("unexpected argument"));
    }
}
