//! The grammar of the command line. The flags of the configuration are made from its table of settings.

use crate::config::Flags;
use crate::config::settings::{MISSING, SETTINGS};
use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Args, FromArgMatches, Parser, Subcommand};

/// Runs a fleet of Bun apps as supervised worker processes
#[derive(Debug, Parser)]
#[command(name = "buntime", version, arg_required_else_help = true, max_term_width = 100)]
pub struct CommandLine {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the apps of one or more directories
    #[command(after_help = "Examples:
  buntime run --worker-dirs ./apps
  buntime run --worker-dirs /srv/apps:/srv/more --port 80 --env production
  RUNTIME_WORKER_DIRS=/srv/apps HOST=unix:/run/buntime/http.sock buntime run

A flag wins over its variable, the variable over the configuration file, the file over the default.
SIGTERM or SIGINT finishes the requests in flight and ends; a second one ends at once.")]
    Run(ConfigFlags),
    /// Print the effective configuration and where each value came from
    #[command(after_help = "Example:
  buntime config --worker-dirs ./apps --env production")]
    Config(ConfigFlags),
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
        for missing in &MISSING {
            command = command.arg(Arg::new(missing.flag).long(missing.flag).hide(true));
        }
        command
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ConfigFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        if let Some(missing) = MISSING.iter().find(|missing| matches.contains_id(missing.flag)) {
            let text = format!("--{} is not in this version of Buntime\n\nhint: remove it\n", missing.flag);
            return Err(clap::Error::raw(ErrorKind::InvalidValue, text));
        }
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
    fn what_this_version_lacks_is_refused_and_not_listed() {
        for missing in &MISSING {
            let flag = format!("--{}", missing.flag);
            let text = error(&["buntime", "run", &flag, "x"]);
            assert!(text.contains(&format!("{flag} is not in this version of Buntime")), "{text}");
            assert!(!error(&["buntime", "run", "--help"]).contains(&flag));
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
