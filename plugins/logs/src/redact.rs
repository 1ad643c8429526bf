//! Secrets are taken out of what is kept: keys and tokens of the runtime by their form, bearer tokens, what stands behind the names
//! of headers that carry secrets, and whatever the runtime says is one.

use regex::{Captures, Regex};
use serde_json::Value;
use std::borrow::Cow;
use std::sync::LazyLock;

/// What stands in the place of a secret.
pub const REDACTED: &str = "[redacted]";
/// A shorter bearer token is one only if it has a digit: "bearer authentication" is not.
const SURELY_A_TOKEN: usize = 20;

/// Names of headers whose values are secret.
const NAMES: [&str; 5] = ["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key"];

/// A name, also quoted, what stands between, and its value: quoted (also within a text that is quoted itself), or the rest of the line.
const NAMED: &str = concat!(
    r#"(?i)(?-u:\b)((?:proxy[-_])?authorization|(?:set[-_])?cookie|x[-_]?api[-_]?key)"#,
    r#"(\\*["']?\s*[:=]\s*|\\*["']\s*,\s*)"#,
    r#"(\\+"[^"]*"?|"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?|[^\r\n]+)"#,
);
const BEARER: &str = r"(?i)(?-u:\b)bearer[ \t]+([a-z0-9._~+/=-]+)";
/// Keys of the management API, and tokens of [`crate::tokens`].
const OWN: &str = r"bt[kl]_[A-Za-z0-9_-]{16,}";

#[derive(Debug, Default)]
pub struct Redactor {
    /// The longest first: one may be part of another.
    known: Vec<String>,
}

struct Patterns {
    named: Regex,
    bearer: Regex,
    own: Regex,
}

static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| {
    let compile = |pattern: &str| Regex::new(pattern).expect("the tests compile each of the patterns");
    Patterns { named: compile(NAMED), bearer: compile(BEARER), own: compile(OWN) }
});

impl Redactor {
    pub fn new(mut known: Vec<String>) -> Redactor {
        known.retain(|secret| secret.len() >= 8);
        known.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Redactor { known }
    }

    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut text = Cow::Borrowed(text);
        for secret in &self.known {
            if text.contains(&**secret) {
                text = Cow::Owned(text.replace(&**secret, REDACTED));
            }
        }
        let value = |found: &Captures<'_>| {
            let value = &found[3];
            let quote =
                value.trim_start_matches('\\').chars().next().filter(|&first| first == '"' || first == '\'');
            let quote =
                quote.map(|quote| value[..=value.find(quote).unwrap_or(0)].to_owned()).unwrap_or_default();
            format!("{}{}{quote}{REDACTED}{quote}", &found[1], &found[2])
        };
        text = replaced(text, |text| PATTERNS.named.replace_all(text, value));
        text = replaced(text, |text| PATTERNS.own.replace_all(text, REDACTED));
        let token = |found: &Captures<'_>| {
            let token = &found[1];
            match token.len() >= SURELY_A_TOKEN || token.bytes().any(|byte| byte.is_ascii_digit()) {
                true => format!("{}{REDACTED}", &found[0][..found[0].len() - token.len()]),
                false => found[0].to_owned(),
            }
        };
        replaced(text, |text| PATTERNS.bearer.replace_all(text, token))
    }

    /// Takes the secrets out of a value, at any depth.
    pub fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Cow::Owned(other) = self.text(text) {
                    *text = other;
                }
            }
            Value::Array(values) => {
                // Node's rawHeaders: names and values in turns; or pairs.
                let mut is_secret = false;
                for value in values {
                    let was_name =
                        std::mem::replace(&mut is_secret, value.as_str().is_some_and(is_secret_name));
                    match was_name {
                        true => *value = Value::from(REDACTED),
                        false => self.value(value),
                    }
                }
            }
            Value::Object(values) => {
                for (name, value) in values {
                    self.field(name, value);
                }
            }
            _ => {}
        }
    }

    pub fn field(&self, name: &str, value: &mut Value) {
        match is_secret_name(name) {
            true if !value.is_null() => *value = Value::from(REDACTED),
            _ => self.value(value),
        }
    }
}

fn replaced<'t>(text: Cow<'t, str>, replace: impl for<'a> Fn(&'a str) -> Cow<'a, str>) -> Cow<'t, str> {
    match text {
        Cow::Borrowed(text) => replace(text),
        Cow::Owned(text) => match replace(&text) {
            Cow::Owned(other) => Cow::Owned(other),
            Cow::Borrowed(_) => Cow::Owned(text),
        },
    }
}

fn is_secret_name(name: &str) -> bool {
    let same = |(a, b): (u8, u8)| a.eq_ignore_ascii_case(&b) || (a == b'_' && b == b'-');
    NAMES.iter().any(|secret| name.len() == secret.len() && name.bytes().zip(secret.bytes()).all(same))
        || name.eq_ignore_ascii_case("xApiKey")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const KEY: &str = "btk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    #[test]
    fn secrets_in_text_are_redacted_and_the_rest_stays() {
        let redactor = Redactor::new(vec!["root-key-root-key".into(), "root-key".into(), "short".into()]);
        for (text, shown) in [
            ("nothing here".into(), "nothing here"),
            (format!("key {KEY}!"), "key [redacted]!"),
            ("token btl_0123456789abcdefXYZ end".into(), "token [redacted] end"),
            ("a btk_short one".into(), "a btk_short one"),
            ("root-key-root-key and root-key, in short".into(), "[redacted] and [redacted], in short"),
            ("sent Bearer abc.def1 to x".into(), "sent Bearer [redacted] to x"),
            ("bearer  aaaaaaaaaaaaaaaaaaaaaaaa".into(), "bearer  [redacted]"),
            ("Bearer authentication is needed".into(), "Bearer authentication is needed"),
            ("the forbearer 1234".into(), "the forbearer 1234"),
            ("Authorization: Basic dXNlcjpwYXNz".into(), "Authorization: [redacted]"),
            ("AUTHORIZATION=Token x, y\nnext".into(), "AUTHORIZATION=[redacted]\nnext"),
            ("proxy-authorization: Digest a=\"b\", c=\"d\"".into(), "proxy-authorization: [redacted]"),
            ("Cookie: a=b; c=d".into(), "Cookie: [redacted]"),
            ("set-cookie: sid=1; Path=/".into(), "set-cookie: [redacted]"),
            ("x-api-key: 123".into(), "x-api-key: [redacted]"),
            ("X_API_KEY=123".into(), "X_API_KEY=[redacted]"),
            ("{ authorization: 'Bearer x', host: 'y' }".into(), "{ authorization: '[redacted]', host: 'y' }"),
            (r#"{"cookie":"a=\"b\"","x":1}"#.into(), r#"{"cookie":"[redacted]","x":1}"#),
            (r#""{\"cookie\":\"a=b\",\"x\":1}""#.into(), r#""{\"cookie\":\"[redacted]\",\"x\":1}""#),
            (r#"["Cookie", "a=b"]"#.into(), r#"["Cookie", "[redacted]"]"#),
            (r#"cut "cookie":"a=b"#.into(), r#"cut "cookie":"[redacted]""#),
            ("é cookie: ü".into(), "é cookie: [redacted]"),
            ("cookies are fine, and authorization too".into(), "cookies are fine, and authorization too"),
        ] {
            assert_eq!(redactor.text(&text), shown, "{text}");
        }
    }

    #[test]
    fn secrets_in_fields_are_redacted_at_any_depth() {
        let redactor = Redactor::new(Vec::new());
        let mut value = json!({
            "Authorization": "x", "x_api_key": 5, "xApiKey": "x", "set-cookie": ["a", "b"], "cookie": null,
            "headers": { "COOKIE": "x", "host": "y", "list": [["cookie", "x"], ["host", "y"], "X-Api-Key", "z", "w"] },
            "text": format!("a {KEY}"), "number": 7,
        });
        redactor.value(&mut value);
        assert_eq!(
            value,
            json!({
                "Authorization": REDACTED, "x_api_key": REDACTED, "xApiKey": REDACTED, "set-cookie": REDACTED, "cookie": null,
                "headers": {
                    "COOKIE": REDACTED, "host": "y",
                    "list": [["cookie", REDACTED], ["host", "y"], "X-Api-Key", REDACTED, "w"],
                },
                "text": "a [redacted]", "number": 7,
            })
        );
    }
}
