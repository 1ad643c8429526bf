//! The worker shim inside this binary, and what `bun` makes of it.
//!
//! Two things are made once for each `bun` and kept in the cache directory: an executable of bun and the shim, which most
//! workers run and which starts faster than anything else, and the shim compiled to bytecode, for workers that have to be
//! started by `bun` itself. Several supervisors may share the directory: what is in use is locked, and what
//! appears in it is complete.

mod image;
mod program;

use self::program::{PATIENCE, output};
use crate::config::Bun;
use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{Flock, FlockArg};
use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

const SHIM: &str = include_str!("../../worker-shim/dist/shim.js");
/// These stand in it where the build id and the path of `bun` belong.
const BUILD: &str = "__BUNTIME_BUILD__";
const BUN: &str = "__BUNTIME_BUN__";

const SCRIPT: &str = "shim.js";
/// `bun` refuses the name `bun`.
const EXECUTABLE: &str = "bun-worker";
/// Bun's own flags for every worker: it neither downloads packages nor loads `.env` files by itself.
const BUN_FLAGS: [&str; 2] = ["--no-install", "--no-env-file"];

/// How the files are made. With another number they are made anew.
const FORM: u32 = 3;
/// Directories of the cache begin with the first, those that are not complete with the second.
const COMPLETE: &str = "shim-";
const INCOMPLETE: &str = "making-";

/// The shim as workers can run it.
#[derive(Debug)]
pub struct Shim {
    /// What it answers with (HELLO).
    pub build: Arc<str>,
    /// The file to start `bun` with.
    pub script: PathBuf,
    /// Bun and the shim in one file. None = it could not be made.
    pub executable: Option<PathBuf>,
    /// While it is held nobody removes the files.
    _in_use: Option<Flock<File>>,
}

impl Shim {
    /// What a spare is started with.
    pub fn command(&self, bun: &Path) -> (PathBuf, Vec<OsString>) {
        match &self.executable {
            Some(executable) => (executable.clone(), Vec::new()),
            None => (bun.to_owned(), self.arguments(false)),
        }
    }

    /// Those of `bun` itself.
    pub fn arguments(&self, low_memory: bool) -> Vec<OsString> {
        let low_memory = low_memory.then(|| "--smol".into());
        let flags = BUN_FLAGS.map(OsString::from).into_iter();
        flags.chain(low_memory).chain([self.script.clone().into()]).collect()
    }

    /// What workers read of it.
    pub fn files(&self) -> &Path {
        self.executable.as_deref().and_then(Path::parent).unwrap_or(&self.script)
    }
}

/// Makes the shim ready to run, or finds it ready in `cache`. Where `bun` cannot compile it, it is written to `run` and
/// workers start more slowly.
///
/// # Errors
/// The shim cannot be written at all.
pub fn install(cache: &Path, run: &Path, bun: &Bun) -> Result<Shim> {
    let mut hasher = DefaultHasher::new();
    SHIM.hash(&mut hasher);
    let build: Arc<str> = format!("{}-{:016x}", env!("CARGO_PKG_VERSION"), hasher.finish()).into();
    match compiled(cache, &build, bun) {
        Ok(shim) => Ok(shim),
        Err(error) => {
            tracing::warn!(error = %format_args!("{error:#}"), "the shim runs uncompiled: workers start more slowly");
            write_source(run, &build, bun)
                .with_context(|| format!("the shim cannot be written to {}", run.display()))?;
            Ok(Shim { build, script: run.join(SCRIPT), executable: None, _in_use: None })
        }
    }
}

fn compiled(cache: &Path, build: &Arc<str>, bun: &Bun) -> Result<Shim> {
    let name = format!("{COMPLETE}{:016x}", identity(build, bun)?);
    let dir = cache.join(&name);
    if let Ok(shim) = ready(&dir, build) {
        remove_others(cache, &name);
        return Ok(shim);
    }
    // Whatever is there does not run.
    remove_unused(&dir);
    let _ours = make(cache, &dir, build, bun)?;
    remove_others(cache, &name);
    ready(&dir, build).with_context(|| format!("what bun has compiled in {} does not run", dir.display()))
}

/// What makes one compiled shim another than the next.
fn identity(build: &str, bun: &Bun) -> Result<u64> {
    let meta = std::fs::metadata(&bun.path).with_context(|| bun.path.display().to_string())?;
    let mut hasher = DefaultHasher::new();
    (FORM, build, &bun.path, bun.version.to_string(), meta.len(), meta.mtime(), meta.mtime_nsec())
        .hash(&mut hasher);
    Ok(hasher.finish())
}

/// The compiled shim in `dir`, which is there and answers.
fn ready(dir: &Path, build: &Arc<str>) -> Result<Shim> {
    let lock = Flock::lock(File::open(dir)?, FlockArg::LockShared).map_err(|(_, errno)| errno)?;
    let (script, executable) = (dir.join("compiled").join(SCRIPT), dir.join(EXECUTABLE));
    // Before it runs, which would read it piecemeal.
    if let Err(error) = File::open(&executable).and_then(|file| image::read_into_memory(&file)) {
        tracing::debug!(%error, "the worker executable was not read ahead");
    }
    answers(&executable, build)?;
    ensure!(script.is_file(), "{} is missing", script.display());
    Ok(Shim { build: Arc::clone(build), script, executable: Some(executable), _in_use: Some(lock) })
}

/// An executable runs, and its shim is of this build.
fn answers(executable: &Path, build: &str) -> Result<()> {
    let answer = output(Command::new(executable).arg("--build").env_clear(), PATIENCE)?;
    ensure!(answer.stdout.trim_ascii_end() == build.as_bytes(), "{}: it is another build", answer.status);
    Ok(())
}

/// Compiles the shim in a directory beside `dir`, which takes its name when all is there. While the lock is held nobody removes
/// it.
fn make(cache: &Path, dir: &Path, build: &str, bun: &Bun) -> Result<Flock<File>> {
    // Supervisors that share the cache may have the same number, each in its own container.
    let (making, lock) = begin(cache)?;
    let made = compile(&making, build, bun).and_then(|()| {
        match std::fs::rename(&making, dir) {
            // Another supervisor was faster. File systems call it by either name (rename(2)).
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
                ) =>
            {
                Ok(())
            }
            done => done.context("the compiled shim cannot be put in its place"),
        }
    });
    let _ = std::fs::remove_dir_all(&making);
    made.map(|()| lock)
}

/// A directory of our own to make the files in, locked.
fn begin(cache: &Path) -> Result<(PathBuf, Flock<File>)> {
    loop {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let making = cache.join(format!("{INCOMPLETE}{}-{now}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&making)?;
        // Until it is locked another supervisor may take it for a left-over.
        let Ok(file) = File::open(&making) else { continue };
        let lock = Flock::lock(file, FlockArg::LockShared).map_err(|(_, errno)| errno)?;
        if making.is_dir() {
            return Ok((making, lock));
        }
    }
}

fn compile(dir: &Path, build: &str, bun: &Bun) -> Result<()> {
    write_source(dir, build, bun)?;
    let flags = BUN_FLAGS.join(" ");
    let common =
        ["build", "--no-install", "--format=cjs", "--bytecode", "--minify-whitespace", "--minify-syntax"];
    // Another version of bun would ignore the bytecode, so it cannot be made beforehand.
    run_bun(dir, bun, &[&common[..], &["--target=bun", "--outdir=compiled", SCRIPT]].concat())?;
    // It may succeed without bytecode, and then the file does not run.
    ensure!(dir.join("compiled").join(format!("{SCRIPT}.jsc")).is_file(), "bun build has made no bytecode");
    // What an executable reads at its own start is what a spare could not: see decision 0006.
    let standalone = [
        "--compile",
        "--no-compile-autoload-dotenv",
        "--no-compile-autoload-bunfig",
        "--compile-autoload-tsconfig",
        "--compile-autoload-package-json",
        &format!("--compile-exec-argv={flags}"),
        &format!("--outfile={EXECUTABLE}"),
        SCRIPT,
    ];
    run_bun(dir, bun, &[&common[..], &standalone[..]].concat())?;
    if let Err(error) = lay_out(dir, build) {
        tracing::debug!(error = %format_args!("{error:#}"), "the worker executable is left as bun has made it");
    }
    open_up(dir)?;
    // A file that a crash has cut short must not be found here by the next start.
    File::open(dir.join(EXECUTABLE))?.sync_all()?;
    Ok(())
}

/// Workers may run as another user, and see nothing of the cache but this directory.
fn open_up(dir: &Path) -> Result<()> {
    for name in ["", "compiled", EXECUTABLE] {
        std::fs::set_permissions(dir.join(name), Permissions::from_mode(0o755))?;
    }
    for entry in std::fs::read_dir(dir.join("compiled"))? {
        std::fs::set_permissions(entry?.path(), Permissions::from_mode(0o644))?;
    }
    Ok(())
}

/// Puts the executable's code where huge pages can map it, if it then runs as before.
fn lay_out(dir: &Path, build: &str) -> Result<()> {
    let (made, better) = (dir.join(EXECUTABLE), dir.join("aligned"));
    let source = File::open(&made)?;
    let target = OpenOptions::new().write(true).create_new(true).mode(0o755).open(&better)?;
    let done = image::lay_out(&source, &target)?;
    drop(target); // or it could not be executed
    if done {
        answers(&better, build)?;
        std::fs::rename(&better, &made)?;
    } else {
        std::fs::remove_file(&better)?;
    }
    Ok(())
}

fn write_source(dir: &Path, build: &str, bun: &Bun) -> Result<()> {
    let Some(bun) = bun.path.to_str() else { bail!("the path of bun is not UTF-8") };
    // What stands between the quotes of a string of JavaScript.
    let quoted = serde_json::to_string(bun)?;
    let bun = &quoted[1..quoted.len() - 1];
    let script = dir.join(SCRIPT);
    std::fs::write(&script, SHIM.replace(BUILD, build).replace(BUN, bun))?;
    std::fs::set_permissions(&script, Permissions::from_mode(0o644))?;
    Ok(())
}

fn run_bun(dir: &Path, bun: &Bun, args: &[&str]) -> Result<()> {
    let mut command = Command::new(&bun.path);
    command.args(args).env_clear().env("HOME", dir).env("TMPDIR", dir).current_dir(dir);
    let output = output(&mut command, PATIENCE)?;
    ensure!(output.status.success(), "bun build: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// Removes what was compiled for another bun or another Buntime and is not in use, and what a crash has left incomplete.
fn remove_others(cache: &Path, ours: &str) {
    let Ok(entries) = std::fs::read_dir(cache) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if (name.starts_with(COMPLETE) && name != ours) || name.starts_with(INCOMPLETE) {
            remove_unused(&entry.path());
        }
    }
}

/// Removes a directory that no supervisor holds. One that wants it meanwhile waits, and finds it gone.
fn remove_unused(dir: &Path) {
    let Ok(handle) = File::open(dir) else { return };
    if let Ok(_held) = Flock::lock(handle, FlockArg::LockExclusiveNonblock) {
        let _ = std::fs::remove_dir_all(dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, bun};

    /// A cache and a run directory.
    struct Place {
        dir: tempfile::TempDir,
        bun: Bun,
    }

    impl Place {
        fn new() -> Place {
            let dir = tempfile::tempdir().unwrap();
            for name in ["cache", "run"] {
                std::fs::create_dir(dir.path().join(name)).unwrap();
            }
            let (path, _) =
                bun::find(std::env::var_os("PATH").as_deref(), dir.path()).expect("no bun on PATH");
            let bun = bun::inspect(&path, &Environment::default()).unwrap();
            Place { dir, bun }
        }

        fn cache(&self) -> PathBuf {
            self.dir.path().join("cache")
        }

        fn install(&self) -> Shim {
            install(&self.cache(), &self.dir.path().join("run"), &self.bun).unwrap()
        }

        fn cached(&self) -> Vec<String> {
            let entries = std::fs::read_dir(self.cache()).unwrap();
            let mut names: Vec<_> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    fn answer(program: &Path, args: &[&str]) -> String {
        let output = Command::new(program).args(args).env_clear().output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    #[test]
    fn it_is_compiled_once_and_made_anew_when_it_does_not_run() {
        let place = Place::new();
        let shim = place.install();
        let executable = shim.executable.clone().unwrap();
        assert_eq!(answer(&executable, &["--build"]), &*shim.build);
        assert!(shim.script.is_file() && shim.script.with_added_extension("jsc").is_file());
        let made = |file: &Path| std::fs::metadata(file).unwrap().modified().unwrap();
        let first = made(&executable);
        assert_eq!(place.install().executable.as_ref(), Some(&executable));
        assert_eq!((made(&executable), place.cached().len()), (first, 1));

        drop(shim);
        // As a crash would leave a file that was not on the disk yet: it is bun, without the shim at its end.
        let file = File::options().write(true).open(&executable).unwrap();
        file.set_len(std::fs::metadata(&place.bun.path).unwrap().len()).unwrap();
        drop(file);
        let shim = place.install();
        assert_eq!(answer(shim.executable.as_ref().unwrap(), &["--build"]), &*shim.build);
    }

    #[test]
    fn started_with_arguments_the_executable_is_the_bun_it_was_made_from() {
        let place = Place::new();
        let executable = place.install().executable.unwrap();
        let code = "console.log(process.execPath, process.argv.slice(2).join())";
        let expected = format!("{} a,--b", place.bun.path.display());
        assert_eq!(answer(&executable, &["-e", code, "-", "a", "--b"]), expected);
    }

    #[test]
    fn asked_for_its_build_the_executable_leaves_inherited_descriptors_alone() {
        let place = Place::new();
        let shim = place.install();
        let file = place.dir.path().join("file");
        std::fs::write(&file, vec![b'x'; 8192]).unwrap();
        let executable = shim.executable.as_deref().unwrap().to_str().unwrap();
        let script = "exec 3<\"$1\" 4<\"$1\"; exec \"$0\" --build";
        let told = answer(Path::new("/bin/sh"), &["-c", script, executable, file.to_str().unwrap()]);
        assert_eq!(told, &*shim.build);
        assert!(std::fs::read(&file).unwrap() == vec![b'x'; 8192]);
    }

    #[test]
    fn what_another_bun_has_left_is_removed_unless_it_is_in_use() {
        let place = Place::new();
        for name in ["shim-old", "shim-used", "making-old", "making-used", "other"] {
            std::fs::create_dir(place.cache().join(name)).unwrap();
            std::fs::write(place.cache().join(name).join("file"), "").unwrap();
        }
        let _used = ["shim-used", "making-used"].map(|name| {
            Flock::lock(File::open(place.cache().join(name)).unwrap(), FlockArg::LockShared).unwrap()
        });
        let shim = place.install();
        let own = shim.executable.as_ref().unwrap().parent().unwrap().file_name().unwrap().to_str().unwrap();
        let mut expected = [own, "other", "making-used", "shim-used"];
        expected.sort();
        assert_eq!(place.cached(), expected);
    }

    #[test]
    fn without_a_place_for_the_compiled_it_runs_from_its_source() {
        let place = Place::new();
        std::fs::remove_dir(place.cache()).unwrap();
        std::fs::write(place.cache(), "no directory").unwrap();
        let shim = place.install();
        assert_eq!(
            (shim.executable.as_ref(), shim.script.parent()),
            (None, Some(&*place.dir.path().join("run")))
        );
        let source = std::fs::read_to_string(&shim.script).unwrap();
        assert!(source.contains(&*shim.build) && !source.contains(BUILD) && !source.contains(BUN));
    }
}
