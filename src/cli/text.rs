//! Words and numbers on a terminal: what came from elsewhere made harmless, times and sizes made short.

use std::borrow::Cow;
use std::fmt::Write;

/// A text from elsewhere on one line: nothing in it can move the cursor, colour what follows, or turn the direction of
/// writing.
pub fn escape(text: &str) -> Cow<'_, str> {
    escape_but(text, |_| false)
}

/// The same over several lines.
pub fn escape_lines(text: &str) -> String {
    escape_but(text, |c| matches!(c, '\n' | '\t')).into_owned()
}

/// JSON for a terminal: what is harmful stands in its strings alone, and is the same text when it is escaped (RFC 8259 §7).
pub fn in_json(json: &str) -> Cow<'_, str> {
    let keep = |c| matches!(c, '\n' | '\r' | '\t');
    // All of them are within the first 65,536 characters of Unicode.
    replace(json, keep, |escaped, c| write!(escaped, "\\u{:04x}", u32::from(c)))
}

fn escape_but(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    replace(text, keep, |escaped, c| write!(escaped, "{}", c.escape_default()))
}

fn replace(
    text: &str,
    keep: impl Fn(char) -> bool,
    write: impl Fn(&mut String, char) -> std::fmt::Result,
) -> Cow<'_, str> {
    let bad = |c: char| is_harmful(c) && !keep(c);
    if !text.contains(bad) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if bad(c) {
            let _ = write(&mut escaped, c); // writing to a text cannot fail
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// Control characters, the line separators of Unicode, and the marks that turn the direction of writing.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Seconds in two figures at most: `4s`, `3m`, `2h 5m`, `3d 4h`.
pub fn age(seconds: f64) -> String {
    // From a number of the runtime's: whatever it is, it becomes a whole number.
    let seconds = seconds.max(0.0) as u64;
    let (days, hours, minutes) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m"),
        (0, _, 0) => format!("{hours}h"),
        (0, _, _) => format!("{hours}h {minutes}m"),
        (_, 0, _) => format!("{days}d"),
        _ => format!("{days}d {hours}h"),
    }
}

/// Bytes with one figure behind the point, in powers of 1024: `512 B`, `1.5 KiB`, `36.2 MiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// Milliseconds, short enough to compare: `0.42 ms`, `12.3 ms`, `1.24 s`.
pub fn milliseconds(value: f64) -> String {
    match value {
        ..1.0 => format!("{value:.2} ms"),
        ..1000.0 => format!("{value:.1} ms"),
        _ => format!("{:.2} s", value / 1000.0),
    }
}

/// `1 worker`, `2 workers`.
pub fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// What a moment in RFC 3339 says to the second, with a blank for the `T`: `2026-01-31 12:00:00Z`.
pub fn moment(rfc3339: &str) -> String {
    let text = escape(rfc3339);
    match (text.get(..10), text.get(11..19)) {
        (Some(day), Some(time)) => format!("{day} {time}Z"),
        _ => text.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_from_elsewhere_moves_the_cursor_or_the_direction() {
        assert_eq!(escape("a\u{1b}[2Jb\rc\nd\u{9b}"), "a\\u{1b}[2Jb\\rc\\nd\\u{9b}");
        assert_eq!(escape("\u{202e}txt.exe"), "\\u{202e}txt.exe");
        assert_eq!(escape_lines("a\n\tb\u{7}"), "a\n\tb\\u{7}");
        assert!(matches!(escape("café 日本 👍"), Cow::Borrowed(_)));
    }

    #[test]
    fn numbers_are_short() {
        let ages = [0.4, 59.9, 60.0, 3599.0, 3600.0, 7500.0, 86400.0, 273_600.0, -1.0, f64::NAN].map(age);
        assert_eq!(ages, ["0s", "59s", "1m", "59m", "1h", "2h 5m", "1d", "3d 4h", "0s", "0s"]);
        let sizes = [0, 1023, 1024, 1536, 37_958_451, u64::MAX].map(size);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "36.2 MiB", "16777216.0 TiB"]);
        assert_eq!([0.421, 12.34, 1240.0].map(milliseconds), ["0.42 ms", "12.3 ms", "1.24 s"]);
        assert_eq!([count(1, "worker"), count(0, "worker")], ["1 worker", "0 workers"]);
        assert_eq!(moment("2026-01-31T12:00:00.123Z"), "2026-01-31 12:00:00Z");
    }

    #[test]
    fn json_on_a_terminal_is_the_same_json_and_moves_no_cursor() {
        let text = "{\n  \"log\": \"a\u{9b}2Jb\u{202e}c\"\n}\n";
        let shown = in_json(text);
        assert_eq!(shown, "{\n  \"log\": \"a\\u009b2Jb\\u202ec\"\n}\n");
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&shown), value(text));
    }

    proptest! {
        #[test]
        fn what_is_escaped_has_no_control_character(text in "\\PC*|.*|[\u{0}-\u{ff}]*") {
            prop_assert!(!escape(&text).contains(is_harmful));
            moment(&text);
        }
    }
}
