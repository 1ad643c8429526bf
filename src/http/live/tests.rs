//! What a page is told that has seen so much.

use super::*;
use crate::model::{AppName, AppVersion, Kind, Manifest};

fn app(key: u64, name: &str) -> App {
    App {
        key: VersionKey(key),
        name: AppName::parse(name).unwrap(),
        version: AppVersion::Latest,
        dir: "/apps".into(),
        manifest: Manifest::default(),
        kind: Kind::Worker { entrypoint: "/apps/index.ts".into() },
        env: BTreeMap::new(),
        needs_fresh: None,
        plugin: None,
    }
}

fn fault(app: &App, detail: &str) -> Fault {
    Fault { revision: Some(app.key), detail: detail.into(), ..Fault::default() }
}

/// A page of an app that was made now; of none = an error page or the list of apps.
struct Page {
    listener: Listener,
    seen: Seen,
}

impl Page {
    fn of(live: &Arc<Live>, app: Option<&App>) -> Page {
        let tag = live.tag(app);
        let seen = Seen { change: tag.change, fault: None };
        Page { listener: live.listen(app.map(|app| label(app).into())), seen }
    }

    /// All that it is told now, in a word each.
    fn told(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        while let Some(next) = self.listener.next(&mut self.seen) {
            told.push(match next {
                Told::Reload => "reload".into(),
                Told::Restyle(sheets) => format!("restyle {sheets:?}"),
                Told::Fault(fault) => format!("fault {}", fault.detail),
                Told::Clear => "clear".into(),
            });
        }
        told
    }
}

#[test]
fn a_page_learns_of_its_own_app_and_of_what_is_about_all() {
    let live = Live::new();
    let (shop, blog) = (app(1, "shop"), app(2, "blog"));
    let [mut one, mut other, mut none] = [Some(&shop), Some(&blog), None].map(|app| Page::of(&live, app));
    live.reload(Some(&shop));
    assert_eq!([one.told(), other.told(), none.told()], [vec!["reload"], vec![], vec!["reload"]]);
    live.reload(None);
    assert_eq!([one.told(), other.told(), none.told()], [["reload"], ["reload"], ["reload"]]);
    assert_eq!([one.told(), other.told(), none.told()], [[""; 0]; 3], "what it was told it has seen");
}

#[test]
fn a_page_that_was_away_is_told_what_it_missed_and_a_new_one_nothing() {
    let live = Live::new();
    let shop = app(1, "shop");
    let old = live.tag(Some(&shop)).change;
    live.restyle(&shop, vec!["a.css".into()]);
    live.restyle(&shop, vec!["b.css".into()]);
    let mut page = Page::of(&live, Some(&shop));
    assert_eq!(page.told(), [""; 0]);
    page.seen.change = old;
    assert_eq!(page.told(), [r#"restyle ["a.css", "b.css"]"#]);
    live.reload(Some(&shop));
    live.restyle(&shop, vec!["a.css".into()]);
    page.seen.change = old;
    assert_eq!(page.told(), ["reload"], "the page that it loads has all of that");
}

#[test]
fn a_fault_is_told_once_and_ends_with_what_mends_it() {
    let live = Live::new();
    let (shop, edited) = (app(1, "shop"), app(2, "shop"));
    let mut page = Page::of(&live, Some(&shop));
    assert!(live.fail(Some(&shop), fault(&shop, "one")));
    assert!(!live.fail(Some(&shop), fault(&shop, "the same in other words")), "it was tried again");
    assert_eq!(page.told(), ["fault one"]);
    assert!(live.fault_of(&shop, shop.key).is_some() && live.fault_of(&shop, edited.key).is_none());
    assert!(live.fail(Some(&edited), fault(&edited, "two")));
    assert_eq!(page.told(), ["fault two"]);
    live.reload(Some(&edited));
    assert_eq!(page.told(), ["reload"]);
    assert!(!live.has_fault(&shop));
    // A change that touches no script leaves the page where it is.
    live.fail(Some(&edited), fault(&edited, "three"));
    assert_eq!(page.told(), ["fault three"]);
    live.restyle(&edited, vec!["a.css".into()]);
    assert_eq!(page.told(), ["clear", r#"restyle ["a.css"]"#]);
}

#[test]
fn what_is_wrong_with_plugins_is_shown_everywhere_before_all_else() {
    let live = Live::new();
    let shop = app(1, "shop");
    let [mut page, mut none] = [Some(&shop), None].map(|app| Page::of(&live, app));
    live.fail(Some(&shop), fault(&shop, "of the app"));
    live.fail(None, Fault { detail: "of a plugin".into(), ..Fault::default() });
    assert_eq!([page.told(), none.told()], [["fault of a plugin"], ["fault of a plugin"]]);
    live.reload(None);
    assert_eq!(page.told(), ["reload", "fault of the app"]);
    assert_eq!(none.told(), ["reload"]);
}

#[test]
fn an_app_is_watched_as_long_as_a_page_of_it_listens() {
    let live = Live::new();
    let shop = app(1, "shop");
    assert!(!live.is_watched(&shop));
    let pages = [Page::of(&live, Some(&shop)), Page::of(&live, Some(&shop))];
    let _none = Page::of(&live, None);
    assert!(live.is_watched(&shop) && !live.is_watched(&app(1, "blog")));
    drop(pages);
    assert!(!live.is_watched(&shop));
}

#[test]
fn the_element_says_what_the_page_has_seen() {
    let live = Live::new();
    let shop = app(1, "@team/shop");
    live.fail(Some(&shop), fault(&shop, "x"));
    let tag = live.tag(Some(&shop));
    let element = tag.element(Some("n"));
    assert!(
        element.starts_with("<script async src=\"/.well-known/buntime/dev.js\" nonce=\"n\""),
        "{element}"
    );
    assert!(element.contains(" data-app=\"@team/shop@latest\" data-seen=\"1\" data-boot=\""), "{element}");
    assert!(!element.contains("data-fault"), "a page of the app does not show it");
    assert!(Tag { is_problem: true, ..tag }.element(None).contains(" data-problem data-fault=\"1\" "));
}
