//! What is to be mounted over what, decided before anything is: from a `Layout` to `Step`s.
//!
//! Two kinds of directories are covered by an empty one. **Hidden** ones: in their place is nothing but what is
//! shown of them. **Barred** ones, which the workers' user may not pass: what lies in them on the way to apps or to bun
//! is put back where it was, whole, and the rest stays out of reach as before.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What there is, by real paths, and what is to become of it.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// The state directory; hidden.
    pub state: PathBuf,
    /// This process's own directory in it.
    pub run: PathBuf,
    /// What else is hidden: the cache and the runtime directory.
    pub hidden: Vec<PathBuf>,
    /// Single files in whose place workers find an empty one.
    pub hidden_files: Vec<PathBuf>,
    /// Files and directories in hidden ones that workers read.
    pub shown: Vec<PathBuf>,
    /// The directories with the plugins: hidden, but for what a worker gets of them for its own.
    pub plugin_dirs: Vec<PathBuf>,
    /// The directories with the apps.
    pub worker_dirs: Vec<PathBuf>,
    /// What else workers must reach: bun.
    pub needed: Vec<PathBuf>,
}

/// What stands for a file that is hidden.
const NOTHING: &str = "/dev/null";

/// The number of a descriptor that a step opens.
pub type Handle = usize;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Keeps a directory that is about to be covered.
    Open {
        dir: CString,
        into: Handle,
    },
    Cover {
        dir: CString,
    },
    /// Copies the mounts at `path`, relative to a directory that was kept. None = it is absolute.
    Take {
        of: Option<Handle>,
        path: CString,
        into: Handle,
    },
    MakeDir {
        path: CString,
    },
    MakeFile {
        path: CString,
    },
    Attach {
        tree: Handle,
        path: CString,
        read_only: bool,
    },
    /// Lets nothing be written to what covers a directory.
    Seal {
        dir: CString,
    },
}

#[derive(Debug, Default)]
pub struct Plan {
    pub steps: Vec<Step>,
    pub handles: usize,
    /// The real directories that workers' own ones are in, and what covers the state directory, to be written to.
    pub workers: Handle,
    pub data: Handle,
    pub cover: Handle,
    pub plugin_dirs: Vec<Root>,
}

/// A directory whose parts are mounted for some workers: the real one, and what covers it, to be written to.
#[derive(Debug)]
pub struct Root<H = Handle> {
    pub dir: PathBuf,
    pub real: H,
    pub cover: H,
}

/// Why a layout cannot be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LayoutError {
    #[error("the worker directory {} is the state, the cache or the runtime directory, which no app may reach\n\nhint: give them directories of their own (--state-dir, --cache-dir)", .0.display())]
    Hidden(PathBuf),
    #[error("the worker directory {} lies in {}, which no app may reach\n\nhint: move it, or choose another with --worker-dirs, --state-dir or --cache-dir", .0.display(), .1.display())]
    Within(PathBuf, PathBuf),
    #[error("{} is a worker directory and a plugin directory, which no app may reach\n\nhint: give plugins a directory of their own (--plugin-dirs)", .0.display())]
    Plugins(PathBuf),
    #[error("{} cannot be hidden from apps: {} lies in it\n\nhint: give the runtime a directory of its own", .0.display(), .1.display())]
    TooWide(PathBuf, PathBuf),
}

impl Layout {
    /// # Errors
    /// An app would have to reach what no app may reach.
    pub fn check(&self) -> Result<(), LayoutError> {
        let reserved = ["data", "run", "cache"].map(|name| self.state.join(name));
        for dir in &self.worker_dirs {
            if self.plugin_dirs.contains(dir) {
                return Err(LayoutError::Plugins(dir.clone()));
            }
            if self.all_hidden().any(|hidden| hidden == dir) {
                return Err(LayoutError::Hidden(dir.clone()));
            }
            let within = reserved.iter().chain(&self.hidden).find(|hidden| dir.starts_with(hidden));
            if let Some(hidden) = within {
                return Err(LayoutError::Within(dir.clone(), hidden.clone()));
            }
        }
        // Without these nothing runs.
        for system in ["/usr", "/lib", "/etc", "/proc", "/dev"].map(Path::new) {
            if let Some(hidden) = self.all_hidden().find(|hidden| system.starts_with(hidden)) {
                return Err(LayoutError::TooWide(hidden.clone(), system.to_owned()));
            }
        }
        Ok(())
    }

    pub fn all_hidden(&self) -> impl Iterator<Item = &PathBuf> {
        std::iter::once(&self.state).chain(&self.hidden).chain(&self.plugin_dirs)
    }

    /// The outermost ones.
    fn covered(&self) -> BTreeSet<&Path> {
        let all: Vec<&Path> = self.all_hidden().map(PathBuf::as_path).collect();
        let inner = |dir: &&Path| all.iter().any(|other| dir != other && dir.starts_with(other));
        all.iter().copied().filter(|dir| !inner(dir)).collect()
    }

    /// Whether a path is out of the apps' reach once the plan is carried out.
    pub fn hides(&self, path: &Path) -> bool {
        let in_hidden = self.all_hidden().any(|hidden| path.starts_with(hidden));
        // Among apps only those of plugins are hidden for certain.
        let in_plugins = self.plugin_dirs.iter().filter(|dir| path.starts_with(dir)).max();
        let mut shown = self.shown.iter().chain(&self.worker_dirs).filter(|shown| path.starts_with(shown));
        self.hidden_files.iter().any(|hidden| path == hidden)
            || (in_hidden && shown.all(|shown| in_plugins.is_some_and(|dir| dir.starts_with(shown))))
    }

    /// `is_barred` = the workers' user cannot pass this directory.
    ///
    /// # Errors
    /// A NUL byte in a path.
    pub fn plan(
        &self,
        is_barred: impl Fn(&Path) -> bool,
        is_dir: impl Fn(&Path) -> bool,
    ) -> io::Result<Plan> {
        let mut planner = Planner {
            steps: Vec::new(),
            handles: 0,
            covers: BTreeMap::new(),
            there: BTreeSet::new(),
            made: BTreeSet::new(),
            is_barred: &is_barred,
            is_dir: &is_dir,
        };
        let covered = self.covered();
        let in_hidden = |path: &Path| covered.iter().any(|hidden| path.starts_with(hidden));
        let needed = self.worker_dirs.iter().chain(&self.needed).map(PathBuf::as_path);
        let (inside, outside): (BTreeSet<_>, BTreeSet<_>) = needed.partition(|path| in_hidden(path));
        // While all is where it is.
        let workers = planner.open(&self.run.join("workers"))?;
        let data = planner.open(&self.state.join("data"))?;
        let mut plugin_dirs: Vec<&PathBuf> = self.plugin_dirs.iter().collect();
        plugin_dirs.sort();
        let plugin_dirs = plugin_dirs.into_iter().map(|dir| Ok((dir, planner.open(dir)?)));
        let plugin_dirs = plugin_dirs.collect::<io::Result<Vec<_>>>()?;
        let real = covered.iter().map(|dir| planner.open(dir)).collect::<io::Result<Vec<_>>>()?;
        for path in outside {
            planner.clear_way(path)?;
        }
        for (dir, real) in covered.iter().zip(real) {
            let mut needed = std::iter::once(&self.state).chain(&self.shown).chain(&self.plugin_dirs);
            let needed = needed.any(|path| path.starts_with(dir));
            if !planner.is_visible(dir) {
                if !needed {
                    continue;
                }
                planner.make_way(dir)?;
            }
            planner.cover(dir, real)?;
        }
        for name in ["home", "empty"] {
            planner.make_dirs(&self.run.join(name))?;
        }
        planner.make_dirs(&self.state.join("data"))?;
        for path in &self.shown {
            planner.show(path, true)?;
        }
        for path in inside {
            planner.show(path, false)?;
        }
        for (dir, real) in &plugin_dirs {
            planner.cover_again(dir, *real)?;
        }
        for file in &self.hidden_files {
            planner.empty(file)?;
        }
        let cover = planner.take(None, &self.state)?;
        let root = |(dir, real): (&PathBuf, Handle)| {
            Ok(Root { dir: dir.clone(), real, cover: planner.take(None, dir)? })
        };
        let plugin_dirs = plugin_dirs.into_iter().map(root).collect::<io::Result<_>>()?;
        for dir in planner.covers.keys() {
            planner.steps.push(Step::Seal { dir: text(dir)? });
        }
        Ok(Plan { steps: planner.steps, handles: planner.handles, workers, data, cover, plugin_dirs })
    }
}

struct Planner<'a> {
    steps: Vec<Step>,
    handles: usize,
    /// What is covered so far, and the handles of what is under it.
    covers: BTreeMap<PathBuf, Handle>,
    /// What was made or put back in covers, and of that what was made.
    there: BTreeSet<PathBuf>,
    made: BTreeSet<PathBuf>,
    is_barred: &'a dyn Fn(&Path) -> bool,
    is_dir: &'a dyn Fn(&Path) -> bool,
}

impl Planner<'_> {
    fn handle(&mut self) -> Handle {
        self.handles += 1;
        self.handles - 1
    }

    fn open(&mut self, dir: &Path) -> io::Result<Handle> {
        let into = self.handle();
        self.steps.push(Step::Open { dir: text(dir)?, into });
        Ok(into)
    }

    fn take(&mut self, of: Option<Handle>, path: &Path) -> io::Result<Handle> {
        let into = self.handle();
        self.steps.push(Step::Take { of, path: text(path)?, into });
        Ok(into)
    }

    fn cover(&mut self, dir: &Path, real: Handle) -> io::Result<()> {
        self.steps.push(Step::Cover { dir: text(dir)? });
        self.covers.insert(dir.to_owned(), real);
        Ok(())
    }

    /// Makes `path` reachable for whoever cannot pass all that is above it.
    fn clear_way(&mut self, path: &Path) -> io::Result<()> {
        for (dir, child) in way(path) {
            if !self.covers.contains_key(dir) {
                if !(self.is_barred)(dir) {
                    continue;
                }
                let real = self.open(dir)?;
                self.cover(dir, real)?;
            }
            self.put_back(dir, child, false)?;
        }
        Ok(())
    }

    /// Whether a worker could get to `path` as things are by now.
    fn is_visible(&self, path: &Path) -> bool {
        way(path).all(|(dir, child)| {
            let ours = self.covers.contains_key(dir) || self.made.contains(dir);
            if ours { self.there.contains(child) } else { !(self.is_barred)(dir) }
        })
    }

    /// Makes a directory that is about to be covered reachable, with nothing else on the way.
    fn make_way(&mut self, path: &Path) -> io::Result<()> {
        let barred =
            |dir: &Path| !self.covers.contains_key(dir) && !self.made.contains(dir) && (self.is_barred)(dir);
        let covered =
            way(path).any(|(dir, child)| self.covers.contains_key(dir) && !self.there.contains(child));
        if let Some((dir, _)) = way(path).find(|(dir, _)| barred(dir)).filter(|_| !covered) {
            let real = self.open(dir)?;
            self.cover(dir, real)?;
        }
        self.make_dirs(path)
    }

    /// Whether it lies in what was put back.
    fn is_shown(&self, path: &Path) -> bool {
        let mut in_cover = path.ancestors().take_while(|above| !self.covers.contains_key(*above));
        in_cover.any(|above| self.there.contains(above) && !self.made.contains(above))
    }

    /// Has an empty directory in the place of one in which parts of it are to be mounted, also where apps were put back around it.
    fn cover_again(&mut self, dir: &Path, real: Handle) -> io::Result<()> {
        match self.covers.contains_key(dir) {
            true => Ok(()),
            false if self.is_shown(dir) => self.cover(dir, real),
            false => self.make_dirs(dir),
        }
    }

    /// Shows a part of something hidden where it was.
    fn show(&mut self, path: &Path, read_only: bool) -> io::Result<()> {
        let cover =
            path.ancestors().skip(1).find(|above| self.covers.contains_key(*above)).map(Path::to_owned);
        let Some(cover) = cover.filter(|_| !self.is_shown(path)) else { return Ok(()) };
        if let Some(parent) = path.parent() {
            self.make_dirs(parent)?;
        }
        self.put_back(&cover, path, read_only)
    }

    /// Leaves nothing to be read of a file that workers would find.
    fn empty(&mut self, file: &Path) -> io::Result<()> {
        if self.is_visible(file) {
            let tree = self.take(None, Path::new(NOTHING))?;
            self.steps.push(Step::Attach { tree, path: text(file)?, read_only: true });
        }
        Ok(())
    }

    fn put_back(&mut self, cover: &Path, path: &Path, read_only: bool) -> io::Result<()> {
        let (Some(&real), Ok(below)) = (self.covers.get(cover), path.strip_prefix(cover)) else {
            return Ok(());
        };
        if !self.there.insert(path.to_owned()) {
            return Ok(());
        }
        let tree = self.take(Some(real), below)?;
        let point = text(path)?;
        self.steps.push(match (self.is_dir)(path) {
            true => Step::MakeDir { path: point.clone() },
            false => Step::MakeFile { path: point.clone() },
        });
        self.steps.push(Step::Attach { tree, path: point, read_only });
        Ok(())
    }

    /// Directories in a cover, down to `dir`.
    fn make_dirs(&mut self, dir: &Path) -> io::Result<()> {
        let missing = |dir: &&Path| !self.covers.contains_key(*dir) && !self.there.contains(*dir);
        let missing: Vec<PathBuf> = dir.ancestors().take_while(missing).map(Path::to_owned).collect();
        for dir in missing.into_iter().rev() {
            self.steps.push(Step::MakeDir { path: text(&dir)? });
            self.there.insert(dir.clone());
            self.made.insert(dir);
        }
        Ok(())
    }
}

/// Each directory above `path`, from the root down, and what in it leads there.
fn way(path: &Path) -> impl Iterator<Item = (&Path, &Path)> {
    let mut way: Vec<&Path> = path.ancestors().collect();
    way.reverse();
    let below = way[1..].to_vec();
    way.into_iter().zip(below)
}

pub fn text(path: &Path) -> io::Result<CString> {
    Ok(CString::new(OsString::from(path).as_bytes())?)
}

#[cfg(test)]
mod tests;
