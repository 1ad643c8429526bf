//! Plugins for people: a table of all, a page of one.

use crate::api::types::{Plugin, PluginKind, PluginState};
use crate::cli::table::{self, text};
use crate::cli::text::{escape, escape_lines};

pub fn table(plugins: &[Plugin]) -> String {
    if plugins.is_empty() {
        return String::new();
    }
    let columns = [text("NAME"), text("VERSION"), text("STATE"), text("KIND"), text("BASE"), text("ERROR")];
    let rows = plugins.iter().map(|plugin| {
        let first = plugin.error.as_deref().and_then(|error| error.lines().next());
        vec![
            escape(&plugin.name).into_owned(),
            plugin.version.as_deref().map(escape).unwrap_or_default().into_owned(),
            state(plugin.state).to_owned(),
            kind(plugin.kind).to_owned(),
            plugin.base.as_deref().map(escape).unwrap_or_default().into_owned(),
            first.map(escape).unwrap_or_default().into_owned(),
        ]
    });
    table::render(&columns, rows)
}

pub fn one(plugin: &Plugin) -> String {
    let list = |texts: &[String]| texts.iter().map(|text| escape(text)).collect::<Vec<_>>().join(", ");
    let is = |yes: bool, word: &'static str| yes.then_some(word);
    let traits =
        [is(plugin.required, "required"), is(plugin.guards, "guards"), is(plugin.fail_open, "fails open")];
    let text = |text: &Option<String>| text.as_deref().map(escape).unwrap_or_default().into_owned();
    let lines = [
        ("name", escape(&plugin.name).into_owned()),
        ("version", text(&plugin.version)),
        ("kind", kind(plugin.kind).to_owned()),
        ("state", state(plugin.state).to_owned()),
        ("traits", traits.into_iter().flatten().collect::<Vec<_>>().join(", ")),
        ("base", text(&plugin.base)),
        ("phases", list(&plugin.phases)),
        ("needs", list(&plugin.dependencies)),
        ("uses", list(&plugin.optional_dependencies)),
        (
            "directory",
            plugin.directory.as_deref().map_or("in the binary".into(), |dir| escape(dir).into_owned()),
        ),
        ("changes", escape(&plugin.file).into_owned()),
    ];
    let there = lines.iter().filter(|(_, value)| !value.is_empty());
    let mut page: String = there.map(|(name, value)| format!("{name:<10} {value}\n")).collect();
    if let Some(error) = &plugin.error {
        page += &format!("\n{}\n", escape_lines(error).trim_end());
    }
    page
}

/// What goes with a plugin that is on.
pub fn warnings(plugin: &Plugin) -> Vec<String> {
    let base = plugin.base.as_deref().map(escape).unwrap_or_default();
    let hides = plugin.hides.iter().map(|app| {
        format!(
            "{} stands at {base}, where the app {} is: it cannot be reached there",
            escape(&plugin.name),
            escape(app)
        )
    });
    let degraded = plugin.error.iter().filter(|_| plugin.state == PluginState::Degraded);
    hides.chain(degraded.map(|error| escape_lines(error))).collect()
}

fn state(state: PluginState) -> &'static str {
    match state {
        PluginState::Loaded => "loaded",
        PluginState::Degraded => "degraded",
        PluginState::Out => "out",
        PluginState::Disabled => "disabled",
    }
}

fn kind(kind: PluginKind) -> &'static str {
    match kind {
        PluginKind::Native => "native",
        PluginKind::Script => "script",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;

    #[test]
    fn plugins_are_a_table() {
        insta::assert_snapshot!(table(&samples::plugins()));
        assert_eq!(table(&[]), "");
    }

    #[test]
    fn one_plugin_is_a_page() {
        let pages: Vec<_> = samples::plugins().iter().map(one).collect();
        insta::assert_snapshot!(pages.join("---\n"));
    }

    #[test]
    fn an_app_that_a_plugin_hides_is_warned_of() {
        let [.., plugin] = &samples::plugins()[..] else { panic!() };
        insta::assert_snapshot!(warnings(plugin).join("\n"));
    }
}
