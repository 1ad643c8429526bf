//! The token that Prometheus has to know, where there is one.

use buntime_plugin::Problem;
use buntime_plugin::http::{HeaderMap, HeaderValue, StatusCode, header};
use subtle::ConstantTimeEq;

/// Whether `Authorization` has it (RFC 6750 §2.1). How long that takes tells nothing but the token's length.
///
/// # Errors
/// It has not: 401.
pub fn check(headers: &HeaderMap, token: &str) -> Result<(), Problem> {
    let given = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes).and_then(bearer);
    let fits = given.is_some_and(|given| bool::from(given.ct_eq(token.as_bytes())));
    match fits {
        true => Ok(()),
        false => Err(Problem::new(StatusCode::UNAUTHORIZED, "scrape_token_required")
            .detail("The metrics of this server are for those who know its scrape token.")
            .hint("Authorization: Bearer …, with what the plugin's setting scrapeToken says")
            .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
    }
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(b"bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
}
