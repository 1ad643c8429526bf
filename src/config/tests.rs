//! Tests of the whole: layers, rules, errors and the printed table.

mod tls;

use super::*;
use crate::tls::testing::made;
use settings::{SECRETS, SETTINGS, Setting};

/// A working directory with an `apps` directory and a `bun` on the given PATH.
struct Place {
    dir: tempfile::TempDir,
    flags: Flags,
    variables: Vec<(String, String)>,
    stderr: Stderr,
    descriptor_limit: u64,
    secrets: Secrets,
}

impl Place {
    /// Nothing is set but where bun is.
    fn bare() -> Place {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("apps")).unwrap();
        std::fs::create_dir(dir.path().join("bin")).unwrap();
        let bun = dir.path().join("bin/bun");
        std::fs::write(&bun, "").unwrap();
        std::fs::set_permissions(&bun, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = dir.path().join("bin").to_str().unwrap().to_owned();
        Place {
            dir,
            flags: Flags::default(),
            variables: vec![("PATH".into(), path)],
            stderr: Stderr::Terminal,
            descriptor_limit: 1 << 20,
            secrets: Secrets::default(),
        }
    }

    /// What is required is set, too.
    fn ready() -> Place {
        Place::bare().variable("RUNTIME_WORKER_DIRS", "apps")
    }

    fn flag(mut self, setting: &'static Setting, value: &str) -> Place {
        self.flags.set(setting, value.into());
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Place {
        self.variables.retain(|(other, _)| other != name);
        self.variables.push((name.into(), value.into()));
        self
    }

    fn file(self, text: &str) -> Place {
        std::fs::write(self.path("buntime.yaml"), text).unwrap();
        self
    }

    /// Writes a certificate and its key.
    fn pair(self, cert: &str, key: &str) -> Place {
        made(&["a.test"], |_| {}).write(&self.path(cert), &self.path(key));
        self
    }

    /// With what a setting of TLS is of no use without.
    fn beside(self, setting: &Setting) -> Place {
        match setting.flag {
            "tls-cert" => self.variable("RUNTIME_TLS_KEY", "tls.key"),
            "tls-key" => self.variable("RUNTIME_TLS_CERT", "tls.crt"),
            "http-port" | "acme-email" | "acme-directory" | "acme-ca" => {
                self.variable("RUNTIME_ACME_DOMAINS", "example.com")
            }
            _ => self,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn load(&self) -> Result<Loaded, ConfigError> {
        Config::load(Inputs {
            flags: self.flags.clone(),
            environment: self.variables.iter().cloned().collect(),
            working_dir: self.dir.path(),
            stderr: self.stderr,
            descriptor_limit: self.descriptor_limit,
            secrets: self.secrets.clone(),
        })
    }

    fn config(&self) -> Config {
        self.load().unwrap().config
    }

    /// The error's text, with the temporary directory as `$DIR`.
    fn error(&self) -> String {
        self.clean(&self.load().unwrap_err().to_string())
    }

    fn clean(&self, text: &str) -> String {
        text.replace(self.dir.path().to_str().unwrap(), "$DIR")
    }
}

fn source(loaded: &Loaded, name: &str) -> String {
    loaded.rows.iter().find(|row| row.name == name).unwrap().source.to_string()
}

#[test]
fn a_flag_wins_over_the_variable_the_variable_over_the_file_and_the_file_over_the_default() {
    let place = Place::ready();
    let loaded = place.load().unwrap();
    assert_eq!(
        (loaded.config.pool_size, source(&loaded, "poolSize").as_str()),
        (10, "default (development)")
    );

    let place = place.file("# comment\npoolSize: 11\n");
    let loaded = place.load().unwrap();
    assert_eq!(loaded.config.pool_size, 11);
    assert_eq!(place.clean(&source(&loaded, "poolSize")), "poolSize ($DIR/buntime.yaml, line 2)");

    let place = place.variable("RUNTIME_POOL_SIZE", "12");
    let loaded = place.load().unwrap();
    assert_eq!((loaded.config.pool_size, source(&loaded, "poolSize").as_str()), (12, "RUNTIME_POOL_SIZE"));

    let place = place.flag(&settings::POOL_SIZE, "13");
    let loaded = place.load().unwrap();
    assert_eq!((loaded.config.pool_size, source(&loaded, "poolSize").as_str()), (13, "--pool-size"));
}

#[test]
fn every_setting_can_be_set_by_its_flag_by_its_variable_and_in_the_file() {
    for setting in SETTINGS {
        let value = match setting.flag {
            "worker-dirs" | "plugin-dirs" => "apps",
            "port" | "pool-size" | "spares" | "threads" | "max-connections" => "7",
            "host" => "::1",
            "env" => "staging",
            "home" => "shop",
            "config" => "other.yaml",
            "state-dir" | "cache-dir" | "admin-socket" => "state",
            "bun" => "bin/bun",
            "max-body-size" => "7mb",
            "head-timeout" | "keepalive-timeout" | "shutdown-timeout" => "7s",
            "api-prefix" => "/_ops",
            "trusted-proxies" => "10.0.0.0/8",
            "log-level" => "error",
            "log-format" => "json",
            "tls-cert" => "tls.crt",
            "tls-key" => "tls.key",
            "tls-dir" => "certificates",
            "http-port" => "80",
            "acme-domains" => "example.com,www.example.com",
            "acme-email" => "ops@example.com",
            "acme-directory" => "https://ca.example.com/directory",
            "acme-ca" => "tls.crt",
            other => panic!("say a value for {other}"),
        };
        let name = setting.key.unwrap_or(setting.flag);
        let bare = || {
            let place = if setting.flag == "worker-dirs" { Place::bare() } else { Place::ready() };
            std::fs::write(place.path("other.yaml"), "").unwrap();
            place.pair("tls.crt", "tls.key").pair("certificates/a.crt", "certificates/a.key").beside(setting)
        };
        let loaded = bare().flag(setting, value).load().unwrap();
        assert_eq!(source(&loaded, name), format!("--{}", setting.flag));
        let loaded = bare().variable(setting.variable, value).load().unwrap();
        assert_eq!(source(&loaded, name), setting.variable);
        if let Some(key) = setting.key {
            let loaded = bare().file(&format!("{key}: '{value}'\n")).load();
            let loaded = loaded.or_else(|_| bare().file(&format!("{key}: {value}\n")).load()).unwrap();
            assert!(source(&loaded, name).starts_with(&format!("{key} (")));
        }
    }
}

#[test]
fn defaults_depend_on_the_environment() {
    for (env, pool_size, spares, host, level, format) in [
        ("development", 10, 1, "127.0.0.1", LogLevel::Debug, LogFormat::Pretty),
        ("staging", 50, 2, "0.0.0.0", LogLevel::Debug, LogFormat::Pretty),
        ("production", 500, 4, "0.0.0.0", LogLevel::Info, LogFormat::Json),
        ("test", 5, 2, "127.0.0.1", LogLevel::Debug, LogFormat::Pretty),
    ] {
        let config = Place::ready().variable("NODE_ENV", env).config();
        assert_eq!((config.env.as_str(), config.pool_size, config.spares), (env, pool_size, spares));
        assert_eq!(config.listen, Listen::Tcp { host: host.parse().unwrap(), port: 8000 });
        assert_eq!(config.log, Log { level, format, brief: false });
    }
}

#[test]
fn the_other_defaults_are_those_of_the_table() {
    let place = Place::ready();
    let config = place.config();
    assert_eq!(config.worker_dirs, [place.path("apps")]);
    assert_eq!(config.plugin_dirs, [place.path("plugins")]);
    assert_eq!((config.state_dir, config.bun), (place.path(".buntime"), place.path("bin/bun")));
    assert_eq!((config.threads, config.max_body_size, config.max_connections), (1, 100 << 20, 10_000));
    assert_eq!(
        [config.head_timeout, config.keepalive_timeout, config.shutdown_timeout],
        [10, 75, 30].map(Duration::from_secs)
    );
    assert_eq!((config.home, config.api_prefix.as_str()), (None, ""));
    assert!(config.trusted_proxies.is_empty());
}

#[test]
fn the_log_format_follows_what_stderr_leads_to() {
    let format = |stderr, env: &str| {
        let mut place = Place::ready().variable("NODE_ENV", env);
        place.stderr = stderr;
        place.config().log.format
    };
    assert_eq!(format(Stderr::Terminal, "development"), LogFormat::Pretty);
    assert_eq!(format(Stderr::Other, "development"), LogFormat::Json);
    assert_eq!(format(Stderr::Terminal, "production"), LogFormat::Json);
    assert_eq!(format(Stderr::Journal, "production"), LogFormat::Journald);
}

#[test]
fn connections_keep_to_nine_tenths_of_the_descriptor_limit() {
    let mut place = Place::ready();
    place.descriptor_limit = 1000;
    assert_eq!(place.config().max_connections, 900);
    let place = place.variable("RUNTIME_MAX_CONNECTIONS", "1001");
    assert!(place.error().contains("it is not between 1 and 1000"));
}

#[test]
fn an_invalid_value_is_an_error_that_names_the_place_the_value_and_what_is_allowed() {
    for (variable, value, reason) in [
        ("PORT", "", "it is empty"),
        ("PORT", "http", "it is not a whole number"),
        ("PORT", "65536", "it is not between 0 and 65535"),
        ("HOST", "example.com", "it is no IP address"),
        ("HOST", "unix:http.sock", "the path of the socket is not absolute"),
        ("NODE_ENV", "prod", "there is no such environment"),
        ("NODE_ENV", "Production", "there is no such environment"),
        ("RUNTIME_WORKER_DIRS", "apps::more", "a directory in it is empty"),
        ("RUNTIME_WORKER_DIRS", "bin/bun", "$DIR/bin/bun is not a directory"),
        ("RUNTIME_HOME_APP", "Shop", "cannot stand in an app name"),
        ("RUNTIME_HOME_APP", "@team", ""),
        ("RUNTIME_POOL_SIZE", "0", "it is not between 1 and 10000"),
        ("RUNTIME_POOL_SIZE", "-1", "it is not a whole number"),
        ("RUNTIME_POOL_SIZE", "1.5", "it is not a whole number"),
        ("RUNTIME_SPARE_WORKERS", "1001", "it is not between 0 and 1000"),
        ("RUNTIME_THREADS", "0", "it is not between 1 and 256"),
        ("RUNTIME_BUN", "apps", "there is no executable file"),
        ("RUNTIME_STATE_DIR", "", "it is empty"),
        ("RUNTIME_MAX_BODY_SIZE", "0", "it is 0"),
        ("RUNTIME_MAX_BODY_SIZE", "lots", ""),
        ("RUNTIME_MAX_CONNECTIONS", "many", "it is not a whole number"),
        ("RUNTIME_HEAD_TIMEOUT", "10", "has no unit"),
        ("RUNTIME_KEEPALIVE_TIMEOUT", "0s", "it is 0"),
        ("RUNTIME_SHUTDOWN_TIMEOUT", "5 parsecs", ""),
        ("RUNTIME_API_PREFIX", "ops", "it is not such a path"),
        ("RUNTIME_API_PREFIX", "/ops/", "it is not such a path"),
        ("RUNTIME_API_PREFIX", "/../x", "it is not such a path"),
        ("RUNTIME_TRUSTED_PROXIES", "10.0.0.0/8,nowhere", "`nowhere` is not an IP address"),
        ("RUNTIME_LOG_LEVEL", "loud", "there is no such level"),
        ("RUNTIME_LOG_FORMAT", "xml", "there is no such format"),
        ("RUNTIME_CONFIG", "", "it is empty"),
        ("RUNTIME_TLS_CERT", "tls.crt", "there is no --tls-key (RUNTIME_TLS_KEY) with it"),
        ("RUNTIME_TLS_KEY", "tls.key", "there is no --tls-cert (RUNTIME_TLS_CERT) with it"),
        ("RUNTIME_HTTP_PORT", "80", "there is no TLS to send anybody to"),
        ("RUNTIME_ACME_DOMAINS", "", "`` is no host name"),
        ("RUNTIME_ACME_DOMAINS", "a.test,b_c.test", "`b_c.test` is no host name"),
        ("RUNTIME_ACME_DOMAINS", "127.0.0.1", "`127.0.0.1` is no host name"),
        ("RUNTIME_ACME_DOMAINS", "*.a.test", "`*.a.test` is a wildcard, which takes a proof by DNS"),
        ("RUNTIME_ACME_EMAIL", "ops@a.test", "there are no --acme-domains (RUNTIME_ACME_DOMAINS)"),
        ("RUNTIME_ACME_DIRECTORY", "https://a.test", "there are no --acme-domains (RUNTIME_ACME_DOMAINS)"),
        ("RUNTIME_ACME_CA", "tls.crt", "there are no --acme-domains (RUNTIME_ACME_DOMAINS)"),
    ] {
        let error = Place::ready().variable(variable, value).error();
        let setting = SETTINGS.iter().find(|setting| setting.variable == variable).unwrap();
        assert!(error.starts_with(&format!("{variable}: `{value}` is not valid: ")), "{error}");
        assert!(error.contains(reason), "{error}");
        assert!(error.ends_with(&format!("allowed: {}", setting.allowed)), "{error}");
    }
    let error = Place::ready().flag(&settings::PORT, "x").error();
    assert!(error.starts_with("--port: `x` is not valid"), "{error}");
}

#[test]
fn an_invalid_value_in_the_file_is_named_with_its_line() {
    for (text, error) in [
        ("\nport: many", "port ($DIR/buntime.yaml, line 2): `many` is not valid: it is not a whole number"),
        (
            "port: true",
            "port ($DIR/buntime.yaml, line 1): `true` is not valid: it is neither text nor a number",
        ),
        ("port:", "port ($DIR/buntime.yaml, line 1): `` is not valid: it is neither text nor a number"),
        ("port: [a, b]", "port ($DIR/buntime.yaml, line 1): `a, b` is not valid: one value is wanted"),
        ("headTimeout: '5'", "`5` has no unit: write `5s` for seconds"),
        ("port: 1\nport: 2", "$DIR/buntime.yaml is not valid: duplicate entry"),
        ("- port", "$DIR/buntime.yaml is not valid: it must be a mapping"),
        ("port: [", "$DIR/buntime.yaml is not valid: "),
        (
            "poolsize: 3",
            "poolsize ($DIR/buntime.yaml, line 1): unknown key\n\nhint: did you mean `poolSize`?",
        ),
        ("whatever: 3", "whatever ($DIR/buntime.yaml, line 1): unknown key"),
        ("config: other.yaml", "unknown key"),
        ("rootKey: secret", "unknown key"),
    ] {
        let found = Place::ready().file(text).error();
        assert!(found.contains(error), "{text}\n{found}");
    }
}

#[test]
fn a_file_that_was_asked_for_must_be_there_and_the_usual_one_need_not() {
    let place = Place::ready().variable("RUNTIME_CONFIG", "none.yaml");
    assert!(place.error().starts_with("cannot read the configuration file $DIR/none.yaml"));
    assert!(Place::ready().load().is_ok());
    assert!(Place::ready().file("").load().is_ok());
    let place = Place::ready().file(&" ".repeat((1 << 20) + 1));
    assert!(place.error().contains("is larger than 1048576 bytes"));
}

#[test]
fn numbers_in_the_file_are_seconds_and_bytes_and_lists_may_be_lists() {
    let place = Place::bare();
    std::fs::create_dir(place.path("a:b")).unwrap();
    let text =
        "headTimeout: 5\nmaxBodySize: 1024\nworkerDirs: [apps, 'a:b']\ntrustedProxies: [10.0.0.0/8, '::1']\n";
    let place = place.file(text);
    let config = place.config();
    assert_eq!((config.head_timeout, config.max_body_size), (Duration::from_secs(5), 1024));
    assert_eq!(config.worker_dirs, [place.path("apps"), place.path("a:b")]);
    assert!(config.trusted_proxies.contains("::1".parse().unwrap()));
}

#[test]
fn worker_directories_are_required_and_one_of_them_must_exist() {
    assert!(Place::bare().error().starts_with("no worker directory is set"));
    let error = Place::bare().variable("RUNTIME_WORKER_DIRS", "x:y").error();
    assert_eq!(error, "RUNTIME_WORKER_DIRS: none of the worker directories exists: $DIR/x, $DIR/y");

    let place = Place::bare().variable("RUNTIME_WORKER_DIRS", "x:apps:./apps");
    let loaded = place.load().unwrap();
    assert_eq!(loaded.config.worker_dirs, [place.path("x"), place.path("apps")]);
    assert!(loaded.warnings[0].contains("cannot use"), "{:?}", loaded.warnings);
}

#[test]
fn a_missing_bun_is_an_error_that_says_how_to_install_it() {
    let error = Place::ready().variable("PATH", "/nonexistent").error();
    assert!(error.contains("bun was not found") && error.contains("npm install -g bun"), "{error}");
}

#[test]
fn the_directories_of_systemd_come_before_the_defaults_only() {
    let place = Place::ready().variable("STATE_DIRECTORY", "/var/lib/buntime:/var/lib/other");
    let config = place.config();
    assert_eq!(config.state_dir, Path::new("/var/lib/buntime"));
    assert_eq!(config.cache_dir, Path::new("/var/lib/buntime/cache"));
    let place = place.variable("CACHE_DIRECTORY", "/var/cache/buntime:/var/cache/other");
    assert_eq!(place.config().cache_dir, Path::new("/var/cache/buntime"));
    let place = place.file("stateDir: here\ncacheDir: there");
    let config = place.config();
    assert_eq!((config.state_dir, config.cache_dir), (place.path("here"), place.path("there")));
}

#[test]
fn a_unix_listener_takes_the_place_of_host_and_port() {
    let place = Place::ready().variable("HOST", "unix:/run/x.sock");
    assert_eq!(place.config().listen, Listen::Unix("/run/x.sock".into()));
    let loaded = place.variable("PORT", "80").load().unwrap();
    assert_eq!(loaded.warnings, ["PORT is of no use: the listener is a Unix socket"]);

    let config = Place::ready().variable("HOST", "[::1]").config();
    assert_eq!(config.listen.to_string(), "[::1]:8000");
}

#[test]
fn the_api_prefix_decides_which_name_no_app_may_have() {
    let config = Place::ready().config();
    assert_eq!((config.api_base().as_str(), config.reserved_segment()), ("/api", "api"));
    let config = Place::ready().variable("RUNTIME_API_PREFIX", "/_ops/x").config();
    assert_eq!((config.api_base().as_str(), config.reserved_segment()), ("/_ops/x/api", "_ops"));
}

#[test]
fn a_mistyped_variable_is_a_warning() {
    let loaded = Place::ready().variable("RUNTIME_POOLSIZE", "3").load().unwrap();
    let warning = "RUNTIME_POOLSIZE is not a variable that Buntime knows; did you mean RUNTIME_POOL_SIZE?";
    assert_eq!(loaded.warnings, [warning]);
    assert!(Place::ready().variable("RUNTIME_DIRECTORY", "/run/x").load().unwrap().warnings.is_empty());
}

#[test]
fn secrets_are_masked_and_do_not_reach_the_environment_of_apps() {
    let mut place = Place::ready();
    for secret in SECRETS {
        place = place.variable(secret, "btk_verysecret");
    }
    let key = "btk_verysecret_0123456789abcdefghijkl";
    place.secrets = [("RUNTIME_ROOT_KEY", key.into())].into_iter().collect();
    let loaded = place.load().unwrap();
    let printed = format!("{loaded}{loaded:?}");
    assert!(!printed.contains("verysecret"));
    assert!(loaded.to_string().contains("RUNTIME_ROOT_KEY  "), "{loaded}");
    assert!(loaded.to_string().contains("********"), "{loaded}");
    assert!(loaded.config.root_key.is_some());
    assert_eq!(loaded.config.environment.get("RUNTIME_ROOT_KEY"), None);
}

#[test]
fn the_environment_prints_no_values() {
    let environment: Environment = [("DATABASE_URL", "postgres://user:password@host/")].into_iter().collect();
    assert_eq!(format!("{environment:?}"), r#"{"DATABASE_URL"}"#);
}

#[test]
fn the_effective_configuration_is_printed_with_where_it_came_from() {
    let place = Place::ready().file("maxBodySize: 1gb\ntrustedProxies: [10.0.0.0/8, '::1']\n");
    let place = place.flag(&settings::PORT, "0").variable("NODE_ENV", "production");
    // The width of the value column depends on the temporary directory's name.
    let spaces = |text: String| {
        text.lines()
            .map(|l| {
                l.split("  ").filter(|c| !c.is_empty()).map(str::trim).collect::<Vec<_>>().join(" | ") + "\n"
            })
            .collect::<String>()
    };
    insta::assert_snapshot!(spaces(place.clean(&place.load().unwrap().to_string())));
}

#[test]
fn the_state_and_the_cache_directory_are_made_private_and_wider_ones_are_tightened() {
    let place =
        Place::ready().variable("RUNTIME_STATE_DIR", "a/state").variable("RUNTIME_CACHE_DIR", "a/cache");
    let config = place.config();
    for dir in [place.path("a/state"), place.path("a/cache")] {
        let mode = || std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777;
        config.prepare_dirs().unwrap();
        assert_eq!(mode(), 0o700);
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
        config.prepare_dirs().unwrap();
        assert_eq!(mode(), 0o700);
    }
}

#[test]
fn a_state_directory_that_cannot_be_made_is_an_error() {
    let place = Place::ready().variable("RUNTIME_STATE_DIR", "bin/bun/state");
    let error = place.config().prepare_dirs().unwrap_err().to_string();
    assert!(place.clean(&error).starts_with("cannot use the state directory $DIR/bin/bun/state"), "{error}");
}

fn developing(sole: Option<&str>) -> Place {
    let mut place = Place::bare();
    let dir = Some(place.path("apps"));
    let sole = sole.map(|name| name.parse().unwrap());
    place.flags.develop(Develop { dir, sole, ignored: Vec::new() });
    place
}

#[test]
fn dev_is_for_development_whatever_the_environment_says() {
    let place =
        developing(None).variable("NODE_ENV", "production").variable("RUNTIME_WORKER_DIRS", "elsewhere");
    let config = place.config();
    assert_eq!((config.env, &config.worker_dirs), (Env::Development, &vec![place.path("apps")]));
    assert_eq!((config.home, config.dev), (None, Some(Dev { sole: None, ignored: Vec::new() })));
    assert!(config.log.brief, "until somebody asks for more");
    assert!(!developing(None).flag(&settings::LOG_LEVEL, "info").config().log.brief);
    assert!(!Place::ready().config().log.brief && Place::ready().config().dev.is_none());
    let error = developing(None).flag(&settings::ENV, "staging").error();
    assert!(error.contains("--env: `staging` is not valid") && error.contains("`buntime run`"), "{error}");
}

#[test]
fn the_one_app_is_the_home_app_and_no_other_can_be() {
    let config = developing(Some("shop")).config();
    assert_eq!(config.home.as_ref().map(|home| home.as_str()), Some("shop"));
    assert_eq!(config.api_base(), "/_buntime/api", "/api is the app's");
    assert_eq!(developing(Some("shop")).variable("RUNTIME_API_PREFIX", "").config().api_base(), "/api");
    assert_eq!(developing(None).config().api_base(), "/api");
    let error = developing(Some("shop")).variable("RUNTIME_HOME_APP", "blog").error();
    assert!(error.contains("the one app that there is, shop, is served at /"), "{error}");
}
