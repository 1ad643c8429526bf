//! Where a path begins with a prefix, and whether all who read it agree on that.

use buntime_plugin::plain_path;
use std::borrow::Cow;

/// The other readings of a path that can mean another one to somebody, since it has encoded bytes, backslashes, dot or empty
/// segments: as the URL parser of an app takes it, and as the most lenient reader does.
pub fn readings(path: &str) -> Option<[String; 2]> {
    match plain_path(path) {
        Cow::Borrowed(_) => None,
        Cow::Owned(plain) => Some([as_url(path), plain]),
    }
}

/// Ends of the segments of a path: of `/a/b` 2 and 4.
pub fn segment_ends(path: &str) -> impl Iterator<Item = usize> {
    let slashes = path.bytes().enumerate().skip(1).filter(|&(_, byte)| byte == b'/').map(|(at, _)| at);
    slashes.chain([path.len()])
}

/// Backslashes as slashes and dot segments resolved, also encoded ones (WHATWG URL, "path state").
fn as_url(path: &str) -> String {
    let inside = path.strip_prefix(['/', '\\']).unwrap_or(path);
    let mut segments: Vec<&str> = Vec::new();
    let mut parts = inside.split(['/', '\\']).peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        match dots(part) {
            0 => segments.push(part),
            dots => {
                if dots == 2 {
                    segments.pop();
                }
                if is_last {
                    segments.push("");
                }
            }
        }
    }
    format!("/{}", segments.join("/"))
}

/// 1 of a segment that means its own directory, 2 of one that means the one above, 0 of any other.
fn dots(segment: &str) -> u8 {
    let mut rest = segment;
    let mut count = 0;
    while !rest.is_empty() {
        let encoded = rest.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("%2e"));
        rest = match rest.strip_prefix('.') {
            Some(rest) => rest,
            None if encoded => &rest[3..],
            None => return 0,
        };
        count += 1;
        if count > 2 {
            return 0;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_segments_are_resolved_as_in_a_url() {
        for (path, url) in [
            ("/a/b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/%2E%2e/b", "/b"),
            ("/a/.%2e", "/"),
            ("/a/b/..", "/a/"),
            ("/a/./b/.", "/a/b/"),
            ("/../../a", "/a"),
            ("/a\\..\\b", "/b"),
            ("/a//../b", "/a/b"),
            ("/a/.../b", "/a/.../b"),
            ("/a/..b", "/a/..b"),
            ("/a%2f../b", "/a%2f../b"),
            ("//a", "//a"),
            ("/", "/"),
        ] {
            assert_eq!(as_url(path), url, "{path}");
        }
    }

    #[test]
    fn segments_end_before_slashes_and_at_the_end() {
        let ends = |path| segment_ends(path).collect::<Vec<_>>();
        assert_eq!((ends("/a/b"), ends("/a/"), ends("/")), (vec![2, 4], vec![2, 3], vec![1]));
    }
}
