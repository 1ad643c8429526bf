//! The rules: turns the text of each setting into its value.

mod dirs;
mod tls;
mod values;

use super::file::Value;
use super::layers::{Found, Layers};
use super::settings::{self, SECRETS, SETTINGS, Setting};
use super::{
    CidrError, CidrList, Config, ConfigError, Dev, Env, Environment, Inputs, Listen, Loaded, Log, LogFormat,
    LogLevel, Row, Secrets, Source, Stderr, bun, root_key,
};
use crate::access::RootKey;
use crate::model::AppName;
use buntime_plugin::settings::nearest;
use std::fmt::Display;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use values::{duration_from, env_from, format_from, host_from, level_from, size_from};

/// Where the management API is while one app has the whole site.
const SOLE_API_PREFIX: &str = "/_buntime";
/// sun_path of unix(7) holds 108 bytes, the closing NUL among them.
pub const MAX_SOCKET_PATH: usize = 107;

/// Collects the values, the rows for `buntime config`, and the warnings.
struct Builder<'a> {
    layers: Layers<'a>,
    working_dir: &'a Path,
    rows: Vec<Row>,
    warnings: Vec<String>,
}

pub fn build(mut inputs: Inputs<'_>) -> Result<Loaded, ConfigError> {
    for name in SECRETS {
        inputs.environment.remove(name);
    }
    let environment = &inputs.environment;
    let (layers, named_file) = Layers::read(inputs.flags, environment, inputs.working_dir)?;
    let mut b = Builder { layers, working_dir: inputs.working_dir, rows: Vec::new(), warnings: Vec::new() };

    let env = b.env()?;
    let listen = b.listen(env)?;
    let tls = b.tls(&listen, environment)?;
    let worker_dirs = b.worker_dirs()?;
    let plugin_dirs = b.plugin_dirs()?;
    b.config_row(named_file);
    let dev = b.layers.dev().map(|dev| Dev { sole: dev.sole.clone(), ignored: dev.ignored.clone() });
    let home = b.home()?;
    let state_dir = b.dir(&settings::STATE_DIR, environment, "STATE_DIRECTORY", ".buntime".into())?;
    let cache_dir = b.dir(&settings::CACHE_DIR, environment, "CACHE_DIRECTORY", state_dir.join("cache"))?;
    let pool_size = match env {
        Env::Development => 10,
        Env::Staging => 50,
        Env::Production => 500,
        Env::Test => 5,
    };
    let pool_size = b.count(&settings::POOL_SIZE, 1, 10_000, pool_size, env.as_str())?;
    let spares = match env {
        Env::Development => 1,
        Env::Production => 4,
        Env::Staging | Env::Test => 2,
    };
    let spares = b.count(&settings::SPARES, 0, 1000, spares, env.as_str())?;
    let threads = b.count(&settings::THREADS, 1, 256, 1, "")?;
    let max_body_size = b.value(&settings::MAX_BODY_SIZE, "", size_from, || 100 << 20, |_| "100mb".into())?;
    let descriptors = usize::try_from(inputs.descriptor_limit).unwrap_or(usize::MAX);
    let connections = (descriptors / 10 * 9).clamp(1, 10_000);
    let limited = if connections < 10_000 { "nine tenths of the descriptor limit" } else { "" };
    let max_connections = b.count(&settings::MAX_CONNECTIONS, 1, descriptors, connections, limited)?;
    let head_timeout = b.timeout(&settings::HEAD_TIMEOUT, 10)?;
    let keepalive_timeout = b.timeout(&settings::KEEPALIVE_TIMEOUT, 75)?;
    let shutdown_timeout = b.duration(&settings::SHUTDOWN_TIMEOUT, 30)?;
    let api_prefix = b.api_prefix()?;
    let trusted_proxies = b.trusted_proxies()?;
    let log = b.log(env, inputs.stderr)?;
    let admin_socket = b.admin_socket(environment, &state_dir)?;
    let bun = b.bun(environment)?;
    let (root_key, root_key_file) = b.root_key(&inputs.secrets, environment)?;
    b.mistyped(environment);

    let Builder { rows, warnings, .. } = b;
    let config = Config {
        env,
        listen,
        tls,
        worker_dirs,
        plugin_dirs,
        home,
        state_dir,
        cache_dir,
        bun,
        pool_size,
        spares,
        threads,
        max_body_size,
        max_connections,
        head_timeout,
        keepalive_timeout,
        shutdown_timeout,
        api_prefix,
        trusted_proxies,
        admin_socket,
        root_key,
        root_key_file,
        log,
        dev,
        environment: inputs.environment,
    };
    Ok(Loaded { config, rows, warnings })
}

impl Builder<'_> {
    /// One value: parsed where it is set, else the default, `why` being the reason for that default.
    fn value<T, E: Display>(
        &mut self,
        setting: &'static Setting,
        why: &str,
        parse: impl FnOnce(&Found) -> Result<T, E>,
        default: impl FnOnce() -> T,
        show: impl FnOnce(&T) -> String,
    ) -> Result<T, ConfigError> {
        let Some(found) = self.layers.find(setting)? else {
            let value = default();
            self.rows.push(Row::new(setting, show(&value), Source::Default(why.to_owned())));
            return Ok(value);
        };
        found.text()?;
        let value = parse(&found).map_err(|e| found.invalid(e))?;
        self.rows.push(Row::new(setting, found.shown(), found.source));
        Ok(value)
    }

    fn env(&mut self) -> Result<Env, ConfigError> {
        if self.layers.dev().is_none() {
            return self.value(&settings::ENV, "", env_from, || Env::Development, Env::to_string);
        }
        if let Some(found) = self.layers.find(&settings::ENV)?
            && matches!(found.source, Source::Flag(_))
            && found.shown() != Env::Development.as_str()
        {
            return Err(
                found.invalid("`buntime dev` is for development; `buntime run` has other environments")
            );
        }
        self.rows.push(Row::new(&settings::ENV, Env::Development, Source::Default("buntime dev".to_owned())));
        Ok(Env::Development)
    }

    fn count(
        &mut self,
        setting: &'static Setting,
        least: usize,
        most: usize,
        default: usize,
        why: &str,
    ) -> Result<usize, ConfigError> {
        let parse = |found: &Found| match found.shown().parse::<usize>() {
            Ok(n) if (least..=most).contains(&n) => Ok(n),
            Ok(_) => Err(format!("it is not between {least} and {most}")),
            Err(_) => Err("it is not a whole number".to_owned()),
        };
        self.value(setting, why, parse, || default, usize::to_string)
    }

    fn duration(&mut self, setting: &'static Setting, seconds: u64) -> Result<Duration, ConfigError> {
        let show = |value: &Duration| format!("{}s", value.as_secs());
        self.value(setting, "", duration_from, || Duration::from_secs(seconds), show)
    }

    fn timeout(&mut self, setting: &'static Setting, seconds: u64) -> Result<Duration, ConfigError> {
        let value = self.duration(setting, seconds)?;
        match self.layers.find(setting)? {
            Some(found) if value.is_zero() => Err(found.invalid("it is 0")),
            _ => Ok(value),
        }
    }

    fn listen(&mut self, env: Env) -> Result<Listen, ConfigError> {
        let port = self.count(&settings::PORT, 0, usize::from(u16::MAX), 8000, "")?;
        let port = u16::try_from(port).unwrap_or(u16::MAX);
        let local = matches!(env, Env::Development | Env::Test);
        let host = move || {
            let host = if local { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
            Listen::Tcp { host: host.into(), port }
        };
        let show = |listen: &Listen| match listen {
            Listen::Tcp { host, .. } => host.to_string(),
            Listen::Unix(_) => listen.to_string(),
        };
        let listen = self.value(&settings::HOST, env.as_str(), |f| host_from(f, port), host, show)?;
        let port_set = self.layers.find(&settings::PORT)?;
        if let (Listen::Unix(_), Some(found)) = (&listen, port_set) {
            self.warnings.push(format!("{} is of no use: the listener is a Unix socket", found.source));
        }
        Ok(listen)
    }

    fn config_row(&mut self, named: Option<Found>) {
        let value = self.layers.file().map_or("none".to_owned(), |path| path.display().to_string());
        let source = named.map_or(Source::Default(String::new()), |found| found.source);
        self.rows.push(Row::new(&settings::CONFIG, value, source));
    }

    fn home(&mut self) -> Result<Option<AppName>, ConfigError> {
        if let Some(sole) = self.layers.dev().and_then(|dev| dev.sole.clone()) {
            if let Some(found) = self.layers.find(&settings::HOME)? {
                return Err(found.invalid(format_args!("the one app that there is, {sole}, is served at /")));
            }
            let source = Source::Default("the one app".to_owned());
            self.rows.push(Row::new(&settings::HOME, &sole, source));
            return Ok(Some(sole));
        }
        let show = |home: &Option<AppName>| home.as_ref().map_or_else(|| "none".into(), AppName::to_string);
        let parse =
            |found: &Found| AppName::parse(&found.shown()).map(Some).map_err(|error| error.to_string());
        self.value(&settings::HOME, "", parse, || None, show)
    }

    fn api_prefix(&mut self) -> Result<String, ConfigError> {
        let Some(found) = self.layers.find(&settings::API_PREFIX)? else {
            // An app that has the whole site most likely has an API of its own.
            let (prefix, why) = match self.layers.dev().is_some_and(|dev| dev.sole.is_some()) {
                true => (SOLE_API_PREFIX, "the one app has all else"),
                false => ("", ""),
            };
            self.rows.push(Row::new(&settings::API_PREFIX, prefix, Source::Default(why.to_owned())));
            return Ok(prefix.to_owned());
        };
        let prefix = found.shown();
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._~".contains(c);
        let segment = |s: &str| !s.is_empty() && s != "." && s != ".." && s.chars().all(plain);
        let valid = prefix.is_empty()
            || prefix.len() <= 200
                && prefix.strip_prefix('/').is_some_and(|rest| rest.split('/').all(segment));
        if !valid || matches!(found.value, Value::List(_)) {
            return Err(found.invalid("it is not such a path"));
        }
        self.rows.push(Row::new(&settings::API_PREFIX, &prefix, found.source));
        Ok(prefix)
    }

    fn trusted_proxies(&mut self) -> Result<CidrList, ConfigError> {
        let Some(found) = self.layers.find(&settings::TRUSTED_PROXIES)? else {
            self.rows.push(Row::new(&settings::TRUSTED_PROXIES, "none", Source::Default(String::new())));
            return Ok(CidrList::default());
        };
        let shown = found.shown();
        let items = if shown.trim().is_empty() { Vec::new() } else { found.items(',') };
        let networks: Result<CidrList, CidrError> =
            items.into_iter().map(|item| item.trim().parse()).collect();
        let networks = networks.map_err(|e| found.invalid(e))?;
        self.rows.push(Row::new(
            &settings::TRUSTED_PROXIES,
            if networks.is_empty() { "none".to_owned() } else { networks.to_string() },
            found.source,
        ));
        Ok(networks)
    }

    fn log(&mut self, env: Env, stderr: Stderr) -> Result<Log, ConfigError> {
        let level = if env == Env::Production { LogLevel::Info } else { LogLevel::Debug };
        let level =
            self.value(&settings::LOG_LEVEL, env.as_str(), level_from, || level, |l| l.as_str().into())?;
        let (format, why) = match (stderr, env) {
            (Stderr::Journal, _) => (LogFormat::Journald, "stderr is the journal"),
            (_, Env::Production) => (LogFormat::Json, "production"),
            (Stderr::Other, _) => (LogFormat::Json, "stderr is no terminal"),
            (Stderr::Terminal, _) => (LogFormat::Pretty, "stderr is a terminal"),
        };
        let format = self.value(&settings::LOG_FORMAT, why, format_from, || format, |f| f.as_str().into())?;
        let is_set = self.layers.find(&settings::LOG_LEVEL)?.is_some();
        let brief = self.layers.dev().is_some() && format == LogFormat::Pretty && !is_set;
        Ok(Log { level, format, brief })
    }

    fn bun(&mut self, environment: &Environment) -> Result<PathBuf, ConfigError> {
        let (path, source) = match self.layers.find(&settings::BUN)? {
            Some(found) => {
                let path = self.path(&found)?;
                if !bun::is_executable(&path) {
                    return Err(found.invalid("there is no executable file"));
                }
                (path, found.source)
            }
            None => bun::find(environment.get("PATH"), self.working_dir)
                .ok_or_else(|| ConfigError::BunNotFound { from: self.working_dir.to_owned() })?,
        };
        self.rows.push(Row::new(&settings::BUN, path.display(), source));
        Ok(path)
    }

    fn root_key(
        &mut self,
        secrets: &Secrets,
        environment: &Environment,
    ) -> Result<(Option<RootKey>, Option<PathBuf>), ConfigError> {
        let Some(found) = root_key::load(secrets, environment, self.working_dir)? else {
            return Ok((None, None));
        };
        self.rows.push(Row::secret(found.place));
        Ok((Some(found.key), found.file))
    }

    /// A variable that looks like one of ours and is not is most likely mistyped.
    fn mistyped(&mut self, environment: &Environment) {
        let known = || SETTINGS.iter().map(|setting| setting.variable);
        for (name, _) in environment.iter() {
            let Some(name) = name.to_str().filter(|name| name.starts_with("RUNTIME_")) else { continue };
            // systemd sets this one (systemd.exec(5)).
            if name == "RUNTIME_DIRECTORY" || known().any(|variable| variable == name) {
                continue;
            }
            let hint =
                nearest(name, known()).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            self.warnings.push(format!("{name} is not a variable that Buntime knows{hint}"));
        }
    }
}

impl LogLevel {
    pub fn as_str(self) -> &'static str {
        match self {
            LogLevel::Debug => "debug",
            LogLevel::Info => "info",
            LogLevel::Warn => "warn",
            LogLevel::Error => "error",
        }
    }
}

impl LogFormat {
    pub fn as_str(self) -> &'static str {
        match self {
            LogFormat::Json => "json",
            LogFormat::Pretty => "pretty",
            LogFormat::Journald => "journald",
        }
    }
}
