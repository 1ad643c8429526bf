//! The host with plugins that are made for it: what they are called for, in which order, and what comes of what they do wrong.

mod carrying;
mod changing;
mod passing;

use super::build::Workshop;
use super::{ChangeError, Host, State};
use crate::apps::manifest::Ceilings;
use crate::telemetry::metrics::Metrics;
use buntime_plugin::{
    Access, AppInfo, Body, BoxFuture, BoxStream, Caller, Context, Core, Error, EventFilter, Filter, Flow,
    Hooks, LogGuard, LogSink, Native, Outcome, Phase, Plugin, Problem, Request, Response, Result, WorkerInfo,
};
use http::{HeaderValue, Method, StatusCode};
use http_body_util::BodyExt;
use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// What plugins of a test have done, one after the other.
static DIARY: Mutex<Vec<(PathBuf, String)>> = Mutex::new(Vec::new());

/// A plugin that does what its settings say.
struct Actor {
    context: Arc<Context>,
    script: Script,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Script {
    phases: Vec<String>,
    /// `respond`, `refuse`, `fail`, `panic`, `hang`, `rename`, `route`; in any of the phases.
    acts: String,
    reads_body: bool,
    response: String,
    init: String,
}

macro_rules! actors {
    ($($name:literal)*) => {
        &[$(&Native {
            manifest: concat!("name: '", $name, "'\nversion: 1.2.3\nenabled: false\nconfig:\n  phases: {type: array, items: {type: string}, default: []}\n  acts: {type: string, default: ''}\n  readsBody: {type: boolean, default: false}\n  response: {type: string, default: ''}\n  init: {type: string, default: ''}\n  key: {type: secret, default: ''}\n"),
            owned_headers: &[],
            make,
        }),*]
    };
}

static ACTORS: &[&Native] = actors!["a" "b" "c" "d"];

fn make(context: &Arc<Context>) -> Result<Arc<dyn Plugin>> {
    let script = context.settings().read::<Script>()?;
    if script.init == "panic-made" {
        panic!("it does not like to be made");
    }
    Ok(Arc::new(Actor { context: Arc::clone(context), script }))
}

impl Actor {
    fn backend_is_gone(&self) -> bool {
        self.context.identity().state_dir.ancestors().any(|dir| dir.join("no-backend").exists())
    }

    fn note(&self, what: &str) {
        let place = self.context.identity().state_dir.clone();
        DIARY.lock().unwrap().push((place, format!("{} {what}", self.context.name())));
    }
}

impl Plugin for Actor {
    fn hooks(&self) -> Hooks {
        let mut hooks = Hooks::new();
        for phase in &self.script.phases {
            let phase = phase.parse().unwrap();
            let filter = Filter::all().paths(["/watched/**".parse().unwrap()]);
            hooks = match self.script.reads_body {
                true => hooks.request_with_body(phase, filter),
                false => hooks.request(phase, filter),
            };
        }
        if !self.script.response.is_empty() {
            hooks = hooks.response(Filter::all());
        }
        hooks
    }

    fn on_init(&self) -> BoxFuture<'_, Result<()>> {
        self.note("init");
        Box::pin(async {
            match &*self.script.init {
                "fail" => Err(Error::new("it does not want to")),
                "panic" => panic!("it does not like to start"),
                "hang" => std::future::pending().await,
                "ask" if self.backend_is_gone() => Err(Error::new("its backend is down")),
                _ => Ok(()),
            }
        })
    }

    fn on_request<'a>(&'a self, phase: Phase, request: &'a mut Request) -> Outcome<'a, Flow> {
        let body = if request.body().is_some() { " with a body" } else { "" };
        self.note(&format!("{phase}{body}"));
        match &*self.script.acts {
            "respond" => Outcome::ready(Flow::Respond(Response::new(Body::from("mine")))),
            "redirect" => {
                let mut response = Response::new(Body::Empty);
                *response.status_mut() = StatusCode::FOUND;
                Outcome::ready(Flow::Respond(response))
            }
            "refuse" => Outcome::ready(Flow::Refuse(Problem::new(StatusCode::FORBIDDEN, "no"))),
            "fail" => Outcome::later(async { Err(Error::new("it could not")) }),
            "panic" => panic!("it does not like requests"),
            "panic-later" => Outcome::later(async { panic!("it does not like requests") }),
            "hang" => Outcome::later(std::future::pending()),
            "rename" => {
                request.headers_mut().append("x-seen", HeaderValue::from_str(self.context.name()).unwrap());
                Outcome::CONTINUE
            }
            "read-fail" => Outcome::later(async {
                read_some(&mut request.take_body()).await;
                Err(Error::new("it could not"))
            }),
            "read" => Outcome::later(async {
                let body = request.take_body();
                request.set_body(body);
                Ok(Flow::Continue)
            }),
            _ => Outcome::CONTINUE,
        }
    }

    fn on_response<'a>(&'a self, response: &'a mut Response, _: &'a Request) -> Outcome<'a, ()> {
        self.note("response");
        response.headers_mut().append("x-shown", HeaderValue::from_str(self.context.name()).unwrap());
        match &*self.script.response {
            "fail" => Outcome::Ready(Err(Error::new("it could not"))),
            "hang" => Outcome::later(std::future::pending()),
            "read-hang" => Outcome::later(async {
                read_some(&mut std::mem::take(response.body_mut())).await;
                std::future::pending().await
            }),
            "fill" => {
                *response.body_mut() = Body::from("filled");
                Outcome::Ready(Err(Error::new("it could not")))
            }
            _ => Outcome::ready(()),
        }
    }

    fn on_shutdown(&self) -> BoxFuture<'_, Result<()>> {
        self.note("shutdown");
        match &*self.script.init {
            "never-ends" => Box::pin(std::future::pending()),
            _ => Box::pin(std::future::ready(Ok(()))),
        }
    }

    fn on_server_start(&self, _: buntime_plugin::Server) -> BoxFuture<'_, Result<()>> {
        self.note("server");
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Reads a body up to a piece that says so, or to its end.
async fn read_some(body: &mut Body) {
    while let Some(Ok(frame)) = body.frame().await {
        if frame.data_ref().is_some_and(|piece| piece.ends_with(b"stop")) {
            return;
        }
    }
}

/// The runtime of a test.
pub(crate) struct NoCore;

impl Core for NoCore {
    fn apps(&self) -> Vec<AppInfo> {
        Vec::new()
    }

    fn workers(&self) -> BoxFuture<'_, Vec<WorkerInfo>> {
        Box::pin(std::future::ready(Vec::new()))
    }

    fn restart(&self, _: &str, _: Option<&str>) -> usize {
        0
    }

    fn resolves(&self, _: &str) -> std::result::Result<(), String> {
        Ok(())
    }

    fn events(&self, _: &EventFilter) -> Result<BoxStream<'static, serde_json::Value>> {
        unimplemented!("no plugin of these tests listens")
    }

    fn fetch(&self, _: http::Request<Body>) -> BoxFuture<'_, Result<Response>> {
        unimplemented!("no plugin of these tests asks anybody")
    }

    fn access(&self) -> Arc<dyn Access> {
        Arc::new(NoCore)
    }

    fn metrics(&self) -> Arc<dyn buntime_plugin::metrics::Source> {
        unimplemented!("no plugin of these tests asks")
    }

    fn log_to(&self, _: Arc<dyn LogSink>) -> LogGuard {
        LogGuard::new(|| {})
    }

    fn keep(
        &self,
        _: &str,
        _: TypeId,
        make: &mut dyn FnMut() -> Arc<dyn Any + Send + Sync>,
    ) -> Arc<dyn Any + Send + Sync> {
        make()
    }
}

/// Nobody has a key.
impl Access for NoCore {
    fn identify<'a>(&'a self, _: &'a Request) -> BoxFuture<'a, Result<Arc<dyn Caller>, Problem>> {
        Box::pin(std::future::ready(Err(Problem::new(StatusCode::UNAUTHORIZED, "key_unknown"))))
    }
}

/// A directory of plugins.
struct Place {
    temp: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        Place { temp: tempfile::tempdir().unwrap() }
    }

    /// Writes a plugin's manifest; of an actor, `settings` may have its own.
    fn plugin(&self, name: &str, settings: &str) -> &Place {
        let dir = self.temp.path().join("plugins").join(name);
        std::fs::create_dir_all(&dir).unwrap();
        let known = ACTORS.iter().find(|native| native.manifest.starts_with(&format!("name: '{name}'")));
        let base = known.map_or(format!("name: {name}\n"), |native| {
            native.manifest.replace("enabled: false\n", "").replace("version: 1.2.3\n", "")
        });
        std::fs::write(dir.join("manifest.yaml"), format!("{base}{settings}")).unwrap();
        self
    }

    /// Writes a manifest as it is.
    fn write(&self, name: &str, text: &str) -> &Place {
        let dir = self.temp.path().join("plugins").join(name);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("manifest.yaml"), text).unwrap();
        self
    }

    /// What plugins with `init: ask` ask for when they start.
    fn take_backend(&self) {
        std::fs::write(self.temp.path().join("no-backend"), "").unwrap();
    }

    fn give_backend(&self) {
        std::fs::remove_file(self.temp.path().join("no-backend")).unwrap();
    }

    fn manifest(&self, name: &str) -> String {
        std::fs::read_to_string(self.temp.path().join("plugins").join(name).join("manifest.yaml")).unwrap()
    }

    fn workshop(&self) -> Workshop {
        Workshop {
            dirs: vec![self.temp.path().join("plugins")],
            state_dir: self.temp.path().join("state"),
            reserved: vec!["api".to_owned()],
            ceilings: Ceilings { max_body_size: 100 << 20, cores: 2 },
            environment: BTreeMap::new(),
            core: Arc::new(NoCore),
            secrets: Arc::default(),
            metrics: Metrics::new("1.4.5"),
            natives: ACTORS,
            scripts: None,
        }
    }

    async fn start(&self) -> std::result::Result<Arc<Host>, ChangeError> {
        Host::start(self.workshop()).await
    }

    /// What was done in this place since it was last asked.
    fn diary(&self) -> Vec<String> {
        let mut diary = DIARY.lock().unwrap();
        let (own, others) = std::mem::take(&mut *diary)
            .into_iter()
            .partition::<Vec<_>, _>(|(place, _)| place.starts_with(self.temp.path()));
        *diary = others;
        own.into_iter().map(|(_, what)| what).collect()
    }
}

fn request(path: &str) -> Request {
    let (mut head, ()) = http::Request::new(()).into_parts();
    head.uri = path.parse().unwrap();
    head.method = Method::GET;
    Request::from_parts(head, HeaderValue::from_static("localhost"), HeaderValue::from_static("1"), None)
}

fn path_of(place: &Place) -> &Path {
    place.temp.path()
}
