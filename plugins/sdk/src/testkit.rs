//! Tests a plugin without the runtime: a stage with apps, workers, keys and services, on which a plugin is loaded and asked.
//!
//! What the runtime does around a plugin is not here: filters, time limits, the schema of settings (give them whole), the
//! rendering of problems.

use crate::metrics::{Family, Snapshot, Source};
use crate::service::Services;
use crate::{
    Access, AppInfo, Body, BoxFuture, BoxStream, Caller, Connection, Context, Core, Ending, Error,
    EventFilter, Fetched, Flow, Identity, LogEntry, LogGuard, LogSink, Native, Offer, Outcome, Phase, Plugin,
    Problem, Request, Response, Result, Server, Service, Settings, Target, WorkerInfo,
};
use http::{HeaderValue, Method, StatusCode};
use http_body_util::BodyExt;
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use tokio::sync::{mpsc, oneshot, watch};

/// Bytes that a connection of the test kit takes before somebody reads them.
const PIPE: usize = 64 * 1024;

/// Where a plugin is tried.
pub struct Stage {
    identity: Identity,
    settings: Settings,
    core: FakeCore,
    services: Arc<Services>,
}

/// A plugin on its stage.
pub struct Loaded {
    pub plugin: Arc<dyn Plugin>,
    pub context: Arc<Context>,
}

/// A key that the stage knows.
#[derive(Clone, Debug)]
pub struct Key {
    pub secret: String,
    /// `@team`; none = all.
    pub namespace: Option<String>,
    pub permissions: Vec<String>,
    revoked: Arc<watch::Sender<bool>>,
}

#[derive(Clone, Default)]
struct FakeCore {
    apps: Vec<AppInfo>,
    workers: Vec<WorkerInfo>,
    keys: Arc<Vec<Key>>,
    meters: Meters,
    kept: Arc<Mutex<Kept>>,
    listeners: Arc<Mutex<Listeners>>,
    web: Option<Arc<Web>>,
    sinks: Arc<Mutex<Vec<Arc<dyn LogSink>>>>,
    secrets: Arc<Mutex<Vec<String>>>,
    server: Option<Server>,
}

/// What is measured on a stage. A test changes it while the plugin runs.
#[derive(Clone, Debug, Default)]
pub struct Meters(Arc<Mutex<Measured>>);

#[derive(Debug, Default)]
struct Measured {
    families: Vec<Family>,
    most_apps: Option<usize>,
}

type Kept = HashMap<(String, TypeId), Arc<dyn Any + Send + Sync>>;

/// Who hears of events.
type Listeners = Vec<(EventFilter, mpsc::UnboundedSender<serde_json::Value>)>;

/// Answers what a plugin sends over the network.
type Web = dyn Fn(http::Request<Body>) -> Response + Send + Sync;

struct FakeAccess(Arc<Vec<Key>>);

impl Stage {
    /// `name` is the plugin's; its state directory is given with [`Stage::state_dir`] where it has one.
    pub fn new(name: &str) -> Stage {
        Stage {
            identity: Identity {
                name: name.to_owned(),
                version: "0.0.0".to_owned(),
                base: None,
                state_dir: PathBuf::from("/nonexistent"),
                dependencies: Vec::new(),
            },
            settings: Settings::new(serde_json::json!({})),
            core: FakeCore::default(),
            services: Arc::default(),
        }
    }

    /// All settings, defaults included.
    pub fn settings(mut self, settings: serde_json::Value) -> Stage {
        self.settings = Settings::new(settings);
        self
    }

    pub fn base(mut self, base: &str) -> Stage {
        self.identity.base = Some(base.to_owned());
        self
    }

    pub fn state_dir(mut self, dir: impl Into<PathBuf>) -> Stage {
        self.identity.state_dir = dir.into();
        self
    }

    pub fn app(mut self, name: &str, version: &str) -> Stage {
        self.core.apps.push(AppInfo::new(name, version));
        self
    }

    pub fn worker(mut self, worker: WorkerInfo) -> Stage {
        self.core.workers.push(worker);
        self
    }

    /// A key that may do this in a namespace, or (with none) everywhere.
    pub fn key(mut self, secret: &str, namespace: Option<&str>, permissions: &[&str]) -> Stage {
        let permissions = permissions.iter().map(|&permission| permission.to_owned()).collect();
        let (secret, namespace) = (secret.to_owned(), namespace.map(str::to_owned));
        let key = Key { secret, namespace, permissions, revoked: Arc::default() };
        Arc::make_mut(&mut self.core.keys).push(key);
        self
    }

    /// A text that nobody may be shown, from now on.
    pub fn secret(self, secret: &str) -> Stage {
        self.tell_secret(secret);
        self
    }

    /// The same while plugins run.
    pub fn tell_secret(&self, secret: &str) {
        self.core.secrets.lock().unwrap_or_else(PoisonError::into_inner).push(secret.to_owned());
    }

    /// Where the server is.
    pub fn server(mut self, server: Server) -> Stage {
        self.core.server = Some(server);
        self
    }

    /// Something is logged: all sinks get it.
    pub fn log(&self, entry: &LogEntry) {
        let sinks = self.core.sinks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        sinks.iter().for_each(|sink| sink.log(entry.clone()));
    }

    /// How many sinks there are.
    pub fn sinks(&self) -> usize {
        self.core.sinks.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Revokes a key: what streams to it is to end.
    pub fn revoke(&self, secret: &str) {
        for key in self.core.keys.iter().filter(|key| key.secret == secret) {
            key.revoked.send_replace(true);
        }
    }

    /// What is measured, to be changed by the test.
    pub fn meters(&self) -> Meters {
        self.core.meters.clone()
    }

    /// Answers what the plugin sends over the network ([`Core::fetch`]); without it nothing is reached.
    pub fn web(mut self, answer: impl Fn(http::Request<Body>) -> Response + Send + Sync + 'static) -> Stage {
        self.core.web = Some(Arc::new(answer));
        self
    }

    /// An event happens: whoever listens for its `type` and `app` ([`Core::events`]) hears of it. Returns how many do.
    pub fn publish(&self, event: &serde_json::Value) -> usize {
        let text = |key: &str| event[key].as_str().unwrap_or_default();
        let takes = |filter: &EventFilter| {
            (filter.kinds.is_empty() || filter.kinds.iter().any(|kind| kind == text("type")))
                && filter.app.as_ref().is_none_or(|app| app == text("app"))
        };
        let mut listeners = self.core.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|(_, listener)| !listener.is_closed());
        let meant = listeners.iter().filter(|(filter, _)| takes(filter));
        meant.filter(|(_, listener)| listener.send(event.clone()).is_ok()).count()
    }

    /// A service of another plugin, which this one depends on.
    ///
    /// # Panics
    /// The same was given before.
    pub fn service(mut self, owner: &str, name: &str, service: Service) -> Stage {
        self.services.provide(owner, name, service).expect("it is given once");
        if !self.identity.dependencies.iter().any(|dependency| dependency == owner) {
            self.identity.dependencies.push(owner.to_owned());
        }
        self
    }

    /// Makes the plugin, without starting it.
    ///
    /// # Errors
    /// Those of the plugin.
    pub fn make(&self, native: &Native) -> Result<Loaded> {
        let core: Arc<dyn Core> = Arc::new(self.core.clone());
        let context =
            Context::new(self.identity.clone(), self.settings.clone(), core, Arc::clone(&self.services));
        Ok(Loaded { plugin: (native.make)(&context)?, context })
    }

    /// Makes the plugin and starts it.
    ///
    /// # Errors
    /// Those of the plugin.
    pub async fn load(&self, native: &Native) -> Result<Loaded> {
        let loaded = self.make(native)?;
        loaded.plugin.on_init().await?;
        Ok(loaded)
    }
}

impl Meters {
    /// From now on this is what is measured.
    pub fn set(&self, families: Vec<Family>) {
        self.lock().families = families;
    }

    /// To how many apps the plugin has limited them.
    pub fn most_apps(&self) -> Option<usize> {
        self.lock().most_apps
    }

    fn lock(&self) -> MutexGuard<'_, Measured> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for Meters {
    fn snapshot(&self) -> BoxFuture<'_, Snapshot> {
        let snapshot = Snapshot { at: SystemTime::now(), families: self.lock().families.clone() };
        Box::pin(std::future::ready(snapshot))
    }

    fn limit_apps(&self, most: usize) {
        self.lock().most_apps = Some(most);
    }
}

impl Loaded {
    /// What becomes of a request in a phase, whether a filter matches it or not.
    ///
    /// # Errors
    /// Those of the plugin.
    pub async fn request(&self, phase: Phase, mut request: Request) -> Result<(Flow, Request)> {
        let flow = match self.plugin.on_request(phase, &mut request) {
            Outcome::Ready(flow) => flow,
            Outcome::Later(flow) => flow.await,
        };
        Ok((flow?, request))
    }

    /// # Errors
    /// Those of the plugin.
    pub async fn response(&self, mut response: Response, request: &Request) -> Result<Response> {
        match self.plugin.on_response(&mut response, request) {
            Outcome::Ready(done) => done?,
            Outcome::Later(done) => done.await?,
        }
        Ok(response)
    }

    /// # Errors
    /// Those of the plugin.
    pub async fn route(&self, request: Request) -> Result<Response> {
        self.plugin.route(request).await
    }

    /// # Errors
    /// Those of the plugin.
    pub async fn fetch(&self, request: Request) -> Result<Fetched> {
        self.plugin.fetch(request).await
    }

    /// Ends it as the runtime does.
    ///
    /// # Errors
    /// Those of the plugin.
    pub async fn shut_down(&self) -> Result<()> {
        let ended = self.plugin.on_shutdown().await;
        self.context.end();
        ended
    }
}

/// A request for `target` (`/path?query`) of a host.
///
/// # Panics
/// It is no request.
pub fn request(method: Method, host: &str, target: &str) -> Request {
    let request = http::Request::builder().method(method).uri(target).header("host", host).body(());
    let (head, ()) = request.expect("the test's request is one").into_parts();
    Request::new(head, Body::Empty)
}

/// The same with a header.
///
/// # Panics
/// It is no header.
pub fn with_header(mut request: Request, name: &'static str, value: &str) -> Request {
    request.headers_mut().append(name, HeaderValue::from_str(value).expect("the test's header is one"));
    request
}

/// The same, meaning an app.
pub fn of_app(mut request: Request, name: &str, version: &str) -> Request {
    request.set_target(Target::App(Arc::new(AppInfo::new(name, version))), None);
    request
}

/// The same as from a connection that can speak another protocol, with the client's end of it and what ends it.
///
/// It counts as a WebSocket's handshake unless it has an `upgrade` header already.
pub fn upgradable(mut request: Request) -> (Request, tokio::io::DuplexStream, oneshot::Sender<Ending>) {
    if !request.headers().contains_key(http::header::UPGRADE) {
        for (name, value) in [
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            request.headers_mut().insert(name, HeaderValue::from_static(value));
        }
    }
    let (here, there) = tokio::io::duplex(PIPE);
    let (end, ending) = oneshot::channel();
    let connection: Box<dyn Connection> = Box::new(here);
    request.offer_upgrade(Some(Offer {
        connection: Box::pin(std::future::ready(Ok(connection))),
        ending: Box::pin(async {
            match ending.await {
                Ok(ending) => ending,
                // Nobody ends it.
                Err(_) => std::future::pending().await,
            }
        }),
    }));
    (request, there, end)
}

/// All bytes of a body.
///
/// # Panics
/// It breaks off.
pub async fn bytes(body: Body) -> crate::Bytes {
    body.collect().await.expect("the body has an end").to_bytes()
}

impl Core for FakeCore {
    fn apps(&self) -> Vec<AppInfo> {
        self.apps.clone()
    }

    /// Knows versions, what they begin with (`1`, `1.2`) and `latest`.
    fn resolves(&self, app: &str) -> Result<(), String> {
        let (name, spec) = match app.rfind('@') {
            Some(at) if at > 0 => (&app[..at], Some(&app[at + 1..])),
            _ => (app, None),
        };
        let fits = |version: &str, spec: &str| {
            spec == "latest"
                || version.strip_prefix(spec).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let mut versions = self.apps.iter().filter(|known| known.name == name).peekable();
        versions.peek().ok_or("there is no such app")?;
        match versions.any(|known| spec.is_none_or(|spec| fits(&known.version, spec))) {
            true => Ok(()),
            false => Err("there is no such version".to_owned()),
        }
    }

    fn workers(&self) -> BoxFuture<'_, Vec<WorkerInfo>> {
        Box::pin(std::future::ready(self.workers.clone()))
    }

    fn restart(&self, app: &str, version: Option<&str>) -> usize {
        let is_meant = |worker: &&WorkerInfo| {
            let of = worker.app.as_ref();
            of.is_some_and(|of| of.name == app && version.is_none_or(|version| version == of.version))
        };
        self.workers.iter().filter(is_meant).count()
    }

    fn events(&self, filter: &EventFilter) -> Result<BoxStream<'static, serde_json::Value>> {
        let (sender, mut events) = mpsc::unbounded_channel();
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.push((filter.clone(), sender));
        Ok(Box::pin(futures_util::stream::poll_fn(move |cx| events.poll_recv(cx))))
    }

    fn fetch(&self, request: http::Request<Body>) -> BoxFuture<'_, Result<Response>> {
        let unreachable = || Error::new(format!("nobody answers {}", request.uri()));
        let web = self.web.as_ref().ok_or_else(unreachable);
        Box::pin(std::future::ready(web.map(|web| web(request))))
    }

    fn access(&self) -> Arc<dyn Access> {
        Arc::new(FakeAccess(Arc::clone(&self.keys)))
    }

    fn metrics(&self) -> Arc<dyn Source> {
        Arc::new(self.meters.clone())
    }

    fn log_to(&self, sink: Arc<dyn LogSink>) -> LogGuard {
        let sinks = Arc::clone(&self.sinks);
        sinks.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&sink));
        LogGuard::new(move || {
            sinks.lock().unwrap_or_else(PoisonError::into_inner).retain(|other| !Arc::ptr_eq(other, &sink));
        })
    }

    fn secrets(&self) -> Vec<String> {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn server(&self) -> Option<Server> {
        self.server.clone()
    }

    fn keep(
        &self,
        plugin: &str,
        kind: TypeId,
        make: &mut dyn FnMut() -> Arc<dyn Any + Send + Sync>,
    ) -> Arc<dyn Any + Send + Sync> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(kept.entry((plugin.to_owned(), kind)).or_insert_with(make))
    }
}

impl Access for FakeAccess {
    fn identify<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Arc<dyn Caller>, Problem>> {
        let given = request.headers().get("x-api-key").and_then(|key| key.to_str().ok());
        let known = self.0.iter().find(|key| Some(&*key.secret) == given && !*key.revoked.borrow());
        let caller = known.map(|key| Arc::new(key.clone()) as Arc<dyn Caller>);
        let refused = || Problem::new(StatusCode::UNAUTHORIZED, "key_unknown");
        Box::pin(std::future::ready(caller.ok_or_else(refused)))
    }
}

impl Caller for Key {
    fn name(&self) -> String {
        format!("key:{}", self.secret)
    }

    fn may(&self, permission: &str, app: Option<&str>) -> Result<(), Problem> {
        let permitted = self.permissions.iter().any(|own| own == permission);
        match permitted && app.is_none_or(|app| self.sees(app)) {
            true => Ok(()),
            false => Err(Problem::new(StatusCode::FORBIDDEN, "not_permitted")),
        }
    }

    fn sees(&self, app: &str) -> bool {
        let inside =
            |namespace: &String| app.strip_prefix(&**namespace).is_some_and(|rest| rest.starts_with('/'));
        self.namespace.as_ref().is_none_or(inside)
    }

    fn sees_everything(&self) -> bool {
        self.namespace.is_none()
    }

    fn permissions(&self) -> Vec<String> {
        self.permissions.clone()
    }

    fn namespaces(&self) -> Option<Vec<String>> {
        self.namespace.clone().map(|namespace| vec![namespace])
    }

    fn revoked(&self) -> BoxFuture<'static, ()> {
        let mut revoked = self.revoked.subscribe();
        Box::pin(async move { drop(revoked.wait_for(|revoked| *revoked).await) })
    }
}
