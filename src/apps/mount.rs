//! Mount paths: which app, and which version of it, the first segments of a request path name.

use crate::model::name;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// A request path taken apart: `/shop@1/cart?x` is app `shop`, spec `1`, rest `/cart?x`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount<'a> {
    /// `shop` or `@team/shop`; fits the grammar of names.
    pub name: &'a str,
    /// What stood behind the `@`, percent-decoded (URL parsers write `^` as `%5E`).
    pub spec: Option<Cow<'a, str>>,
    /// The mount path as requested, without the slash at its end: `/shop@1`.
    pub base: &'a str,
    /// What the app sees, with the query: `/cart?x`. Without a leading slash (empty or `?x`) when the request
    /// named the mount path itself.
    pub rest: &'a str,
}

/// Takes a path (with or without its query) apart; none = it names no app. Borrows, decodes only a spec.
///
/// Percent-encoding in the name is simply not an app name, so two spellings never mean one app.
pub fn split_path(path: &str) -> Option<Mount<'_>> {
    let inside = path.strip_prefix('/')?;
    let scope = if inside.starts_with('@') { inside.find('/')? + 1 } else { 0 };
    let segment = inside[scope..].find(['/', '?']).map_or(inside.len(), |at| scope + at);
    // The scope's own `@` is not the one that stands before a version.
    let at = inside[scope..segment].find('@').map(|at| scope + at);
    let name = &inside[..at.unwrap_or(segment)];
    name::check(name).ok()?;
    let spec = match at {
        Some(at) => Some(percent_decode_str(&inside[at + 1..segment]).decode_utf8().ok()?),
        None => None,
    };
    Some(Mount { name, spec, base: &path[..segment + 1], rest: &inside[segment..] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parts(path: &str) -> Option<(&str, Option<String>, &str, &str)> {
        split_path(path).map(|m| (m.name, m.spec.map(Cow::into_owned), m.base, m.rest))
    }

    #[test]
    fn plain_and_scoped_mounts_are_taken_apart() {
        for (path, name, spec, base, rest) in [
            ("/shop/cart?x=1", "shop", None, "/shop", "/cart?x=1"),
            ("/shop", "shop", None, "/shop", ""),
            ("/shop/", "shop", None, "/shop", "/"),
            ("/shop?x=/a@b", "shop", None, "/shop", "?x=/a@b"),
            ("/shop@1/cart", "shop", Some("1"), "/shop@1", "/cart"),
            ("/shop@/", "shop", Some(""), "/shop@", "/"),
            ("/shop@^1.2/", "shop", Some("^1.2"), "/shop@^1.2", "/"),
            ("/shop@%5E1.2/", "shop", Some("^1.2"), "/shop@%5E1.2", "/"),
            ("/shop@1@2/", "shop", Some("1@2"), "/shop@1@2", "/"),
            ("/shop//evil/x", "shop", None, "/shop", "//evil/x"),
            ("/@team/shop", "@team/shop", None, "/@team/shop", ""),
            ("/@team/shop/a/b", "@team/shop", None, "/@team/shop", "/a/b"),
            ("/@team/shop@2.0.0-rc.1/a", "@team/shop", Some("2.0.0-rc.1"), "/@team/shop@2.0.0-rc.1", "/a"),
        ] {
            assert_eq!(parts(path), Some((name, spec.map(String::from), base, rest)), "{path}");
        }
    }

    #[test]
    fn what_names_no_app_is_none() {
        for path in [
            "",
            "/",
            "//evil/x",
            "/?x",
            "shop/",
            "/@team",
            "/@team/",
            "/@/shop",
            "/@team@1/shop",
            "/s%68op/",
            "/Shop/",
            "/../x",
            "/.env",
            "/_x",
            "/shop\0/",
            "/@team//",
            "/@1/",
            "/shop@%ff/",
            "*",
            "/a b/",
        ] {
            assert_eq!(split_path(path), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn base_and_rest_are_the_whole_path(path in "\\PC{0,30}|/[a-z@/.?%0-9^]{0,30}") {
            if let Some(mount) = split_path(&path) {
                prop_assert_eq!(format!("{}{}", mount.base, mount.rest), path.as_str());
                prop_assert!(mount.rest.is_empty() || mount.rest.starts_with(['/', '?']));
            }
        }
    }
}
