//! The table of settings: one row names the variable, the flag and the file key of each, with the words that the
//! help, the errors and `buntime config` use. The rules behind the words are in `build`.

/// One setting. Rows are compared by their flag, which is unique.
#[derive(Debug)]
pub struct Setting {
    pub variable: &'static str,
    /// Without the leading dashes.
    pub flag: &'static str,
    /// Key in the configuration file; none = cannot be set there.
    pub key: Option<&'static str>,
    pub value_name: &'static str,
    pub help: &'static str,
    /// The default in words; empty = none.
    pub default: &'static str,
    /// What a value may be, in words that follow "allowed: ".
    pub allowed: &'static str,
}

pub const DURATION: &str = "a duration such as 500ms, 30s, 5m, 1h or 2d";

pub static ENV: Setting = Setting {
    variable: "NODE_ENV",
    flag: "env",
    key: Some("env"),
    value_name: "NAME",
    help: "Environment; decides other defaults and is every app's NODE_ENV",
    default: "development",
    allowed: "development, production, staging or test",
};
pub static PORT: Setting = Setting {
    variable: "PORT",
    flag: "port",
    key: Some("port"),
    value_name: "PORT",
    help: "TCP port to listen on",
    default: "8000",
    allowed: "a port from 0 to 65535 (0 = any free port)",
};
pub static HOST: Setting = Setting {
    variable: "HOST",
    flag: "host",
    key: Some("host"),
    value_name: "ADDRESS",
    help: "Address to listen on, or unix:/path for a Unix socket",
    default: "127.0.0.1 in development and test, else 0.0.0.0",
    allowed: "an IP address, localhost or unix:/absolute/path",
};
pub static WORKER_DIRS: Setting = Setting {
    variable: "RUNTIME_WORKER_DIRS",
    flag: "worker-dirs",
    key: Some("workerDirs"),
    value_name: "DIR[:DIR...]",
    help: "Directories that hold apps; required",
    default: "",
    allowed: "directories separated by `:` (in the file also a list)",
};
pub static PLUGIN_DIRS: Setting = Setting {
    variable: "RUNTIME_PLUGIN_DIRS",
    flag: "plugin-dirs",
    key: Some("pluginDirs"),
    value_name: "DIR[:DIR...]",
    help: "Directories that hold plugins",
    default: "./plugins",
    allowed: "directories separated by `:` (in the file also a list)",
};
pub static HOME: Setting = Setting {
    variable: "RUNTIME_HOME_APP",
    flag: "home",
    key: Some("home"),
    value_name: "APP",
    help: "App that is served at /",
    default: "none",
    allowed: "an app's name, such as shop or @team/shop",
};
pub static POOL_SIZE: Setting = Setting {
    variable: "RUNTIME_POOL_SIZE",
    flag: "pool-size",
    key: Some("poolSize"),
    value_name: "N",
    help: "Most bun processes that may hold an app at once; spares are extra",
    default: "development 10, staging 50, production 500, test 5",
    allowed: "a whole number from 1 to 10000",
};
pub static SPARES: Setting = Setting {
    variable: "RUNTIME_SPARE_WORKERS",
    flag: "spares",
    key: Some("spares"),
    value_name: "N",
    help: "Pre-warmed workers kept ready; 0 turns pre-warming off",
    default: "development 1, production 4, else 2",
    allowed: "a whole number from 0 to 1000",
};
pub static THREADS: Setting = Setting {
    variable: "RUNTIME_THREADS",
    flag: "threads",
    key: Some("threads"),
    value_name: "N",
    help: "Threads that carry requests",
    default: "1",
    allowed: "a whole number from 1 to 256",
};
pub static BUN: Setting = Setting {
    variable: "RUNTIME_BUN",
    flag: "bun",
    key: Some("bun"),
    value_name: "FILE",
    help: "The bun binary",
    default: "bun on PATH, else node_modules/.bin/bun here or above",
    allowed: "the path of an executable file",
};
pub static STATE_DIR: Setting = Setting {
    variable: "RUNTIME_STATE_DIR",
    flag: "state-dir",
    key: Some("stateDir"),
    value_name: "DIR",
    help: "Directory for what the runtime and its apps keep; made with mode 0700",
    default: "$STATE_DIRECTORY, else ./.buntime",
    allowed: "the path of a directory",
};
pub static CACHE_DIR: Setting = Setting {
    variable: "RUNTIME_CACHE_DIR",
    flag: "cache-dir",
    key: Some("cacheDir"),
    value_name: "DIR",
    help: "Directory for what can be made again (110 MB); made with mode 0700",
    default: "$CACHE_DIRECTORY, else cache in the state directory",
    allowed: "the path of a directory",
};
pub static MAX_BODY_SIZE: Setting = Setting {
    variable: "RUNTIME_MAX_BODY_SIZE",
    flag: "max-body-size",
    key: Some("maxBodySize"),
    value_name: "SIZE",
    help: "Ceiling on every app's maxBodySize",
    default: "100mb",
    allowed: "a size above 0 such as 1048576, 512k, 10mb or 1gb",
};
pub static MAX_CONNECTIONS: Setting = Setting {
    variable: "RUNTIME_MAX_CONNECTIONS",
    flag: "max-connections",
    key: Some("maxConnections"),
    value_name: "N",
    help: "Most client connections at once",
    default: "10000, or nine tenths of the descriptor limit if that is less",
    allowed: "a whole number from 1 to the descriptor limit (ulimit -n)",
};
pub static HEAD_TIMEOUT: Setting = Setting {
    variable: "RUNTIME_HEAD_TIMEOUT",
    flag: "head-timeout",
    key: Some("headTimeout"),
    value_name: "DURATION",
    help: "Longest time a client may take to send a request head",
    default: "10s",
    allowed: "a duration above 0 such as 500ms, 30s, 5m, 1h or 2d",
};
pub static KEEPALIVE_TIMEOUT: Setting = Setting {
    variable: "RUNTIME_KEEPALIVE_TIMEOUT",
    flag: "keepalive-timeout",
    key: Some("keepaliveTimeout"),
    value_name: "DURATION",
    help: "How long an idle client connection is kept",
    default: "75s",
    allowed: "a duration above 0 such as 500ms, 30s, 5m, 1h or 2d",
};
pub static SHUTDOWN_TIMEOUT: Setting = Setting {
    variable: "RUNTIME_SHUTDOWN_TIMEOUT",
    flag: "shutdown-timeout",
    key: Some("shutdownTimeout"),
    value_name: "DURATION",
    help: "How long requests in flight may go on after SIGTERM or SIGINT",
    default: "30s",
    allowed: DURATION,
};
pub static API_PREFIX: Setting = Setting {
    variable: "RUNTIME_API_PREFIX",
    flag: "api-prefix",
    key: Some("apiPrefix"),
    value_name: "PATH",
    help: "Path in front of /api",
    default: "empty",
    allowed: "empty, or a path such as /_ops of lower-case letters, digits and -._~",
};
pub static ADMIN_SOCKET: Setting = Setting {
    variable: "RUNTIME_ADMIN_SOCKET",
    flag: "admin-socket",
    key: Some("adminSocket"),
    value_name: "PATH",
    help: "Unix socket of the management API; whoever may open it may do everything",
    default: "$RUNTIME_DIRECTORY/admin.sock, else admin.sock in the state directory",
    allowed: "a path of at most 107 bytes",
};
pub static TRUSTED_PROXIES: Setting = Setting {
    variable: "RUNTIME_TRUSTED_PROXIES",
    flag: "trusted-proxies",
    key: Some("trustedProxies"),
    value_name: "CIDR[,CIDR...]",
    help: "Networks whose x-forwarded-* and x-request-id headers are believed",
    default: "none",
    allowed: "addresses or networks such as 10.0.0.0/8 or ::1, separated by commas (in the file also a list)",
};
pub static TLS_CERT: Setting = Setting {
    variable: "RUNTIME_TLS_CERT",
    flag: "tls-cert",
    key: Some("tlsCert"),
    value_name: "FILE",
    help: "Certificate with its chain; the listener then speaks TLS alone",
    default: "none",
    allowed: "the path of a PEM file, with the key of its certificate in --tls-key",
};
pub static TLS_KEY: Setting = Setting {
    variable: "RUNTIME_TLS_KEY",
    flag: "tls-key",
    key: Some("tlsKey"),
    value_name: "FILE",
    help: "Key of the certificate",
    default: "none",
    allowed: "the path of a PEM file that its owner alone can read, with its certificate in --tls-cert",
};
pub static TLS_DIR: Setting = Setting {
    variable: "RUNTIME_TLS_DIR",
    flag: "tls-dir",
    key: Some("tlsDir"),
    value_name: "DIR",
    help: "Directory of further certificates, chosen by the name that a client asks for",
    default: "none",
    allowed: "a directory of NAME.crt with NAME.key, or NAME/fullchain.pem with NAME/privkey.pem",
};
pub static HTTP_PORT: Setting = Setting {
    variable: "RUNTIME_HTTP_PORT",
    flag: "http-port",
    key: Some("httpPort"),
    value_name: "PORT",
    help: "Second port, without TLS, that sends everybody to https",
    default: "none",
    allowed: "with TLS, a port from 0 to 65535 that is not --port (0 = any free port)",
};
pub static ACME_DOMAINS: Setting = Setting {
    variable: "RUNTIME_ACME_DOMAINS",
    flag: "acme-domains",
    key: Some("acmeDomains"),
    value_name: "NAME[,NAME...]",
    help: "Names to get certificates for by ACME, which agrees to the authority's terms",
    default: "none",
    allowed: "at most 100 host names such as example.com, separated by commas (in the file also a list)",
};
pub static ACME_EMAIL: Setting = Setting {
    variable: "RUNTIME_ACME_EMAIL",
    flag: "acme-email",
    key: Some("acmeEmail"),
    value_name: "ADDRESS",
    help: "Where the certificate authority may write to",
    default: "none",
    allowed: "with --acme-domains, an address such as ops@example.com",
};
pub static ACME_DIRECTORY: Setting = Setting {
    variable: "RUNTIME_ACME_DIRECTORY",
    flag: "acme-directory",
    key: Some("acmeDirectory"),
    value_name: "URL",
    help: "The certificate authority",
    default: "https://acme-v02.api.letsencrypt.org/directory",
    allowed: "with --acme-domains, the https URL of an ACME directory",
};
pub static ACME_CA: Setting = Setting {
    variable: "RUNTIME_ACME_CA",
    flag: "acme-ca",
    key: Some("acmeCa"),
    value_name: "FILE",
    help: "Root certificates that the authority's own server is known by",
    default: "those of the system",
    allowed: "with --acme-domains, the path of a PEM file with certificates",
};
pub static LOG_LEVEL: Setting = Setting {
    variable: "RUNTIME_LOG_LEVEL",
    flag: "log-level",
    key: Some("logLevel"),
    value_name: "LEVEL",
    help: "Least severe level that is logged",
    default: "info in production, else debug",
    allowed: "debug, info, warn or error",
};
pub static LOG_FORMAT: Setting = Setting {
    variable: "RUNTIME_LOG_FORMAT",
    flag: "log-format",
    key: Some("logFormat"),
    value_name: "FORMAT",
    help: "Form of the log on stderr",
    default: "journald under systemd, json in production or without a terminal, else pretty",
    allowed: "json, pretty or journald",
};
pub static CONFIG: Setting = Setting {
    variable: "RUNTIME_CONFIG",
    flag: "config",
    key: None,
    value_name: "FILE",
    help: "Configuration file",
    default: "./buntime.yaml if there",
    allowed: "the path of a YAML file",
};

/// Every setting, in the order in which people meet them.
pub static SETTINGS: [&Setting; 31] = [
    &WORKER_DIRS,
    &PLUGIN_DIRS,
    &PORT,
    &HOST,
    &TLS_CERT,
    &TLS_KEY,
    &TLS_DIR,
    &HTTP_PORT,
    &ACME_DOMAINS,
    &ACME_EMAIL,
    &ACME_DIRECTORY,
    &ACME_CA,
    &ENV,
    &HOME,
    &CONFIG,
    &STATE_DIR,
    &CACHE_DIR,
    &BUN,
    &POOL_SIZE,
    &SPARES,
    &THREADS,
    &MAX_BODY_SIZE,
    &MAX_CONNECTIONS,
    &HEAD_TIMEOUT,
    &KEEPALIVE_TIMEOUT,
    &SHUTDOWN_TIMEOUT,
    &API_PREFIX,
    &ADMIN_SOCKET,
    &TRUSTED_PROXIES,
    &LOG_LEVEL,
    &LOG_FORMAT,
];

/// Variables whose values must not stay where an app could read them. They have neither flag nor file key.
pub static SECRETS: [&str; 2] = ["RUNTIME_ROOT_KEY", "RUNTIME_ROOT_KEY_FILE"];

impl PartialEq for Setting {
    fn eq(&self, other: &Self) -> bool {
        self.flag == other.flag
    }
}

impl Eq for Setting {}
