//! What of an app is started or served: a server module, or a directory of files.

use super::Kind;
use super::disk::{Disk, Listing};
use std::path::{Path, PathBuf};

const STEMS: [&str; 3] = ["index", "src/index", "server"];
const EXTENSIONS: [&str; 4] = ["ts", "tsx", "js", "mjs"];
/// What an entrypoint that is named may end in.
const MODULES: [&str; 8] = ["ts", "tsx", "js", "mjs", "jsx", "cjs", "mts", "cts"];
const PAGES: [&str; 2] = ["html", "htm"];

/// Why an entrypoint cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntrypointError {
    #[error("the entrypoint `{0}` does not exist")]
    Missing(String),
    #[error("the entrypoint `{0}` leaves the app's directory")]
    Outside(String),
    #[error(
        "the entrypoint `{0}` is neither a module (ts, tsx, js, mjs, jsx, cjs, mts, cts) nor a page (html, htm)"
    )]
    Unfit(String),
}

/// What an app directory offers besides its files.
pub(super) struct Hints<'a> {
    pub has_manifest: bool,
    /// The manifest's `entrypoint`.
    pub manifest: Option<&'a str>,
    pub package: Option<&'a Package>,
}

/// Of `package.json`, what matters here.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Package {
    pub name: Option<String>,
    pub version: Option<String>,
    /// `module`, then `main`.
    pub entrypoints: Vec<String>,
}

impl Package {
    pub fn parse(bytes: &[u8]) -> Result<Package, serde_json::Error> {
        let json: serde_json::Value = serde_json::from_slice(bytes)?;
        let text = |key: &str| json.get(key).and_then(|value| value.as_str()).map(String::from);
        let entrypoints = ["module", "main"].into_iter().filter_map(text).collect();
        Ok(Package { name: text("name"), version: text("version"), entrypoints })
    }
}

/// Finds the entrypoint of the app in `dir` (absolute, links resolved); none = there is nothing to serve.
pub(super) fn find(
    disk: &Disk,
    dir: &Path,
    listing: &Listing,
    hints: &Hints,
) -> Result<Option<Kind>, EntrypointError> {
    if let Some(path) = hints.manifest {
        return named(disk, dir, path).map(Some);
    }
    for path in hints.package.iter().flat_map(|package| &package.entrypoints) {
        // A `main` that is no server (a style sheet, a path outside) is not meant for us.
        if let Ok(kind) = named(disk, dir, path) {
            return Ok(Some(kind));
        }
    }
    let page = listing.may_have("index.html") && disk.is_file(&dir.join("index.html"));
    for stem in STEMS {
        for extension in EXTENSIONS {
            let path = format!("{stem}.{extension}");
            let first = path.split('/').next().unwrap_or(&path);
            if !listing.may_have(first) || !disk.is_file(&dir.join(&path)) {
                continue;
            }
            // The script of a page, not a server.
            if path == "index.js" && page && !hints.has_manifest && hints.package.is_none() {
                return named(disk, dir, "index.html").map(Some);
            }
            return named(disk, dir, &path).map(Some);
        }
    }
    if page { named(disk, dir, "index.html").map(Some) } else { Ok(None) }
}

/// The kind of app that starts at `path`, which must be a file inside `dir`, also when links are followed.
fn named(disk: &Disk, dir: &Path, path: &str) -> Result<Kind, EntrypointError> {
    let wanted = dir.join(path);
    let file = disk.canonical(&wanted).map_err(|_| EntrypointError::Missing(path.into()))?;
    if !file.starts_with(dir) {
        return Err(EntrypointError::Outside(path.into()));
    }
    if !disk.is_file(&file) {
        return Err(EntrypointError::Missing(path.into()));
    }
    let extension = file.extension().and_then(|e| e.to_str()).unwrap_or_default();
    if MODULES.contains(&extension) {
        return Ok(Kind::Worker { entrypoint: file });
    }
    match (file.parent(), file.file_name().and_then(|name| name.to_str())) {
        (Some(root), Some(index)) if PAGES.contains(&extension) => {
            Ok(Kind::Static { root: PathBuf::from(root), index: index.into() })
        }
        _ => Err(EntrypointError::Unfit(path.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// An app directory with these files; a name with `->` is a link.
    fn app(files: &[&str]) -> (tempfile::TempDir, PathBuf) {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().canonicalize().unwrap().join("app");
        fs::create_dir(&dir).unwrap();
        fs::write(temp.path().join("outside.ts"), "").unwrap();
        for file in files {
            let (name, target) = file.split_once("->").map_or((*file, None), |(n, t)| (n, Some(t)));
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match target {
                Some(target) => std::os::unix::fs::symlink(target, path).unwrap(),
                None => fs::write(path, "").unwrap(),
            }
        }
        (temp, dir)
    }

    fn found(
        dir: &Path,
        manifest: Option<&str>,
        package: Option<Package>,
    ) -> Result<Option<String>, EntrypointError> {
        let disk = Disk::default();
        let listing = disk.list(dir, 100).unwrap();
        let hints = Hints { has_manifest: manifest.is_some(), manifest, package: package.as_ref() };
        let relative = |path: &Path| path.strip_prefix(dir).unwrap().display().to_string();
        Ok(find(&disk, dir, &listing, &hints)?.map(|kind| match kind {
            Kind::Worker { entrypoint } => relative(&entrypoint),
            Kind::Static { root, index } => format!("static {}:{index}", relative(&root)),
            Kind::Broken { error } => error,
        }))
    }

    fn package(entrypoints: &[&str]) -> Option<Package> {
        Some(Package { entrypoints: entrypoints.iter().map(|&e| e.into()).collect(), ..Package::default() })
    }

    #[test]
    fn the_manifest_goes_before_the_package_before_the_usual_names() {
        let (_temp, dir) = app(&["a.ts", "b.ts", "index.ts", "server.ts"]);
        assert_eq!(found(&dir, Some("a.ts"), package(&["b.ts"])), Ok(Some("a.ts".into())));
        assert_eq!(found(&dir, None, package(&["b.ts"])), Ok(Some("b.ts".into())));
        assert_eq!(found(&dir, None, package(&["gone.ts", "b.ts"])), Ok(Some("b.ts".into())));
        assert_eq!(found(&dir, None, package(&["gone.ts"])), Ok(Some("index.ts".into())));
    }

    #[test]
    fn the_usual_names_have_an_order() {
        let all =
            ["index.ts", "index.tsx", "index.js", "index.mjs", "src/index.ts", "src/index.mjs", "server.ts"];
        for first in 0..all.len() {
            let (_temp, dir) = app(&all[first..]);
            assert_eq!(found(&dir, None, None), Ok(Some(all[first].into())));
        }
    }

    #[test]
    fn a_page_alone_or_beside_a_bare_script_is_a_static_site() {
        let site = Ok(Some("static :index.html".into()));
        assert_eq!(found(&app(&["index.html"]).1, None, None).map(|_| ()), Ok(()));
        let (_temp, dir) = app(&["index.html", "index.js"]);
        assert_eq!(found(&dir, None, None), site);
        assert_eq!(found(&dir, None, package(&[])), Ok(Some("index.js".into())));
        let (_temp, dir) = app(&["index.html", "index.ts"]);
        assert_eq!(found(&dir, None, None), Ok(Some("index.ts".into())));
        let (_temp, dir) = app(&["dist/home.html"]);
        assert_eq!(found(&dir, Some("dist/home.html"), None), Ok(Some("static dist:home.html".into())));
    }

    #[test]
    fn a_directory_without_any_of_these_has_no_entrypoint() {
        let (_temp, dir) = app(&["readme.md", "index.css", "lib/index.ts", "index.jsx"]);
        assert_eq!(found(&dir, None, None), Ok(None));
    }

    #[test]
    fn a_named_entrypoint_must_exist_inside_the_app_and_be_fit() {
        let (_temp, dir) = app(&["data.json", "link.ts->../outside.ts", "in.ts->a/b.ts", "a/b.ts", "up->.."]);
        assert_eq!(found(&dir, Some("gone.ts"), None), Err(EntrypointError::Missing("gone.ts".into())));
        assert_eq!(found(&dir, Some("a"), None), Err(EntrypointError::Missing("a".into())));
        assert_eq!(found(&dir, Some("link.ts"), None), Err(EntrypointError::Outside("link.ts".into())));
        assert_eq!(
            found(&dir, Some("up/outside.ts"), None),
            Err(EntrypointError::Outside("up/outside.ts".into()))
        );
        assert_eq!(found(&dir, Some("data.json"), None), Err(EntrypointError::Unfit("data.json".into())));
        assert_eq!(found(&dir, Some("in.ts"), None), Ok(Some("a/b.ts".into())));
        assert_eq!(found(&dir, None, package(&["../outside.ts", "data.json"])), Ok(None));
    }

    #[test]
    fn a_package_gives_module_before_main() {
        let parsed = Package::parse(br#"{"main":"a.js","module":"b.js","version":"1.0.0"}"#).unwrap();
        assert_eq!(parsed.entrypoints, ["b.js", "a.js"]);
        assert_eq!(Package::parse(br#"{"main":1}"#).unwrap(), Package::default());
        assert_eq!(Package::parse(b"[]").unwrap(), Package::default());
        assert!(Package::parse(b"{").is_err());
    }
}
