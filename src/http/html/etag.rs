//! Entity tags of injected pages. What we insert is part of the page, so it is part of the tag: the app's tag gets
//! a mark on its way out and loses it on its way back, and a page with another mark has changed.

use crate::http::files::tags;
use http::header::{self, HeaderMap, HeaderValue};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Stands for one base and environment. `"abc"` becomes `W/"abc;s0123456789abcdef"`: weak, because the bytes are
/// no longer those that the app vouched for; `s` or `w` is what the app's own tag was.
#[derive(Debug)]
pub struct Mark(String);

impl Mark {
    pub fn of(base: &str, env: &str) -> Mark {
        let mut hasher = DefaultHasher::new();
        (base, env).hash(&mut hasher);
        Mark(format!("{:016x}", hasher.finish()))
    }

    /// Marks the entity tag of a response. What is no entity tag is removed.
    pub fn put(&self, headers: &mut HeaderMap) {
        let Some(value) = headers.remove(header::ETAG) else { return };
        let tag = value.to_str().ok().and_then(|tag| {
            let (kind, quoted) = match tag.strip_prefix("W/") {
                Some(quoted) => ('w', quoted),
                None => ('s', tag),
            };
            let opaque = quoted.strip_prefix('"')?.strip_suffix('"').filter(|tag| !tag.contains('"'))?;
            HeaderValue::try_from(format!("W/\"{opaque};{kind}{}\"", self.0)).ok()
        });
        if let Some(tag) = tag {
            headers.insert(header::ETAG, tag);
        }
    }

    /// Gives the app its own tags back in `If-None-Match`. Tags with another mark are left out, and with them
    /// `If-Modified-Since`, which knows nothing of marks. True if a tag of ours was among them.
    pub fn restore(&self, headers: &mut HeaderMap) -> bool {
        let lines = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|line| line.to_str().ok());
        let lines: Vec<&str> = lines.collect();
        let (mut ours, mut outdated) = (false, false);
        let mut kept: Vec<String> = Vec::new();
        for tag in lines.iter().flat_map(|line| tags(line)) {
            match unmark(tag) {
                Some((original, mark)) if mark == self.0 => {
                    ours = true;
                    kept.push(original);
                }
                Some(_) => outdated = true,
                None => kept.push(tag.to_owned()),
            }
        }
        if !ours && !outdated {
            return false;
        }
        headers.remove(header::IF_NONE_MATCH);
        if let Some(value) = HeaderValue::try_from(kept.join(", ")).ok().filter(|value| !value.is_empty()) {
            headers.insert(header::IF_NONE_MATCH, value);
        }
        if outdated {
            headers.remove(header::IF_MODIFIED_SINCE);
        }
        ours
    }
}

/// The tag as the app made it, and the mark; none = it has no mark.
fn unmark(tag: &str) -> Option<(String, &str)> {
    let (opaque, mark) = tag.strip_prefix("W/\"")?.strip_suffix('"')?.rsplit_once(';')?;
    let (kind, mark) = mark.split_at_checked(1)?;
    if mark.len() != 16 || !mark.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    match kind {
        "s" => Some((format!("\"{opaque}\""), mark)),
        "w" => Some((format!("W/\"{opaque}\""), mark)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(mark: &Mark, tag: &str) -> Option<String> {
        let mut headers = HeaderMap::from_iter([(header::ETAG, HeaderValue::from_str(tag).unwrap())]);
        mark.put(&mut headers);
        headers.get(header::ETAG).map(|tag| tag.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_tag_comes_back_as_the_app_made_it() {
        let mark = Mark::of("base", "env");
        for tag in ["\"abc\"", "W/\"abc\"", "\"\"", "\"a;b,c\""] {
            let sent = marked(&mark, tag).unwrap();
            assert!(sent.starts_with("W/\"") && sent != tag);
            let mut headers =
                HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_str(&sent).unwrap())]);
            assert!(mark.restore(&mut headers));
            assert_eq!(headers[header::IF_NONE_MATCH], tag);
        }
        assert_eq!(marked(&mark, "no tag"), None);
        assert_eq!(marked(&mark, "\"a\"b\""), None);
    }

    #[test]
    fn a_page_with_another_base_or_environment_counts_as_changed() {
        let sent = marked(&Mark::of("base", "old"), "\"abc\"").unwrap();
        let mut headers = HeaderMap::new();
        headers.append(header::IF_NONE_MATCH, HeaderValue::from_str(&format!("\"x\", {sent}")).unwrap());
        headers.insert(header::IF_MODIFIED_SINCE, HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"));
        assert!(!Mark::of("base", "new").restore(&mut headers));
        assert_eq!(headers[header::IF_NONE_MATCH], "\"x\"");
        assert!(!headers.contains_key(header::IF_MODIFIED_SINCE));
        assert!(!Mark::of("base", "new").restore(&mut headers), "nothing of ours is left");
    }

    #[test]
    fn tags_of_others_are_left_alone() {
        for tag in ["*", "\"abc\"", "W/\"abc;s12\"", "W/\"abc;x0123456789abcdef\"", "nonsense", ""] {
            let mut headers =
                HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_str(tag).unwrap())]);
            assert!(!Mark::of("base", "env").restore(&mut headers));
            assert_eq!(headers[header::IF_NONE_MATCH], tag);
        }
    }
}
