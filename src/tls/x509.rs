//! What stands in a certificate, as far as it is needed here: the names it is for, and when it is valid (RFC 5280 §4.1, DER in
//! X.690). Whether a signature is right is for clients to judge.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// Of a GeneralName.
const DNS_NAME: u8 = 0x82;
/// 2.5.29.17, subjectAltName.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// DNS names in lower case; `*.example.com` is a wildcard.
    pub names: Vec<Box<str>>,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
}

/// One element after the other.
struct Reader<'a>(&'a [u8]);

impl Facts {
    /// None = it is no certificate.
    pub fn read(der: &[u8]) -> Option<Facts> {
        let mut certificate = Reader(Reader(der).expect(SEQUENCE)?);
        let mut body = Reader(certificate.expect(SEQUENCE)?);
        body.skip_if(VERSION);
        body.expect(INTEGER)?; // serialNumber
        body.expect(SEQUENCE)?; // signature
        body.expect(SEQUENCE)?; // issuer
        let mut validity = Reader(body.expect(SEQUENCE)?);
        let (not_before, not_after) = (validity.time()?, validity.time()?);
        let mut names = Vec::new();
        while let Some((tag, content)) = body.next() {
            if tag == EXTENSIONS {
                names = alt_names(Reader(content).expect(SEQUENCE)?)?;
            }
        }
        Some(Facts { names, not_before, not_after })
    }
}

fn alt_names(extensions: &[u8]) -> Option<Vec<Box<str>>> {
    let mut extensions = Reader(extensions);
    let mut names = Vec::new();
    while let Some((_, extension)) = extensions.next() {
        let mut extension = Reader(extension);
        if extension.expect(OBJECT_ID)? != SUBJECT_ALT_NAME {
            continue;
        }
        // A BOOLEAN may stand before it: whether it is critical.
        let value = std::iter::from_fn(|| extension.next()).find(|(tag, _)| *tag == OCTET_STRING)?.1;
        let mut list = Reader(Reader(value).expect(SEQUENCE)?);
        while let Some((tag, name)) = list.next() {
            if let (DNS_NAME, Ok(name)) = (tag, std::str::from_utf8(name)) {
                names.push(name.to_ascii_lowercase().into());
            }
        }
    }
    Some(names)
}

impl<'a> Reader<'a> {
    /// The tag and the content of the next element; none = there is none that is whole.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], rest) = self.0.split_first_chunk::<2>()?;
        let (length, rest) = match first {
            // The long form: so many bytes of length. What is longer than 4 GiB is none of ours.
            0x81..=0x84 => {
                let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
            }
            0..=0x7f => (usize::from(first), rest),
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    fn expect(&mut self, wanted: u8) -> Option<&'a [u8]> {
        let (tag, content) = self.next()?;
        (tag == wanted).then_some(content)
    }

    fn skip_if(&mut self, unwanted: u8) {
        if self.0.first() == Some(&unwanted) {
            self.next();
        }
    }

    /// RFC 5280 §4.1.2.5: with seconds and in UTC, so of one form each.
    fn time(&mut self) -> Option<SystemTime> {
        let (tag, text) = self.next()?;
        let digits = text.strip_suffix(b"Z")?;
        let (year, rest) = match tag {
            UTC_TIME if digits.len() == 12 => {
                let year = number(&digits[..2])?;
                (if year < 50 { 2000 + year } else { 1900 + year }, &digits[2..])
            }
            GENERALIZED_TIME if digits.len() == 14 => (number(&digits[..4])?, &digits[4..]),
            _ => return None,
        };
        let mut parts = rest.chunks(2).map(number);
        let mut part = |range: std::ops::RangeInclusive<i64>| parts.next()?.filter(|n| range.contains(n));
        let (month, day) = (part(1..=12)?, part(1..=31)?);
        let (hour, minute, second) = (part(0..=23)?, part(0..=59)?, part(0..=60)?);
        let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
        let distance = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) }
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    std::str::from_utf8(digits).ok().filter(|_| digits.iter().all(u8::is_ascii_digit))?.parse().ok()
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. The year is counted from March, so that the leap day is its last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leaps + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::made;
    use proptest::prelude::*;

    fn at(year: i32, month: u8, day: u8) -> SystemTime {
        rcgen::date_time_ymd(year, month, day).into()
    }

    #[test]
    fn names_and_times_are_those_that_the_certificate_was_made_with() {
        for (from, to) in
            [((1999, 2, 28), (2049, 12, 31)), ((2024, 2, 29), (2050, 1, 1)), ((1960, 1, 1), (9999, 3, 1))]
        {
            let made = made(&["Example.com", "*.example.com", "xn--bcher-kva.example"], |params| {
                params.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
                params.not_after = rcgen::date_time_ymd(to.0, to.1, to.2);
            });
            let facts = Facts::read(made.cert.der()).unwrap();
            let names = ["example.com", "*.example.com", "xn--bcher-kva.example"];
            assert_eq!(facts.names.iter().map(|name| &**name).collect::<Vec<_>>(), names);
            assert_eq!(facts.not_before, at(from.0, from.1, from.2));
            assert_eq!(facts.not_after, at(to.0, to.1, to.2));
        }
    }

    #[test]
    fn addresses_are_no_names_and_none_are_needed() {
        for names in [&["127.0.0.1", "::1"][..], &[]] {
            assert_eq!(Facts::read(made(names, |_| {}).cert.der()).unwrap().names, []);
        }
    }

    /// They were made by many programs in thirty years.
    #[test]
    fn the_certificates_of_real_authorities_are_understood() {
        for certificate in rustls_native_certs::load_native_certs().certs {
            let facts = Facts::read(&certificate).expect("it is a certificate");
            assert!(facts.not_before < facts.not_after && facts.not_before >= UNIX_EPOCH, "{facts:?}");
        }
    }

    #[test]
    fn what_is_cut_short_is_no_certificate() {
        let made = made(&["example.com"], |_| {});
        let der = made.cert.der();
        for length in 0..der.len() {
            assert_eq!(Facts::read(&der[..length]), None, "{length} of {}", der.len());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(at in 0..300_usize, with: Vec<u8>) {
            let made = made(&["example.com"], |_| {});
            let mut der = made.cert.der().to_vec();
            let at = at.min(der.len());
            der.splice(at..(at + with.len()).min(der.len()), with);
            Facts::read(&der);
        }
    }
}
