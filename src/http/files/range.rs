//! Byte ranges (RFC 9110 §14). One range is honoured; for several the whole file is the answer (§14.2 allows it).

use http::HeaderMap;
use http::header;

/// What of a representation is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    Whole,
    /// First byte and number of bytes, at least one.
    Part {
        first: u64,
        length: u64,
    },
    /// 416.
    Unsatisfiable,
}

/// Reads `Range` for a representation of `size` bytes. What is not one well-formed byte range is ignored.
pub fn select(headers: &HeaderMap, size: u64) -> Selection {
    let mut lines = headers.get_all(header::RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return Selection::Whole };
    line.to_str().ok().and_then(|line| parse(line, size)).unwrap_or(Selection::Whole)
}

fn parse(line: &str, size: u64) -> Option<Selection> {
    let (unit, range) = line.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = range.trim().split_once('-')?;
    if first.is_empty() {
        let length = number(last)?.min(size);
        return Some(match length {
            0 if size > 0 => Selection::Unsatisfiable,
            0 => Selection::Whole,
            _ => Selection::Part { first: size - length, length },
        });
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if last < first {
        return None;
    }
    if first >= size {
        return Some(Selection::Unsatisfiable);
    }
    Some(Selection::Part { first, length: last.min(size - 1) - first + 1 })
}

/// A number too large for 64 bits lies behind the end of every file, as the largest that fits does.
fn number(digits: &str) -> Option<u64> {
    let valid = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    valid.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn of(line: &'static str, size: u64) -> Selection {
        let headers = HeaderMap::from_iter([(header::RANGE, HeaderValue::from_static(line))]);
        select(&headers, size)
    }

    fn part(first: u64, length: u64) -> Selection {
        Selection::Part { first, length }
    }

    #[test]
    fn one_range_selects_its_bytes() {
        let table = [
            ("bytes=0-4", part(0, 5)),
            ("bytes=0-0", part(0, 1)),
            ("bytes=5-", part(5, 5)),
            ("bytes=9-9", part(9, 1)),
            ("bytes=2-100", part(2, 8)),
            ("bytes=-3", part(7, 3)),
            ("bytes=-100", part(0, 10)),
            ("BYTES=1-1", part(1, 1)),
            ("bytes=3-99999999999999999999999", part(3, 7)),
        ];
        for (line, selection) in table {
            assert_eq!(of(line, 10), selection, "{line}");
        }
    }

    #[test]
    fn a_range_outside_of_the_file_is_unsatisfiable() {
        for line in ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(of(line, 10), Selection::Unsatisfiable, "{line}");
        }
        assert_eq!(of("bytes=0-", 0), Selection::Unsatisfiable);
        assert_eq!(of("bytes=-5", 0), Selection::Whole);
    }

    #[test]
    fn what_is_not_one_valid_range_is_ignored() {
        for line in [
            "bytes=4-2",
            "bytes=a-b",
            "bytes=-",
            "bytes=",
            "bytes",
            "bytes=1",
            "bytes=+1-2",
            "bytes=1-2-3",
            "bytes=0-1,3-4",
            "bytes=0-1,",
            "items=0-1",
        ] {
            assert_eq!(of(line, 10), Selection::Whole, "{line}");
        }
    }

    #[test]
    fn a_repeated_header_is_ignored() {
        let mut headers = HeaderMap::new();
        headers.append(header::RANGE, HeaderValue::from_static("bytes=0-1"));
        headers.append(header::RANGE, HeaderValue::from_static("bytes=2-3"));
        assert_eq!(select(&headers, 10), Selection::Whole);
    }
}
