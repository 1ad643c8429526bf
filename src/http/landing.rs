//! The page at `/` in development: what is served here.

use super::live::Tag;
use super::page;
use crate::apps::{App, Kind};
use crate::model::AppVersion;
use buntime_plugin::Body;
use http::{Response, StatusCode};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::Write;

/// A page that lists the apps by name, each with its versions, the highest first.
pub fn respond<'a>(apps: impl IntoIterator<Item = &'a App>, live: Option<&Tag>) -> Response<Body> {
    let mut names: BTreeMap<&str, Vec<&App>> = BTreeMap::new();
    for app in apps {
        names.entry(app.name.as_str()).or_default().push(app);
    }
    let mut main = String::from("<h1>Buntime<small>Development</small></h1>\n");
    if names.is_empty() {
        main.push_str(
            "<p>There is no app yet. Put a directory with an entrypoint into a worker directory.</p>\n",
        );
    } else {
        main.push_str("<table>\n<tr><th>App</th><th>Versions</th><th>Kind</th></tr>\n");
        for (name, versions) in &mut names {
            versions.sort_by(|a, b| by_version(&b.version, &a.version));
            row(&mut main, name, versions).expect("writing to a String cannot fail");
        }
        main.push_str("</table>\n");
    }
    page::respond_with(StatusCode::OK, "Buntime", &main, live.map(|tag| tag.element(None)).as_deref())
}

fn row(main: &mut String, name: &str, versions: &[&App]) -> std::fmt::Result {
    let name = page::escape(name);
    write!(main, "<tr><td><a href=\"/{name}/\">{name}</a></td><td>")?;
    for (nth, app) in versions.iter().enumerate() {
        let version = page::escape(&app.version.to_string());
        let separator = if nth == 0 { "" } else { ", " };
        let disabled = if app.manifest.enabled { "" } else { " <span class=\"soft\">disabled</span>" };
        write!(main, "{separator}<a href=\"/{name}@{version}/\">{version}</a>{disabled}")?;
    }
    main.push_str("</td><td>");
    for (nth, kind) in kinds(versions).iter().enumerate() {
        write!(main, "{}{kind}", if nth == 0 { "" } else { "<br>" })?;
    }
    main.push_str("</td></tr>\n");
    Ok(())
}

/// What the versions are, each said once, in their order.
fn kinds(versions: &[&App]) -> Vec<String> {
    let mut kinds = Vec::new();
    for app in versions {
        let kind = match &app.kind {
            Kind::Worker { .. } => "server".to_owned(),
            Kind::Static { .. } => "static files".to_owned(),
            Kind::Broken { error } => {
                let version = page::escape(&app.version.to_string());
                format!("<span class=\"error\">{version}: {}</span>", page::escape(error))
            }
        };
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds
}

/// `latest` stands above all numbers.
fn by_version(a: &AppVersion, b: &AppVersion) -> Ordering {
    match (a, b) {
        (AppVersion::Semver(a), AppVersion::Semver(b)) => a.cmp(b),
        (AppVersion::Latest, AppVersion::Latest) => Ordering::Equal,
        (AppVersion::Latest, _) => Ordering::Greater,
        (_, AppVersion::Latest) => Ordering::Less,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AppName, Manifest, VersionKey};

    fn app(name: &str, version: &str, kind: Kind) -> App {
        App {
            key: VersionKey(1),
            name: AppName::parse(name).unwrap(),
            version: version.parse().map_or(AppVersion::Latest, AppVersion::Semver),
            dir: "/srv/app".into(),
            manifest: Manifest::default(),
            kind,
            env: BTreeMap::new(),
            needs_fresh: None,
            plugin: None,
        }
    }

    fn page(apps: &[App]) -> String {
        match respond(apps, None).into_body() {
            Body::Full(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            other => panic!("no page: {other:?}"),
        }
    }

    fn worker() -> Kind {
        Kind::Worker { entrypoint: "/srv/app/index.ts".into() }
    }

    #[test]
    fn apps_are_listed_with_their_versions_highest_first() {
        let page = page(&[
            app("shop", "1.2.0", worker()),
            app("shop", "latest", worker()),
            app("shop", "1.10.0", worker()),
            app("@team/blog", "0.1.0", worker()),
        ]);
        let places = ["@team/blog@0.1.0/", "\"/shop/\"", "shop@latest/", "shop@1.10.0/", "shop@1.2.0/"]
            .map(|part| page.find(part).unwrap_or_else(|| panic!("{part} is missing")));
        assert!(places.is_sorted(), "{places:?}");
    }

    #[test]
    fn errors_of_apps_run_nothing() {
        let error = Kind::Broken { error: "manifest.yaml:1: <script>alert(1)</script>".into() };
        let page = page(&[app("shop", "1.0.0", error)]);
        assert!(!page.contains("<script"));
        assert!(page.contains("1.0.0: manifest.yaml:1: &lt;script&gt;"));
    }

    #[test]
    fn no_app_at_all_tells_what_to_do() {
        assert!(page(&[]).contains("no app yet"));
    }
}
