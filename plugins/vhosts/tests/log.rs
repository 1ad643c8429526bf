//! What is logged is known for the plugin's.

use buntime_plugin::Phase;
use buntime_plugin::http::Method;
use buntime_plugin::testkit::{Stage, request};
use buntime_plugin_vhosts::NATIVE;
use serde_json::json;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Target and `plugin` of each event of the plugin.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<(String, String)>>>);

#[derive(Default)]
struct Plugin(String);

impl Visit for Plugin {
    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "plugin" {
            self.0 = value.to_owned();
        }
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.module_path().is_some_and(|module| module.starts_with("buntime_plugin_vhosts"))
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut plugin = Plugin::default();
        event.record(&mut plugin);
        self.0.lock().unwrap().push((event.metadata().target().to_owned(), plugin.0));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn what_is_logged_is_the_plugin_s() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let stage =
        Stage::new("@buntime/plugin-vhosts").settings(json!({ "hosts": { "a.test": { "app": "a" } } }));
    let vhosts = stage.load(&NATIVE).await.unwrap();
    vhosts.request(Phase::Resolve, request(Method::GET, "a.test", "/")).await.unwrap();
    let event = ("buntime::plugin".to_owned(), "@buntime/plugin-vhosts".to_owned());
    assert_eq!(*log.0.lock().unwrap(), [event.clone(), event]);
}
