//! The log that a plugin keeps, where it is on: `@buntime/plugin-logs`.

use super::{Client, ClientError, Events, Result, empty, patient, query, stream_headers};
use http::Method;
use serde::Deserialize;

const NAME: &str = "@buntime/plugin-logs";

/// Which entries are wanted. Texts are as the plugin's filters have them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptLog {
    /// Where the plugin's routes are: `/logs`.
    pub base: String,
    pub app: Option<String>,
    pub version: Option<String>,
    pub source: Option<String>,
    pub level: Option<String>,
    pub search: Option<String>,
    pub since: Option<String>,
    /// After this number; 0 = all that is kept.
    pub after: Option<u64>,
    /// The stream ends before this number.
    pub before: Option<u64>,
}

/// What is read of `GET /plugins`: no more than is needed, so that other versions are understood.
#[derive(Deserialize)]
struct Plugins {
    plugins: Vec<Plugin>,
}

#[derive(Deserialize)]
struct Plugin {
    name: String,
    base: Option<String>,
    #[serde(default)]
    enabled: bool,
    #[serde(default)]
    state: String,
}

#[derive(Deserialize)]
struct Page {
    entries: Vec<Numbered>,
}

#[derive(Deserialize)]
struct Numbered {
    seq: u64,
}

impl Client {
    /// Where the plugin that keeps the log has its routes; none where it is off, or the key may not know.
    pub async fn log_base(&self) -> Result<Option<String>> {
        match self.get::<Plugins>("/plugins").await {
            Ok(answer) => Ok(base(answer.value)),
            Err(ClientError::Problem(problem)) if matches!(problem.status, 403 | 404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `last`: the id of the last event that was seen.
    pub async fn kept_log(&self, wanted: &KeptLog, last: Option<&str>) -> Result<Events> {
        let path = wanted.path();
        let sent = self.transport.send_to(Method::GET, path, stream_headers(last), empty());
        self.follow(patient(self.at(), sent).await?).await
    }

    /// The number of the newest entry that may be seen.
    pub async fn newest_in_log(&self, base: &str) -> Result<Option<u64>> {
        let path = format!("{base}/api?limit=1");
        let work = async {
            let response = self.transport.send_to(Method::GET, path, Vec::new(), empty()).await?;
            self.read::<Page>(self.judge(response).await?).await
        };
        let page = patient(self.at(), work).await?.value;
        Ok(page.entries.first().map(|entry| entry.seq))
    }
}

impl KeptLog {
    fn path(&self) -> String {
        let number = |number: Option<u64>| number.map(|number| number.to_string());
        let (after, before) = (number(self.after), number(self.before));
        let query = query(&[
            ("app", self.app.as_deref()),
            ("version", self.version.as_deref()),
            ("source", self.source.as_deref()),
            ("level", self.level.as_deref()),
            ("search", self.search.as_deref()),
            ("since", self.since.as_deref()),
            ("after", after.as_deref()),
            ("before", before.as_deref()),
        ]);
        format!("{}/api/sse{query}", self.base)
    }
}

fn base(plugins: Plugins) -> Option<String> {
    let mut plugins = plugins.plugins.into_iter();
    let plugin = plugins.find(|plugin| plugin.name == NAME && plugin.enabled && plugin.state != "out")?;
    // At the root its routes begin with their own slash.
    plugin.base.map(|base| base.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plugin_is_found_where_it_is_on() {
        let found = |text: &str| base(serde_json::from_str(text).unwrap());
        let one = |rest: &str| format!(r#"{{"plugins":[{{"name":"x"}},{{"name":"{NAME}",{rest}}}]}}"#);
        assert_eq!(
            found(&one(r#""base":"/logs","enabled":true,"state":"loaded","more":1"#)),
            Some("/logs".into())
        );
        assert_eq!(found(&one(r#""base":"/","enabled":true"#)), Some(String::new()));
        for off in [
            r#""base":"/logs","enabled":false,"state":"disabled""#,
            r#""base":"/logs","enabled":true,"state":"out""#,
            r#""base":null,"enabled":true,"state":"loaded""#,
        ] {
            assert_eq!(found(&one(off)), None, "{off}");
        }
        assert_eq!(found(r#"{"plugins":[]}"#), None);
    }

    #[test]
    fn what_is_wanted_is_a_query() {
        let wanted = KeptLog {
            base: "/logs".into(),
            app: Some("@team/shop".into()),
            search: Some("a b&c".into()),
            after: Some(0),
            ..KeptLog::default()
        };
        assert_eq!(wanted.path(), "/logs/api/sse?app=@team%2Fshop&search=a%20b%26c&after=0");
    }
}
