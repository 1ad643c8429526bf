//! `buntime plugins new NAME`: the beginning of a plugin in TypeScript.

use crate::cli::console::Console;
use crate::cli::failure::Failure;
use crate::cli::new::{File, tell, write_all};
use crate::cli::process::Process;
use crate::cli::remote::Output;
use crate::plugin::manifest::PluginName;
use clap::Args;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct Arguments {
    /// What the plugin is called, as in hello or @team/hello
    #[arg(value_name = "NAME")]
    name: PluginName,
    /// The directory to make; it must not be there, or be empty. Else it is called as the plugin
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// Paths and texts, in which `{{name}}` and `{{base}}` stand for the plugin's.
const FILES: [File; 6] = [
    ("manifest.yaml", include_str!("../templates/plugin/manifest.yaml")),
    ("plugin.ts", include_str!("../templates/plugin/plugin.ts")),
    ("buntime.d.ts", include_str!("../../../worker-shim/types/plugin.d.ts")),
    ("tsconfig.json", include_str!("../templates/plugin/tsconfig.json")),
    ("README.md", include_str!("../templates/plugin/README.md")),
    // Without the dot it would rule in this repository too.
    (".buntimeignore", include_str!("../templates/plugin/buntimeignore")),
];

impl Arguments {
    pub fn console(&self, process: &Process) -> Console {
        Console::new(self.output.json, self.output.quiet, &process.environment)
    }
}

pub fn run(arguments: &Arguments, console: &Console) -> Result<(), Failure> {
    let name = &arguments.name;
    let dir = arguments.dir.clone().unwrap_or_else(|| PathBuf::from(last(name)));
    write(&dir, name)?;
    let shown = dir.display().to_string();
    console.talk(&said(name, &shown));
    tell(console, name.as_str(), &shown, &FILES)
}

fn said(name: &PluginName, dir: &str) -> String {
    format!("made the plugin {name} in {dir}\n\n  buntime plugins install {dir}")
}

/// Without the scope.
fn last(name: &PluginName) -> &str {
    name.as_str().rsplit('/').next().unwrap_or_default()
}

fn write(dir: &Path, name: &PluginName) -> Result<(), Failure> {
    // A base has letters, digits, `-` and `_`; a name may have more.
    let base = last(name).replace(['.', '~'], "-");
    let words = [("{{name}}", name.as_str()), ("{{base}}", &base)];
    write_all(dir, &FILES, &words, "name a directory that is not there yet with --dir DIR")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apps::manifest::Ceilings;
    use crate::plugin::manifest::{Layer, Rules, parse};
    use std::fs;
    use std::process::Command;

    fn made(name: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &name.parse().unwrap()).unwrap();
        dir
    }

    #[test]
    fn what_is_made_is_a_plugin_of_that_name() {
        for (name, base) in [("hello", "/hello"), ("@team/hello.2", "/hello-2")] {
            let dir = made(name);
            let text = fs::read_to_string(dir.path().join("manifest.yaml")).unwrap();
            let ceilings = Ceilings { max_body_size: 100 << 20, cores: 1 };
            let rules = Rules { reserved: &[], ceilings, environment: &|_| None };
            let manifest = parse(Layer { file: "manifest.yaml", text: &text }, None, &rules).unwrap();
            assert_eq!((manifest.name.as_str(), manifest.base.unwrap().as_str()), (name, base));
            assert_eq!(manifest.settings.unwrap().value()["greeting"], "hello");
            assert!(dir.path().join(manifest.plugin_entry).is_file());
        }
    }

    #[test]
    fn the_compiler_finds_nothing_wrong_with_it() {
        let compiler = Path::new(env!("CARGO_MANIFEST_DIR")).join("worker-shim/node_modules/.bin/tsc");
        if !compiler.exists() {
            return crate::testing::skip(
                "the_compiler_finds_nothing_wrong_with_it",
                "no packages in worker-shim",
            );
        }
        let dir = made("@team/hello");
        let check = || Command::new(&compiler).arg("--project").arg(dir.path()).output().unwrap();
        let output = check();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        // That it looks at all.
        let file = dir.path().join("plugin.ts");
        let wrong = fs::read_to_string(&file).unwrap().replace("onInit(", "onInitt(");
        fs::write(file, wrong).unwrap();
        let output = check();
        assert!(String::from_utf8_lossy(&output.stdout).contains("onInitt"), "{output:?}");
    }

    #[test]
    fn a_directory_with_something_in_it_is_refused_and_left_alone() {
        let dir = made("hello");
        let failure = write(dir.path(), &"other".parse().unwrap()).unwrap_err();
        assert_eq!(failure.exit as u8, 6);
        assert!(fs::read_to_string(dir.path().join("manifest.yaml")).unwrap().contains("hello"));
    }

    #[test]
    fn what_to_do_next_is_said() {
        assert_eq!(
            said(&"@team/hello".parse().unwrap(), "hello"),
            "made the plugin @team/hello in hello\n\n  buntime plugins install hello"
        );
    }
}
