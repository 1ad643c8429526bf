//! Which version of a split a client gets, and how it stays with it. Concerns no request that meets no split.

use crate::apps::Fork;
use crate::model::mix::{mix, step};
use crate::model::{App, Bucket, Sticky};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use std::cell::Cell;
use std::fmt::Write;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;

/// How long a client is remembered, in seconds: 30 days.
const REMEMBERED: u32 = 30 * 24 * 60 * 60;

/// What tells shared caches to keep an answer although `Cache-Control` says that it is private.
const FOR_SHARED_CACHES: [HeaderName; 3] = [
    HeaderName::from_static("cdn-cache-control"),
    HeaderName::from_static("cloudflare-cdn-cache-control"),
    HeaderName::from_static("surrogate-control"),
];

/// Where in a split a client stands.
pub struct Place {
    fork: Arc<Fork>,
    bucket: Bucket,
    /// It was drawn just now, so the client is to be told.
    drawn: bool,
}

impl Place {
    /// By the cookie that the client sends or by its address, as the split says; one whose address is not known is kept by
    /// cookie too. `earlier` is where the same request stood before its version went away.
    pub fn find(
        fork: Arc<Fork>,
        headers: &HeaderMap,
        client: Option<IpAddr>,
        earlier: Option<&Place>,
    ) -> Place {
        let known = match (fork.sticky(), client) {
            (Sticky::Address, Some(address)) => Some(fork.bucket_of(address)),
            _ => said(headers, fork.cookie()),
        };
        let again = earlier.filter(|earlier| earlier.fork.cookie() == fork.cookie());
        let bucket = known.or_else(|| again.map(|earlier| earlier.bucket));
        Place { bucket: bucket.unwrap_or_else(draw), drawn: known.is_none(), fork }
    }

    pub fn app(&self) -> &Arc<App> {
        self.fork.app(self.bucket)
    }

    /// Tells the client its bucket, if it was drawn just now, and keeps the answer from those who might get another
    /// version. `base` is the mount path without a slash at its end, `head` that of the request.
    pub fn mark(&self, headers: &mut HeaderMap, base: &str, https: bool, head: &Parts) {
        let told = self.drawn && !is_forgetful(head);
        if told && let Ok(cookie) = HeaderValue::try_from(self.cookie(base, https)) {
            headers.append(header::SET_COOKIE, cookie);
        }
        // What never changes at its address is the same in every version that has it.
        if told || !directives(headers).any(|directive| directive.eq_ignore_ascii_case("immutable")) {
            make_private(headers);
        }
    }

    /// `Path` is without a slash at its end, so that a request for the mount path itself brings the cookie as well
    /// (RFC 6265 §5.1.4).
    fn cookie(&self, base: &str, https: bool) -> String {
        let path = if base.is_empty() { "/" } else { base };
        let (name, bucket) = (self.fork.cookie(), self.bucket.number());
        let mut cookie =
            format!("{name}={bucket}; Path={path}; Max-Age={REMEMBERED}; HttpOnly; SameSite=Lax");
        if https {
            let _ = cookie.write_str("; Secure"); // writing to a String cannot fail
        }
        cookie
    }
}

/// The bucket in a cookie of this name. The first one counts that is well-formed: browsers put that of the longest path first.
fn said(headers: &HeaderMap, name: &str) -> Option<Bucket> {
    let lines = headers.get_all(header::COOKIE).into_iter();
    let cookies = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';')).map(<[u8]>::trim_ascii);
    let values = cookies.filter_map(|cookie| cookie.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
    values.filter_map(Bucket::parse).next()
}

/// A browser leaves the cookie out of a form that another site posts to us, and would take the one we set: a client that has
/// a bucket must not lose it that way.
fn is_forgetful(head: &Parts) -> bool {
    !head.method.is_safe() && head.headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site")
}

fn directives(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(header::CACHE_CONTROL).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|directive| !directive.is_empty())
}

/// Takes an answer away from shared caches (RFC 9111 §5.2.2.7); what it says to the browser stays.
fn make_private(headers: &mut HeaderMap) {
    let name = |directive: &str| directive.split('=').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !directives(headers).any(|directive| directive.eq_ignore_ascii_case("no-store")) {
        let mut kept = String::from("private");
        for directive in directives(headers) {
            if !matches!(&*name(directive), "public" | "private" | "s-maxage") {
                kept.push_str(", ");
                kept.push_str(directive);
            }
        }
        let value = HeaderValue::try_from(kept).unwrap_or(HeaderValue::from_static("private"));
        headers.insert(header::CACHE_CONTROL, value);
    }
    for name in &FOR_SHARED_CACHES {
        headers.remove(name);
    }
}

/// A bucket by chance (splitmix64, one state a thread). Nothing secret hangs on it.
fn draw() -> Bucket {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(RandomState::new().build_hasher().finish());
    }
    STATE.set(step(STATE.get()));
    Bucket::of(mix(STATE.get()))
}

#[cfg(test)]
mod tests;
