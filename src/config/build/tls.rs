//! The settings of TLS, of which most are of use only with others.

use super::super::layers::Found;
use super::super::settings::{self, Setting};
use super::super::{ConfigError, Environment, Listen, Row, Source, Tls};
use super::Builder;
use crate::tls::{self, PairError, PairFiles, SourceError, Sources, acme};
use buntime_plugin::host::ends_in_a_number;
use std::path::PathBuf;

const MAX_DOMAINS: usize = 100;

/// What is of use only where there are `acmeDomains`.
static OF_ACME: [&Setting; 3] = [&settings::ACME_EMAIL, &settings::ACME_DIRECTORY, &settings::ACME_CA];

impl Builder<'_> {
    /// None = no setting asks for it.
    pub fn tls(&mut self, listen: &Listen, environment: &Environment) -> Result<Option<Tls>, ConfigError> {
        let (cert, key) = (self.layers.find(&settings::TLS_CERT)?, self.layers.find(&settings::TLS_KEY)?);
        match (&cert, &key) {
            (Some(cert), None) => return Err(cert.invalid("there is no --tls-key (RUNTIME_TLS_KEY) with it")),
            (None, Some(key)) => return Err(key.invalid("there is no --tls-cert (RUNTIME_TLS_CERT) with it")),
            _ => {}
        }
        let dir = self.layers.find(&settings::TLS_DIR)?;
        let domains = self.layers.find(&settings::ACME_DOMAINS)?;
        let wanted = [&cert, &dir, &domains].into_iter().flatten().next();
        let http_port = self.http_port(listen, wanted.is_some())?;
        if let (Listen::Unix(_), Some(found)) = (listen, wanted) {
            return Err(found.invalid("TLS is for a TCP port, and HOST names a Unix socket"));
        }
        let mut sources = Sources { credentials: credentials(environment), ..Sources::default() };
        if let (Some(cert), Some(key)) = (&cert, &key) {
            sources.pair = Some(PairFiles { cert: self.path(cert)?, key: self.path(key)? });
            Sources { dir: None, ..sources.clone() }.read().map_err(|error| of_pair(error, cert, key))?;
        }
        if let Some(dir) = &dir {
            sources.dir = Some(self.path(dir)?);
            let found =
                Sources { pair: None, ..sources.clone() }.read().map_err(|error| of_dir(error, dir))?;
            if found.is_empty() && cert.is_none() && domains.is_none() {
                let place = self.path(dir)?;
                let reason = format!("there is no certificate in {}, nor anywhere else", place.display());
                return Err(unfit(dir, reason));
            }
        }
        for (setting, found) in
            [(&settings::TLS_CERT, cert), (&settings::TLS_KEY, key), (&settings::TLS_DIR, dir)]
        {
            self.path_row(setting, found)?;
        }
        let acme = self.acme(domains)?;
        Ok((!sources.is_empty() || acme.is_some()).then_some(Tls { sources, http_port, acme }))
    }

    fn http_port(&mut self, listen: &Listen, with_tls: bool) -> Result<Option<u16>, ConfigError> {
        let Some(found) = self.layers.find(&settings::HTTP_PORT)? else {
            self.rows.push(Row::new(&settings::HTTP_PORT, "none", Source::Default(String::new())));
            return Ok(None);
        };
        if !with_tls {
            return Err(found.invalid("there is no TLS to send anybody to"));
        }
        let port = self.count(&settings::HTTP_PORT, 0, usize::from(u16::MAX), 0, "")?;
        match listen {
            Listen::Tcp { port: other, .. } if usize::from(*other) == port && port != 0 => {
                Err(found.invalid("it is the port with TLS (--port)"))
            }
            _ => Ok(u16::try_from(port).ok()),
        }
    }

    fn acme(&mut self, domains: Option<Found>) -> Result<Option<acme::Settings>, ConfigError> {
        let Some(found) = domains else {
            for setting in OF_ACME {
                if let Some(found) = self.layers.find(setting)? {
                    return Err(found.invalid("there are no --acme-domains (RUNTIME_ACME_DOMAINS)"));
                }
            }
            self.rows.push(Row::new(&settings::ACME_DOMAINS, "none", Source::Default(String::new())));
            for setting in OF_ACME {
                self.rows.push(Row::new(setting, setting.default, Source::Default(String::new())));
            }
            return Ok(None);
        };
        let mut domains: Vec<String> = Vec::new();
        for item in found.items(',') {
            let domain = domain_from(item.trim()).map_err(|reason| found.invalid(reason))?;
            if !domains.contains(&domain) {
                domains.push(domain);
            }
        }
        if domains.len() > MAX_DOMAINS {
            return Err(found.invalid("there are too many"));
        }
        self.rows.push(Row::new(&settings::ACME_DOMAINS, domains.join(","), found.source));
        let default = settings::ACME_DIRECTORY.default;
        let none = || settings::ACME_EMAIL.default.to_owned();
        let show_email = |email: &Option<String>| email.clone().unwrap_or_else(none);
        let email = self.value(&settings::ACME_EMAIL, "", email_from, || None, show_email)?;
        let directory =
            self.value(&settings::ACME_DIRECTORY, "", directory_from, || default.to_owned(), String::clone)?;
        let ca = self.layers.find(&settings::ACME_CA)?;
        let file = ca.as_ref().map(|found| self.path(found)).transpose()?;
        if let (Some(found), Some(file)) = (&ca, &file) {
            tls::roots(file).map_err(|error| found.invalid(error))?;
        }
        self.path_row(&settings::ACME_CA, ca)?;
        Ok(Some(acme::Settings { domains, email, directory, ca: file }))
    }

    fn path_row(&mut self, setting: &'static Setting, found: Option<Found>) -> Result<(), ConfigError> {
        self.rows.push(match found {
            Some(found) => Row::new(setting, self.path(&found)?.display(), found.source),
            None => Row::new(setting, setting.default, Source::Default(String::new())),
        });
        Ok(())
    }
}

fn credentials(environment: &Environment) -> Option<PathBuf> {
    environment.get("CREDENTIALS_DIRECTORY").filter(|dir| !dir.is_empty()).map(PathBuf::from)
}

/// Names the setting that the error is about.
fn of_pair(error: SourceError, cert: &Found, key: &Found) -> ConfigError {
    match &error {
        SourceError::Pair(PairError::Open { .. }) => open(error, key),
        SourceError::Pair(PairError::Key { .. } | PairError::Mismatch { .. }) => unfit(key, error),
        SourceError::Pair(
            PairError::Read { file, .. } | PairError::NoFile { file } | PairError::Pem { file, .. },
        ) if key.text().is_ok_and(|text| file.ends_with(text)) => unfit(key, error),
        _ => unfit(cert, error),
    }
}

fn of_dir(error: SourceError, dir: &Found) -> ConfigError {
    match &error {
        SourceError::Pair(PairError::Open { .. }) => open(error, dir),
        _ => unfit(dir, error),
    }
}

fn open(error: SourceError, found: &Found) -> ConfigError {
    match error {
        SourceError::Pair(PairError::Open { file, mode }) => {
            ConfigError::KeyOpen { place: format!("{}={}", found.source, file.display()), path: file, mode }
        }
        error => unfit(found, error),
    }
}

fn unfit(found: &Found, reason: impl std::fmt::Display) -> ConfigError {
    ConfigError::Pair { place: found.source.to_string(), reason: reason.to_string() }
}

/// RFC 1123 §2.1. What an authority signs without a proof by DNS.
fn domain_from(text: &str) -> Result<String, String> {
    let name = text.to_ascii_lowercase();
    if name.starts_with("*.") {
        return Err(format!(
            "`{text}` is a wildcard, which takes a proof by DNS that is not in this version"
        ));
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let fits = name.len() <= 253 && name.split('.').all(label) && !ends_in_a_number(name.as_bytes());
    if fits { Ok(name) } else { Err(format!("`{text}` is no host name")) }
}

fn email_from(found: &Found) -> Result<Option<String>, &'static str> {
    let text = found.shown();
    // It becomes a mailto URL: these would end the address there (RFC 6068).
    let plain = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_graphic() && !b"@,?%&#".contains(&b))
    };
    match text.split_once('@') {
        Some((user, host)) if plain(user) && plain(host) => Ok(Some(text)),
        _ => Err("it is no such address"),
    }
}

fn directory_from(found: &Found) -> Result<String, &'static str> {
    let text = found.shown();
    let uri: http::Uri = text.parse().map_err(|_| "it is no URL")?;
    let https = uri.scheme_str() == Some("https") && uri.authority().is_some();
    if https { Ok(text) } else { Err("it does not begin with https://") }
}
