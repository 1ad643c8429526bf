//! What is asked for: the parameters of a query, read once.

use crate::entry::{Entry, quoted};
use crate::time;
use buntime_plugin::http::StatusCode;
use buntime_plugin::{Caller, Level, Problem, Source};
use std::sync::Arc;
use std::time::SystemTime;

/// How many entries a page has where nobody says, and at most.
pub const PAGE: usize = 100;
pub const LONGEST_PAGE: usize = 1000;
/// Bytes of a value.
const MAX_VALUE: usize = 256;

const NAMES: &str =
    "level, app, version, worker, requestId, source, search, since, until, before, after, limit";

#[derive(Debug, Default, PartialEq)]
pub struct Query {
    pub level: Option<Level>,
    pub app: Option<String>,
    pub version: Option<String>,
    pub worker: Option<String>,
    pub request_id: Option<String>,
    /// Any of them; none = all.
    pub sources: Vec<Source>,
    search: Option<Search>,
    pub since: Option<SystemTime>,
    pub until: Option<SystemTime>,
    /// Numbers, both excluded.
    pub before: Option<u64>,
    pub after: Option<u64>,
    pub limit: Option<usize>,
}

/// In lower case.
#[derive(Debug, PartialEq)]
struct Search {
    plain: String,
    /// As JSON has it.
    escaped: String,
}

/// Who asks, and so what they may be shown.
#[derive(Clone)]
pub struct Scope(Arc<dyn Caller>);

impl Query {
    /// Reads a query string.
    ///
    /// # Errors
    /// 400: a parameter that is not known, is there twice, or cannot be that.
    pub fn parse(text: &str, now: SystemTime) -> Result<Query, Problem> {
        let mut query = Query::default();
        let mut seen: Vec<String> = Vec::new();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            if seen.iter().any(|seen| **seen == *name) {
                return Err(invalid(&name, "is there twice", "say it once"));
            }
            if value.is_empty() || value.len() > MAX_VALUE {
                return Err(invalid(
                    &name,
                    "is empty or too long",
                    "leave it out, or give it up to 256 bytes",
                ));
            }
            query.set(&name, &value, now)?;
            seen.push(name.into_owned());
        }
        Ok(query)
    }

    fn set(&mut self, name: &str, value: &str, now: SystemTime) -> Result<(), Problem> {
        let number =
            || value.parse::<u64>().map_err(|_| invalid(name, "is no number", "give the `seq` of an entry"));
        let moment = || {
            let hint = "give RFC 3339 (2026-01-31T12:00:00Z), milliseconds since 1970, or how long ago (15m)";
            time::parse(value, now).ok_or_else(|| invalid(name, "is no moment", hint))
        };
        match name {
            "level" => {
                let hint = "one of trace, debug, info, warn, error; the least that is shown";
                self.level = Some(value.parse().map_err(|_| invalid(name, "is no level", hint))?);
            }
            "app" => self.app = Some(value.to_owned()),
            "version" => self.version = Some(value.to_owned()),
            "worker" => self.worker = Some(value.to_owned()),
            "requestId" => self.request_id = Some(value.to_owned()),
            "source" => {
                let names = Source::ALL.map(Source::as_str).join(", ");
                let hint = format!("one or several, with commas between them, of {names}");
                let sources: Result<_, String> =
                    value.split(',').map(|source| source.trim().parse()).collect();
                self.sources = sources.map_err(|_| invalid(name, "is no source", &hint))?;
            }
            "search" => {
                let plain = value.to_lowercase();
                let escaped = quoted(&plain);
                let escaped = escaped[1..escaped.len() - 1].to_owned();
                self.search = Some(Search { plain, escaped });
            }
            "since" => self.since = Some(moment()?),
            "until" => self.until = Some(moment()?),
            "before" => self.before = Some(number()?),
            "after" => self.after = Some(number()?),
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=LONGEST_PAGE).contains(limit));
                let hint = format!("give a number from 1 to {LONGEST_PAGE}");
                self.limit = Some(limit.ok_or_else(|| invalid(name, "is not within its bounds", &hint))?);
            }
            _ => {
                return Err(Problem::new(StatusCode::BAD_REQUEST, "parameter_unknown")
                    .detail(format!("`{name}` is no parameter here."))
                    .hint(format!("one of {NAMES}")));
            }
        }
        Ok(())
    }

    /// Whether an entry is wanted.
    pub fn takes(&self, number: u64, entry: &Entry) -> bool {
        let is = |wanted: &Option<String>, text: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| text == Some(wanted))
        };
        self.level.is_none_or(|least| entry.level >= least)
            && self.before.is_none_or(|before| number < before)
            && self.after.is_none_or(|after| number > after)
            && (self.sources.is_empty() || self.sources.contains(&entry.source))
            && is(&self.app, entry.app.as_deref())
            && is(&self.version, entry.version.as_deref())
            && is(&self.worker, entry.worker.as_deref())
            && is(&self.request_id, entry.request_id.as_deref())
            && self.since.is_none_or(|since| entry.time >= since)
            && self.until.is_none_or(|until| entry.time <= until)
            && self.search.as_ref().is_none_or(|search| search.finds(entry))
    }
}

impl Search {
    fn finds(&self, entry: &Entry) -> bool {
        let has = |text: &str, wanted: &str| {
            memchr::memmem::find(text.to_lowercase().as_bytes(), wanted.as_bytes()).is_some()
        };
        has(&entry.message, &self.plain)
            || entry.fields.as_deref().is_some_and(|fields| has(fields, &self.escaped))
    }
}

impl Scope {
    /// Whoever has the permission sees what is theirs to see.
    ///
    /// # Errors
    /// They may not: 403.
    pub fn of(caller: Arc<dyn Caller>, app: Option<&str>) -> Result<Scope, Problem> {
        caller.may("apps:read", app)?;
        Ok(Scope(caller))
    }

    /// What belongs to no app is for those who see everything.
    pub fn sees(&self, app: Option<&str>) -> bool {
        app.map_or_else(|| self.0.sees_everything(), |app| self.0.sees(app))
    }

    pub fn sees_everything(&self) -> bool {
        self.0.sees_everything()
    }

    pub fn caller(&self) -> &Arc<dyn Caller> {
        &self.0
    }
}

fn invalid(name: &str, what: &str, hint: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "parameter_invalid")
        .detail(format!("`{name}` {what}."))
        .hint(hint.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prepare::prepare;
    use crate::redact::Redactor;
    use buntime_plugin::LogEntry;
    use std::time::{Duration, UNIX_EPOCH};

    fn parse(text: &str) -> Result<Query, Problem> {
        Query::parse(text, UNIX_EPOCH + Duration::from_secs(1000))
    }

    #[test]
    fn each_filter_takes_what_it_says() {
        let mut entry = LogEntry::new(Level::Warn, Source::WorkerStdout, "Straße \"quoted\"")
            .app("shop", "1.0.0")
            .field("user", "An\\na");
        entry.time = UNIX_EPOCH + Duration::from_secs(900);
        (entry.worker, entry.request_id) = (Some("w1".into()), Some("r".into()));
        let entry = prepare(entry, &Redactor::default());
        for (query, takes) in [
            ("", true),
            ("level=warn", true),
            ("level=debug", true),
            ("level=error", false),
            ("app=shop&version=1.0.0&worker=w1&requestId=r", true),
            ("app=sho", false),
            ("version=2.0.0", false),
            ("worker=w2", false),
            ("requestId=R", false),
            ("source=worker-stdout", true),
            ("source=runtime,+worker-stdout", true),
            ("source=runtime", false),
            ("search=STRASSE", false),
            ("search=STRA%C3%9FE", true),
            ("search=%22QUOTED%22", true),
            ("search=user%22:%22an%5Cna", false),
            ("search=AN%5CNA", true),
            ("search=nothing", false),
            ("since=100s", true),
            ("since=99s", false),
            ("until=100s", true),
            ("until=1970-01-01T00:00:00Z", false),
            ("before=8", true),
            ("before=7", false),
            ("after=6", true),
            ("after=7", false),
        ] {
            assert_eq!(parse(query).unwrap().takes(7, &entry), takes, "{query}");
        }
    }

    #[test]
    fn what_cannot_be_is_400_with_a_hint() {
        for (query, code) in [
            ("levle=info", "parameter_unknown"),
            ("level=loud", "parameter_invalid"),
            ("level=info&level=warn", "parameter_invalid"),
            ("app=", "parameter_invalid"),
            ("source=stdin", "parameter_invalid"),
            ("since=yesterday", "parameter_invalid"),
            ("before=-1", "parameter_invalid"),
            ("after=x", "parameter_invalid"),
            ("limit=0", "parameter_invalid"),
            ("limit=1001", "parameter_invalid"),
        ] {
            let problem = parse(query).unwrap_err();
            assert_eq!((problem.status, &*problem.code), (StatusCode::BAD_REQUEST, code), "{query}");
            assert!(problem.hint.is_some(), "{query}");
        }
        assert!(parse(&format!("search={}", "x".repeat(257))).is_err());
    }
}
