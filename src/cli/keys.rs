//! `buntime keys`: lists, makes and revokes keys of the API.

use super::failure::Failure;
use super::remote::{Output, Remote};
use super::session::Session;
use super::table::{self, text};
use super::text::{escape, moment};
use crate::api::types::{CreateKey, CreatedKey, Key};
use crate::model::quantity::parse_duration_text;
use clap::{Args, Subcommand, ValueEnum};
use std::time::Duration;

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the keys; their secrets are not kept and cannot be shown
    List {
        #[command(flatten)]
        remote: Remote,
        #[command(flatten)]
        output: Output,
    },
    /// Make a key and print its secret, this once
    #[command(after_help = "Examples:
  buntime keys create ci --role editor --namespace @team --expires 30d
  buntime keys create backup --role custom --permission apps:read --permission apps:download")]
    Create(Box<Create>),
    /// Revoke a key, for good
    Revoke {
        /// The id of the key, as in key_0123456789abcdef
        #[arg(value_name = "ID")]
        id: String,
        #[command(flatten)]
        remote: Remote,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Args)]
struct Create {
    /// What the key is for
    #[arg(value_name = "NAME")]
    name: String,
    /// What it may do
    #[arg(long, value_enum)]
    role: Role,
    /// One permission of a custom role, such as apps:read; can be given again
    #[arg(long = "permission", value_name = "PERMISSION")]
    permissions: Vec<String>,
    /// A namespace that it is for: @team, or @ for apps without a scope; can be given again. Else all
    #[arg(long = "namespace", value_name = "@SCOPE")]
    namespaces: Vec<String>,
    /// When it expires from now, as in 12h or 30d; else never
    #[arg(long, value_name = "DURATION", value_parser = |text: &str| parse_duration_text(text))]
    expires: Option<Duration>,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Role {
    /// Everything
    Admin,
    /// Deploys and runs apps
    Editor,
    /// Looks and changes nothing
    Viewer,
    /// Just the permissions that are named
    Custom,
}

impl Arguments {
    pub fn flags(&self) -> (&Remote, Output) {
        match &self.command {
            Command::List { remote, output } | Command::Revoke { remote, output, .. } => (remote, *output),
            Command::Create(create) => (&create.remote, create.output),
        }
    }
}

pub async fn run(arguments: &Arguments, session: &Session) -> Result<(), Failure> {
    let Session { client, console } = session;
    match &arguments.command {
        Command::List { .. } => {
            let list = client.keys().await?;
            if list.value.keys.is_empty() {
                console.talk("there are no keys: the API is open to the admin socket only");
            }
            console.answer(&list, |list| render(&list.keys))
        }
        Command::Create(create) => {
            let made = client.create_key(&create.wanted()?).await?;
            console.talk(&said(&made.value));
            console.answer(&made, |made| format!("{}\n", escape(&made.secret)))
        }
        Command::Revoke { id, .. } => {
            let answer = client.revoke_key(id).await?;
            console.talk(&format!("revoked {}", escape(id)));
            if console.json { console.raw(&answer.raw) } else { Ok(()) }
        }
    }
}

impl Create {
    fn wanted(&self) -> Result<CreateKey, Failure> {
        if (self.role == Role::Custom) == self.permissions.is_empty() {
            return Err(Failure::usage("the role custom, and only that one, is made of --permission")
                .hint("as in --role custom --permission apps:read --permission apps:install"));
        }
        let some = |list: &[String]| Some(list.to_vec()).filter(|list| !list.is_empty());
        Ok(CreateKey {
            name: self.name.clone(),
            role: self.role.as_str().to_owned(),
            permissions: some(&self.permissions),
            namespaces: some(&self.namespaces),
            expires_in: self.expires.map(|expires| expires.as_secs()),
        })
    }
}

impl Role {
    fn as_str(self) -> &'static str {
        match self {
            Role::Admin => "admin",
            Role::Editor => "editor",
            Role::Viewer => "viewer",
            Role::Custom => "custom",
        }
    }
}

/// What goes beside the secret.
fn said(made: &CreatedKey) -> String {
    let CreatedKey { key, .. } = made;
    let until = key.expires.as_deref().map(|at| format!(", until {}", moment(at))).unwrap_or_default();
    format!(
        "made the key {} ({}, {}){until}\nThis is its secret; it is not shown again:",
        escape(&key.id),
        escape(&key.name),
        escape(&key.role)
    )
}

fn render(keys: &[Key]) -> String {
    if keys.is_empty() {
        return String::new();
    }
    let columns = [
        text("ID"),
        text("NAME"),
        text("ROLE"),
        text("NAMESPACES"),
        text("CREATED"),
        text("LAST USED"),
        text("STATE"),
    ];
    let rows = keys.iter().map(|key| {
        let list = |texts: &[String]| texts.iter().map(|text| escape(text)).collect::<Vec<_>>().join(" ");
        let role = match key.role.as_str() {
            "custom" => list(&key.permissions),
            role => escape(role).into_owned(),
        };
        let state = match (&key.revoked, &key.expires) {
            (Some(at), _) => format!("revoked {}", moment(at)),
            (None, Some(at)) => format!("until {}", moment(at)),
            (None, None) => "valid".into(),
        };
        vec![
            escape(&key.id).into_owned(),
            escape(&key.name).into_owned(),
            role,
            key.namespaces.as_deref().map_or("all".into(), list),
            moment(&key.created),
            key.last_used.as_deref().map(moment).unwrap_or_default(),
            state,
        ]
    });
    table::render(&columns, rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn wanted(line: &str) -> Result<CreateKey, Failure> {
        let words = ["keys", "create"].into_iter().chain(line.split(' '));
        match Line::try_parse_from(words).unwrap().arguments.command {
            Command::Create(create) => create.wanted(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn keys_are_a_table() {
        insta::assert_snapshot!(render(&samples::keys()));
    }

    #[test]
    fn what_stands_beside_the_secret_has_none_of_it() {
        let made = CreatedKey { secret: "btk_secret".into(), key: samples::keys().remove(0) };
        insta::assert_snapshot!(said(&made));
    }

    #[test]
    fn a_key_is_asked_for_as_the_flags_say() {
        let key = wanted("ci --role editor --namespace @team --namespace @ --expires 30d").unwrap();
        assert_eq!((key.name.as_str(), key.role.as_str(), key.expires_in), ("ci", "editor", Some(2_592_000)));
        assert_eq!((key.permissions, key.namespaces), (None, Some(vec!["@team".into(), "@".into()])));
        assert!(wanted("ci --role custom").is_err());
        assert!(wanted("ci --role editor --permission apps:read").is_err());
        assert_eq!(
            wanted("ci --role custom --permission apps:read").unwrap().permissions,
            Some(vec!["apps:read".into()])
        );
    }
}
