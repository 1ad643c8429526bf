//! `buntime dev`: as `run`, for whoever edits the apps.

use super::args::ConfigFlags;
use super::process::Process;
use super::{USAGE, report, run};
use crate::apps::inspect::is_app;
use crate::config::{Config, ConfigError, Develop, Inputs};
use crate::dev::terminal::Restore;
use crate::model::AppName;
use crate::telemetry::printer::printer;
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct Arguments {
    /// An app, which is served at /, or a directory of apps. Otherwise --worker-dirs, or this directory
    #[arg(value_name = "DIR", conflicts_with = "worker-dirs")]
    dir: Option<PathBuf>,
    /// A name of files or directories that nobody edits: what is written there reloads nothing. * stands for any characters
    #[arg(long, value_name = "NAME")]
    ignore: Vec<String>,
    #[command(flatten)]
    flags: ConfigFlags,
}

pub fn run(arguments: Arguments, process: Process) -> ExitCode {
    let Arguments { dir, ignore, flags: ConfigFlags(mut flags) } = arguments;
    let dir = match dir {
        Some(dir) => Some(dir),
        None if says_where_apps_are(&flags, &process) => None,
        None => Some(PathBuf::from(".")),
    };
    let mut develop = Develop { ignored: ignore, ..Develop::default() };
    if let Some(dir) = dir {
        let absolute = match std::path::absolute(&dir) {
            Ok(absolute) if absolute.is_dir() => tidy(&absolute),
            _ => {
                report(&format_args!("{} is not a directory", dir.display()));
                return ExitCode::from(USAGE);
            }
        };
        develop.sole = is_app(&absolute).then(|| name_of(&absolute));
        develop.dir = Some(absolute);
    }
    flags.develop(develop);
    let _restore = Restore;
    let code = run::run(ConfigFlags(flags), process);
    if let Some(printer) = printer() {
        printer.flush();
    }
    code
}

/// Whether flags, variables or the file name worker directories. What else is wrong with them is said later.
fn says_where_apps_are(flags: &crate::config::Flags, process: &Process) -> bool {
    let Ok(working_dir) = std::env::current_dir() else { return false };
    let mut flags = flags.clone();
    flags.develop(Develop::default());
    let inputs = Inputs {
        flags,
        environment: process.environment.clone(),
        working_dir: &working_dir,
        stderr: process.stderr,
        descriptor_limit: process.descriptor_limit,
        secrets: process.secrets.clone(),
    };
    !matches!(Config::load(inputs), Err(ConfigError::NoWorkerDirs))
}

/// `/srv/shop` for `/srv/shop/.`, whose name is not to be seen.
fn tidy(dir: &Path) -> PathBuf {
    if dir.file_name().is_none() || dir.components().any(|part| part.as_os_str() == "..") {
        return dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    }
    dir.components().collect()
}

/// The directory's name, as far as an app may have it.
fn name_of(dir: &Path) -> AppName {
    let name = dir.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_lowercase();
    let fitting: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "-._~".contains(c) { c } else { '-' }).collect();
    let fitting = fitting.trim_matches(['-', '.', '_']);
    AppName::parse(fitting).unwrap_or_else(|_| AppName::parse("app").expect("three letters are a name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_is_called_as_its_directory_as_far_as_it_may_be() {
        for (dir, name) in [
            ("/srv/shop", "shop"),
            ("/srv/My Shop", "my-shop"),
            ("/srv/.tmpXy1", "tmpxy1"),
            ("/srv/Größe", "gr--e"),
            ("/", "app"),
            ("/srv/---", "app"),
        ] {
            assert_eq!(name_of(Path::new(dir)).as_str(), name, "{dir}");
        }
    }
}
