//! What is inserted, in letters that mean the same in every charset that extends ASCII.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use std::fmt::Write;

/// What stands for itself neither in the path of an address nor in an attribute.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'\'')
    .add(b'<')
    .add(b'>')
    .add(b'`')
    .add(b'?')
    .add(b'#')
    .add(b'&')
    .add(b'\\')
    .add(b'{')
    .add(b'}');

/// `<base href="/shop/">` for the mount `/shop`; empty or `/` is the root of the host.
pub fn base(mount: &str) -> String {
    // One slash at the start: two would name a host.
    let path = mount.trim_matches('/');
    let slash = if path.is_empty() { "" } else { "/" };
    format!("<base href=\"/{}{slash}\">", utf8_percent_encode(path, ESCAPED))
}

/// `window.__env__={…}`, safe within a `<script>`.
pub fn env_statement<'a>(variables: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut out = String::from("window.__env__={");
    for (nth, (key, value)) in variables.enumerate() {
        if nth > 0 {
            out.push(',');
        }
        json_string(&mut out, key);
        out.push(':');
        json_string(&mut out, value);
    }
    out.push('}');
    out
}

/// The statement as an element, with the nonce of the response's content policy.
pub fn script(statement: &str, nonce: Option<&str>) -> String {
    match nonce {
        Some(nonce) => format!("<script nonce=\"{nonce}\">{statement}</script>"),
        None => format!("<script>{statement}</script>"),
    }
}

/// The nonce that a content security policy lets scripts have (CSP3 §6.7.3): that of the directive which governs
/// script elements. Only characters of base64 count, so that it can stand in an attribute.
pub fn nonce(policy: &str) -> Option<&str> {
    let directive = |wanted: &str| {
        policy.split(';').map(str::trim).find_map(|directive| {
            let (name, sources) = directive.split_once(|c: char| c.is_ascii_whitespace())?;
            name.eq_ignore_ascii_case(wanted).then_some(sources)
        })
    };
    let sources = ["script-src-elem", "script-src", "default-src"].into_iter().find_map(directive)?;
    sources.split_ascii_whitespace().find_map(|source| {
        let nonce = source.get(7..)?.strip_suffix('\'')?;
        let named = source[..7].eq_ignore_ascii_case("'nonce-");
        let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'-' | b'_' | b'=');
        (named && !nonce.is_empty() && nonce.bytes().all(valid)).then_some(nonce)
    })
}

/// JSON that is also safe HTML and JavaScript: whatever could end the script, and all that is not ASCII, is escaped.
fn json_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '<' | '>' | '&' => escape_unit(out, c as u16),
            ' '..='~' => out.push(c),
            _ => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| escape_unit(out, *unit)),
        }
    }
    out.push('"');
}

fn escape_unit(out: &mut String, unit: u16) {
    write!(out, "\\u{unit:04x}").expect("writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_ends_with_a_slash_and_stays_on_the_host() {
        for (mount, html) in [
            ("/shop", "<base href=\"/shop/\">"),
            ("/shop/", "<base href=\"/shop/\">"),
            ("", "<base href=\"/\">"),
            ("/", "<base href=\"/\">"),
            ("//evil", "<base href=\"/evil/\">"),
            ("/@team/shop@^1.2", "<base href=\"/@team/shop@^1.2/\">"),
            ("/a\"><script>&é", "<base href=\"/a%22%3E%3Cscript%3E%26%C3%A9/\">"),
        ] {
            assert_eq!(base(mount), html);
        }
    }

    #[test]
    fn values_cannot_leave_the_script_and_are_what_they_were() {
        let hostile = "</script><!--<script>]]>&amp;\u{2028}\u{2029}$&$1\"'\\\n\r\0é😀";
        let statement = env_statement([("PUBLIC_A", hostile), ("PUBLIC_\"", "")].into_iter());
        assert!(statement.is_ascii());
        assert!(!statement.contains(['<', '>', '&', '\n', '\r', '\0']), "{statement}");
        let json = statement.strip_prefix("window.__env__=").unwrap();
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(value, serde_json::json!({"PUBLIC_A": hostile, "PUBLIC_\"": ""}));
    }

    #[test]
    fn the_nonce_is_that_of_the_directive_that_governs_scripts() {
        for (policy, expected) in [
            ("script-src 'nonce-abc123=='", Some("abc123==")),
            ("default-src 'self'; Script-Src 'self' 'NONCE-x'", Some("x")),
            ("default-src 'nonce-d'", Some("d")),
            ("default-src 'nonce-d'; script-src 'self'", None),
            ("script-src 'nonce-a'; script-src-elem 'nonce-b'", Some("b")),
            ("style-src 'nonce-a'", None),
            ("script-src 'nonce-\"><x'", None),
            ("script-src 'nonce-'", None),
            ("script-src 'nonce-", None),
            ("script-src é'nonce-abc'", None),
            ("", None),
        ] {
            assert_eq!(nonce(policy), expected, "{policy}");
        }
        assert_eq!(script("a=1", Some("n")), "<script nonce=\"n\">a=1</script>");
        assert_eq!(script("a=1", None), "<script>a=1</script>");
    }
}
