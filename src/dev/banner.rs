//! What is printed first: the address, the apps, the keys.

use super::{Parts, keys};
use crate::apps::Index;
use crate::http::live::Fault;
use crate::model::{App, Kind};
use crate::telemetry::printer::{Printer, harmless, printer};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

/// Apps that are named.
const SHOWN: usize = 8;

pub fn text(parts: &Parts<'_>, index: &Index) -> String {
    let colour = printer().is_some_and(Printer::is_coloured);
    let paint = |text: &str, code: &str| match colour {
        true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        false => text.to_owned(),
    };
    let url = parts.url.as_ref().map_or_else(|| parts.shown.to_owned(), |url| format!("{url}/"));
    let mut out = String::new();
    // Writing to a String cannot fail.
    let version = format!("buntime {} · bun {}", env!("CARGO_PKG_VERSION"), parts.bun);
    let _ = writeln!(out, "\n  {}", paint(&version, "2"));
    let _ = writeln!(out, "  {}\n", paint(&harmless(&url), "1;36"));
    let apps = index.apps();
    match parts.config.dev.as_ref().and_then(|dev| dev.sole.as_ref()) {
        Some(sole) => {
            let dir = parts.config.worker_dirs.first().map(|dir| dir.display().to_string());
            let _ = writeln!(
                out,
                "  app   {} {}",
                harmless(sole.as_str()),
                paint(&harmless(&dir.unwrap_or_default()), "2")
            );
        }
        None => {
            let names: BTreeMap<&str, &Arc<App>> = apps.iter().map(|app| (app.name.as_str(), app)).collect();
            for (name, _) in names.iter().take(SHOWN) {
                let _ = writeln!(out, "  app   {}", harmless(&format!("{url}{name}/")));
            }
            if names.len() > SHOWN {
                let _ = writeln!(out, "        and {} more", names.len() - SHOWN);
            }
            if names.is_empty() {
                let _ = writeln!(out, "  There is no app yet: an app is a directory with an entrypoint.");
            }
        }
    }
    if keys::are_heard() {
        let _ = writeln!(out, "  keys  {}", paint(keys::SHORT, "2"));
    }
    out.push('\n');
    for app in apps {
        if let Kind::Broken { error } = &app.kind {
            let text: Vec<_> = Fault::of_reading(&app, error).text().lines().map(harmless).collect();
            let _ = writeln!(out, "{}", paint(&text.join("\n"), "31"));
        }
    }
    out
}
