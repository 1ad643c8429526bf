//! A problem as a response: JSON or a page, for anybody or for the developer.

use super::{Problem, Report, Step};
use crate::http::live::has_frames;
use crate::http::{negotiate, page};
use buntime_plugin::Body;
use http::header::{self, HeaderValue};
use http::{Method, Response};
use serde::Serialize;
use std::fmt::Write;
use std::time::Duration;

/// The members of RFC 9457 §3.1 and our extensions.
#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    instance: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Thrown<'a>>,
}

#[derive(Serialize)]
struct Thrown<'a> {
    name: &'a str,
    message: &'a str,
    stack: &'a str,
}

impl Problem {
    /// The response to a request with this method and `Accept`. An answer to HEAD has the headers and no body.
    ///
    /// Outside of development (`dev` = false) nothing of the inside is shown: no report, and of the server's own
    /// faults (5xx) neither detail nor hint unless they are [`public`](Problem::public).
    pub fn respond(
        &self,
        method: &Method,
        accept: Option<&HeaderValue>,
        request_id: &str,
        dev: bool,
    ) -> Response<Body> {
        let mut response = match negotiate::prefers_html(accept) {
            true => self.page(request_id, dev),
            false => self.json(request_id, dev),
        };
        let headers = response.headers_mut();
        headers.insert(header::VARY, HeaderValue::from_static("accept"));
        if let Some(after) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(after)));
        }
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        if method == Method::HEAD
            && let Body::Full(body) = std::mem::take(response.body_mut())
        {
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        response
    }

    fn json(&self, request_id: &str, dev: bool) -> Response<Body> {
        let error = self.report_for(dev).and_then(|report| report.error.as_ref());
        let document = Document {
            r#type: format!("urn:buntime:problem:{}", self.kind.code()),
            title: self.kind.title(),
            status: self.status().as_u16(),
            detail: self.detail_for(dev),
            instance: request_id,
            code: self.kind.code(),
            hint: self.hint_for(dev),
            error: error.map(|e| Thrown { name: &e.name, message: &e.message, stack: &e.stack }),
        };
        let mut json = serde_json::to_string(&document).expect("strings and numbers always serialize");
        json.push('\n');
        let mut response = Response::new(Body::from(json));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    fn page(&self, request_id: &str, dev: bool) -> Response<Body> {
        let status = self.status();
        let title = self.kind.title();
        let mut main = format!(
            "<h1><small>{}</small>{}</h1>\n<p>{}</p>\n",
            status.as_u16(),
            page::escape(title),
            page::escape(self.detail_for(dev))
        );
        if let Some(hint) = self.hint_for(dev) {
            writeln!(main, "<p><strong>Hint:</strong> {}</p>", page::escape(hint)).expect(INFALLIBLE);
        }
        if let Some(report) = self.report_for(dev) {
            show(report, &mut main);
        }
        writeln!(
            main,
            "<footer>{} · request {}</footer>",
            page::escape(self.kind.code()),
            page::escape(request_id)
        )
        .expect(INFALLIBLE);
        let live = self.report_for(dev).and_then(|report| report.live.as_ref());
        let live = live.map(|tag| tag.element(None));
        page::respond_with(status, &format!("{} {title}", status.as_u16()), &main, live.as_deref())
    }

    fn shows_inside(&self, dev: bool) -> bool {
        dev || self.public || !self.status().is_server_error()
    }

    fn detail_for(&self, dev: bool) -> &str {
        match &self.detail {
            Some(detail) if self.shows_inside(dev) => detail,
            _ => self.kind.summary(),
        }
    }

    fn hint_for(&self, dev: bool) -> Option<&str> {
        self.hint.as_deref().filter(|_| self.shows_inside(dev))
    }

    fn report_for(&self, dev: bool) -> Option<&Report> {
        self.report.as_deref().filter(|_| dev)
    }
}

const INFALLIBLE: &str = "writing to a String cannot fail";

fn show(report: &Report, main: &mut String) {
    if let Some(error) = &report.error {
        let what = format!(
            "<p class=\"error\"><strong>{}</strong>: {}</p>",
            page::escape(&error.name),
            page::escape(&error.message)
        );
        page::section(main, "What the app threw", &what);
        if report.excerpt.is_none() || !has_frames(&error.stack) {
            page::preformatted(main, "Source", &error.inspect);
        }
    }
    if let Some(excerpt) = &report.excerpt {
        let heading = format!("{}:{}:{}", excerpt.file, excerpt.line, excerpt.column);
        page::preformatted(main, &heading, &excerpt.text());
    }
    if let Some(error) = &report.error {
        page::preformatted(main, "Stack", &error.stack);
    }
    if !report.steps.is_empty() {
        page::section(main, "Start-up", &steps(&report.steps));
    }
    page::preformatted(main, "Last lines on stderr", &report.stderr.join("\n"));
}

fn steps(steps: &[Step]) -> String {
    let mut table = String::from("<table>\n");
    for step in steps {
        let took = match step.took {
            Some(took) => format!("{:.1} ms", took.as_secs_f64() * 1000.0),
            None => "not finished".into(),
        };
        writeln!(table, "<tr><td>{}</td><td class=\"number\">{took}</td></tr>", page::escape(&step.name))
            .expect(INFALLIBLE);
    }
    table.push_str("</table>");
    table
}

/// `Retry-After` in seconds (RFC 9110 §10.2.3), rounded up: never earlier than asked.
fn whole_seconds(after: Duration) -> u64 {
    (after.as_secs() + u64::from(after.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use super::super::{AppError, Code};
    use super::*;
    use serde_json::{Value, json};

    const ID: &str = "018f-req";
    const HTML: HeaderValue = HeaderValue::from_static("text/html,*/*;q=0.8");

    fn text(response: Response<Body>) -> String {
        match response.into_body() {
            Body::Full(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            other => panic!("no body in memory: {other:?}"),
        }
    }

    fn hostile() -> Problem {
        let hostile = "<script>alert(1)</script>'\"&";
        Problem::new(Code::AppError).detail(hostile).hint(hostile).report(Report {
            error: Some(AppError {
                name: hostile.into(),
                message: hostile.into(),
                stack: format!("at {hostile}"),
                inspect: format!("1 | {hostile}"),
            }),
            steps: vec![
                Step { name: hostile.into(), took: Some(Duration::from_micros(12_340)) },
                Step { name: "import".into(), took: None },
            ],
            stderr: vec![hostile.into(), "</pre><img src=x>".into()],
            ..Report::default()
        })
    }

    #[test]
    fn json_has_the_one_shape() {
        let problem =
            Problem::new(Code::UnknownApp).detail("There is no app \"shpo\".").hint("Did you mean shop?");
        let response = problem.respond(&Method::GET, None, ID, false);
        assert_eq!(response.status(), 404);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
        let value: Value = serde_json::from_str(&text(response)).unwrap();
        assert_eq!(
            value,
            json!({
                "type": "urn:buntime:problem:unknown_app",
                "title": "No such app",
                "status": 404,
                "detail": "There is no app \"shpo\".",
                "instance": ID,
                "code": "unknown_app",
                "hint": "Did you mean shop?",
            })
        );
    }

    #[test]
    fn a_page_goes_to_who_prefers_html() {
        let response = Problem::new(Code::UnknownApp).respond(&Method::GET, Some(&HTML), ID, false);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
        assert_eq!(response.headers()[header::VARY], "accept");
        let page = text(response);
        assert!(page.contains("No such app") && page.contains("404") && page.contains(ID));
    }

    #[test]
    fn production_shows_nothing_of_the_inside() {
        for accept in [None, Some(&HTML)] {
            let problem = hostile().detail("the secret is in /srv/app").hint("look in /srv");
            let shown = text(problem.respond(&Method::GET, accept, ID, false));
            for secret in ["secret", "/srv", "alert", "stderr", "12.3", "Start-up"] {
                assert!(!shown.contains(secret), "{secret} in {shown}");
            }
            assert!(shown.contains(Code::AppError.summary()));
        }
    }

    #[test]
    fn what_is_marked_public_is_shown_in_production() {
        let problem = Problem::new(Code::QueueFull).detail("1000 requests wait.").hint("Raise it.").public();
        let shown = text(problem.respond(&Method::GET, None, ID, false));
        assert!(shown.contains("1000 requests wait.") && shown.contains("Raise it."));
    }

    #[test]
    fn the_development_page_shows_the_cause_and_runs_none_of_it() {
        let page = text(hostile().respond(&Method::GET, Some(&HTML), "<b>id</b>", true));
        assert!(!page.contains("<script") && !page.contains("<img") && !page.contains("<b>"));
        assert_eq!(page.matches("&lt;script&gt;alert(1)&lt;/script&gt;&#39;&quot;&amp;").count(), 8);
        for part in ["12.3 ms", "not finished", "&lt;/pre&gt;&lt;img", "Stack", "Source", "stderr"] {
            assert!(page.contains(part), "{part}");
        }
    }

    #[test]
    fn development_json_has_the_error() {
        let value: Value =
            serde_json::from_str(&text(hostile().respond(&Method::GET, None, ID, true))).unwrap();
        assert_eq!(value["error"]["message"], "<script>alert(1)</script>'\"&");
    }

    #[test]
    fn an_answer_to_head_has_the_length_and_no_body() {
        for accept in [None, Some(&HTML)] {
            let whole = Problem::new(Code::NotFound).respond(&Method::GET, accept, ID, false);
            let head = Problem::new(Code::NotFound).respond(&Method::HEAD, accept, ID, false);
            assert_eq!(head.headers()[header::CONTENT_LENGTH], text(whole).len().to_string().as_str());
            assert!(matches!(head.into_body(), Body::Empty));
        }
    }

    #[test]
    fn retry_after_is_whole_seconds_and_never_too_early() {
        for (after, seconds) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2"), (30_000, "30")] {
            let problem = Problem::new(Code::BackOff).retry_after(Duration::from_millis(after));
            let response = problem.respond(&Method::GET, None, ID, false);
            assert_eq!(response.status(), 503);
            assert_eq!(response.headers()[header::RETRY_AFTER], seconds);
        }
    }

    #[test]
    fn headers_of_the_status_are_sent() {
        let problem =
            Problem::new(Code::MethodNotAllowed).header(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        assert_eq!(problem.respond(&Method::PUT, None, ID, false).headers()[header::ALLOW], "GET, HEAD");
    }
}
