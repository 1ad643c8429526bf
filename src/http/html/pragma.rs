//! `<meta http-equiv="Content-Security-Policy" content="…">`: the policy that a document states itself.

use super::tokenizer::{Pragma, Span};

/// A policy in a document.
#[derive(Debug, PartialEq, Eq)]
pub struct Stated {
    pub text: String,
    /// Where the value stands, without its quotes.
    pub at: Span,
    pub is_quoted: bool,
}

/// What a pragma says, if it is a policy that is text.
pub fn policy(document: &[u8], pragma: &Pragma) -> Option<Stated> {
    let value = |(from, to): Span| document.get(from..to).and_then(|bytes| std::str::from_utf8(bytes).ok());
    let name = value(pragma.name)?.trim();
    if !name.eq_ignore_ascii_case("content-security-policy") {
        return None;
    }
    let before = pragma.content.0.checked_sub(1).and_then(|at| document.get(at));
    let is_quoted = matches!(before, Some(b'"' | b'\''));
    Some(Stated { text: unescape(value(pragma.content)?), at: pragma.content, is_quoted })
}

/// A policy as the value of an attribute.
pub fn value(policy: &str, is_quoted: bool) -> String {
    let escaped = policy.replace('&', "&amp;").replace('"', "&quot;").replace('\'', "&#39;");
    if is_quoted { escaped } else { format!("\"{escaped}\"") }
}

/// The character references that stand in policies (HTML §13.2.5.72): templates write quotes like this.
fn unescape(text: &str) -> String {
    const NAMED: [(&str, char); 3] = [("quot", '"'), ("apos", '\''), ("amp", '&')];
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let reference = rest[1..].split_once(';').map(|(name, _)| name).filter(|name| name.len() <= 8);
        let number = |name: &str| match name.strip_prefix("#x").or(name.strip_prefix("#X")) {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => name.strip_prefix('#')?.parse().ok(),
        };
        let character = reference.and_then(|name| {
            let named = NAMED.iter().find(|(known, _)| *known == name).map(|(_, character)| *character);
            named.or_else(|| char::from_u32(number(name)?))
        });
        match (reference, character) {
            (Some(name), Some(character)) => {
                out.push(character);
                rest = &rest[name.len() + 2..];
            }
            _ => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_undone_and_come_back() {
        for (text, plain) in [
            ("default-src &#39;self&#x27; &quot;&apos;&amp;", "default-src 'self' \"'&"),
            ("a & b &; &nbsp; &#; &#xd800; &verylongname;", "a & b &; &nbsp; &#; &#xd800; &verylongname;"),
        ] {
            assert_eq!(unescape(text), plain);
            assert_eq!(unescape(&value(plain, true)), plain);
        }
        assert_eq!(value("a 'b'", false), "\"a &#39;b&#39;\"");
    }
}
