//! Variables that Bun reads when its process starts, or from a copy that it makes then. An app that sets one of them
//! cannot run in a worker that was started before it had an app.

use std::collections::BTreeMap;

/// Families of variables: Bun's and Node's own switches, the loader's and allocators', certificates, and the
/// credentials that Bun's built-in clients (S3, Redis, SQL) look up for themselves.
const PREFIXES: [&str; 18] = [
    "BUN_",
    "NODE_",
    "JSC_",
    "LD_",
    "MALLOC_",
    "MIMALLOC_",
    "SSL_",
    "TLS_",
    "S3_",
    "AWS_",
    "REDIS_",
    "VALKEY_",
    "DATABASE_",
    "POSTGRES",
    "PG",
    "MYSQL_",
    "MARIADB_",
    "SQLITE_",
];
const NAMES: [&str; 4] = ["HOME", "TMPDIR", "NO_COLOR", "FORCE_COLOR"];

/// Whether any of these variables has to be there when the process starts.
pub fn acts_at_start(env: &BTreeMap<String, String>) -> bool {
    env.keys().any(|name| {
        NAMES.contains(&name.as_str())
            || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            // http_proxy, HTTPS_PROXY, NO_PROXY: in either case.
            || name.to_ascii_lowercase().ends_with("_proxy")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_bun_reads_at_its_start_is_known() {
        let acts = |name: &str| acts_at_start(&BTreeMap::from([(name.to_owned(), String::new())]));
        for name in
            ["BUN_CONFIG_VERBOSE_FETCH", "NODE_ENV", "HOME", "S3_BUCKET", "PGHOST", "https_proxy", "NO_PROXY"]
        {
            assert!(acts(name), "{name}");
        }
        for name in ["PUBLIC_API", "TZ", "HOMEPAGE", "MY_BUN_", "GREETING", "PROXY"] {
            assert!(!acts(name), "{name}");
        }
    }
}
