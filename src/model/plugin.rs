//! What makes an app a script plugin: its seat, and the calls that its workers make to the supervisor.

use super::AppName;
use rmpv::Value;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// What a script plugin's workers are told beside what every app's are, and whom they call.
pub struct PluginSeat {
    pub name: AppName,
    pub version: String,
    /// Where its routes are mounted, as in `/shop`. None = nowhere.
    pub base: Option<String>,
    /// Its settings, a map. They may hold secrets.
    pub config: serde_json::Value,
    pub calls: Arc<dyn Calls>,
    server: OnceLock<Listening>,
}

/// Where the server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    /// Empty where it is a Unix socket.
    pub url: String,
    /// As in `/api`.
    pub api_base: String,
}

/// Who answers the calls of a plugin's workers.
pub trait Calls: Send + Sync {
    /// Called on the task of the worker that calls, which waits for this to return: what takes time is spawned.
    fn call(&self, call: Call, reply: Reply);
}

/// A worker calls a method of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub service: String,
    pub method: String,
    pub args: Vec<Value>,
}

/// Why a call has no value, as the plugin's author sees it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {message}")]
pub struct CallError {
    pub name: String,
    pub message: String,
}

/// The right to answer one call, once. Dropping it answers that the service is unavailable.
pub struct Reply {
    answer: Option<Answer>,
}

type Answer = Box<dyn FnOnce(Result<Value, CallError>) + Send>;

impl PluginSeat {
    pub fn new(
        name: AppName,
        version: String,
        base: Option<String>,
        config: serde_json::Value,
        calls: Arc<dyn Calls>,
    ) -> PluginSeat {
        PluginSeat { name, version, base, config, calls, server: OnceLock::new() }
    }

    /// Known once the listener is bound.
    pub fn server(&self) -> Option<&Listening> {
        self.server.get()
    }

    /// The listener is bound: workers that are started from now on know of it. Only the first time counts.
    pub fn set_server(&self, url: &str, api_base: &str) {
        // It was said before.
        let _ = self.server.set(Listening { url: url.to_owned(), api_base: api_base.to_owned() });
    }
}

/// Without its settings, which may hold secrets.
impl fmt::Debug for PluginSeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginSeat")
            .field("name", &self.name)
            .field("version", &self.version)
            .field("base", &self.base)
            .field("server", &self.server.get())
            .finish_non_exhaustive()
    }
}

impl CallError {
    pub fn new(name: &str, message: impl Into<String>) -> CallError {
        CallError { name: name.to_owned(), message: message.into() }
    }

    /// Nobody answered.
    pub fn unavailable() -> CallError {
        CallError::new("Unavailable", "the service is unavailable")
    }
}

impl Reply {
    pub fn new(answer: impl FnOnce(Result<Value, CallError>) + Send + 'static) -> Reply {
        Reply { answer: Some(Box::new(answer)) }
    }

    pub fn send(mut self, result: Result<Value, CallError>) {
        if let Some(answer) = self.answer.take() {
            answer(result);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(answer) = self.answer.take() {
            answer(Err(CallError::unavailable()));
        }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    struct Nobody;

    impl Calls for Nobody {
        fn call(&self, _: Call, _: Reply) {}
    }

    #[test]
    fn a_plugins_settings_are_not_shown() {
        let config = serde_json::json!({ "password": "hunter2" });
        let seat =
            PluginSeat::new("@team/guard".parse().unwrap(), "1.0.0".into(), None, config, Arc::new(Nobody));
        seat.set_server("http://127.0.0.1:8000", "/api");
        seat.set_server("http://other", "/other");
        let shown = format!("{seat:?}");
        assert!(!shown.contains("hunter2") && shown.contains("@team/guard"), "{shown}");
        let server = seat.server().unwrap();
        assert_eq!((&*server.url, &*server.api_base), ("http://127.0.0.1:8000", "/api"));
    }

    #[test]
    fn a_call_is_answered_once_and_also_when_its_reply_is_dropped() {
        let answers = Arc::new(Mutex::new(Vec::new()));
        let reply = || {
            let answers = Arc::clone(&answers);
            Reply::new(move |answer| answers.lock().unwrap().push(answer))
        };
        reply().send(Ok(Value::from(1)));
        drop(reply());
        assert_eq!(*answers.lock().unwrap(), [Ok(Value::from(1)), Err(CallError::unavailable())]);
    }
}
