//! The grammar of names: npm's, for apps as for plugins.

/// Longest name, its scope included, in bytes.
pub const MAX_NAME: usize = 214;

/// Names that npm refuses although they fit its grammar.
const FORBIDDEN: [&str; 2] = ["node_modules", "favicon.ico"];

/// Why a text is no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("an app name must not be empty")]
    Empty,
    #[error("an app name has at most {MAX_NAME} characters, this one has {0}")]
    TooLong(usize),
    #[error("an app name must not start with `{0}`")]
    Start(char),
    #[error("`{0}` cannot stand in an app name: lower case letters, digits and `-._~` can")]
    Character(char),
    #[error("a scoped app name has two parts, as in `@team/shop`")]
    Scope,
    #[error("`{0}` is no app name: npm reserves it")]
    Forbidden(&'static str),
}

/// Whether `text` is a name, such as `shop` or `@team/shop`.
///
/// # Errors
/// It is none.
pub fn check(text: &str) -> Result<(), NameError> {
    let Some(scoped) = text.strip_prefix('@') else { return check_part(text) };
    if text.len() > MAX_NAME {
        return Err(NameError::TooLong(text.chars().count()));
    }
    let (scope, name) = scoped.split_once('/').ok_or(NameError::Scope)?;
    if scope.is_empty() || name.is_empty() {
        return Err(NameError::Scope);
    }
    check_part(scope)?;
    check_part(name)
}

/// Whether `part` is a name without scope, or a scope without its `@`.
///
/// # Errors
/// It is none.
pub fn check_part(part: &str) -> Result<(), NameError> {
    if part.len() > MAX_NAME {
        return Err(NameError::TooLong(part.chars().count()));
    }
    let first = part.chars().next().ok_or(NameError::Empty)?;
    if let Some(odd) = part.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-' | '.' | '_' | '~')) {
        return Err(NameError::Character(odd));
    }
    if matches!(first, '.' | '_') {
        return Err(NameError::Start(first));
    }
    match FORBIDDEN.iter().find(|&&name| name == part) {
        Some(name) => Err(NameError::Forbidden(name)),
        None => Ok(()),
    }
}

/// Takes a version request apart: of `@team/shop@1` `@team/shop` and what stands behind the `@`.
pub fn split_request(wanted: &str) -> (&str, Option<&str>) {
    let scope = usize::from(wanted.starts_with('@'));
    match wanted[scope..].split_once('@') {
        Some((name, version)) => (&wanted[..scope + name.len()], Some(version)),
        None => (wanted, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_name_and_perhaps_a_version() {
        for (wanted, parts) in [
            ("shop", ("shop", None)),
            ("shop@1", ("shop", Some("1"))),
            ("shop@", ("shop", Some(""))),
            ("shop@1@2", ("shop", Some("1@2"))),
            ("@team/shop", ("@team/shop", None)),
            ("@team/shop@latest", ("@team/shop", Some("latest"))),
            ("@team@1/shop", ("@team", Some("1/shop"))),
            ("@", ("@", None)),
        ] {
            assert_eq!(split_request(wanted), parts, "{wanted}");
        }
    }

    #[test]
    fn a_part_has_no_scope() {
        assert_eq!((check("@team/shop"), check_part("team")), (Ok(()), Ok(())));
        assert_eq!(check_part("@team/shop"), Err(NameError::Character('@')));
        assert_eq!(check_part("_team"), Err(NameError::Start('_')));
    }
}
