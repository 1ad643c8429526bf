//! Escape sequences of terminals (ECMA-48) are taken out of what is kept.

use std::borrow::Cow;

const ESC: char = '\u{1b}';
/// CSI as one character.
const CSI: char = '\u{9b}';

/// The text without colours, cursor movements, titles and links.
pub fn strip(text: &str) -> Cow<'_, str> {
    if memchr::memchr2(0x1b, 0xc2, text.as_bytes()).is_none() || !text.contains([ESC, CSI]) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find([ESC, CSI]) {
        plain.push_str(&rest[..at]);
        rest = behind(&rest[at..]);
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

/// What stands behind the sequence that the text begins with.
fn behind(text: &str) -> &str {
    let mut chars = text.chars();
    let first = chars.next();
    let rest = chars.as_str();
    if first == Some(CSI) {
        return control(rest);
    }
    match chars.next() {
        Some('[') => control(chars.as_str()),
        // OSC, DCS, SOS, PM, APC: a string up to its terminator, BEL or ESC \.
        Some(']' | 'P' | 'X' | '^' | '_') => {
            let text = chars.as_str();
            let end = text.find(['\u{7}', ESC, '\u{9c}']);
            match end.map(|end| &text[end..]) {
                Some(rest) => rest.strip_prefix("\u{1b}\\").unwrap_or_else(|| match rest.starts_with(ESC) {
                    // Another sequence, which is read next.
                    true => rest,
                    false => rest.get(rest.chars().next().map_or(0, char::len_utf8)..).unwrap_or_default(),
                }),
                None => "",
            }
        }
        // Intermediate bytes and a final one, such as ESC ( B.
        Some(' '..='/') => {
            let text = chars.as_str().trim_start_matches(|c| matches!(c, ' '..='/'));
            text.strip_prefix(|c| matches!(c, '0'..='~')).unwrap_or(text)
        }
        Some('0'..='~') => chars.as_str(),
        _ => rest,
    }
}

/// Parameters, intermediate bytes and a final one.
fn control(text: &str) -> &str {
    let text = text.trim_start_matches(|c| matches!(c, '0'..='?'));
    let text = text.trim_start_matches(|c| matches!(c, ' '..='/'));
    text.strip_prefix(|c| matches!(c, '@'..='~')).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sequences_go_and_the_text_stays() {
        for (text, plain) in [
            ("plain é", "plain é"),
            ("\u{1b}[31mred\u{1b}[0m text", "red text"),
            ("\u{1b}[38;5;12mblue\u{1b}[m", "blue"),
            ("\u{1b}[38:2::1:2:3mx", "x"),
            ("\u{1b}[2J\u{1b}[1;1Hclear", "clear"),
            ("\u{1b}]0;title\u{7}after", "after"),
            ("\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("\u{1b}(Bcharset", "charset"),
            ("\u{9b}1mbold", "bold"),
            ("cut \u{1b}[3", "cut "),
            ("end \u{1b}", "end "),
            ("\u{1b}é", "é"),
            ("\u{1b}]never ends", ""),
            ("\u{a0}nbsp", "\u{a0}nbsp"),
        ] {
            assert_eq!(strip(text), plain, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_of_a_sequence_begins_in_what_is_left(text in "[\u{1b}\u{9b}a-z\\[\\]();0-9\u{7}é ]{0,40}") {
            prop_assert!(!strip(&text).contains([ESC, CSI]));
        }
    }
}
