//! Where a request goes that has to pass plugins, and what they are told of that.

use super::super::problem::{Code, Problem};
use super::super::split::Place;
use super::{Meant, Site, Target, Who};
use crate::plugin::loaded::OwnApp;
use crate::plugin::{Loaded, Set};
use buntime_plugin::{Request, Route, Target as Told};
use http::uri::PathAndQuery;
use std::sync::Arc;

/// Where a request goes, once its phases have let it pass.
pub(super) enum Destination {
    App(Box<Target<'static>>),
    /// Below the base of a plugin, so many bytes of the path.
    Plugin(Arc<Loaded>, usize),
    Landing,
}

/// What a request meant before a plugin sent it to another path.
#[derive(Clone, Copy)]
pub(super) struct Earlier<'a> {
    pub place: Option<&'a Place>,
}

impl Destination {
    /// Where the client stands in the split of the app, if it is one.
    pub fn place(&self) -> Option<&Place> {
        match self {
            Destination::App(target) => target.place.as_ref(),
            _ => None,
        }
    }
}

impl Site {
    /// What a request means, which those who come later in its phases are told.
    pub(super) fn destination(
        &self,
        plugins: &Set,
        request: &mut Request,
        earlier: Option<Earlier<'_>>,
    ) -> Result<Destination, Problem> {
        let found = self.find_destination(plugins, request, earlier);
        let (told, canonical) = match &found {
            Ok(Destination::App(target)) => {
                (Told::App(self.kept.info(&target.app)), canonical(target, request.path()))
            }
            Ok(Destination::Plugin(plugin, _)) => (Told::Plugin(Arc::clone(&plugin.name)), None),
            Ok(Destination::Landing) | Err(_) => (Told::Nothing, None),
        };
        request.set_target(told, canonical);
        found
    }

    fn find_destination(
        &self,
        plugins: &Set,
        request: &Request,
        before: Option<Earlier<'_>>,
    ) -> Result<Destination, Problem> {
        let earlier = before.and_then(|before| before.place);
        let who = Who { headers: request.headers(), client: request.client };
        let target = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
        match request.route() {
            Some(Route::App { app, mount, base, path }) => {
                let (found, place) = self.find_app(app, who, earlier).map_err(|problem| astray(&problem))?;
                let rest = match before {
                    None => path,
                    // A plugin that came later has sent it to another path of the same app.
                    Some(_) => below(mount, target).ok_or_else(|| Problem::new(Code::NotFound))?,
                };
                return Ok(Destination::App(Box::new(Target {
                    app: found,
                    place,
                    mount: mount.clone().into(),
                    base: Some(base.clone().into()),
                    rest: rest.to_owned().into(),
                    meant: Meant::Route(app.clone().into()),
                })));
            }
            Some(_) => return Err(Problem::new(Code::NotFound)),
            None => {}
        }
        if let Some((plugin, end)) = plugins.mounted(target) {
            return Ok(mounted(plugin, target, end));
        }
        match self.find(target, who, earlier) {
            Ok(Some(found)) => Ok(Destination::App(Box::new(found.into_owned()))),
            Ok(None) => Ok(plugins.at_root().map_or(Destination::Landing, |root| mounted(root, target, 0))),
            Err(problem) if problem.is_nothing_there() => match plugins.at_root() {
                Some(root) => Ok(mounted(root, target, 0)),
                None => Err(problem),
            },
            Err(problem) => Err(problem),
        }
    }
}

/// A plugin's app alone is an app like any other, which takes bodies too; routes come first where there are some.
fn mounted(plugin: &Arc<Loaded>, target: &str, base: usize) -> Destination {
    match &plugin.app {
        Some(OwnApp { app, .. }) if !plugin.hooks.routes => {
            Destination::App(Box::new(own_app(app, &target[..base], &target[base..])))
        }
        _ => Destination::Plugin(Arc::clone(plugin), base),
    }
}

/// A plugin's own app, below its base.
pub(super) fn own_app(app: &Arc<crate::model::App>, base: &str, rest: &str) -> Target<'static> {
    Target {
        app: Arc::clone(app),
        place: None,
        mount: base.to_owned().into(),
        base: None,
        rest: rest.to_owned().into(),
        meant: Meant::Plugin(Arc::clone(app)),
    }
}

/// Where else the same is reached: `/shop/admin` for `/shop@1/admin`, and for `/admin` of a host of its own. Guards say it that way.
fn canonical(target: &Target<'_>, sent: &str) -> Option<Box<str>> {
    if let Meant::Plugin(_) = target.meant {
        return None;
    }
    let rest = target.rest.split('?').next().unwrap_or_default();
    let slash = if rest.is_empty() || rest.starts_with('/') { "" } else { "/" };
    let path = format!("/{}{slash}{rest}", target.app.name);
    (path != sent).then(|| path.into())
}

/// What of a path stands below a mount path.
fn below<'p>(mount: &str, path: &'p str) -> Option<&'p str> {
    path.strip_prefix(mount)
        .filter(|rest| mount.is_empty() || rest.is_empty() || rest.starts_with(['/', '?']))
}

/// A plugin has sent the request to what is not there: that is no fault of the client's.
fn astray(problem: &Problem) -> Problem {
    let detail = problem.words().to_owned();
    Problem::new(Code::UnknownTarget).detail(detail)
}

#[cfg(test)]
mod tests {
    use super::below;

    #[test]
    fn a_mount_path_ends_where_its_segment_does() {
        assert_eq!(below("/shop", "/shop/x?y"), Some("/x?y"));
        assert_eq!(below("/shop", "/shop?y"), Some("?y"));
        assert_eq!(below("/shop", "/shopping"), None);
        assert_eq!(below("/shop", "/login"), None);
        assert_eq!(below("", "/login"), Some("/login"));
    }
}
