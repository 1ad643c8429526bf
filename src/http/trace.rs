//! Which trace a request belongs to: the W3C header `traceparent` (<https://www.w3.org/TR/trace-context/>), which goes on to the
//! app as it is.

use crate::telemetry::metrics::TraceId;
use http::HeaderMap;

/// `00-` 32 digits `-` 16 digits `-` 2 digits.
const LENGTH: usize = 55;

/// What `traceparent` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    pub trace: TraceId,
    /// The span that this request is a child of. Never zero.
    pub span: u64,
    /// Whoever sent it may have recorded it.
    pub sampled: bool,
}

/// The trace of a request. None where it has none, or says so in a way that the recommendation does not allow: then nothing
/// is made of it (§3.2.2, §4.3).
pub fn parent(headers: &HeaderMap) -> Option<Parent> {
    let mut given = headers.get_all("traceparent").into_iter();
    let parent = parse(given.next()?.as_bytes())?;
    given.next().is_none().then_some(parent)
}

fn parse(text: &[u8]) -> Option<Parent> {
    let (known, rest) = text.split_at_checked(LENGTH)?;
    let version = hex(&known[..2])?;
    // Later versions may say more behind a hyphen; 255 is forbidden.
    let ends = rest.is_empty() || version > 0 && rest.starts_with(b"-");
    if version == 255 || !ends || known[2] != b'-' || known[35] != b'-' || known[52] != b'-' {
        return None;
    }
    let trace = hex(&known[3..35]).filter(|trace| *trace != 0)?;
    let span = hex(&known[36..52]).filter(|span| *span != 0)? as u64;
    let flags = hex(&known[53..])?;
    Some(Parent { trace: TraceId(trace), span, sampled: flags & 1 == 1 })
}

/// At most 32 digits, in lower case.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn headers(given: &[&str]) -> HeaderMap {
        given
            .iter()
            .map(|text| ("traceparent".parse().unwrap(), HeaderValue::from_str(text).unwrap()))
            .collect()
    }

    #[test]
    fn a_sound_header_names_trace_span_and_whether_it_is_sampled() {
        let found = parent(&headers(&[&format!("00-{TRACE}-00f067aa0ba902b7-01")])).unwrap();
        assert_eq!(found.trace.to_string(), TRACE);
        assert_eq!((found.span, found.sampled), (0x00f0_67aa_0ba9_02b7, true));
        assert!(!parent(&headers(&[&format!("00-{TRACE}-00f067aa0ba902b7-02")])).unwrap().sampled);
    }

    #[test]
    fn later_versions_may_say_more() {
        for more in ["", "-", "-what-comes-then"] {
            assert!(
                parent(&headers(&[&format!("cc-{TRACE}-00f067aa0ba902b7-01{more}")])).is_some(),
                "{more}"
            );
        }
        assert!(parent(&headers(&[&format!("cc-{TRACE}-00f067aa0ba902b7-01.x")])).is_none());
    }

    #[test]
    fn what_is_not_allowed_is_no_trace() {
        let zeros = "0".repeat(32);
        let sound = format!("00-{TRACE}-00f067aa0ba902b7-01");
        for wrong in [
            "",
            "00",
            &sound[..54],
            &format!("{sound}-more"),
            &format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            &format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            &format!("00-{zeros}-00f067aa0ba902b7-01"),
            &format!("00-{TRACE}-{}-01", &zeros[..16]),
            &format!("00-{TRACE}-00f067aa0ba902b7-0g"),
            &format!("00_{TRACE}-00f067aa0ba902b7-01"),
            &format!("00-{TRACE}_00f067aa0ba902b7-01"),
            &format!(" 0-{TRACE}-00f067aa0ba902b7-01"),
        ] {
            assert_eq!(parent(&headers(&[wrong])), None, "{wrong}");
        }
        assert_eq!(parent(&headers(&[&sound, &sound])), None);
        assert_eq!(parent(&headers(&[])), None);
    }
}
