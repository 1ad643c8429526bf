//! `APP` and `APP@VERSION` on the command line.

use crate::model::{AppName, AppVersion};
use std::fmt;
use std::str::FromStr;

/// An app, or one version of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub app: AppName,
    pub version: Option<AppVersion>,
}

/// One version of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exact {
    pub app: AppName,
    pub version: AppVersion,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        // The `@` of a scope stands first.
        let at = text.rfind('@').filter(|&at| at > 0);
        let (app, version) = at.map_or((text, None), |at| (&text[..at], Some(&text[at + 1..])));
        let app = AppName::parse(app).map_err(|error| error.to_string())?;
        let version = version.map(AppVersion::parse).transpose().map_err(|error| error.to_string())?;
        Ok(Target { app, version })
    }
}

impl FromStr for Exact {
    type Err = String;

    fn from_str(text: &str) -> Result<Exact, String> {
        let Target { app, version } = text.parse()?;
        let version = version.ok_or_else(|| format!("it needs a version, as in {app}@1.2.0"))?;
        Ok(Exact { app, version })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(version) => write!(f, "{}@{version}", self.app),
            None => write!(f, "{}", self.app),
        }
    }
}

impl fmt::Display for Exact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.app, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_is_told_from_its_version_also_with_a_scope() {
        for (text, app, version) in [
            ("shop", "shop", None),
            ("shop@1.2.0", "shop", Some("1.2.0")),
            ("shop@latest", "shop", Some("latest")),
            ("@team/shop", "@team/shop", None),
            ("@team/shop@2.0.0-rc.1", "@team/shop", Some("2.0.0-rc.1")),
        ] {
            let target: Target = text.parse().unwrap();
            let found = (target.app.as_str(), target.version.as_ref().map(AppVersion::to_string));
            assert_eq!(found, (app, version.map(str::to_owned)), "{text}");
            assert_eq!(target.to_string(), text);
        }
        for text in ["", "@", "Shop", "shop@", "shop@^1", "@team@1.0.0", "a/b", "shop@1.0.0@2.0.0"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
        assert_eq!("shop".parse::<Exact>().unwrap_err(), "it needs a version, as in shop@1.2.0");
    }
}
