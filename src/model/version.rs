//! Versions of apps and what a request may say to mean one.
// STUB: to be filled in

/// The version a directory stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AppVersion {
    Semver(semver::Version),
    /// A directory without a version: `shop/`, `shop@latest/`, `shop/latest/`.
    Latest,
}

impl std::fmt::Display for AppVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AppVersion::Semver(v) => v.fmt(f),
            AppVersion::Latest => f.write_str("latest"),
        }
    }
}

/// What stands behind the `@` in a request: `1`, `^1.2`, `1.4.2`, `latest`, `beta`.
#[derive(Clone, Debug, PartialEq)]
pub enum VersionSpec {
    Default,
    Exact(semver::Version),
    Range(semver::VersionReq),
    Tag(String),
}
