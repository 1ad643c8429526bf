//! Base injection: HTML on its way out gets the address it is mounted at, and the public part of the app's
//! environment. An [`Injection`] belongs to an app version, an [`Exchange`] to one request and its response.
//!
//! `decode` undoes content codings, `rewriter` holds back as much of the document as `placement` needs to find the
//! place, by the tokens of `tokenizer`; `snippets` is what goes in.

mod decode;
mod etag;
mod gzip;
mod placement;
mod pragma;
mod rewriter;
mod snippets;
mod stream;
mod tokenizer;

use super::live::Tag;
use super::live::policy::{self, Needs};
use buntime_plugin::Body;
use bytes::{Bytes, BytesMut};
use decode::{Coded, Decoder};
use etag::Mark;
use http::header::{self, HeaderMap, HeaderName};
use http::{Method, Response, StatusCode};
use rewriter::{LiveScript, Rewriter};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// What an app version publishes to its pages.
#[derive(Debug)]
pub struct Injection {
    /// `window.__env__={…}`; none = no variable has one of the prefixes.
    env: Option<String>,
}

/// One request, as far as its response depends on it.
pub struct Exchange {
    injection: Arc<Injection>,
    base: String,
    has_env: bool,
    live: Option<(Tag, Needs)>,
    mark: Mark,
    head: bool,
    /// The request asked whether a page that went through here has changed.
    revalidates: bool,
    /// The client is a script that may ask for a piece of a page.
    by_script: bool,
    /// Whether what it asks for may be a page, for live reload.
    shown: Shown,
}

/// What becomes of an answer in the browser. It says so itself, but only at origins that it trusts (Fetch Metadata §2.1): at
/// `http://192.168.0.7:8000` it does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    /// As a page.
    Page,
    /// Perhaps as a page: what begins like one is one.
    Perhaps,
    /// A script of a page gets it.
    No,
}

/// Headers that speak of the bytes as the app sent them.
const OF_THE_BYTES: [HeaderName; 6] = [
    header::CONTENT_LENGTH,
    header::ACCEPT_RANGES,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
];

impl Injection {
    /// `env` is the app's environment; what begins with one of the `prefixes` is published. An empty prefix, which
    /// would publish everything, counts for nothing.
    pub fn new(env: &BTreeMap<String, String>, prefixes: &[String]) -> Injection {
        let public =
            |key: &str| prefixes.iter().any(|prefix| !prefix.is_empty() && key.starts_with(prefix.as_str()));
        let variables = env.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let mut variables = variables.filter(|(key, _)| public(key)).peekable();
        let any = variables.peek().is_some();
        Injection { env: any.then(|| snippets::env_statement(variables)) }
    }

    /// Begins with a request on its way to the app: entity tags that we changed are changed back in `headers`.
    /// `mount` is the path under which the client knows the app (`/shop`, `/shop@1`; empty or `/` = the root).
    pub fn begin(self: &Arc<Self>, mount: &str, method: &Method, headers: &mut HeaderMap) -> Exchange {
        let base = snippets::base(mount);
        let mark = Mark::of(&base, self.env.as_deref().unwrap_or_default());
        self.with(base, mark, method, headers)
    }

    /// The same for pages that are live. `mount` none = neither base nor environment go in.
    pub fn begin_live(
        self: &Arc<Self>,
        mount: Option<&str>,
        live: (Tag, Needs),
        method: &Method,
        headers: &mut HeaderMap,
    ) -> Exchange {
        let base = mount.map(snippets::base).unwrap_or_default();
        let env = self.env.as_deref().filter(|_| mount.is_some()).unwrap_or_default();
        let mark = Mark::of(&base, &format!("{env}{}", live.0.element(None)));
        if super::negotiate::names_html(headers.get(header::ACCEPT)) {
            // It knows no marks, and a page that is told that it is old must not be had from a cache.
            headers.remove(header::IF_MODIFIED_SINCE);
        }
        Exchange { has_env: mount.is_some(), live: Some(live), ..self.with(base, mark, method, headers) }
    }

    fn with(
        self: &Arc<Self>,
        base: String,
        mark: Mark,
        method: &Method,
        headers: &mut HeaderMap,
    ) -> Exchange {
        Exchange {
            revalidates: mark.restore(headers),
            by_script: headers.get("sec-fetch-dest").is_some_and(|to| to == "empty"),
            shown: Shown::of(headers),
            head: method == Method::HEAD,
            injection: self.clone(),
            base,
            has_env: true,
            live: None,
            mark,
        }
    }
}

impl Shown {
    fn of(headers: &HeaderMap) -> Shown {
        match headers.get("sec-fetch-dest") {
            Some(to) if to == "empty" => Shown::No,
            Some(_) => Shown::Page,
            // Scripts ask for anything (`*/*`) unless they are told otherwise.
            None if super::negotiate::names_html(headers.get(header::ACCEPT)) => Shown::Perhaps,
            None => Shown::No,
        }
    }
}

impl Exchange {
    /// The response with base and environment in it, if it is an HTML document; else as it is.
    pub fn apply(self, response: Response<Body>) -> Response<Body> {
        if self.inserts_nothing() {
            return response;
        }
        let (mut parts, body) = response.into_parts();
        if parts.status == StatusCode::NOT_MODIFIED && self.revalidates {
            self.mark.put(&mut parts.headers);
        }
        let coded = Coded::of(&parts.headers);
        let nothing = matches!(body, Body::Empty) && !self.head;
        if !takes_content(parts.status) || !is_html(&parts.headers) || coded == Coded::Unknown || nothing {
            return Response::from_parts(parts, body);
        }
        let decoder = match coded {
            Coded::By(coding) => match Decoder::new(coding) {
                Ok(decoder) => Some(decoder),
                Err(_) => return Response::from_parts(parts, body),
            },
            _ => None,
        };
        let snippets = self.snippets(&parts.headers);
        if let Some(LiveScript { needs, nonce, .. }) = &snippets.live {
            needs.amend_headers(&mut parts.headers, nonce.as_deref());
        }
        let rewriter = Rewriter::new(snippets);
        self.mark.put(&mut parts.headers);
        parts.headers.remove(header::CONTENT_ENCODING);
        for name in OF_THE_BYTES {
            parts.headers.remove(name);
        }
        let body = match (body, decoder) {
            (body, _) if self.head => body,
            (Body::Full(document), None) => Body::from(at_once(rewriter, document)),
            (body, decoder) => Body::stream(stream::Injected::new(body, decoder, rewriter)),
        };
        Response::from_parts(parts, body)
    }

    /// A page that a script asks for stays as it is where nothing but live reload is wanted.
    fn inserts_nothing(&self) -> bool {
        self.shown == Shown::No && self.live.is_some() && !self.has_env
    }

    fn snippets(&self, headers: &HeaderMap) -> rewriter::Snippets {
        let policies = headers.get_all(header::CONTENT_SECURITY_POLICY).iter();
        let nonce = policies.filter_map(|policy| policy.to_str().ok()).find_map(snippets::nonce);
        let env = self.injection.env.as_ref().filter(|_| self.has_env);
        let script = env.map(|env| snippets::script(env, nonce));
        // What a script asks for is put into a page that is live already.
        let live = self.live.as_ref().filter(|_| self.shown != Shown::No).map(|(tag, needs)| LiveScript {
            fragments: self.shown == Shown::Page,
            tag: tag.clone(),
            needs: needs.clone(),
            nonce: nonce
                .map(str::to_owned)
                .or_else(|| policy::in_force(headers).any(policy::asks_for_nonce).then(policy::new_nonce)),
        });
        rewriter::Snippets {
            base: self.base.clone(),
            script: script.unwrap_or_default(),
            live,
            fragments: !self.by_script,
        }
    }
}

fn at_once(mut rewriter: Rewriter, document: Bytes) -> Bytes {
    let mut out = VecDeque::new();
    rewriter.push(document, &mut out);
    rewriter.finish(&mut out);
    match out.len() {
        1 => out.pop_front().unwrap_or_default(),
        _ => {
            let mut whole = BytesMut::with_capacity(out.iter().map(Bytes::len).sum());
            out.iter().for_each(|piece| whole.extend_from_slice(piece));
            whole.freeze()
        }
    }
}

/// False where a body is not there or is a part: 204, 205, 206, 304.
fn takes_content(status: StatusCode) -> bool {
    !matches!(
        status,
        StatusCode::NO_CONTENT
            | StatusCode::RESET_CONTENT
            | StatusCode::PARTIAL_CONTENT
            | StatusCode::NOT_MODIFIED
    )
}

/// A page in a charset that extends ASCII. (UTF-16 is the only one of the web's that does not; Encoding §4.2.)
/// What is to be saved as a file is not a page of the app.
fn is_html(headers: &HeaderMap) -> bool {
    const WIDE: [&str; 10] = [
        "utf-16",
        "utf-16le",
        "utf-16be",
        "ucs-2",
        "iso-10646-ucs-2",
        "csunicode",
        "unicode",
        "unicodefeff",
        "unicodefffe",
        "utf-32",
    ];
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(content_type) = text(header::CONTENT_TYPE) else { return false };
    let mut parts = content_type.split(';').map(str::trim);
    let html = parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("text/html"));
    let wide = parts.filter_map(|parameter| parameter.split_once('=')).any(|(name, value)| {
        let value = value.trim().trim_matches('"');
        name.trim().eq_ignore_ascii_case("charset")
            && WIDE.iter().any(|wide| value.eq_ignore_ascii_case(wide))
    });
    let saved = text(header::CONTENT_DISPOSITION)
        .and_then(|value| value.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("attachment"));
    html && !wide && !saved
}

#[cfg(test)]
mod tests;
