//! What URL parsers make of the name of a host.

/// Whether they take it for an IPv4 address, and refuse it where it is none (WHATWG URL, "ends in a number"): its last label, but
/// for an empty one at the end, is all digits or hexadecimal after `0x`.
pub fn ends_in_a_number(name: &[u8]) -> bool {
    let name = name.strip_suffix(b".").unwrap_or(name);
    let last = name.rsplit(|byte| *byte == b'.').next().unwrap_or(name);
    let hexadecimal = last.len() >= 2 && last[..2].eq_ignore_ascii_case(b"0x");
    hexadecimal && last[2..].iter().all(u8::is_ascii_hexdigit)
        || !last.is_empty() && last.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_label_decides() {
        for (name, is_so) in [
            ("", false),
            (".", false),
            ("a", false),
            ("1.a", false),
            ("a.1b", false),
            ("a.0xg", false),
            ("a.1..", false),
            ("7", true),
            ("127.0.0.1", true),
            ("a.1", true),
            ("a.1.", true),
            ("a.0x", true),
            ("a.0X1f", true),
        ] {
            assert_eq!(ends_in_a_number(name.as_bytes()), is_so, "{name}");
        }
    }
}
