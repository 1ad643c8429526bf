//! What plugins offer each other: by type between native ones, by calls where one of the two is a script.

use crate::{BoxFuture, Value};
use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Something that a plugin offers.
#[derive(Clone, Default)]
pub struct Service {
    /// An `Arc<T>` (where `T` may be a `dyn Trait`) in a box.
    typed: Option<Arc<dyn Any + Send + Sync>>,
    callable: Option<Arc<dyn Callable>>,
}

/// A service whose methods have names, and arguments that MessagePack can carry.
pub trait Callable: Send + Sync {
    /// # Errors
    /// What the caller gets to hear: `name` and `message`.
    fn call(&self, method: &str, arguments: Vec<Value>) -> BoxFuture<'static, Result<Value, CallError>>;
}

/// A call has failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{name}: {message}")]
pub struct CallError {
    /// As the name of a JavaScript error: `TypeError`, `NotFound`.
    pub name: String,
    pub message: String,
}

/// Why there is no such service for this plugin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    #[error(
        "no plugin among the dependencies of `{asker}` provides `{service}`\n\nhint: name the plugin that does in `dependencies`"
    )]
    Unknown { asker: String, service: String },
    #[error("`{service}` is not of the type that was asked for")]
    OtherType { service: String },
    #[error("`{service}` cannot be called by name")]
    NotCallable { service: String },
    #[error("`{owner}` provides `{service}` already")]
    Taken { owner: String, service: String },
}

impl Service {
    /// One that native plugins get by its type.
    pub fn typed<T: ?Sized + Send + Sync + 'static>(service: Arc<T>) -> Service {
        Service { typed: Some(Arc::new(service)), callable: None }
    }

    /// One that is called by name.
    pub fn callable(callable: Arc<dyn Callable>) -> Service {
        Service { typed: None, callable: Some(callable) }
    }

    /// The same service, also for calls by name.
    pub fn and_callable(mut self, callable: Arc<dyn Callable>) -> Service {
        self.callable = Some(callable);
        self
    }

    pub fn get<T: ?Sized + Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.typed.as_ref()?.downcast_ref::<Arc<T>>().cloned()
    }

    pub fn get_callable(&self) -> Option<Arc<dyn Callable>> {
        self.callable.clone()
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Service { typed, callable } = self;
        f.debug_struct("Service")
            .field("typed", &typed.is_some())
            .field("callable", &callable.is_some())
            .finish()
    }
}

/// The services of one set of plugins: who provides what, and who may see it.
#[derive(Debug, Default)]
pub struct Services {
    /// By the provider's name.
    provided: Mutex<BTreeMap<String, BTreeMap<String, Service>>>,
}

impl Services {
    /// # Errors
    /// It provides one of this name already.
    pub fn provide(&self, owner: &str, name: &str, service: Service) -> Result<(), ServiceError> {
        let mut provided = self.provided.lock().unwrap_or_else(PoisonError::into_inner);
        let own = provided.entry(owner.to_owned()).or_default();
        if own.contains_key(name) {
            return Err(ServiceError::Taken { owner: owner.to_owned(), service: name.to_owned() });
        }
        own.insert(name.to_owned(), service);
        Ok(())
    }

    /// What the first of the `asker`'s dependencies provides that has a service of this name.
    ///
    /// # Errors
    /// None of them has.
    pub fn find(&self, asker: &str, dependencies: &[String], name: &str) -> Result<Service, ServiceError> {
        let provided = self.provided.lock().unwrap_or_else(PoisonError::into_inner);
        let found = dependencies.iter().find_map(|owner| provided.get(owner)?.get(name).cloned());
        found.ok_or_else(|| ServiceError::Unknown { asker: asker.to_owned(), service: name.to_owned() })
    }
}

impl CallError {
    pub fn new(name: impl Into<String>, message: impl Into<String>) -> CallError {
        CallError { name: name.into(), message: message.into() }
    }
}
