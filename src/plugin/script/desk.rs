//! What a script plugin's module calls: services of the runtime (`core:…`), and of the plugins that it depends on.

use super::ask::{Ask, Asked};
use crate::model::App;
use crate::model::plugin::{Call, CallError, Calls, Reply};
use crate::pool::Pool;
use buntime_plugin::{BoxFuture, Callable, Context, Service, service};
use rmpv::Value;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

/// Longest line that a plugin logs, in bytes.
const MAX_LINE: usize = 64 * 1024;

pub struct Desk {
    context: Arc<Context>,
    pool: Arc<Pool>,
    /// Known once it is made.
    app: OnceLock<Weak<App>>,
    /// What it adds to workers' environments.
    env: Mutex<BTreeMap<String, String>>,
}

impl Desk {
    pub fn new(context: Arc<Context>, pool: Arc<Pool>) -> Desk {
        Desk { context, pool, app: OnceLock::new(), env: Mutex::default() }
    }

    /// Says whose desk it is.
    pub fn open(&self, app: &Arc<App>) {
        // It is said once.
        let _ = self.app.set(Arc::downgrade(app));
    }

    /// The module's own services, which each of its processes names.
    fn provide(&self, names: &[Value]) {
        let Some(app) = self.app.get() else { return };
        for name in names.iter().filter_map(Value::as_str) {
            let service = Own { pool: Arc::clone(&self.pool), app: Weak::clone(app), name: name.to_owned() };
            // A process before this one has named it too.
            let _ = self.context.provide(name, Service::callable(Arc::new(service)));
        }
    }

    fn set_env(&self, args: &[Value]) -> Result<Value, CallError> {
        let mut env = self.env.lock().unwrap_or_else(PoisonError::into_inner);
        match args {
            [name, Value::Nil] => drop(env.remove(&text(name))),
            [name, value] => drop(env.insert(text(name), text(value))),
            _ => return Err(CallError::new("TypeError", "workerEnv.set takes a name and a value, or null")),
        }
        Ok(Value::Nil)
    }

    pub fn env(&self) -> Vec<(String, String)> {
        let env = self.env.lock().unwrap_or_else(PoisonError::into_inner);
        env.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    fn log(&self, level: &str, args: &[Value]) {
        let name = self.context.name();
        let message = args.first().map(text).unwrap_or_default();
        let message = &message[..message.floor_char_boundary(MAX_LINE)];
        let fields = args.get(1).filter(|fields| !fields.is_nil()).map(json);
        let fields = fields.map(|fields| fields.to_string()).unwrap_or_default();
        match level {
            "error" => tracing::error!(target: "buntime::plugin", plugin = name, fields, "{message}"),
            "warn" => tracing::warn!(target: "buntime::plugin", plugin = name, fields, "{message}"),
            "info" => tracing::info!(target: "buntime::plugin", plugin = name, fields, "{message}"),
            _ => tracing::debug!(target: "buntime::plugin", plugin = name, fields, "{message}"),
        }
    }

    /// What the runtime itself offers. None = it has no such thing.
    async fn core(context: &Context, service: &str, method: &str, args: &[Value]) -> Option<Value> {
        let core = context.core();
        Some(match (service, method) {
            ("core:apps", "list") => told(&core.apps()),
            ("core:pool", "workers") => told(&core.workers().await),
            ("core:pool", "restart") => {
                let app = args.first().map(text).unwrap_or_default();
                let version = args.get(1).filter(|version| !version.is_nil()).map(text);
                Value::from(core.restart(&app, version.as_deref()))
            }
            _ => return None,
        })
    }
}

impl Calls for Desk {
    fn call(&self, call: Call, reply: Reply) {
        let Call { service, method, args } = call;
        match (&*service, &*method) {
            ("core:log", level) => {
                self.log(level, &args);
                reply.send(Ok(Value::Nil));
            }
            ("core:services", "provide") => {
                self.provide(&args);
                reply.send(Ok(Value::Nil));
            }
            ("core:env", "set") => reply.send(self.set_env(&args)),
            _ => {
                let context = Arc::clone(&self.context);
                tokio::spawn(async move {
                    let answer = match service.starts_with("core:") {
                        true => Desk::core(&context, &service, &method, &args).await.ok_or_else(|| {
                            CallError::new("NotFound", format!("the runtime has no {service}.{method}"))
                        }),
                        false => other(&context, &service, &method, args).await,
                    };
                    reply.send(answer);
                });
            }
        }
    }
}

/// A service that the module has.
struct Own {
    pool: Arc<Pool>,
    app: Weak<App>,
    name: String,
}

impl Callable for Own {
    fn call(
        &self,
        method: &str,
        arguments: Vec<Value>,
    ) -> BoxFuture<'static, Result<Value, service::CallError>> {
        let (pool, app) = (Arc::clone(&self.pool), self.app.upgrade());
        let (service, method) = (self.name.clone(), method.to_owned());
        Box::pin(async move {
            let gone = || service::CallError::new("Unavailable", "the plugin is not there any more");
            let app = app.ok_or_else(gone)?;
            let mut packed = Vec::new();
            rmpv::encode::write_value(&mut packed, &Value::Array(arguments)).unwrap_or_default(); // a Vec takes everything
            let asked = Asked::service(&service, &method, packed.into());
            let answer = Ask { pool: &pool, app: &app }.called(asked).await?;
            rmpv::decode::read_value(&mut &*answer)
                .map_err(|error| service::CallError::new("ProtocolError", error.to_string()))
        })
    }
}

/// A service of another plugin.
async fn other(context: &Context, service: &str, method: &str, args: Vec<Value>) -> Result<Value, CallError> {
    let found = context.get_callable(service);
    let callable = found.map_err(|error| CallError::new("ServiceError", error.to_string()))?;
    let answer = callable.call(method, args).await;
    answer.map_err(|error| CallError::new(&error.name, error.message))
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn json(value: &Value) -> serde_json::Value {
    serde_json::to_value(value).unwrap_or_default() // what is no JSON is left out
}

/// As a value: what has a name stays a map.
fn told<T: Serialize>(what: &T) -> Value {
    let json = serde_json::to_value(what).unwrap_or_default(); // numbers, texts, lists and maps
    rmpv::ext::to_value(json).unwrap_or(Value::Nil)
}
