//! `buntime new TEMPLATE DIR`: the beginning of an app.

use super::console::Console;
use super::failure::{Exit, Failure};
use super::process::Process;
use super::remote::Output;
use crate::config::bun;
use crate::model::AppName;
use clap::{Args, ValueEnum};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[derive(Debug, Args)]
pub struct Arguments {
    /// What to begin with
    #[arg(value_enum, value_name = "TEMPLATE")]
    template: Template,
    /// The directory to make; it must not be there, or be empty
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// What the app is called; else as the directory
    #[arg(long, value_name = "NAME")]
    name: Option<AppName>,
    /// Do not run `bun install`
    #[arg(long)]
    no_install: bool,
    #[command(flatten)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Template {
    /// A plain fetch handler, without any package
    Http,
    /// A Hono app in TypeScript
    Hono,
    /// Pages, served without any process
    Static,
}

/// A file of a template: its path, and its text, in which `{{name}}` stands for the app's name.
pub(super) type File = (&'static str, &'static str);

const HTTP: [File; 5] = [
    ("index.ts", include_str!("templates/http/index.ts")),
    ("package.json", include_str!("templates/http/package.json")),
    ("README.md", include_str!("templates/http/README.md")),
    // Without the dot they would rule in this repository too.
    (".gitignore", include_str!("templates/http/gitignore")),
    (".buntimeignore", include_str!("templates/http/buntimeignore")),
];
const HONO: [File; 7] = [
    ("src/index.ts", include_str!("templates/hono/src/index.ts")),
    ("package.json", include_str!("templates/hono/package.json")),
    ("tsconfig.json", include_str!("templates/hono/tsconfig.json")),
    ("manifest.yaml", include_str!("templates/hono/manifest.yaml")),
    ("README.md", include_str!("templates/hono/README.md")),
    (".gitignore", include_str!("templates/hono/gitignore")),
    (".buntimeignore", include_str!("templates/hono/buntimeignore")),
];
const STATIC: [File; 5] = [
    ("index.html", include_str!("templates/static/index.html")),
    ("style.css", include_str!("templates/static/style.css")),
    ("manifest.yaml", include_str!("templates/static/manifest.yaml")),
    ("README.md", include_str!("templates/static/README.md")),
    (".buntimeignore", include_str!("templates/static/buntimeignore")),
];

impl Template {
    fn files(self) -> &'static [File] {
        match self {
            Template::Http => &HTTP,
            Template::Hono => &HONO,
            Template::Static => &STATIC,
        }
    }

    /// It needs packages of the registry.
    fn has_packages(self) -> bool {
        self == Template::Hono
    }
}

impl Arguments {
    pub fn console(&self, process: &Process) -> Console {
        Console::new(self.output.json, self.output.quiet, &process.environment)
    }
}

pub fn run(arguments: &Arguments, console: &Console, process: &Process) -> Result<(), Failure> {
    let Arguments { template, dir, .. } = arguments;
    let name = match &arguments.name {
        Some(name) => name.clone(),
        None => name_of(dir)?,
    };
    write(*template, dir, &name)?;
    let mut ready = !template.has_packages();
    if !ready && !arguments.no_install {
        console.talk("installing packages");
        ready = install(dir, console, process);
    }
    let shown = dir.display().to_string();
    console.talk(&said(&name, &shown, ready));
    tell(console, name.as_str(), &shown, template.files())
}

/// For programs: what was made, and where.
pub(super) fn tell(console: &Console, name: &str, dir: &str, files: &[File]) -> Result<(), Failure> {
    if !console.json {
        return Ok(());
    }
    let files: Vec<_> = files.iter().map(|(path, _)| path).collect();
    let value = serde_json::json!({ "name": name, "dir": dir, "files": files });
    console.raw(value.to_string().as_bytes())
}

fn said(name: &AppName, dir: &str, ready: bool) -> String {
    let install =
        if ready { String::new() } else { format!("(cd {dir} && bun install --linker hoisted)\n  ") };
    format!("made the app {name} in {dir}\n\n  {install}buntime deploy {dir}")
}

/// The app is called as its directory.
fn name_of(dir: &Path) -> Result<AppName, Failure> {
    let io = |error: std::io::Error| Failure::io(format_args!("tell where {} is", dir.display()), &error);
    let absolute = std::path::absolute(dir).map_err(io)?;
    let name = absolute.file_name().unwrap_or_default().to_string_lossy().into_owned();
    AppName::parse(&name).map_err(|error| {
        Failure::usage(format!("`{}` cannot be an app's name: {error}", super::text::escape(&name)))
            .hint("call the directory otherwise, or the app with --name NAME")
    })
}

/// Writes a template's files.
pub fn write(template: Template, dir: &Path, name: &AppName) -> Result<(), Failure> {
    let hint = "name a directory that is not there yet";
    write_all(dir, template.files(), &[("{{name}}", name.as_str())], hint)
}

/// Writes files, with `words` replaced, into a directory that is not there or empty; else `hint` says what to do.
pub(super) fn write_all(
    dir: &Path,
    files: &[File],
    words: &[(&str, &str)],
    hint: &'static str,
) -> Result<(), Failure> {
    let io = |error: std::io::Error| Failure::io(format_args!("write to {}", dir.display()), &error);
    fs::create_dir_all(dir).map_err(io)?;
    if fs::read_dir(dir).map_err(io)?.next().is_some() {
        return Err(Failure::new(Exit::Conflict, format!("{} is not empty", dir.display())).hint(hint));
    }
    for (path, text) in files {
        let path = dir.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(io)?;
        }
        let text = words.iter().fold((*text).to_owned(), |text, (word, value)| text.replace(word, value));
        fs::write(path, text).map_err(io)?;
    }
    Ok(())
}

/// Runs `bun install` if there is bun. Returns whether the packages are there.
fn install(dir: &Path, console: &Console, process: &Process) -> bool {
    let Some((bun, _)) = bun::find(process.environment.get("PATH"), dir) else {
        console.warn("bun was not found, so the packages are not installed");
        return false;
    };
    // Packages hold no links: what is installed must be plain directories.
    let mut command = Command::new(bun);
    command.args(["install", "--linker", "hoisted"]).current_dir(dir).stdin(Stdio::null());
    command.env_remove("BUNTIME_KEY");
    match command.output() {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            let said = super::text::escape_lines(&String::from_utf8_lossy(&output.stderr));
            console.warn(&format!("`bun install` failed ({})\n{said}", output.status));
            false
        }
        Err(error) => {
            console.warn(&format!("`bun install` did not start: {error}"));
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apps::manifest::Ceilings;
    use crate::package::{Kind, Staging, check, pack};
    use std::io::Cursor;

    const CEILINGS: Ceilings = Ceilings { max_body_size: 100 << 20, cores: 1 };

    fn made(template: Template, name: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        write(template, dir.path(), &AppName::parse(name).unwrap()).unwrap();
        dir
    }

    #[test]
    fn what_a_template_makes_can_be_packed_and_is_an_app() {
        for template in Template::value_variants() {
            for name in ["my-app", "@team/shop"] {
                let dir = made(*template, name);
                let mut archive = Vec::new();
                pack(dir.path(), Kind::TarZst, &mut archive).unwrap();
                let workers = tempfile::tempdir().unwrap();
                let staging = Staging::create(workers.path()).unwrap();
                let staged = staging.receive(Cursor::new(archive), &Default::default()).unwrap();
                let checked = check(&staged, None, None, &CEILINGS).unwrap();
                assert_eq!((checked.name.as_str(), checked.version.to_string().as_str()), (name, "0.1.0"));
                assert_eq!(checked.warnings, Vec::<String>::new(), "{template:?}");
                assert!(!staged.path().join("README.md").exists(), "{template:?}: it is not for serving");
            }
        }
    }

    #[test]
    fn what_a_template_makes_is_what_bun_takes() {
        let Some(bun) = crate::testing::bun("what_a_template_makes_is_what_bun_takes") else { return };
        let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/hono/node_modules");
        for (template, entry) in [(Template::Http, "index.ts"), (Template::Hono, "src/index.ts")] {
            let dir = made(template, "my-app");
            if template.has_packages() {
                if !packages.join("hono").is_dir() {
                    crate::testing::skip(
                        "what_a_template_makes_is_what_bun_takes",
                        "no packages in examples/hono",
                    );
                    continue;
                }
                std::os::unix::fs::symlink(&packages, dir.path().join("node_modules")).unwrap();
            }
            let script = format!(
                "const app = (await import({:?})).default; const answer = await app.fetch(new Request('http://x/')); \
                 console.log(answer.status)",
                dir.path().join(entry)
            );
            let output =
                Command::new(&bun).args(["--no-install", "-e", &script]).current_dir(dir.path()).output();
            let output = output.unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), "200\n", "{template:?}: {output:?}");
        }
    }

    #[test]
    fn a_directory_with_something_in_it_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("mine"), "text").unwrap();
        let failure = write(Template::Http, dir.path(), &AppName::parse("a").unwrap()).unwrap_err();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        insta::assert_snapshot!(failure.text(str::to_owned).replace(dir.path().to_str().unwrap(), "DIR"));
    }

    #[test]
    fn the_name_of_the_directory_must_be_one_of_an_app() {
        assert_eq!(name_of(Path::new("a/my-app/")).unwrap().as_str(), "my-app");
        insta::assert_snapshot!(name_of(Path::new("My App")).unwrap_err().text(str::to_owned));
    }

    #[test]
    fn what_to_do_next_is_said() {
        let name = AppName::parse("my-app").unwrap();
        insta::assert_snapshot!([said(&name, "my-app", true), said(&name, "my-app", false)].join("\n"));
    }

    #[test]
    fn the_version_of_hono_is_pinned_as_in_the_examples() {
        let example =
            fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/hono/package.json"));
        let version = |text: &str| {
            serde_json::from_str::<serde_json::Value>(text).unwrap()["dependencies"]["hono"].clone()
        };
        assert_eq!(version(HONO[1].1), version(&example.unwrap()));
    }
}
