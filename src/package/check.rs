//! Reads a staged package as the app that it is to be.

use super::staging::Staged;
use super::{Code, PackageError};
use crate::apps::inspect::{self, Fault};
use crate::apps::manifest::Ceilings;
use crate::model::version::VersionError;
use crate::model::{AppName, AppVersion};

/// What a package turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    pub name: AppName,
    pub version: AppVersion,
    /// What its owner should know, one line each.
    pub warnings: Vec<String>,
}

/// Reads a staged package as an app. `name` and `version` are what the caller wants it to be; else the manifest
/// decides, else `package.json`.
///
/// # Errors
/// A name or a version that is missing or wrong, a manifest that is wrong, no entrypoint or an unfit one, or another
/// file that an app is read from. Paths in the messages are relative to the app.
pub fn check(
    staged: &Staged,
    name: Option<&str>,
    version: Option<&str>,
    ceilings: &Ceilings,
) -> Result<Checked, PackageError> {
    let refuse = |fault| explain(fault, &staged.path().display().to_string());
    let stated = inspect::stated(&staged.path(), ceilings).map_err(refuse)?;
    let mut warnings = Vec::new();
    let texts = |wanted: Option<&str>, manifest: &Option<String>, package: &Option<String>| {
        wanted.map(str::to_owned).or_else(|| manifest.clone()).or_else(|| package.clone())
    };
    let text = texts(name, &stated.manifest_name, &stated.package_name).ok_or_else(|| {
        PackageError::new(Code::NameMissing, "the package does not say what the app is called")
            .hint("give a name, or put `name` in manifest.yaml or package.json")
    })?;
    let name = AppName::parse(&text).map_err(|error| {
        PackageError::new(Code::NameInvalid, format!("`{}` is no app name: {error}", shown(&text)))
            .hint("give another name, or change `name` in manifest.yaml or package.json")
    })?;
    let text = texts(version, &stated.manifest_version, &stated.package_version).ok_or_else(|| {
        PackageError::new(Code::VersionMissing, "the package does not say which version it is")
            .hint("give a version, or put `version` in manifest.yaml or package.json")
    })?;
    let version = AppVersion::parse(&text).map_err(|error: VersionError| {
        PackageError::new(Code::VersionInvalid, format!("`{}`: {error}", shown(&text)))
            .hint("a version is three numbers, as in 1.2.0 or 2.0.0-rc.1, or the word latest")
    })?;
    if let Some(other) = stated.manifest_name.filter(|other| other != name.as_str()) {
        warnings.push(format!("the manifest says name `{}`; it is installed as {name}", shown(&other)));
    }
    if let Some(other) =
        stated.manifest_version.filter(|other| AppVersion::parse(other).as_ref() != Ok(&version))
    {
        warnings.push(format!("the manifest says version `{}`; it is installed as {version}", shown(&other)));
    }
    warnings.extend(inspect::inspect(&staged.path(), &version, ceilings).map_err(refuse)?);
    let root = format!("{}/", staged.path().display());
    let warnings = warnings.into_iter().map(|warning| warning.replace(&root, "")).collect();
    Ok(Checked { name, version, warnings })
}

/// A fault in words that name no directory of ours.
fn explain(fault: Fault, root: &str) -> PackageError {
    let (code, hint) = match &fault {
        Fault::Manifest(_) => (Code::ManifestInvalid, "the app cannot be started until this is right"),
        Fault::NoEntrypoint => (
            Code::EntrypointMissing,
            "name one in the manifest (`entrypoint`) or in package.json (`module`, `main`), or add index.ts or index.html",
        ),
        Fault::Entrypoint(_) => {
            (Code::EntrypointInvalid, "`entrypoint` in the manifest names a file of the package")
        }
        Fault::Other(_) => (Code::AppInvalid, "the app cannot be started until this is right"),
    };
    PackageError::new(code, fault.to_string().replace(&format!("{root}/"), "").replace(root, ".")).hint(hint)
}

fn shown(text: &str) -> String {
    super::names::show(text.as_bytes())
}
