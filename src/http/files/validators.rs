//! Entity tags, dates, and the conditions that requests put on them (RFC 9110 §8.8 and §13).

use http::Method;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use std::time::{Duration, SystemTime};

/// What identifies one state of one representation.
#[derive(Clone, Debug)]
pub struct Validators {
    /// Strong, with its quotes.
    etag: String,
    /// Whole seconds, never in the future.
    modified: SystemTime,
    /// The file has not changed within the second before: its date is as good as a strong validator (§8.8.2.2).
    settled: bool,
}

/// What the preconditions of a request make of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on; `ranged` = `If-Range` does not stand against a range.
    Proceed {
        ranged: bool,
    },
    NotModified,
    Failed,
}

impl Validators {
    /// `modified` is the time of last modification since the epoch, `coding` the content coding of the bytes.
    pub fn new(size: u64, modified: Duration, inode: u64, coding: &str, now: SystemTime) -> Validators {
        let suffix = if coding.is_empty() { String::new() } else { format!("-{coding}") };
        let etag = format!("\"{size:x}-{:x}-{inode:x}{suffix}\"", modified.as_nanos());
        let seconds = |time: Duration| SystemTime::UNIX_EPOCH + Duration::from_secs(time.as_secs());
        let now = seconds(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
        let modified = seconds(modified).min(now);
        Validators { etag, modified, settled: modified < now }
    }

    pub fn write(&self, headers: &mut HeaderMap) {
        let value = |text: String| HeaderValue::try_from(text).expect("tags and dates are visible ASCII");
        headers.insert(header::ETAG, value(self.etag.clone()));
        headers.insert(header::LAST_MODIFIED, value(httpdate::fmt_http_date(self.modified)));
    }

    /// Evaluates the preconditions of a GET or HEAD in the order of §13.2.2.
    pub fn judge(&self, method: &Method, headers: &HeaderMap) -> Verdict {
        if headers.contains_key(header::IF_MATCH) {
            if !self.matches(headers, header::IF_MATCH, strong) {
                return Verdict::Failed;
            }
        } else if date(headers, header::IF_UNMODIFIED_SINCE).is_some_and(|since| self.modified > since) {
            return Verdict::Failed;
        }
        if headers.contains_key(header::IF_NONE_MATCH) {
            if self.matches(headers, header::IF_NONE_MATCH, weak) {
                return Verdict::NotModified;
            }
        } else if date(headers, header::IF_MODIFIED_SINCE).is_some_and(|since| self.modified <= since) {
            return Verdict::NotModified;
        }
        Verdict::Proceed { ranged: method == Method::GET && self.if_range(headers) }
    }

    /// True if any line of the header is `*` or has a tag that compares equal.
    fn matches(&self, headers: &HeaderMap, name: HeaderName, equal: fn(&str, &str) -> bool) -> bool {
        headers
            .get_all(name)
            .iter()
            .filter_map(|line| line.to_str().ok())
            .any(|line| line.trim() == "*" || tags(line).any(|tag| equal(tag, &self.etag)))
    }

    /// §13.1.5: a strong tag or the exact date; without the header a range may be answered.
    fn if_range(&self, headers: &HeaderMap) -> bool {
        let Some(value) = headers.get(header::IF_RANGE) else { return true };
        let Ok(value) = value.to_str() else { return false };
        match value.trim() {
            tag if tag.contains('"') => strong(tag, &self.etag),
            date => self.settled && httpdate::parse_http_date(date).is_ok_and(|date| date == self.modified),
        }
    }
}

fn strong(tag: &str, ours: &str) -> bool {
    tag == ours
}

/// Ours is always strong, so only theirs can have the mark.
fn weak(tag: &str, ours: &str) -> bool {
    tag.strip_prefix("W/").unwrap_or(tag) == ours
}

/// The entity tags of a list; a comma inside of the quotes does not separate. Ends at what is no tag.
pub fn tags(mut list: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        list = list.trim_start_matches([' ', '\t', ',']);
        let open = if list.starts_with("W/\"") { 3 } else { 1 };
        if open == 1 && !list.starts_with('"') {
            return None;
        }
        let close = open + list[open..].find('"')?;
        let (tag, rest) = list.split_at(close + 1);
        list = rest;
        Some(tag)
    })
}

/// A date that is none is as if the header was not there (§13.1.3, §13.1.4).
fn date(headers: &HeaderMap, name: HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODIFIED: Duration = Duration::from_nanos(784_111_777_000_000_001);
    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
    const GO: Verdict = Verdict::Proceed { ranged: true };
    const GO_WHOLE: Verdict = Verdict::Proceed { ranged: false };

    fn ours() -> Validators {
        let now = SystemTime::UNIX_EPOCH + MODIFIED + Duration::from_secs(3600);
        Validators::new(0x10, MODIFIED, 0xabc, "", now)
    }

    fn judge(method: Method, pairs: &[(HeaderName, &str)]) -> Verdict {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, HeaderValue::from_str(&value.replace("OURS", &ours().etag)).unwrap());
        }
        ours().judge(&method, &headers)
    }

    #[test]
    fn tags_differ_by_size_time_inode_and_coding() {
        let now = SystemTime::UNIX_EPOCH + MODIFIED;
        let nano = Duration::from_nanos(1);
        let tags = [
            Validators::new(1, MODIFIED, 1, "", now).etag,
            Validators::new(2, MODIFIED, 1, "", now).etag,
            Validators::new(1, MODIFIED + nano, 1, "", now).etag,
            Validators::new(1, MODIFIED, 2, "", now).etag,
            Validators::new(1, MODIFIED, 1, "br", now).etag,
            Validators::new(1, MODIFIED, 1, "gzip", now).etag,
        ];
        let different: std::collections::HashSet<_> = tags.iter().collect();
        assert_eq!(different.len(), tags.len(), "{tags:?}");
        assert!(tags.iter().all(|tag| tag.starts_with('"') && tag.ends_with('"')));
    }

    #[test]
    fn preconditions_are_judged_in_the_order_of_the_rfc() {
        use header::{IF_MATCH as M, IF_MODIFIED_SINCE as S, IF_NONE_MATCH as N, IF_UNMODIFIED_SINCE as U};
        let table: &[(&[(HeaderName, &str)], Verdict)] = &[
            (&[], GO),
            (&[(M, "OURS")], GO),
            (&[(M, "*")], GO),
            (&[(M, "\"a,b\", OURS")], GO),
            (&[(M, "\"a\""), (M, "OURS")], GO),
            (&[(M, "\"other\"")], Verdict::Failed),
            (&[(M, "W/OURS")], Verdict::Failed),
            (&[(M, "nonsense")], Verdict::Failed),
            (&[(N, "OURS")], Verdict::NotModified),
            (&[(N, "W/OURS")], Verdict::NotModified),
            (&[(N, "*")], Verdict::NotModified),
            (&[(N, "\"x\" , OURS")], Verdict::NotModified),
            (&[(N, "\"other\"")], GO),
            (&[(S, DATE)], Verdict::NotModified),
            (&[(S, LATER)], Verdict::NotModified),
            (&[(S, EARLIER)], GO),
            (&[(S, "yesterday")], GO),
            (&[(U, DATE)], GO),
            (&[(U, EARLIER)], Verdict::Failed),
            (&[(U, "yesterday")], GO),
            // A tag makes the date beside it count for nothing.
            (&[(M, "OURS"), (U, EARLIER)], GO),
            (&[(N, "\"other\""), (S, DATE)], GO),
            // The first pair is judged before the second.
            (&[(M, "\"other\""), (N, "OURS")], Verdict::Failed),
            (&[(M, "OURS"), (N, "OURS")], Verdict::NotModified),
            (&[(U, EARLIER), (S, DATE)], Verdict::Failed),
        ];
        for (headers, verdict) in table {
            assert_eq!(judge(Method::GET, headers), *verdict, "{headers:?}");
        }
    }

    #[test]
    fn a_range_needs_the_same_bytes() {
        use header::IF_RANGE as R;
        for (value, verdict) in [
            ("OURS", GO),
            (DATE, GO),
            ("W/OURS", GO_WHOLE),
            ("\"other\"", GO_WHOLE),
            (EARLIER, GO_WHOLE),
            (LATER, GO_WHOLE),
            ("nonsense", GO_WHOLE),
        ] {
            assert_eq!(judge(Method::GET, &[(R, value)]), verdict, "{value}");
        }
        assert_eq!(judge(Method::HEAD, &[]), GO_WHOLE, "ranges are defined for GET only");
    }

    #[test]
    fn a_date_within_the_running_second_is_no_proof_for_a_range() {
        let now = SystemTime::UNIX_EPOCH + MODIFIED;
        let fresh = Validators::new(1, MODIFIED, 1, "", now);
        let headers = HeaderMap::from_iter([(header::IF_RANGE, HeaderValue::from_static(DATE))]);
        assert_eq!(fresh.judge(&Method::GET, &headers), GO_WHOLE);
    }

    #[test]
    fn a_file_from_the_future_is_dated_now() {
        let now = SystemTime::UNIX_EPOCH + MODIFIED;
        let mut headers = HeaderMap::new();
        Validators::new(1, MODIFIED + Duration::from_secs(1000), 1, "", now).write(&mut headers);
        assert_eq!(headers[header::LAST_MODIFIED], DATE);
    }
}
