//! `buntime pack`: makes an archive of an app's directory.

use super::console::Console;
use super::failure::{Exit, Failure};
use super::process::Process;
use super::remote::Output;
use super::text::{count, escape, size};
use crate::apps::inspect;
use crate::apps::manifest::Ceilings;
use crate::model::{AppName, AppVersion};
use crate::package::{Kind, Packed, pack};
use clap::Args;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct Arguments {
    /// The app's directory
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// The archive: .tar.zst, .tgz or .tar.gz; else NAME-VERSION.tar.zst here, by the manifest or package.json
    #[arg(long, short = 'o', value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

impl Arguments {
    pub fn console(&self, process: &Process) -> Console {
        Console::new(self.output.json, self.output.quiet, &process.environment)
    }
}

pub fn run(arguments: &Arguments, console: &Console) -> Result<(), Failure> {
    let dir = &arguments.dir;
    if !dir.is_dir() {
        return Err(Failure::usage(format!("{} is not a directory", dir.display())));
    }
    let out = match &arguments.out {
        Some(out) => out.clone(),
        None => default_name(dir)?.into(),
    };
    let packed = write(dir, &out, kind_of(&out)?)?;
    let shown = out.display().to_string();
    console.talk(&format!("packed {}, {}", count(packed.files, "file"), size(packed.bytes)));
    if console.json {
        let value = serde_json::json!({ "file": shown, "files": packed.files, "bytes": packed.bytes });
        console.raw(value.to_string().as_bytes())
    } else {
        console.data(&format!("{}\n", escape(&shown)))
    }
}

/// Written beside its place first, so that a failure leaves no half of an archive, and so that an archive in the
/// packed directory itself does not become a part of itself.
fn write(dir: &Path, out: &Path, kind: Kind) -> Result<Packed, Failure> {
    let io = |error: std::io::Error| Failure::io(format_args!("write {}", out.display()), &error);
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let inside = match (dir.canonicalize(), parent.canonicalize()) {
        (Ok(dir), Ok(parent)) => parent.starts_with(dir),
        _ => false,
    };
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let beside = parent.join(&name);
    name.push(".inside");
    let part = if inside { std::env::temp_dir().join(name) } else { beside.clone() };
    let written = (|| {
        let mut file = BufWriter::new(File::create_new(&part).map_err(io)?);
        let packed = pack(dir, kind, &mut file)?;
        file.flush().map_err(io)?;
        drop(file);
        // The directory for temporary files may be on another file system.
        if inside {
            let copy = File::open(&part)
                .and_then(|mut part| std::io::copy(&mut part, &mut File::create_new(&beside)?));
            copy.map_err(io)?;
        }
        fs::rename(&beside, out).map_err(io)?;
        Ok(packed)
    })();
    if inside {
        let _ = fs::remove_file(&part);
    }
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

fn kind_of(out: &Path) -> Result<Kind, Failure> {
    let name = out.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let ends = |suffixes: &[&str]| suffixes.iter().any(|suffix| name.ends_with(suffix));
    if ends(&[".tar.zst", ".tzst"]) {
        Ok(Kind::TarZst)
    } else if ends(&[".tgz", ".tar.gz"]) {
        Ok(Kind::TarGz)
    } else {
        let message = format!("cannot tell from `{}` which kind of archive to make", escape(name));
        Err(Failure::usage(message).hint("end its name with .tar.zst, .tgz or .tar.gz"))
    }
}

/// `shop-1.2.0.tar.zst`; of a scoped name `team-shop-1.2.0.tar.zst`, as npm does.
fn default_name(dir: &Path) -> Result<String, Failure> {
    let stated = inspect::stated(dir, &Ceilings { max_body_size: u64::MAX, cores: 1 })
        .map_err(|fault| Failure::new(Exit::Failure, escape(&fault.to_string()).into_owned()))?;
    let (name, version) =
        (stated.manifest_name.or(stated.package_name), stated.manifest_version.or(stated.package_version));
    let unknown = |what: &str| {
        Failure::usage(format!("neither manifest.yaml nor package.json says {what}"))
            .hint("put it there, or name the archive with -o FILE")
    };
    let wrong = |error: String| Failure::usage(error).hint("name the archive with -o FILE");
    let name = name.ok_or_else(|| unknown("what the app is called"))?;
    let name = AppName::parse(&name).map_err(|error| wrong(error.to_string()))?;
    let version = version.ok_or_else(|| unknown("which version it is"))?;
    let version = AppVersion::parse(&version).map_err(|error| wrong(error.to_string()))?;
    Ok(name.package_name(&version) + ".tar.zst")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    #[test]
    fn an_archive_is_called_after_the_app_and_its_version() {
        let dir = app(&[("package.json", r#"{"name": "@team/shop", "version": "1.0.0"}"#)]);
        assert_eq!(default_name(dir.path()).unwrap(), "team-shop-1.0.0.tar.zst");
        fs::write(dir.path().join("manifest.yaml"), "name: shop\nversion: 2.0.0").unwrap();
        assert_eq!(default_name(dir.path()).unwrap(), "shop-2.0.0.tar.zst");
    }

    #[test]
    fn without_a_name_or_a_version_nothing_is_made_up() {
        let dirs = [app(&[]), app(&[("package.json", r#"{"name": "shop"}"#)])];
        let texts = dirs.map(|dir| default_name(dir.path()).unwrap_err().text(str::to_owned));
        insta::assert_snapshot!(
            texts.join("") + &kind_of(Path::new("a.rar")).unwrap_err().text(str::to_owned)
        );
    }

    #[test]
    fn an_archive_in_the_packed_directory_is_no_part_of_itself_and_a_failure_leaves_nothing() {
        let dir = app(&[("index.ts", "export default {}")]);
        let out = dir.path().join("a.tgz");
        assert_eq!(write(dir.path(), &out, Kind::TarGz).unwrap().files, 1);
        assert_eq!(Kind::of(&fs::read(&out).unwrap()), Some(Kind::TarGz));

        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing else is left there");

        let (bad, place) = (app(&[]), app(&[]));
        std::os::unix::fs::symlink("/etc/passwd", bad.path().join("link")).unwrap();
        assert!(write(bad.path(), &place.path().join("a.tar.zst"), Kind::TarZst).is_err());
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_archive_in_the_packed_directory_takes_the_place_of_an_old_one_whole() {
        let dir = app(&[("index.ts", "export default {}"), ("a.tgz", "old"), (".buntimeignore", "a.tgz")]);
        let (out, old) =
            (dir.path().join("a.tgz"), tempfile::tempdir_in(dir.path().parent().unwrap()).unwrap());
        let old = old.path().join("old");
        fs::hard_link(&out, &old).unwrap();
        write(dir.path(), &out, Kind::TarGz).unwrap();
        assert_eq!(Kind::of(&fs::read(&out).unwrap()), Some(Kind::TarGz));
        assert_eq!(
            fs::read_to_string(&old).unwrap(),
            "old",
            "it was written over and could have been left half"
        );
    }
}
