//! `buntime dev`: what is done beside serving while somebody edits the apps.
//!
//! [`Workbench`] learns of each change of an app and of what came of it, and tells open pages ([`Live`]) and the terminal. What
//! serves is exchanged as ever: by the index and the pool. `plugins` has those loaded anew that were edited; `terminal`, `keys` and
//! `banner` are for whoever sits in front of it.

mod banner;
mod keys;
mod plugins;
pub mod terminal;

use crate::apps::{Change, Ignored, Index};
use crate::config::Config;
use crate::http::live::{Fault, Live};
use crate::model::{App, Kind, VersionKey};
use crate::plugin::Host;
use crate::pool::{Pool, StartFailure};
use crate::telemetry::printer::{Printer, harmless, printer};
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// How long files must not change before they count, where somebody edits them and waits.
pub const QUIET: Duration = Duration::from_millis(40);
/// How much longer what does not run is kept from being seen: it may be half of an edit.
const SECOND_THOUGHT: Duration = Duration::from_millis(100);

/// One for the process.
pub struct Workbench {
    pub live: Arc<Live>,
    index: Arc<Index>,
    edits: Mutex<Edits>,
    notes: mpsc::UnboundedSender<Note>,
    unread: Mutex<Option<mpsc::UnboundedReceiver<Note>>>,
}

/// What is under way.
#[derive(Default)]
struct Edits {
    /// Revisions of which a worker has yet to be Ready.
    awaited: HashMap<VersionKey, Awaited>,
    /// Which style sheets are all that changed.
    restyled: HashMap<VersionKey, Vec<PathBuf>>,
    /// Told, and not yet to be resolved.
    unpublished: Vec<Change>,
    /// Revisions of which a worker was Ready.
    proven: HashSet<VersionKey>,
}

struct Awaited {
    app: Arc<App>,
    /// All that is new in it; none = something else is, too.
    sheets: Option<Vec<PathBuf>>,
    /// Requests can mean it.
    published: bool,
    ready: bool,
    /// It is as it was, and somebody has asked for new workers of it.
    restarted: bool,
}

/// Something does not run; to look at it takes longer than whoever tells of it has time.
struct Note {
    app: Arc<App>,
    why: Why,
}

enum Why {
    NotStarted(Box<StartFailure>),
    Unreadable(String),
}

/// What the workbench needs of the rest.
pub struct Parts<'a> {
    pub config: &'a Config,
    pub bun: String,
    /// As people read it, and as a browser opens it.
    pub shown: &'a str,
    pub url: Option<String>,
    pub pool: &'a Arc<Pool>,
    pub plugins: &'a Arc<Host>,
}

/// Ends what the workbench has running when it is dropped.
pub struct Running {
    keys: Option<keys::Keys>,
    plugins: Option<plugins::Watching>,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    /// All but the keys.
    #[must_use]
    pub fn end(mut self) -> Running {
        self.plugins = None;
        self.task.abort();
        if let Some(keys) = &self.keys {
            keys.end();
        }
        self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Workbench {
    /// None = nobody edits: it is `buntime run`.
    pub fn new(config: &Config, index: &Arc<Index>) -> Option<Arc<Workbench>> {
        config.dev.as_ref().map(|_| Workbench::of(index))
    }

    fn of(index: &Arc<Index>) -> Arc<Workbench> {
        index.be_edited();
        let (notes, unread) = mpsc::unbounded_channel();
        Arc::new(Workbench {
            live: Live::new(),
            index: Arc::clone(index),
            edits: Mutex::default(),
            notes,
            unread: Mutex::new(Some(unread)),
        })
    }

    /// The server listens. Prints what there is to know, and begins to listen to keys and to watch plugins.
    pub fn start(self: &Arc<Self>, parts: &Parts<'_>) -> Running {
        if let Err(error) = Printer::start(terminal::ahead_of_utc()) {
            tracing::warn!(%error, "requests are not shown");
        }
        keys::begin();
        let banner = banner::text(parts, &self.index);
        if terminal::is_shown() {
            print(&banner);
        }
        let unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (bench, pool) = (Arc::clone(self), Arc::clone(parts.pool));
        let task = tokio::spawn(async move {
            let Some(mut unread) = unread else { return };
            while let Some(note) = unread.recv().await {
                let (bench, pool) = (Arc::clone(&bench), Arc::clone(&pool));
                tokio::spawn(async move { bench.take_note(note, &pool).await });
            }
        });
        Running {
            keys: keys::Keys::listen(keys::Desk {
                bench: Arc::clone(self),
                pool: Arc::clone(parts.pool),
                url: parts.url.clone(),
                banner,
            }),
            plugins: plugins::Watching::start(self, parts.plugins, ignored(parts.config)),
            task,
        }
    }

    /// The index is about to know of this. Comes before the pool is told.
    pub fn changed(&self, change: &Change) {
        let mut edits = self.edits();
        if let Change::Replaced { old, new } = change {
            edits.proven.remove(&old.key);
            let mut sheets = match edits.awaited.remove(&new.key) {
                // It takes the place of another one, too.
                Some(known) => known.sheets,
                None => edits.restyled.remove(&new.key),
            };
            if let Some(unseen) = edits.awaited.remove(&old.key) {
                // No page has it yet.
                sheets = sheets.zip(unseen.sheets).map(|(new, old)| [new, old].concat());
            }
            if new.kind.is_worker() {
                edits.awaited.insert(new.key, Awaited::of(new, sheets));
            } else if let Some(sheets) = sheets {
                edits.restyled.insert(new.key, sheets);
            }
        }
        edits.unpublished.push(change.clone());
    }

    /// What comes next is a change of these style sheets alone.
    pub fn restyled(&self, revision: VersionKey, sheets: Vec<PathBuf>) {
        self.edits().restyled.insert(revision, sheets);
    }

    /// All that was told of can be resolved. Gives what a worker is to be started of although nobody asks: somebody looks at it.
    pub fn published(&self) -> Vec<VersionKey> {
        let mut edits = self.edits();
        let mut wanted = Vec::new();
        for change in std::mem::take(&mut edits.unpublished) {
            match change {
                Change::Replaced { new, .. } => match &new.kind {
                    Kind::Worker { .. } => {
                        if self.live.is_watched(&new) || self.live.has_fault(&new) {
                            wanted.push(new.key);
                        }
                        if let Some(awaited) = edits.awaited.get_mut(&new.key) {
                            awaited.published = true;
                            if awaited.ready {
                                edits.arrive(new.key, &self.live);
                            }
                        }
                    }
                    Kind::Static { .. } => {
                        let sheets = edits.restyled.remove(&new.key);
                        show(&new, sheets, &self.live);
                    }
                    Kind::Broken { error } => {
                        let why = Why::Unreadable(error.clone());
                        self.note(Note { app: new, why });
                    }
                },
                Change::Added(app) => match &app.kind {
                    Kind::Broken { error } => {
                        let why = Why::Unreadable(error.clone());
                        self.note(Note { app, why });
                    }
                    _ => self.live.reload(Some(&app)),
                },
                Change::Removed(app) => {
                    edits.awaited.remove(&app.key);
                    edits.proven.remove(&app.key);
                    self.live.reload(Some(&app));
                }
                Change::Prove(_) | Change::Outdated(_) => {}
            }
        }
        wanted
    }

    /// A worker of it is Ready, and requests can mean it.
    pub fn proven(&self, revision: VersionKey) {
        let mut edits = self.edits();
        edits.proven.insert(revision);
        match edits.awaited.get_mut(&revision) {
            Some(awaited) => {
                awaited.ready = true;
                if awaited.published {
                    edits.arrive(revision, &self.live);
                }
            }
            // It did not start before, for another reason than its files.
            None => {
                if let Some(app) = self.index.by_key(revision).filter(|app| self.live.has_fault(app)) {
                    self.live.reload(Some(&app));
                }
            }
        }
    }

    /// A worker of it did not start. Called with the pool's lock held.
    pub fn unproven(&self, revision: VersionKey, why: &StartFailure) {
        if let Some(app) = self.index.by_key(revision) {
            self.note(Note { app, why: Why::NotStarted(Box::new(why.clone())) });
        }
    }

    /// The plugins were loaded anew, or why not.
    fn plugins_changed(&self, result: Result<(), String>) {
        match result {
            Ok(()) => {
                tracing::info!("plugins reloaded");
                self.live.reload(None);
            }
            Err(why) => {
                tracing::error!(target: "buntime::failure", error = %why, "the plugins were not loaded anew");
                self.fail(None, Fault::of_plugins(&why));
            }
        }
    }

    /// Workers of it are to be replaced by new ones.
    fn restarts(&self, app: &Arc<App>) {
        self.live.forgive(app);
        let mut edits = self.edits();
        // What is awaited for another reason is there then, too.
        if app.kind.is_worker() && !edits.awaited.contains_key(&app.key) {
            edits.proven.remove(&app.key);
            let awaited = Awaited { published: true, restarted: true, ..Awaited::of(app, None) };
            edits.awaited.insert(app.key, awaited);
        }
    }

    /// It has none: what is asked next is answered by a new one.
    fn restarted_nothing(&self, app: &App) {
        let mut edits = self.edits();
        if edits.awaited.get(&app.key).is_none_or(|awaited| awaited.restarted) {
            edits.awaited.remove(&app.key);
            self.live.reload(Some(app));
        }
    }

    /// Something does not run: unless it is edited again in a moment it is shown, in the place of what ran.
    async fn take_note(&self, note: Note, pool: &Arc<Pool>) {
        let Note { app, why } = note;
        // An editor may be half-way through a file.
        tokio::time::sleep(SECOND_THOUGHT).await;
        // It may have started at a second try, too.
        let is_so = || {
            let newest = self.index.exact(&app.name, &app.version);
            newest.is_some_and(|newest| newest.key == app.key) && !self.edits().proven.contains(&app.key)
        };
        if !is_so() {
            return;
        }
        let read = Arc::clone(&app);
        let fault = tokio::task::spawn_blocking(move || match why {
            Why::NotStarted(why) => Fault::of_start(&read, &why),
            Why::Unreadable(error) => Fault::of_reading(&read, &error),
        });
        let Ok(fault) = fault.await else { return };
        if !is_so() {
            return;
        }
        let is_served = self.edits().awaited.remove(&app.key).is_some_and(|awaited| awaited.restarted);
        self.fail(Some(&app), Fault { is_served, ..fault });
        if let Some(old) = self.index.surrender(app.key) {
            // Nobody means it any more, and nothing takes over from its workers.
            pool.remove(old.key, None);
        }
    }

    fn fail(&self, app: Option<&App>, fault: Fault) {
        let text = fault.text();
        if self.live.fail(app, fault) {
            let red = printer().is_some_and(Printer::is_coloured);
            let (on, off) = if red { ("\u{1b}[31m", "\u{1b}[0m") } else { ("", "") };
            let text: Vec<_> = text.lines().map(harmless).collect();
            print(&format!("{on}{}{off}\n", text.join("\n")));
        }
    }

    fn note(&self, note: Note) {
        // Its reader lives as long as the process.
        let _ = self.notes.send(note);
    }

    fn edits(&self) -> MutexGuard<'_, Edits> {
        self.edits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Edits {
    /// What was awaited is there.
    fn arrive(&mut self, revision: VersionKey, live: &Live) {
        match self.awaited.remove(&revision) {
            Some(Awaited { app, restarted: true, .. }) => live.reload(Some(&app)),
            Some(Awaited { app, sheets, .. }) => show(&app, sheets, live),
            None => {}
        }
    }
}

impl Awaited {
    fn of(app: &Arc<App>, sheets: Option<Vec<PathBuf>>) -> Awaited {
        Awaited { app: Arc::clone(app), sheets, published: false, ready: false, restarted: false }
    }
}

/// What lies among the sources and nobody edits.
pub fn ignored(config: &Config) -> Ignored {
    config.dev.as_ref().map_or_else(Ignored::default, |dev| Ignored::with(&dev.ignored))
}

/// An edit is served: pages and the terminal are told.
fn show(app: &App, sheets: Option<Vec<PathBuf>>, live: &Live) {
    match sheets {
        Some(sheets) if !live.has_fault(app) => live.restyle(app, sheets),
        _ => live.reload(Some(app)),
    }
    if let Some(printer) = printer() {
        printer.note(&format!("{} is served as it was saved", app.name));
    }
}

fn print(text: &str) {
    if let Some(printer) = printer() {
        printer.print(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apps::fixture::{static_site, worker};
    use crate::http::live::{Seen, Told};

    /// What became of each change that can be resolved, and whether pages were told.
    fn publish(bench: &Workbench, changes: &[Change]) -> (Vec<VersionKey>, bool) {
        let before = bench.live.tag(None).change;
        changes.iter().for_each(|change| bench.changed(change));
        let wanted = bench.published();
        (wanted, bench.live.tag(None).change > before)
    }

    fn proves(bench: &Workbench, revision: u64) -> bool {
        let before = bench.live.tag(None).change;
        bench.proven(VersionKey(revision));
        bench.live.tag(None).change > before
    }

    fn replaced(old: &Arc<App>, new: &Arc<App>) -> Change {
        Change::Replaced { old: Arc::clone(old), new: Arc::clone(new) }
    }

    #[test]
    fn pages_are_told_of_an_edit_when_a_worker_of_it_is_ready_and_of_none_that_gave_way_before() {
        let bench = Workbench::of(&Index::new());
        let [one, two, three] = [1, 2, 3].map(|key| worker(key, "shop@latest"));
        assert!(publish(&bench, &[Change::Added(Arc::clone(&one))]).1, "there is one more");
        assert!(!proves(&bench, 1), "it is not edited");
        assert!(!publish(&bench, &[replaced(&one, &two)]).1);
        assert!(!publish(&bench, &[replaced(&two, &three), replaced(&one, &three)]).1);
        assert!(!proves(&bench, 2));
        assert!(proves(&bench, 3));
        assert!(!proves(&bench, 3));
        assert!(publish(&bench, &[Change::Removed(three)]).1);
    }

    #[test]
    fn a_worker_that_is_ready_before_requests_can_mean_it_is_told_of_when_they_can() {
        let bench = Workbench::of(&Index::new());
        let [one, two] = [1, 2].map(|key| worker(key, "shop@latest"));
        bench.changed(&replaced(&one, &two));
        assert!(!proves(&bench, 2));
        let before = bench.live.tag(None).change;
        bench.published();
        assert!(bench.live.tag(None).change > before);
    }

    fn restyled(bench: &Workbench, old: &Arc<App>, new: &Arc<App>, sheet: &str) -> Vec<VersionKey> {
        bench.restyled(new.key, vec![sheet.into()]);
        publish(bench, &[replaced(old, new)]).0
    }

    /// What a page that has seen this much is told next.
    fn told(bench: &Workbench, app: &App, change: u64) -> Option<Told> {
        bench.live.told(app, &mut Seen { change, fault: None })
    }

    /// The page kept the code from before both, as only the last one was looked at.
    #[test]
    fn a_change_of_style_on_top_of_another_that_no_page_has_yet_is_shown_with_it() {
        let bench = Workbench::of(&Index::new());
        let [one, two, three, four, five] = [1, 2, 3, 4, 5].map(|key| worker(key, "shop@latest"));
        publish(&bench, &[replaced(&one, &two)]);
        restyled(&bench, &two, &three, "a.css");
        let seen = bench.live.tag(None).change;
        assert!(proves(&bench, 3));
        assert_eq!(told(&bench, &three, seen), Some(Told::Reload));
        // Of two that are such both are told of, however it is told what they replace.
        restyled(&bench, &three, &four, "a.css");
        bench.restyled(five.key, vec!["b.css".into()]);
        publish(&bench, &[replaced(&four, &five), replaced(&three, &five)]);
        let seen = bench.live.tag(None).change;
        assert!(proves(&bench, 5));
        assert_eq!(told(&bench, &five, seen), Some(Told::Restyle(vec!["a.css".into(), "b.css".into()])));
    }

    /// Pages learnt of none of it.
    #[test]
    fn a_restart_reloads_pages_when_a_worker_is_ready_or_at_once_where_there_is_none() {
        let bench = Workbench::of(&Index::new());
        let shop = worker(1, "shop@latest");
        publish(&bench, &[Change::Added(Arc::clone(&shop))]);
        assert!(!proves(&bench, 1));
        bench.restarts(&shop);
        assert!(proves(&bench, 1) && !proves(&bench, 1));
        bench.restarts(&shop);
        let seen = bench.live.tag(None).change;
        bench.restarted_nothing(&shop);
        assert_eq!(told(&bench, &shop, seen), Some(Told::Reload));
        assert!(!proves(&bench, 1));
    }

    #[test]
    fn a_worker_is_started_for_those_who_look_at_an_error() {
        let bench = Workbench::of(&Index::new());
        let [one, two] = [1, 2].map(|key| worker(key, "shop@latest"));
        bench.live.fail(Some(&one), Fault { revision: Some(one.key), ..Fault::default() });
        assert_eq!(publish(&bench, &[replaced(&one, &two)]), (vec![two.key], false));
    }

    #[test]
    fn a_site_needs_no_worker() {
        let bench = Workbench::of(&Index::new());
        let [one, two] = [1, 2].map(|key| static_site(key, "site@latest"));
        assert_eq!(publish(&bench, &[replaced(&one, &two), Change::Outdated(one)]), (vec![], true));
    }
}
