//! `buntime alias`: lists, sets and deletes aliases.

use super::failure::Failure;
use super::remote::{Output, Remote};
use super::session::Session;
use super::table::{self, text};
use super::text::escape;
use crate::api::types::{Alias, SetAlias, Stickiness};
use crate::model::{AliasName, AppName, AppVersion};
use clap::{Args, ValueEnum};
use std::collections::BTreeMap;

#[derive(Debug, Args)]
pub struct Arguments {
    /// The app, as in shop or @team/shop
    #[arg(value_name = "APP")]
    app: AppName,
    /// The alias to set, such as latest or beta; without it all are listed
    #[arg(value_name = "ALIAS", value_parser = alias_name)]
    alias: Option<AliasName>,
    /// What it is to stand for: one version, or several with their share of a hundred, as in 1.4.2=95 1.5.0=5
    #[arg(value_name = "VERSION[=WEIGHT]", requires = "alias", value_parser = part)]
    to: Vec<Part>,
    /// By what a client is known to a split, so that it stays with its version
    #[arg(long, value_enum, default_value_t = Sticky::Cookie, requires = "to")]
    sticky: Sticky,
    /// Delete the alias
    #[arg(long, requires = "alias", conflicts_with = "to")]
    rm: bool,
    #[command(flatten)]
    pub remote: Remote,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Sticky {
    Cookie,
    Address,
}

/// A version, and its weight in a split.
#[derive(Clone, Debug, PartialEq)]
struct Part(AppVersion, Option<u8>);

pub async fn run(arguments: &Arguments, session: &Session) -> Result<(), Failure> {
    let Arguments { app, alias, to, .. } = arguments;
    let Session { client, console } = session;
    let Some(alias) = alias else {
        let list = client.aliases(app).await?;
        if list.value.aliases.is_empty() {
            console.talk(&format!("{app} has no aliases"));
        }
        return console.answer(&list, |list| render(&list.aliases));
    };
    if arguments.rm {
        let answer = client.delete_alias(app, alias.as_str()).await?;
        console.talk(&format!("deleted the alias {} of {app}", alias.as_str()));
        return if console.json && !answer.is_empty() { console.raw(&answer) } else { Ok(()) };
    }
    let wanted = wanted(to, arguments.sticky)?;
    let set = client.set_alias(app, alias.as_str(), &wanted).await?;
    console.talk(&said(app.as_str(), &set.value));
    if console.json { console.raw(&set.raw) } else { Ok(()) }
}

/// What the runtime is to be asked for.
fn wanted(to: &[Part], sticky: Sticky) -> Result<SetAlias, Failure> {
    let sticky = match sticky {
        Sticky::Cookie => Stickiness::Cookie,
        Sticky::Address => Stickiness::Address,
    };
    match to {
        [] => Err(Failure::usage("it is not said what the alias is to stand for")
            .hint("name a version, or several with weights, as in 1.4.2=95 1.5.0=5; or delete it with --rm")),
        [Part(version, None)] => Ok(SetAlias { version: Some(version.to_string()), weights: None, sticky }),
        parts => {
            let mut weights = BTreeMap::new();
            for Part(version, weight) in parts {
                let weight = weight.ok_or_else(|| {
                    Failure::usage(format!("the version {version} has no weight"))
                        .hint("each version of a split needs its share of a hundred, as in 1.4.2=95 1.5.0=5")
                })?;
                if weights.insert(version.to_string(), weight).is_some() {
                    return Err(Failure::usage(format!("the version {version} is named twice")));
                }
            }
            Ok(SetAlias { version: None, weights: Some(weights), sticky })
        }
    }
}

/// What an alias now stands for, in a sentence.
pub fn said(app: &str, alias: &Alias) -> String {
    let before = match &alias.previous {
        Some(previous) if *previous != alias.weights => format!(" (before: {})", weights(previous)),
        _ => String::new(),
    };
    format!("{} {} is now {}{before}", escape(app), escape(&alias.name), weights(&alias.weights))
}

/// `1.2.0`, or `1.2.0 95%, 1.3.0 5%`.
pub fn weights(weights: &BTreeMap<String, u8>) -> String {
    let parts: Vec<String> = match weights.len() {
        1 => weights.keys().map(|version| escape(version).into_owned()).collect(),
        _ => weights.iter().map(|(version, weight)| format!("{} {weight}%", escape(version))).collect(),
    };
    parts.join(", ")
}

fn render(aliases: &[Alias]) -> String {
    if aliases.is_empty() {
        return String::new();
    }
    let columns = [text("ALIAS"), text("STANDS FOR"), text("STICKY BY"), text("BEFORE")];
    let rows = aliases.iter().map(|alias| {
        let sticky = match (alias.weights.len(), alias.sticky) {
            (..2, _) => "",
            (_, Stickiness::Cookie) => "cookie",
            (_, Stickiness::Address) => "address",
        };
        let before = alias.previous.as_ref().map(weights).unwrap_or_default();
        vec![escape(&alias.name).into_owned(), weights(&alias.weights), sticky.to_owned(), before]
    });
    table::render(&columns, rows)
}

fn alias_name(text: &str) -> Result<AliasName, String> {
    AliasName::parse(text).map_err(|error| error.to_string())
}

fn part(text: &str) -> Result<Part, String> {
    let (version, weight) =
        text.split_once('=').map_or((text, None), |(version, weight)| (version, Some(weight)));
    let version = AppVersion::parse(version).map_err(|error| error.to_string())?;
    let weight = weight.map(|weight| match weight.trim_end_matches('%').parse() {
        Ok(weight @ 1..=100) => Ok(weight),
        _ => Err(format!("`{weight}` is no share of a hundred")),
    });
    Ok(Part(version, weight.transpose()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;

    fn parts(texts: &[&str]) -> Vec<Part> {
        texts.iter().map(|text| part(text).unwrap()).collect()
    }

    #[test]
    fn aliases_are_a_table() {
        insta::assert_snapshot!(render(&samples::aliases()));
    }

    #[test]
    fn one_version_or_several_with_weights() {
        let one = wanted(&parts(&["1.4.2"]), Sticky::Cookie).unwrap();
        assert_eq!((one.version.as_deref(), one.weights), (Some("1.4.2"), None));
        let two = wanted(&parts(&["1.4.2=95", "v1.5.0=5%"]), Sticky::Address).unwrap();
        assert_eq!(two.weights, Some(BTreeMap::from([("1.4.2".into(), 95), ("1.5.0".into(), 5)])));
        assert_eq!((two.version, two.sticky), (None, Stickiness::Address));
        for text in ["1.4.2=", "1.4.2=0", "1.4.2=101", "1.4.2=x", "^1=5", "=5"] {
            assert!(part(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_split_is_refused_with_a_hint() {
        let messages = [&[][..], &["1.0.0", "2.0.0"], &["1.0.0=50", "1.0.0=50"]]
            .map(|texts| wanted(&parts(texts), Sticky::Cookie).unwrap_err().text(str::to_owned));
        insta::assert_snapshot!(messages.join("\n"));
    }

    #[test]
    fn what_an_alias_stands_for_now_is_a_sentence() {
        let lines: Vec<_> = samples::aliases().iter().map(|alias| said("shop", alias)).collect();
        insta::assert_snapshot!(lines.join("\n"));
    }
}
