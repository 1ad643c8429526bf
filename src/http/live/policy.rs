//! Content security policies (CSP3) that would keep the live script from a page, or it from its news, amended just as far as that
//! takes. The rest of what a policy forbids it goes on to forbid: it is the developer's, who wants to see that it does.

use super::{EVENTS, SCRIPT};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// What the script needs leave for.
#[derive(Clone, Debug)]
pub struct Needs {
    script: String,
    events: String,
}

/// One policy: its directives in their order.
struct Policy<'p>(Vec<(&'p str, Vec<&'p str>)>);

impl Needs {
    /// Of a page at this host, as the browser calls it.
    pub fn at(https: bool, host: &HeaderValue) -> Needs {
        let host = host.to_str().unwrap_or_default();
        let scheme = if https { "https" } else { "http" };
        // An address of IPv6 is no source (CSP3 §2.3.1), and neither is anything with a separator in it.
        let of = |path: &str| match host.is_empty() || host.contains(['[', ';', ',', ' ', '\'']) {
            true => "'self'".to_owned(),
            false => format!("{scheme}://{host}{path}"),
        };
        Needs { script: of(SCRIPT), events: of(EVENTS) }
    }

    /// A policy that grants what is needed; none = it does already. `nonce` is that of the script's element.
    pub fn amend(&self, policy: &str, nonce: Option<&str>) -> Option<String> {
        let mut policy = Policy::parse(policy);
        let mut changed = false;
        let nonce_source = nonce.map(|nonce| format!("'nonce-{nonce}'"));
        if let Some(at) = policy.governing(&["script-src-elem", "script-src", "default-src"]) {
            let sources = &policy.0[at].1;
            let has_nonce = nonce_source.as_deref().is_some_and(|nonce| sources.contains(&nonce));
            if is_strict(sources) {
                if let Some(nonce) = nonce_source.as_deref().filter(|_| !has_nonce) {
                    policy.grant(at, "script-src", nonce);
                    changed = true;
                }
            } else if !has_nonce && !has_own_host(sources, &self.script) {
                policy.grant(at, "script-src", &self.script);
                changed = true;
            }
        }
        if let Some(at) = policy.governing(&["connect-src", "default-src"])
            && !has_own_host(&policy.0[at].1, &self.events)
        {
            policy.grant(at, "connect-src", &self.events);
            changed = true;
        }
        changed.then(|| policy.text())
    }

    /// The same for all that are in a head. What is no text stays as it is.
    pub fn amend_headers(&self, headers: &mut HeaderMap, nonce: Option<&str>) {
        for name in [header::CONTENT_SECURITY_POLICY, header::CONTENT_SECURITY_POLICY_REPORT_ONLY] {
            if !headers.contains_key(&name) {
                continue;
            }
            let amended: Vec<_> = headers.get_all(&name).iter().map(|line| self.line(line, nonce)).collect();
            headers.remove(&name);
            for line in amended {
                headers.append(name.clone(), line);
            }
        }
    }

    fn line(&self, line: &HeaderValue, nonce: Option<&str>) -> HeaderValue {
        let Ok(text) = line.to_str() else { return line.clone() };
        let policies =
            text.split(',').map(|policy| self.amend(policy, nonce).unwrap_or_else(|| policy.to_owned()));
        HeaderValue::try_from(policies.collect::<Vec<_>>().join(",")).unwrap_or_else(|_| line.clone())
    }
}

/// Whether a policy lets scripts run only by a nonce or a hash, so that the script's element needs a nonce.
pub fn asks_for_nonce(policy: &str) -> bool {
    let policy = Policy::parse(policy);
    let governing = policy.governing(&["script-src-elem", "script-src", "default-src"]);
    governing.is_some_and(|at| is_strict(&policy.0[at].1))
}

/// One that nobody has seen.
pub fn new_nonce() -> String {
    super::random()
}

/// All policies that are in force for a page with this head.
pub fn in_force(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = |name: HeaderName| headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines(header::CONTENT_SECURITY_POLICY).flat_map(|line| line.split(','))
}

/// With `'strict-dynamic'` no host counts (CSP3 §8.2).
fn is_strict(sources: &[&str]) -> bool {
    sources.iter().any(|source| source.eq_ignore_ascii_case("'strict-dynamic'"))
}

fn has_own_host(sources: &[&str], needed: &str) -> bool {
    let grants = |source: &&str| {
        ["'self'", "*", "http:"].iter().any(|wide| source.eq_ignore_ascii_case(wide)) || *source == needed
    };
    sources.iter().any(grants)
}

impl<'p> Policy<'p> {
    fn parse(text: &'p str) -> Policy<'p> {
        let directives = text.split(';').filter_map(|directive| {
            let mut words = directive.split_ascii_whitespace();
            Some((words.next()?, words.collect()))
        });
        Policy(directives.collect())
    }

    /// Where the first of these stands that is there. Of two of a name the first counts (CSP3 §2.2.1).
    fn governing(&self, names: &[&str]) -> Option<usize> {
        names.iter().find_map(|wanted| self.0.iter().position(|(name, _)| name.eq_ignore_ascii_case(wanted)))
    }

    /// Adds a source to the directive at `at`; where that is `default-src`, to a new one of this name with its sources.
    fn grant(&mut self, at: usize, name: &'p str, source: &'p str) {
        let at = match self.0[at].0.eq_ignore_ascii_case("default-src") {
            true => {
                let sources = self.0[at].1.clone();
                self.0.push((name, sources));
                self.0.len() - 1
            }
            false => at,
        };
        let sources = &mut self.0[at].1;
        sources.retain(|other| !other.eq_ignore_ascii_case("'none'"));
        sources.push(source);
    }

    fn text(&self) -> String {
        let directive = |(name, sources): &(&str, Vec<&str>)| {
            std::iter::once(*name).chain(sources.iter().copied()).collect::<Vec<_>>().join(" ")
        };
        self.0.iter().map(directive).collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JS: &str = "http://host:1/.well-known/buntime/dev.js";
    const SSE: &str = "http://host:1/.well-known/buntime/dev/events";

    fn needs() -> Needs {
        Needs::at(false, &HeaderValue::from_static("host:1"))
    }

    #[test]
    fn a_policy_is_amended_as_far_as_it_takes_and_no_further() {
        for (policy, amended) in [
            // What grants it already, or is about something else.
            ("", None),
            ("style-src 'none'; img-src data:", None),
            ("default-src 'self'", None),
            ("script-src *; connect-src http:", None),
            ("script-src 'self' 'unsafe-inline'", None),
            ("frame-ancestors 'none'; sandbox allow-scripts", None),
            // What does not.
            ("default-src 'none'", Some(format!("default-src 'none'; script-src {JS}; connect-src {SSE}"))),
            (
                "default-src https://cdn.example 'unsafe-inline'",
                Some(format!(
                    "default-src https://cdn.example 'unsafe-inline'; script-src https://cdn.example 'unsafe-inline' {JS}; \
                     connect-src https://cdn.example 'unsafe-inline' {SSE}"
                )),
            ),
            ("script-src 'none'; connect-src 'self'", Some(format!("script-src {JS}; connect-src 'self'"))),
            (
                "Script-Src 'sha256-x'; script-src 'self'",
                Some(format!("Script-Src 'sha256-x' {JS}; script-src 'self'")),
            ),
            (
                "script-src-elem a.example; script-src 'self'",
                Some(format!("script-src-elem a.example {JS}; script-src 'self'")),
            ),
            ("connect-src api.example", Some(format!("connect-src api.example {SSE}"))),
        ] {
            assert_eq!(needs().amend(policy, None), amended, "{policy}");
            // What it grants once it grants for good.
            if let Some(amended) = amended {
                assert_eq!(needs().amend(&amended, None), None, "{amended}");
            }
        }
    }

    #[test]
    fn a_nonce_stands_for_the_script_and_is_needed_where_hosts_do_not_count() {
        assert!(asks_for_nonce("script-src 'nonce-a' 'strict-dynamic'"));
        assert!(!asks_for_nonce("script-src 'nonce-a'; style-src 'strict-dynamic'"));
        let with = |policy: &str, nonce| needs().amend(policy, Some(nonce));
        assert_eq!(with("script-src 'nonce-a'", "a"), None);
        assert_eq!(with("script-src 'nonce-a' 'strict-dynamic'", "a"), None);
        let added = "script-src 'sha256-x' 'strict-dynamic' https: 'nonce-a'";
        assert_eq!(with("script-src 'sha256-x' 'strict-dynamic' https:", "a").as_deref(), Some(added));
        // A nonce would take `'unsafe-inline'` its effect: the address is added, not the nonce.
        let added = format!("script-src 'unsafe-inline' {JS}");
        assert_eq!(with("script-src 'unsafe-inline'", "a"), Some(added));
    }

    #[test]
    fn every_policy_of_a_head_is_amended() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (header::CONTENT_SECURITY_POLICY, "script-src 'none', img-src *"),
            (header::CONTENT_SECURITY_POLICY, "default-src 'self'"),
            (header::CONTENT_SECURITY_POLICY_REPORT_ONLY, "connect-src a.example"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        needs().amend_headers(&mut headers, None);
        let all = |name: HeaderName| {
            headers.get_all(name).iter().map(|line| line.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let expected = [format!("script-src {JS}, img-src *"), "default-src 'self'".to_owned()];
        assert_eq!(all(header::CONTENT_SECURITY_POLICY), expected);
        assert_eq!(
            all(header::CONTENT_SECURITY_POLICY_REPORT_ONLY),
            [format!("connect-src a.example {SSE}")]
        );
    }

    #[test]
    fn a_host_that_is_no_source_is_named_by_self() {
        let needs = Needs::at(true, &HeaderValue::from_static("[::1]:8000"));
        assert_eq!(needs.amend("connect-src x", None).as_deref(), Some("connect-src x 'self'"));
    }
}
