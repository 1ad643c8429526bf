//! `${VAR}` and `${VAR:-default}` in a text. `$${` is a plain `${`; a `$` before anything else is a `$`.
//!
//! It works on values that were read already, so that no variable can add keys or change what stands beside it.

use super::{Lookup, may_be_used};
use crate::manifest::{VARIABLE_HINT, is_variable, shorten};

/// A text with its variables filled in.
#[derive(Debug, PartialEq)]
pub struct Filled {
    pub text: String,
    /// The variables that it names, in their order. None were named = it says what the file says.
    pub variables: Vec<String>,
}

/// Why a text cannot be filled in. Never holds a value of a variable.
#[derive(Debug, PartialEq)]
pub struct Unfilled {
    pub message: String,
    pub hint: Option<String>,
}

pub fn fill(text: &str, lookup: Lookup<'_>) -> Result<Filled, Unfilled> {
    let mut filled = Filled { text: String::with_capacity(text.len()), variables: Vec::new() };
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        filled.text.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(behind) = rest.strip_prefix("$${") {
            filled.text.push_str("${");
            rest = behind;
        } else if let Some(inside) = rest.strip_prefix("${") {
            let Some((inside, behind)) = inside.split_once('}') else {
                let message = format!("`{}` has no `}}`", shorten(rest));
                return Err(Unfilled { message, hint: Some("write `$${` for a plain `${`".into()) });
            };
            filled.one(inside, lookup)?;
            rest = behind;
        } else {
            filled.text.push('$');
            rest = &rest[1..];
        }
    }
    filled.text.push_str(rest);
    Ok(filled)
}

impl Filled {
    /// What stands between the braces.
    fn one(&mut self, inside: &str, lookup: Lookup<'_>) -> Result<(), Unfilled> {
        let (name, default) =
            inside.split_once(":-").map_or((inside, None), |(name, default)| (name, Some(default)));
        if !is_variable(name) {
            let message = format!("`{}` is no name of a variable", shorten(name));
            return Err(Unfilled {
                message,
                hint: Some(format!("{VARIABLE_HINT}; `$${{` is a plain `${{`")),
            });
        }
        if !may_be_used(name) {
            let message = format!("`{name}` is the runtime's own: no plugin may see it");
            return Err(Unfilled { message, hint: None });
        }
        // As in a shell, `:-` is for what is empty too.
        let set = lookup(name).filter(|value| !(value.is_empty() && default.is_some()));
        let Some(value) = set.as_deref().or(default) else {
            let hint = Some(format!("set it, or write `${{{name}:-default}}`"));
            return Err(Unfilled { message: format!("the variable `{name}` is not set"), hint });
        };
        self.text.push_str(value);
        self.variables.push(name.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("db.example".into()),
            "EMPTY" => Some(String::new()),
            "TRICK" => Some("${HOST}\nkey: value".into()),
            "RUNTIME_ROOT_KEY" => Some("hunter2".into()),
            _ => None,
        }
    }

    fn filled(text: &str) -> Result<String, String> {
        fill(text, &lookup).map(|filled| filled.text).map_err(|error| error.message)
    }

    #[test]
    fn each_form_is_filled_in() {
        for (text, expected) in [
            ("plain", "plain"),
            ("${HOST}", "db.example"),
            ("http://${HOST}:${PORT:-5432}/x", "http://db.example:5432/x"),
            ("${NONE:-}", ""),
            ("${EMPTY}", ""),
            ("${EMPTY:-full}", "full"),
            ("${NONE:-a:-b}", "a:-b"),
            ("$${HOST}", "${HOST}"),
            ("$$${HOST}", "$${HOST}"),
            ("$HOST costs 5$", "$HOST costs 5$"),
            ("$$", "$$"),
            ("${NONE:-ümlaut}", "ümlaut"),
            ("${TRICK}", "${HOST}\nkey: value"),
        ] {
            assert_eq!(filled(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_filled_in_is_an_error_that_names_the_variable() {
        for (text, message) in [
            ("${NONE}", "the variable `NONE` is not set"),
            ("${HOST", "`${HOST` has no `}`"),
            ("${}", "`` is no name of a variable"),
            ("${A B}", "`A B` is no name of a variable"),
            ("${HOST:?gone}", "`HOST:?gone` is no name of a variable"),
            ("${RUNTIME_ROOT_KEY}", "`RUNTIME_ROOT_KEY` is the runtime's own: no plugin may see it"),
            (
                "${RUNTIME_ROOT_KEY_FILE:-x}",
                "`RUNTIME_ROOT_KEY_FILE` is the runtime's own: no plugin may see it",
            ),
        ] {
            assert_eq!(filled(text), Err(message.into()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_one_without_a_dollar_stays(text in "\\PC{0,40}|[${}:a-zA-Z_-]{0,20}") {
            let filled = fill(&text, &lookup);
            if !text.contains('$') {
                prop_assert_eq!(filled, Ok(Filled { text, variables: vec![] }));
            }
        }
    }
}
