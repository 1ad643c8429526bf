//! The frame of the pages that the supervisor writes itself, and the escaping that everything in them goes through.

use buntime_plugin::Body;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use std::fmt::Write;

/// Nothing may be loaded, run, framed or submitted; only the style in the page itself counts.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

const STYLE: &str = include_str!("page.css");

/// Longest text that is shown of one item, in bytes.
const SHOWN: usize = 64 << 10;

/// What a page that is live may do beside.
const LIVE: &str = "; script-src 'self'; connect-src 'self'";

/// A whole page. `title` is plain text, `main` is HTML.
pub fn respond(status: StatusCode, title: &str, main: &str) -> Response<Body> {
    respond_with(status, title, main, None)
}

/// The same with the element of live reload.
pub fn respond_with(status: StatusCode, title: &str, main: &str, live: Option<&str>) -> Response<Body> {
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"robots\" content=\"noindex\">\n\
         <title>{}</title>\n<style>{STYLE}</style>\n{}</head>\n<body>\n<main>\n{main}</main>\n</body>\n</html>\n",
        escape(title),
        live.unwrap_or_default()
    );
    let mut response = Response::new(Body::from(html));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    let policy = match live {
        Some(_) => {
            HeaderValue::try_from(format!("{POLICY}{LIVE}")).unwrap_or(HeaderValue::from_static(POLICY))
        }
        None => HeaderValue::from_static(POLICY),
    };
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Text made safe for element content and quoted attributes. Terminal colours and control characters are dropped,
/// and what is over 64 KiB is cut.
pub fn escape(text: &str) -> String {
    let (text, cut) = match text.len() > SHOWN {
        true => (&text[..text.floor_char_boundary(SHOWN)], "…"),
        false => (text, ""),
    };
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            '\u{1b}' => skip_terminal_sequence(&mut characters),
            _ if c.is_control() => {}
            _ => out.push(c),
        }
    }
    out.push_str(cut);
    out
}

/// A `<section>` with a heading and preformatted text; nothing if the text is empty.
pub fn preformatted(main: &mut String, heading: &str, text: &str) {
    if !text.trim().is_empty() {
        section(main, heading, &format!("<pre>{}</pre>", escape(text.trim_end())));
    }
}

/// A `<section>` with a heading (plain text) and its content (HTML).
pub fn section(main: &mut String, heading: &str, content: &str) {
    writeln!(main, "<section>\n<h2>{}</h2>\n{content}\n</section>", escape(heading))
        .expect("writing to a String cannot fail");
}

/// Passes over what follows an escape character: `[`, parameters, and a final letter (ECMA-48 §5.4).
fn skip_terminal_sequence(characters: &mut std::str::Chars<'_>) {
    let mut rest = characters.clone();
    if rest.next() != Some('[') {
        return;
    }
    for c in rest.by_ref().take(32) {
        match c {
            '\u{20}'..='\u{3f}' => {}
            '\u{40}'..='\u{7e}' => {
                *characters = rest;
                return;
            }
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_html_reads_is_left_after_escaping() {
        assert_eq!(
            escape("<img src=x onerror='a(\"&\")'>"),
            "&lt;img src=x onerror=&#39;a(&quot;&amp;&quot;)&#39;&gt;"
        );
        assert_eq!(escape("\u{1b}[1;31mred\u{1b}[0m\u{0}\r\n\tok é"), "red\n\tok é");
        assert_eq!(escape("\u{1b}[31"), "[31", "an unfinished sequence loses only its escape character");
        assert_eq!(escape("\u{1b}<b>"), "&lt;b&gt;");
        assert_eq!(escape("\u{1b}[<b>"), "&gt;", "the sequence ends at its final letter");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = "é".repeat(SHOWN);
        let shown = escape(&text);
        assert!(shown.ends_with("é…"));
        assert!(shown.len() <= SHOWN + "…".len());
    }

    #[test]
    fn a_page_loads_and_runs_nothing() {
        let response = respond(StatusCode::OK, "</title><script>", "");
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'"));
        let Body::Full(html) = response.into_body() else { panic!("a page is in memory") };
        let html = std::str::from_utf8(&html).unwrap();
        assert!(html.contains("<title>&lt;/title&gt;&lt;script&gt;</title>"));
        for forbidden in ["<script", "http:", "https:", "url(", "@import", "src="] {
            assert!(!html.contains(forbidden), "{forbidden}");
        }
    }
}
