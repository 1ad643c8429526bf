//! Packages that are, or are not, an app.

use super::World;
use super::build::tgz;
use crate::apps::manifest::Ceilings;
use crate::package::{Checked, Code, PackageError, check};

const CEILINGS: Ceilings = Ceilings { max_body_size: 100 << 20, cores: 4 };

fn checked(
    files: &[(&str, &str)],
    name: Option<&str>,
    version: Option<&str>,
) -> Result<Checked, PackageError> {
    let world = World::new();
    let staged = world.receive(&tgz(files)).unwrap();
    check(&staged, name, version, &CEILINGS)
}

#[track_caller]
fn refused(files: &[(&str, &str)], name: Option<&str>, version: Option<&str>, code: Code) -> PackageError {
    let error = checked(files, name, version).unwrap_err();
    assert_eq!(error.code, code, "{error}");
    assert!(error.hint.is_some(), "{error}");
    assert!(!error.message.contains("staging"), "{error}");
    error
}

fn id(checked: Result<Checked, PackageError>) -> String {
    let checked = checked.unwrap();
    format!("{}@{}", checked.name, checked.version)
}

#[test]
fn the_caller_goes_before_the_manifest_before_the_package() {
    let index = ("index.ts", "");
    let package = ("package.json", r#"{"name":"@team/p","version":"1.0.0"}"#);
    let manifest = ("manifest.yaml", "name: m\nversion: 2.0.0");
    assert_eq!(id(checked(&[index, package], None, None)), "@team/p@1.0.0");
    assert_eq!(id(checked(&[index, package, manifest], None, None)), "m@2.0.0");
    assert_eq!(id(checked(&[index, package, manifest], Some("c"), Some("v3.0.0-rc.1"))), "c@3.0.0-rc.1");
    assert_eq!(id(checked(&[index], Some("c"), Some("latest"))), "c@latest");
    let partly = [index, ("manifest.yaml", "name: m"), ("package.json", r#"{"version":"1.0.0"}"#)];
    assert_eq!(id(checked(&partly, None, None)), "m@1.0.0");
}

#[test]
fn what_is_stated_and_not_followed_is_a_warning() {
    let files = [
        ("index.ts", ""),
        ("package.json", r#"{"name":"p","version":"1.0.0"}"#),
        ("manifest.yaml", "name: m\nversion: 2.0.0"),
    ];
    let warnings = checked(&files, Some("c"), Some("3.0.0")).unwrap().warnings;
    assert_eq!(
        warnings,
        [
            "the manifest says name `m`; it is installed as c",
            "the manifest says version `2.0.0`; it is installed as 3.0.0",
            "package.json says version \"1.0.0\"; the directory decides: 3.0.0",
        ]
    );
    let off = [("manifest.yaml", "enabled: false"), ("index.ts", "")];
    assert!(checked(&off, Some("c"), Some("1.0.0")).unwrap().warnings[0].contains("enabled: false"));
}

#[test]
fn a_name_or_version_that_is_missing_or_wrong_is_refused() {
    let index = ("index.ts", "");
    refused(&[index], None, Some("1.0.0"), Code::NameMissing);
    refused(&[index], Some("a"), None, Code::VersionMissing);
    for name in ["Shop", "a b", "../x", "", "@team", ".hidden", "node_modules"] {
        refused(&[index], Some(name), Some("1.0.0"), Code::NameInvalid);
    }
    for version in ["1", "beta", "", "1.0.0/..", "../1.0.0"] {
        refused(&[index], Some("a"), Some(version), Code::VersionInvalid);
    }
    let package = ("package.json", r#"{"name":"../../x","version":"1.0.0"}"#);
    refused(&[index, package], None, None, Code::NameInvalid);
}

#[test]
fn a_manifest_that_is_wrong_is_refused_with_its_place() {
    let files = [("index.ts", ""), ("manifest.yaml", "enabled: true\nttll: 5m")];
    let error = refused(&files, Some("a"), Some("1.0.0"), Code::ManifestInvalid);
    assert!(error.message.starts_with("manifest.yaml:2:1: unknown key `ttll`"), "{error}");
    let two = [("index.ts", ""), ("manifest.yaml", ""), ("manifest.yml", "")];
    refused(&two, Some("a"), Some("1.0.0"), Code::ManifestInvalid);
}

#[test]
fn a_package_without_something_to_start_is_refused() {
    let name = (Some("a"), Some("1.0.0"));
    refused(&[("readme.md", "")], name.0, name.1, Code::EntrypointMissing);
    let gone = [("index.ts", ""), ("manifest.yaml", "entrypoint: gone.ts")];
    refused(&gone, name.0, name.1, Code::EntrypointInvalid);
    let unfit = [("a.json", ""), ("manifest.yaml", "entrypoint: a.json")];
    refused(&unfit, name.0, name.1, Code::EntrypointInvalid);
    assert_eq!(id(checked(&[("index.html", ""), ("a.css", "")], name.0, name.1)), "a@1.0.0");
}
