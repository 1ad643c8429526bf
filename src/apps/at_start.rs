//! What Bun reads only when its process starts: some variables, and some options of the TypeScript configuration that holds
//! for the working directory. An app that uses them cannot run in a worker that was started before it had an app.

use super::disk::Disk;
use std::collections::BTreeMap;
use std::path::Path;

/// Longest `tsconfig.json` that is looked into, in bytes; a longer one counts as using everything.
const MAX_TSCONFIG: usize = 256 << 10;
/// Options that change how every file of the process is compiled (checked against Bun 1.4.5: `paths`, `target`,
/// `verbatimModuleSyntax` and the rest hold by directory or not at all).
const OPTIONS: [&str; 7] = [
    "jsxFactory",
    "jsxFragmentFactory",
    "jsxImportSource",
    "useDefineForClassFields",
    "experimentalDecorators",
    "emitDecoratorMetadata",
    "extends",
];
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
pub fn reads_any(env: &BTreeMap<String, String>) -> bool {
    env.keys().any(|name| {
        NAMES.contains(&name.as_str())
            || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            // http_proxy, HTTPS_PROXY, NO_PROXY: in either case.
            || name.to_ascii_lowercase().ends_with("_proxy")
    })
}

/// Whether the TypeScript configuration of `dir`, its own or the nearest one above, has to be there at the start.
pub fn reads_tsconfig(disk: &Disk, dir: &Path, production: bool) -> bool {
    let names = ["tsconfig.json", "jsconfig.json"];
    let mut places = dir.ancestors().flat_map(|dir| names.map(|name| (dir, name)));
    let Some((dir, name)) = places.find(|(dir, name)| disk.is_file(&dir.join(name))) else {
        return false;
    };
    match disk.read_inside(dir, name, MAX_TSCONFIG) {
        Ok(text) => compiles_otherwise(&String::from_utf8_lossy(&text), production),
        Err(_) => true,
    }
}

/// Looks for the options as words. One in a comment counts too: a needless fresh start is no harm.
fn compiles_otherwise(text: &str, production: bool) -> bool {
    let has = |name: &str| text.contains(&format!("\"{name}\""));
    OPTIONS.iter().any(|name| has(name))
        || !values_of_jsx(text).all(|value| is_default_jsx(value, production))
}

/// What stands behind each `"jsx":`.
fn values_of_jsx(text: &str) -> impl Iterator<Item = &str> {
    text.split("\"jsx\"").skip(1).map(|rest| {
        let value = rest.trim_start().strip_prefix(':').map_or("", str::trim_start);
        value.strip_prefix('"').and_then(|value| value.split('"').next()).unwrap_or("")
    })
}

fn is_default_jsx(value: &str, production: bool) -> bool {
    matches!(value, "preserve" | "react-jsxdev") || value == "react-jsx" && production
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_bun_reads_at_its_start_is_known() {
        let acts = |name: &str| reads_any(&BTreeMap::from([(name.to_owned(), String::new())]));
        for name in
            ["BUN_CONFIG_VERBOSE_FETCH", "NODE_ENV", "HOME", "S3_BUCKET", "PGHOST", "https_proxy", "NO_PROXY"]
        {
            assert!(acts(name), "{name}");
        }
        for name in ["PUBLIC_API", "TZ", "HOMEPAGE", "MY_BUN_", "GREETING", "PROXY"] {
            assert!(!acts(name), "{name}");
        }
    }

    #[test]
    fn compiler_options_that_hold_for_the_whole_process_are_known() {
        for (text, production, expected) in [
            ("{}", false, false),
            (
                r#"{"compilerOptions":{"paths":{"@/*":["./*"]},"strict":true,"target":"ESNext"}}"#,
                false,
                false,
            ),
            (r#"{"compilerOptions":{"jsx": "react-jsx"}}"#, false, true),
            (r#"{"compilerOptions":{"jsx": "react-jsx"}}"#, true, false),
            (r#"{"compilerOptions":{"jsx":"react"}}"#, true, true),
            (r#"{"compilerOptions":{"jsx":"preserve"}}"#, false, false),
            (r#"{"compilerOptions":{"jsx":/* odd */"preserve"}}"#, false, true),
            (r#"{"compilerOptions":{"jsxImportSource":"hono/jsx"}}"#, true, true),
            (r#"{"compilerOptions":{"experimentalDecorators":true}}"#, true, true),
            (r#"{"extends":"../base.json"}"#, true, true),
        ] {
            assert_eq!(compiles_otherwise(text, production), expected, "{text}");
        }
    }
}
