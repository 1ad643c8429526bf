//! What to do about a start that failed, where that can be told from what is known of it.
//!
//! The messages are those of Bun 1.4.5. One that is not known gets no suggestion: a wrong one is worse than none.

use std::io;

/// How a start came to nothing.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cause<'a> {
    /// The app threw, or could not be loaded.
    Thrown { name: &'a str, message: &'a str },
    /// The process ended by itself.
    Exited,
    /// A signal that was not ours.
    Signalled(i32),
    /// It was not ready in time.
    Late,
    /// There was no process.
    NotStarted(io::ErrorKind),
}

const PACKAGE: &str = "it has to be among the dependencies in package.json and installed: run `bun install` in the app's directory";
const PATH: &str = "check the path of the import, its upper and lower case too, and that the file is in the deployed directory";
const PORT: &str =
    "an app does not listen itself: export an object with `fetch` as default, and the server calls it";
const DATA: &str =
    "the user that the app runs as must be able to read its files; what it writes belongs below APP_DATA_DIR";
const MEMORY: &str = "something ended it from outside, most likely the kernel for want of memory: `dmesg` tells; load less at the start, or give the machine more";

const SYNTAX: &str =
    "its source does not compile: the error has the place; `bun build` of the entrypoint shows all of them";

/// What stands in a message, and what to do then. The first one that fits counts.
const MESSAGES: &[(&[&str], &str)] = &[
    (
        &["No such built-in module"],
        "this version of bun has no such module: check its name, or use another version of bun",
    ),
    (
        &[
            "EADDRINUSE",
            "EADDRNOTAVAIL",
            "Failed to start server",
            "permission denied 0.0.0.0:",
            "permission denied [::]:",
        ],
        PORT,
    ),
    (&["EACCES", "EPERM", "EROFS", "unable to open database file"], DATA),
    (&["ENOENT"], "relative paths begin at the app's directory; check that the file was deployed with it"),
    (
        &["ECONNREFUSED", "ENOTFOUND", "ETIMEDOUT", "Unable to connect"],
        "what it connects to at the start does not answer: check the address, or connect at the first request",
    ),
    (&["Out of memory"], MEMORY),
    (
        &["cannot open shared object file"],
        "a native package was built for another system: run `bun install` on one like this",
    ),
    (&["JSON Parse error"], "a JSON file that it reads is not valid, or is empty"),
    (&["Export named "], "check the name of what it imports; what is only a type needs `import type`"),
];

/// What the author of the app, or the operator, may do. `output` is the last of what the process printed on stderr.
pub(super) fn suggest(cause: Cause<'_>, output: &[String]) -> Option<String> {
    match cause {
        Cause::Thrown { name, message } => by_message(name, message),
        Cause::Late => Some(
            "do less before the module is loaded (what it awaits at the top counts), or raise startTimeout in the manifest"
                .into(),
        ),
        Cause::Signalled(libc::SIGKILL) => Some(MEMORY.into()),
        Cause::Signalled(libc::SIGTERM | libc::SIGINT) => None,
        Cause::Signalled(_) => {
            Some("bun itself crashed: see the last lines of its output, and try another version of bun".into())
        }
        // The last message is the one that ended it.
        Cause::Exited if !output.is_empty() => output.iter().rev().find_map(|line| by_message("", line)),
        Cause::Exited => Some(
            "it ended without a word: look for `process.exit()`; an app exports `fetch` and lets the server call it".into(),
        ),
        Cause::NotStarted(kind) => by_kind(kind).map(Into::into),
    }
}

fn by_message(name: &str, message: &str) -> Option<String> {
    // The shim's own errors say what to do.
    if let Some((_, hint)) = message.split_once("\nhint: ") {
        return Some(hint.to_owned());
    }
    if let Some(missing) = quoted_after(message, "Cannot find package ") {
        return Some(package(missing));
    }
    if let Some(missing) = quoted_after(message, "Cannot find module ") {
        return Some(if missing.starts_with(['.', '/']) { PATH.into() } else { package(missing) });
    }
    if let Some(variable) = environment_variable(message) {
        return Some(format!(
            "set {variable} in `env` of the manifest or in .env, or name it in envPassthrough"
        ));
    }
    let has = |text: &&str| message.contains(*text);
    if let Some((_, known)) = MESSAGES.iter().find(|(texts, _)| texts.iter().any(has)) {
        return Some((*known).into());
    }
    matches!(name, "BuildMessage" | "SyntaxError").then(|| SYNTAX.into())
}

fn package(name: &str) -> String {
    if name.starts_with('#') {
        return format!("`{name}` has to be in `imports` of the app's package.json");
    }
    if name.starts_with("bun:") {
        return format!("this version of bun has no `{name}`");
    }
    format!("`{name}` is not there: {PACKAGE}")
}

/// What stands in single quotes behind these words.
fn quoted_after<'a>(message: &'a str, words: &str) -> Option<&'a str> {
    let (_, rest) = message.split_once(words)?;
    rest.strip_prefix('\'')?.split_once('\'').map(|(quoted, _)| quoted)
}

/// The variable of the environment that was not there and whose value was used.
fn environment_variable(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("undefined is not an object (evaluating '")?;
    let rest = rest.strip_prefix("process.env.").or_else(|| rest.strip_prefix("Bun.env."))?;
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
    Some(&rest[..end])
}

fn by_kind(kind: io::ErrorKind) -> Option<&'static str> {
    match kind {
        io::ErrorKind::NotFound => {
            Some("is bun still where it was when the server started? Restart the server where it was updated")
        }
        io::ErrorKind::PermissionDenied => {
            Some("the server's user must be able to run bun and to write in the state directory")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The messages of Bun 1.4.5, each with a word of the suggestion.
    #[test]
    fn what_bun_says_leads_to_a_suggestion() {
        for (name, message, suggested) in [
            (
                "ResolveMessage",
                "Cannot find package 'express' imported from /apps/x/index.ts",
                "`express` is not there",
            ),
            (
                "ResolveMessage",
                "Cannot find package '@scope/pkg' imported from /apps/x/index.ts",
                "`bun install`",
            ),
            (
                "ResolveMessage",
                "Cannot find module 'left-pad'\nRequire stack:\n- /apps/x/req.ts",
                "`left-pad` is not there",
            ),
            (
                "ResolveMessage",
                "Cannot find module './absent' imported from /apps/x/a.ts",
                "path of the import",
            ),
            (
                "ResolveMessage",
                "Cannot find module './absent'\nRequire stack:\n- /apps/x/a.ts",
                "path of the import",
            ),
            ("ResolveMessage", "Cannot find package '#x' imported from /apps/x/x.ts", "`imports`"),
            ("ResolveMessage", "Cannot find package 'bun:nope' imported from /apps/x/x.ts", "no `bun:nope`"),
            ("ResolveMessage", "No such built-in module: node:nope", "version of bun"),
            ("BuildMessage", "Expected \")\" but found end of file", "does not compile"),
            ("BuildMessage", "\"await\" can only be used inside an \"async\" function", "does not compile"),
            ("BuildMessage", "EACCES reading \"/apps/x/unreadable.ts\"", "able to read"),
            ("SyntaxError", "Export named 'nope' not found in module '/apps/x/ok.ts'.", "`import type`"),
            ("SyntaxError", "JSON Parse error: Unexpected EOF", "JSON file"),
            ("Error", "Failed to start server. Is port 38319 in use?", "does not listen"),
            ("Error", "listen EADDRINUSE: address already in use :::37209", "does not listen"),
            ("Error", "EADDRNOTAVAIL: address not available, listen", "does not listen"),
            ("Error", "permission denied 0.0.0.0:81", "does not listen"),
            ("Error", "EACCES: permission denied, open '/etc/x'", "APP_DATA_DIR"),
            ("SQLiteError", "unable to open database file", "APP_DATA_DIR"),
            ("Error", "ENOENT: no such file or directory, open './nothere.txt'", "relative paths"),
            (
                "TypeError",
                "ECONNREFUSED: Unable to connect. Is the computer able to access the url?",
                "does not answer",
            ),
            ("TypeError", "getaddrinfo ENOTFOUND nohost.invalid", "does not answer"),
            (
                "TypeError",
                "undefined is not an object (evaluating 'process.env.DATABASE_URL.split')",
                "set DATABASE_URL in",
            ),
            ("RangeError", "Out of memory", "memory"),
            (
                "Error",
                "/x/y.node: cannot open shared object file: No such file or directory",
                "native package",
            ),
            (
                "LoadError",
                "The entrypoint has no default export\nhint: export default {}",
                "export default {}",
            ),
        ] {
            let found = suggest(Cause::Thrown { name, message }, &[]).unwrap_or_default();
            assert!(found.contains(suggested), "{message}: {found}");
        }
    }

    #[test]
    fn what_is_not_known_gets_no_suggestion() {
        for message in [
            "no such luck",
            "foo is not defined",
            "undefined is not an object (evaluating 'a.b')",
            "",
            "Cannot find package ",
        ] {
            assert_eq!(suggest(Cause::Thrown { name: "Error", message }, &[]), None, "{message}");
        }
        assert_eq!(suggest(Cause::Signalled(15), &[]), None);
        assert_eq!(suggest(Cause::Exited, &["giving up".into()]), None);
        assert_eq!(suggest(Cause::NotStarted(io::ErrorKind::Other), &[]), None);
    }

    #[test]
    fn how_a_process_ended_leads_to_a_suggestion() {
        let output = [
            "error: listen EADDRINUSE: address already in use :::37209".to_owned(),
            "      at listen".into(),
        ];
        for (cause, output, suggested) in [
            (Cause::Late, &[][..], "startTimeout"),
            (Cause::Signalled(9), &[], "memory"),
            (Cause::Signalled(11), &[], "bun itself crashed"),
            (Cause::Signalled(4), &[], "bun itself crashed"),
            (Cause::Exited, &[], "without a word"),
            (Cause::Exited, &output, "does not listen"),
            (Cause::NotStarted(io::ErrorKind::NotFound), &[], "bun still"),
        ] {
            let found = suggest(cause, output).unwrap_or_default();
            assert!(found.contains(suggested), "{cause:?}: {found}");
        }
    }
}
