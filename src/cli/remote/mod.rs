//! Which runtime a command speaks to: flags, else variables, else a saved context, else the admin socket.

mod address;
mod args;
mod contexts;
mod key;
mod sockets;

pub use address::Address;
pub use args::{Common, Output, Remote};
pub use contexts::{Context, Contexts, LOCAL, check_name, path as contexts_path};
pub use key::Key;

use super::client::{Client, Transport};
use super::failure::{Exit, Failure};
use crate::config::Environment;
use std::path::{Path, PathBuf};

/// Where a runtime is to be found. Nothing was connected to yet.
#[derive(Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// The first of these sockets that somebody listens on.
    Sockets(Vec<PathBuf>),
    Web {
        address: Address,
        key: Option<Key>,
    },
}

/// What was found, and what the person should know about it.
#[derive(Debug, PartialEq, Eq)]
pub struct Resolved {
    pub endpoint: Endpoint,
    /// In front of `/api` on the network: empty, or `/_ops`.
    pub prefix: String,
    pub warnings: Vec<String>,
}

/// What an endpoint is found from.
#[derive(Debug)]
pub struct Surroundings<'a> {
    pub environment: &'a Environment,
    /// Absolute.
    pub working_dir: &'a Path,
}

impl Surroundings<'_> {
    /// A variable that is set, not empty, and text.
    fn variable(&self, name: &str) -> Result<Option<String>, Failure> {
        match self.environment.get(name).filter(|value| !value.is_empty()) {
            None => Ok(None),
            Some(value) => match value.to_str() {
                Some(text) => Ok(Some(text.to_owned())),
                None => Err(Failure::usage(format!("{name} is not UTF-8"))),
            },
        }
    }
}

/// Finds the endpoint. Reads the file of contexts and that of a key.
///
/// # Errors
/// `Exit::Usage`: what was said contradicts itself or is not valid. `Exit::Missing`: there is no such context.
pub fn resolve(remote: &Remote, around: &Surroundings<'_>) -> Result<Resolved, Failure> {
    let mut search = Search::begin(remote, around)?;
    // Flags: clap lets only one of these be there.
    if let Some(url) = &remote.url {
        return search.web(url, remote.insecure_http);
    }
    if let Some(path) = &remote.admin_socket {
        return search.sockets(vec![around.working_dir.join(path)]);
    }
    if let Some(dir) = &remote.state_dir {
        return search.sockets(vec![around.working_dir.join(dir).join(sockets::NAME)]);
    }
    match remote.context.as_deref() {
        Some(LOCAL) => {}
        Some(name) => return search.context(name, &Contexts::read(&contexts::path(around.environment)?)?),
        None => {
            if let Some(url) = around.variable("BUNTIME_URL")? {
                return search.web(&url, remote.insecure_http);
            }
            if let Some(path) = around.variable("RUNTIME_ADMIN_SOCKET")? {
                return search.sockets(vec![around.working_dir.join(path)]);
            }
            // Who has no home has no contexts.
            let contexts =
                contexts::path(around.environment).ok().map(|path| Contexts::read(&path)).transpose()?;
            if let Some((name, contexts)) = contexts.and_then(|all| Some((all.current.clone()?, all))) {
                return search.context(&name, &contexts);
            }
        }
    }
    search.sockets(sockets::candidates(around))
}

/// What is known while an endpoint is looked for.
struct Search<'a> {
    remote: &'a Remote,
    around: &'a Surroundings<'a>,
    /// By a flag.
    key: Option<Key>,
    prefix: Option<String>,
    warnings: Vec<String>,
}

impl<'a> Search<'a> {
    fn begin(remote: &'a Remote, around: &'a Surroundings<'a>) -> Result<Search<'a>, Failure> {
        let mut warnings = Vec::new();
        let key = remote.given_key(&mut warnings)?;
        let prefix = match &remote.api_prefix {
            Some(prefix) => Some(prefix.clone()),
            None => around.variable("RUNTIME_API_PREFIX")?,
        };
        let prefix = prefix.map(|prefix| address::prefix(&prefix)).transpose().map_err(Failure::usage)?;
        Ok(Search { remote, around, key, prefix, warnings })
    }

    fn sockets(self, paths: Vec<PathBuf>) -> Result<Resolved, Failure> {
        if self.key.is_some() {
            return Err(Failure::usage("a key is given, and no address to send it to")
                .hint("name the runtime with --url, or leave the key out: the admin socket needs none"));
        }
        Ok(Resolved { endpoint: Endpoint::Sockets(paths), prefix: String::new(), warnings: self.warnings })
    }

    fn context(&mut self, name: &str, contexts: &Contexts) -> Result<Resolved, Failure> {
        let Some(context) = contexts.contexts.get(name) else {
            let known = contexts.contexts.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let hint =
                if known.is_empty() { "there are none".to_owned() } else { format!("there are {known}") };
            let message = format!("there is no context `{}`", super::text::escape(name));
            return Err(Failure::new(Exit::Missing, message)
                .hint(format!("{hint}; `buntime context add NAME --url URL` makes one")));
        };
        self.warnings.extend(contexts.warning.clone());
        self.key = self.key.take().or_else(|| context.key.clone());
        self.prefix = self.prefix.take().or_else(|| context.api_prefix.clone());
        self.web(&context.url, self.remote.insecure_http || context.insecure_http)
    }

    /// `open`: a key may go where others can read it.
    fn web(&mut self, url: &str, open: bool) -> Result<Resolved, Failure> {
        let address = Address::parse(url).map_err(|error| {
            Failure::usage(error.to_string())
                .hint("an address is like https://apps.example.com or http://127.0.0.1:8000")
        })?;
        let key = match self.key.take() {
            Some(key) => Some(key),
            None => Key::of_environment(self.around)?,
        };
        if key.is_some() && !open && !address.is_private() {
            return Err(Failure::usage(format!(
                "the key would go to {address}, and others could read it on the way"
            ))
            .hint("use https, or --insecure-http if the way there is private"));
        }
        let (prefix, warnings) = (self.prefix.take().unwrap_or_default(), std::mem::take(&mut self.warnings));
        Ok(Resolved { endpoint: Endpoint::Web { address, key }, prefix, warnings })
    }
}

impl Resolved {
    /// A client for it. Of sockets, the first that somebody listens on.
    ///
    /// # Errors
    /// Nobody listens on any of them; or there are no certificates to know an https server by.
    pub fn connect(self) -> Result<Client, Failure> {
        match self.endpoint {
            Endpoint::Sockets(paths) => Ok(Client::new(Transport::socket(&sockets::first(&paths)?, "/api"))),
            Endpoint::Web { address, key } => {
                let (base, key) = (format!("{}/api", self.prefix), key.map(|key| key.header()));
                let transport = Transport::web(&address.to_string(), &base, key)
                    .map_err(|error| Failure::new(Exit::Failure, error.to_string()))?;
                Ok(Client::new(transport))
            }
        }
    }
}

#[cfg(test)]
mod tests;
