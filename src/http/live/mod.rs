//! Live reload: what pages in browsers are told while somebody edits the apps, and the script in them that listens.
//!
//! Nothing is queued for a page. Each names what it has seen (the number of the last change when it was made), and is told what
//! differs: that it is old, that style sheets of it are, what keeps its app from running, or that nothing does any more. So a page
//! that was away for a while, or whose server was restarted, learns no less than one that listened all the time.

pub mod events;
mod excerpt;
mod fault;
pub mod hosts;
pub mod policy;
mod tag;

pub use excerpt::Excerpt;
pub use fault::{Fault, first_place, has_frames};
pub use tag::Tag;

use crate::model::{App, VersionKey};
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Where pages get their script, and their news.
pub const SPACE: &str = "/.well-known/buntime/dev";
pub const SCRIPT: &str = "/.well-known/buntime/dev.js";
pub const EVENTS: &str = "/.well-known/buntime/dev/events";

/// One for the process.
pub struct Live {
    /// Of this process: a page that was made by another one is old.
    boot: String,
    state: Mutex<State>,
    /// The number of the last change.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    apps: HashMap<Box<str>, News>,
    /// What is about all pages.
    all: News,
    /// The last change of anything that reloads a page.
    reloaded: u64,
    /// How many pages listen, by app.
    listeners: HashMap<Box<str>, usize>,
}

/// What became of an app.
#[derive(Clone, Default)]
struct News {
    /// When it last changed so that pages of it are old.
    reload: u64,
    /// Its style sheets that changed since, and when.
    sheets: BTreeMap<PathBuf, u64>,
    fault: Option<Arc<Fault>>,
}

/// What a page is to be told.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    Reload,
    /// Paths within the app.
    Restyle(Vec<PathBuf>),
    Fault(Arc<Fault>),
    /// It runs again, as it is in the page.
    Clear,
}

/// What a page knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The number of the last change when the page was made.
    pub change: u64,
    /// The fault that it shows.
    pub fault: Option<u64>,
}

/// A page that listens. Dropped when it has gone.
pub struct Listener {
    live: Arc<Live>,
    /// None = a page of no app.
    app: Option<Box<str>>,
}

impl Live {
    pub fn new() -> Arc<Live> {
        Arc::new(Live { boot: random(), state: Mutex::default(), changes: watch::Sender::new(0) })
    }

    /// Pages of this app are old; none = all pages. What kept it from running is over.
    pub fn reload(&self, app: Option<&App>) {
        self.change(|state, number| {
            state.reloaded = number;
            *state.news(app) = News { reload: number, ..News::default() };
        });
    }

    /// Style sheets of this app changed, and nothing else did.
    pub fn restyle(&self, app: &App, sheets: Vec<PathBuf>) {
        self.change(|state, number| {
            let news = state.news(Some(app));
            news.fault = None;
            news.sheets.extend(sheets.into_iter().map(|sheet| (sheet, number)));
        });
    }

    /// Something keeps an app from running; none = all of them. A revision fails in one way, whatever a later try says.
    /// Returns whether it is a new one.
    pub fn fail(&self, app: Option<&App>, fault: Fault) -> bool {
        let mut is_new = false;
        self.change(|state, number| {
            let news = state.news(app);
            if let Some(known) = &news.fault
                && known.revision.is_some()
                && known.revision == fault.revision
            {
                return;
            }
            news.fault = Some(Arc::new(Fault { id: number, ..fault }));
            is_new = true;
        });
        is_new
    }

    /// What was said to keep this app from running is tried anew; if it does, it is said anew.
    pub fn forgive(&self, app: &App) {
        if self.has_fault(app) {
            self.change(|state, _| state.news(Some(app)).fault = None);
        }
    }

    /// Whether something keeps this app from running.
    pub fn has_fault(&self, app: &App) -> bool {
        self.lock().apps.get(&*label(app)).is_some_and(|news| news.fault.is_some())
    }

    /// What keeps this very revision from running, as far as it was tried, and from answering requests.
    pub fn fault_of(&self, app: &App, revision: VersionKey) -> Option<Arc<Fault>> {
        let state = self.lock();
        let fault = state.apps.get(&*label(app))?.fault.as_ref()?;
        (fault.revision == Some(revision) && !fault.is_served).then(|| Arc::clone(fault))
    }

    /// Whether a page of this app is open somewhere, or one that shows what keeps it from running.
    pub fn is_watched(&self, app: &App) -> bool {
        let state = self.lock();
        state.listeners.get(&*label(app)).is_some_and(|count| *count > 0)
    }

    /// What goes into a page that is made now; of no app = of all of them.
    pub fn tag(&self, app: Option<&App>) -> Tag {
        let state = self.lock();
        let app = app.map(label);
        let own = app.as_deref().and_then(|app| state.apps.get(app)?.fault.as_ref());
        let fault = state.all.fault.as_ref().or(own).map(|fault| fault.id);
        Tag { app, change: *self.changes.borrow(), boot: self.boot.clone(), fault, is_problem: false }
    }

    /// What a page of this app is told next.
    #[cfg(test)]
    pub fn told(self: &Arc<Self>, app: &App, seen: &mut Seen) -> Option<Told> {
        self.listen(Some(label(app).into())).next(seen)
    }

    fn listen(self: &Arc<Self>, app: Option<Box<str>>) -> Listener {
        if let Some(app) = &app {
            *self.lock().listeners.entry(app.clone()).or_default() += 1;
        }
        Listener { live: Arc::clone(self), app }
    }

    fn change(&self, change: impl FnOnce(&mut State, u64)) {
        let mut state = self.lock();
        let number = *self.changes.borrow() + 1;
        change(&mut state, number);
        // With the lock held, so that numbers are told in their order.
        self.changes.send_replace(number);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn news(&mut self, app: Option<&App>) -> &mut News {
        match app {
            Some(app) => self.apps.entry(label(app).into()).or_default(),
            None => &mut self.all,
        }
    }
}

impl Listener {
    /// What a page that has seen so much is to be told; it has seen that then.
    fn next(&self, seen: &mut Seen) -> Option<Told> {
        let state = self.live.lock();
        let now = *self.live.changes.borrow();
        let none = News::default();
        let news = self.app.as_ref().map_or(&none, |app| state.apps.get(app).unwrap_or(&none));
        let reload = match self.app {
            Some(_) => news.reload.max(state.all.reload),
            None => state.reloaded,
        };
        if reload > seen.change {
            *seen = Seen { change: now, fault: None };
            return Some(Told::Reload);
        }
        let fault = state.all.fault.as_ref().or(news.fault.as_ref());
        if fault.map(|fault| fault.id) != seen.fault {
            seen.fault = fault.map(|fault| fault.id);
            return Some(fault.map_or(Told::Clear, |fault| Told::Fault(Arc::clone(fault))));
        }
        let newer = |(sheet, at): (&PathBuf, &u64)| (*at > seen.change).then(|| sheet.clone());
        let sheets: Vec<_> = news.sheets.iter().filter_map(newer).collect();
        seen.change = now;
        (!sheets.is_empty()).then_some(Told::Restyle(sheets))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(app) = &self.app {
            let mut state = self.live.lock();
            if let Some(count) = state.listeners.get_mut(app) {
                *count -= 1;
                if *count == 0 {
                    state.listeners.remove(app);
                }
            }
        }
    }
}

/// A word that nobody can guess.
fn random() -> String {
    let number = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", number(), number())
}

/// As pages name their app: `shop@1.2.0`; a plugin's own app has a name that no other has.
fn label(app: &App) -> String {
    match app.key.is_plugins() {
        true => format!("_plugin:{}@{}", app.name, app.version),
        false => format!("{}@{}", app.name, app.version),
    }
}

#[cfg(test)]
mod tests;
