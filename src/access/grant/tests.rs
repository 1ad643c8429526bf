//! What a grant promises: examples, and properties of random grants.

use super::*;
use crate::access::Namespace;
use proptest::prelude::*;

const NAMESPACES: [&str; 4] = ["@", "@a", "@b", "@ab"];
const APPS: [&str; 5] = ["shop", "@a/shop", "@b/shop", "@ab/shop", "@other/shop"];
/// Expiries lie within, so that every difference shows.
const TIMES: std::ops::Range<u64> = 0..8;

fn app(text: &str) -> AppName {
    text.parse().unwrap()
}

fn only(names: &[&str]) -> Namespaces {
    Namespaces::only(names.iter().map(|name| Namespace::parse(name).unwrap())).unwrap()
}

fn at(seconds: u64) -> UnixTime {
    UnixTime::new(seconds)
}

fn grant(role: Role, namespaces: Namespaces, expires: Option<u64>) -> Grant {
    Grant::new(role, namespaces, expires.map(UnixTime::new)).unwrap()
}

fn any_grant() -> impl Strategy<Value = Grant> {
    let permissions = proptest::sample::subsequence(Permission::ALL.to_vec(), 1..=Permission::ALL.len());
    let role = prop_oneof![
        Just(Role::Admin),
        Just(Role::Editor),
        Just(Role::Viewer),
        permissions.prop_map(|list| Role::Custom(list.into_iter().collect())),
    ];
    let namespaces = prop_oneof![
        Just(Namespaces::All),
        proptest::sample::subsequence(NAMESPACES.to_vec(), 1..=NAMESPACES.len())
            .prop_map(|names| only(&names)),
    ];
    let expires = proptest::option::of(TIMES.start + 1..TIMES.end);
    (role, namespaces, expires).prop_filter_map("no such grant", |(role, namespaces, expires)| {
        Grant::new(role, namespaces, expires.map(UnixTime::new)).ok()
    })
}

/// A grant and one that has been made from it by taking something away, or any other.
fn two_grants() -> impl Strategy<Value = (Grant, Grant)> {
    let narrower = (any_grant(), any_grant()).prop_map(|(wide, other)| {
        let permissions: Permissions =
            other.permissions.iter().filter(|&permission| wide.permissions.contains(permission)).collect();
        let narrow = Grant {
            permissions: if permissions.is_empty() { wide.permissions } else { permissions },
            namespaces: wide.namespaces.clone(),
            expires: wide.expires.min(other.expires).or(wide.expires),
        };
        (wide, narrow)
    });
    prop_oneof![narrower, (any_grant(), any_grant())]
}

/// All that a grant allows: what is done to no app, and to one, at each time.
fn deeds() -> impl Iterator<Item = (Permission, Option<AppName>, UnixTime)> {
    let apps = || std::iter::once(None).chain(APPS.iter().map(|name| Some(app(name))));
    Permission::ALL.into_iter().flat_map(move |permission| {
        apps().flat_map(move |app| TIMES.map(move |now| (permission, app.clone(), at(now))))
    })
}

proptest! {
    #[test]
    fn what_a_covered_grant_allows_at_a_time_the_covering_one_allows_too((a, b) in two_grants()) {
        if a.covers(&b) {
            for (permission, app, now) in deeds() {
                if b.check(permission, app.as_ref(), now).is_ok() {
                    prop_assert!(a.check(permission, app.as_ref(), now).is_ok(), "{permission} {app:?} {now:?}");
                }
            }
        }
    }

    #[test]
    fn a_grant_that_is_not_covered_allows_something_more((a, b) in two_grants()) {
        if !a.covers(&b) {
            let more = deeds().any(|(permission, app, now)| {
                b.check(permission, app.as_ref(), now).is_ok() && a.check(permission, app.as_ref(), now).is_err()
            });
            prop_assert!(more, "{:?}", a.lacks(&b));
        }
    }

    #[test]
    fn covering_is_an_order((a, b) in two_grants(), c in any_grant()) {
        prop_assert!(a.covers(&a) && Grant::everything().covers(&a));
        prop_assert!(!(a.covers(&b) && b.covers(&c)) || a.covers(&c));
        prop_assert!(!(a.covers(&b) && b.covers(&a)) || a == b);
    }

    #[test]
    fn taking_anything_away_ends_the_cover(a in any_grant(), permission in 0..Permission::ALL.len(), sooner in 0..8u64) {
        let taken = Permissions::from_iter([Permission::ALL[permission]]);
        let less = Grant { permissions: a.permissions.without(taken), ..a.clone() };
        prop_assert_eq!(less.covers(&a), less.permissions == a.permissions);
        let shorter = Grant { expires: Some(at(sooner)), ..a.clone() };
        prop_assert_eq!(shorter.covers(&a), a.expires.is_some_and(|end| end <= at(sooner)));
        let elsewhere = Grant { namespaces: only(&["@other"]), ..a.clone() };
        prop_assert!(!elsewhere.covers(&a) && !elsewhere.oversees(&a));
    }

    #[test]
    fn checking_and_allowing_agree_while_a_grant_lasts(a in any_grant()) {
        for (permission, app, now) in deeds() {
            let allowed = a.allows(permission, app.as_ref()) && !a.is_over(now);
            prop_assert_eq!(a.check(permission, app.as_ref(), now).is_ok(), allowed);
        }
    }

    #[test]
    fn a_grant_for_some_namespaces_has_nothing_that_concerns_the_whole_runtime(a in any_grant()) {
        prop_assert!(a.namespaces == Namespaces::All || !a.permissions.iter().any(Permission::is_runtime_wide));
    }
}

#[test]
fn a_key_cannot_grant_what_it_lacks() {
    let own = grant(Role::Editor, only(&["@a", "@b"]), Some(100));
    assert!(own.covers(&grant(Role::Viewer, only(&["@a"]), Some(100))));
    for (other, lack) in [
        (
            grant(Role::Custom(Permissions::from_iter([Permission::KeysCreate])), only(&["@a"]), Some(1)),
            Lack::Permissions(Permissions::from_iter([Permission::KeysCreate])),
        ),
        (grant(Role::Editor, only(&["@a", "@"]), Some(1)), Lack::Namespaces),
        (grant(Role::Editor, only(&["@a"]), Some(101)), Lack::Expiry),
        (grant(Role::Editor, only(&["@a"]), None), Lack::Expiry),
    ] {
        assert_eq!(own.lacks(&other), Some(lack.clone()));
        assert_eq!(own.oversees(&other), lack == Lack::Expiry);
    }
    let editor = grant(Role::Editor, Namespaces::All, None);
    assert!(editor.oversees(&own) && !own.oversees(&editor));
}

#[test]
fn a_grant_ends_with_the_second_it_expires_in() {
    let grant = grant(Role::Viewer, Namespaces::All, Some(10));
    assert_eq!(grant.check(Permission::AppsRead, None, at(9)), Ok(()));
    assert_eq!(grant.check(Permission::AppsRead, None, at(10)), Err(Denied::Expired));
    assert_eq!(Grant::everything().check(Permission::KeysCreate, None, UnixTime::MAX), Ok(()));
}

#[test]
fn the_reason_for_a_no_is_the_first_that_holds() {
    let grant = grant(Role::Viewer, only(&["@a"]), Some(10));
    let check = |permission, name, now| grant.check(permission, Some(&app(name)), at(now));
    assert_eq!(check(Permission::AppsRead, "@a/x", 1), Ok(()));
    assert_eq!(check(Permission::AppsRead, "@b/x", 1), Err(Denied::Namespace(app("@b/x"))));
    assert_eq!(check(Permission::AppsInstall, "@b/x", 1), Err(Denied::Permission(Permission::AppsInstall)));
    assert_eq!(check(Permission::AppsInstall, "@b/x", 10), Err(Denied::Expired));
    assert_eq!(
        grant.check(Permission::PluginsRead, None, at(1)),
        Err(Denied::Permission(Permission::PluginsRead))
    );
}

#[test]
fn an_admin_of_a_namespace_is_none_of_the_runtime() {
    let admin = grant(Role::Admin, only(&["@a"]), None);
    assert!(
        admin.allows(Permission::KeysCreate, None)
            && admin.allows(Permission::AppsRemove, Some(&app("@a/x")))
    );
    for permission in Permission::ALL.into_iter().filter(|permission| permission.is_runtime_wide()) {
        assert!(!admin.allows(permission, None), "{permission}");
    }
    assert!(!admin.covers(&Grant::everything()));
}

#[test]
fn a_grant_that_could_do_nothing_is_refused() {
    let custom = |list: &[Permission]| Role::Custom(list.iter().copied().collect());
    assert_eq!(Grant::new(custom(&[]), Namespaces::All, None), Err(GrantError::NoPermission));
    assert_eq!(
        Grant::new(custom(&[Permission::AppsRead, Permission::AuditRead]), only(&["@a"]), None),
        Err(GrantError::RuntimeWide(Permission::AuditRead))
    );
}
