//! Settings that are directories and files.

use super::super::layers::Found;
use super::super::settings::{self, Setting};
use super::super::{ConfigError, Environment, Row, Source};
use super::{Builder, MAX_SOCKET_PATH};
use std::path::{Path, PathBuf};

const ADMIN_SOCKET: &str = "admin.sock";

impl Builder<'_> {
    /// A path, relative ones from the working directory.
    pub(super) fn path(&self, found: &Found) -> Result<PathBuf, ConfigError> {
        Ok(self.working_dir.join(found.text()?))
    }

    pub(super) fn worker_dirs(&mut self) -> Result<Vec<PathBuf>, ConfigError> {
        if let Some(dir) = self.layers.dev().and_then(|dev| dev.dir.clone()) {
            let source = Source::Default("buntime dev".to_owned());
            self.rows.push(Row::new(&settings::WORKER_DIRS, dir.display(), source));
            return Ok(vec![dir]);
        }
        let found = self.layers.find(&settings::WORKER_DIRS)?.ok_or(ConfigError::NoWorkerDirs)?;
        let (dirs, existing) = self.dirs(&found)?;
        let shown: Vec<_> = dirs.iter().map(|dir| dir.display().to_string()).collect();
        if existing == 0 {
            return Err(ConfigError::WorkerDirsMissing {
                place: found.source.to_string(),
                dirs: shown.join(", "),
            });
        }
        self.rows.push(Row::new(&settings::WORKER_DIRS, shown.join(":"), found.source));
        Ok(dirs)
    }

    pub(super) fn plugin_dirs(&mut self) -> Result<Vec<PathBuf>, ConfigError> {
        let (dirs, source) = match self.layers.find(&settings::PLUGIN_DIRS)? {
            Some(found) => (self.dirs(&found)?.0, found.source),
            // It need not be there.
            None => (vec![self.working_dir.join("plugins")], Source::Default(String::new())),
        };
        let shown: Vec<_> = dirs.iter().map(|dir| dir.display().to_string()).collect();
        self.rows.push(Row::new(&settings::PLUGIN_DIRS, shown.join(":"), source));
        Ok(dirs)
    }

    /// Directories separated by colons, each once, and how many of them are there.
    fn dirs(&mut self, found: &Found) -> Result<(Vec<PathBuf>, usize), ConfigError> {
        let mut dirs: Vec<PathBuf> = Vec::new();
        let mut existing = 0;
        for item in found.items(':') {
            if item.is_empty() {
                return Err(found.invalid("a directory in it is empty"));
            }
            let dir = std::path::absolute(self.working_dir.join(item)).map_err(|e| found.invalid(e))?;
            if dirs.contains(&dir) {
                continue;
            }
            match std::fs::metadata(&dir) {
                Ok(meta) if !meta.is_dir() => {
                    return Err(found.invalid(format_args!("{} is not a directory", dir.display())));
                }
                Ok(_) => existing += 1,
                Err(e) => {
                    self.warnings.push(format!("{}: cannot use {}: {e}", found.source, dir.display()));
                }
            }
            dirs.push(dir);
        }
        Ok((dirs, existing))
    }

    /// A directory of our own; `of_systemd` is the variable in which systemd says where it is.
    pub(super) fn dir(
        &mut self,
        setting: &'static Setting,
        environment: &Environment,
        of_systemd: &'static str,
        default: PathBuf,
    ) -> Result<PathBuf, ConfigError> {
        let (dir, source) = match self.layers.find(setting)? {
            Some(found) => (self.path(&found)?, found.source),
            None => match first_directory(environment, of_systemd) {
                Some(first) => (self.working_dir.join(first), Source::Variable(of_systemd)),
                None => (self.working_dir.join(default), Source::Default(String::new())),
            },
        };
        self.rows.push(Row::new(setting, dir.display(), source));
        Ok(dir)
    }

    pub(super) fn admin_socket(
        &mut self,
        environment: &Environment,
        state: &Path,
    ) -> Result<PathBuf, ConfigError> {
        let setting = &settings::ADMIN_SOCKET;
        let (path, source) = match self.layers.find(setting)? {
            Some(found) => {
                let path = self.path(&found)?;
                if path.as_os_str().len() > MAX_SOCKET_PATH || found.text()?.is_empty() {
                    return Err(found.invalid("it is empty or longer than 107 bytes"));
                }
                (path, found.source)
            }
            None => match first_directory(environment, "RUNTIME_DIRECTORY") {
                Some(dir) => {
                    (self.working_dir.join(dir).join(ADMIN_SOCKET), Source::Variable("RUNTIME_DIRECTORY"))
                }
                None => (state.join(ADMIN_SOCKET), Source::Default(String::new())),
            },
        };
        self.rows.push(Row::new(setting, path.display(), source));
        Ok(path)
    }
}

/// systemd gives a colon-separated list when the unit names several; the first is ours.
fn first_directory<'e>(environment: &'e Environment, variable: &str) -> Option<&'e str> {
    environment.get(variable)?.to_str()?.split(':').next().filter(|dir| !dir.is_empty())
}
