//! `buntime apps`: what is deployed.

use super::failure::Failure;
use super::session::Session;
use super::table::{self, number, text};
use super::text::escape;
use crate::api::types::{Alias, AppSummary};

pub async fn run(session: &Session) -> Result<(), Failure> {
    let list = session.client.apps().await?;
    if list.value.apps.is_empty() {
        session.console.talk("there are no apps yet\n\nhint: `buntime deploy DIR` deploys one, `buntime new http DIR` begins one");
    }
    session.console.answer(&list, |list| render(&list.apps))
}

fn render(apps: &[AppSummary]) -> String {
    if apps.is_empty() {
        return String::new();
    }
    let columns =
        [text("NAME"), text("CURRENT"), number("VERSIONS"), number("WORKERS"), text("ALIASES"), text("PATH")];
    let rows = apps.iter().map(|app| {
        let aliases: Vec<String> = app.aliases.iter().map(show_alias).collect();
        vec![
            escape(&app.name).into_owned(),
            app.current.as_deref().map(escape).unwrap_or_default().into_owned(),
            app.versions.len().to_string(),
            app.workers.to_string(),
            aliases.join(" "),
            escape(&app.path).into_owned(),
        ]
    });
    table::render(&columns, rows)
}

/// `latest=1.2.0`, or `latest=1.2.0:95,1.3.0:5` for a split.
fn show_alias(alias: &Alias) -> String {
    let parts: Vec<String> = match alias.weights.len() {
        1 => alias.weights.keys().map(|version| escape(version).into_owned()).collect(),
        _ => alias.weights.iter().map(|(version, weight)| format!("{}:{weight}", escape(version))).collect(),
    };
    format!("{}={}", escape(&alias.name), parts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;

    #[test]
    fn apps_are_a_table() {
        insta::assert_snapshot!(render(&samples::apps()));
        assert_eq!(render(&[]), "");
    }
}
