//! A package is tried where it was unpacked, before it takes the place of what serves.
//!
//! What is in a version's place is what its workers are started from. Putting a package there before it is known to start
//! would have requests meet it: those for a version that has no worker just now, or a fresh one for each request; those of a
//! site; those of a split that names a version whose directory was missing. And if the process is killed before a failed
//! deployment is undone, it must not be what is found at the next start, where the highest version is meant.

use super::error::{ApiError, Result};
use super::types::StartReport;
use super::{Api, deploy};
use crate::model::manifest::Instances;
use crate::model::{App, AppName, AppVersion, Kind, Manifest, VersionKey};
use crate::package::Staged;
use crate::pool::Pool;
use http::StatusCode;
use std::path::Path;
use std::sync::Arc;

/// Has a worker started from where a package is staged, which ends as soon as it was ready. `place` is where the files
/// are to be, and so what the words about a failure name.
///
/// # Errors
/// It does not start, or is not to be served.
pub(super) async fn starts(
    api: &Arc<Api>,
    name: &AppName,
    version: &AppVersion,
    staged: &Staged,
    place: &Path,
) -> Result<()> {
    let read = api.lookout.read(name.clone(), version.clone(), staged.path()).await;
    let app = read.map_err(ApiError::internal)?.ok_or_else(|| deploy::off(name, version))?;
    match &app.kind {
        Kind::Static { .. } => return Ok(()),
        Kind::Broken { error } => {
            return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "version_broken", error.clone()));
        }
        Kind::Worker { .. } => {}
    }
    staged.show()?;
    let app = alone(&app);
    api.pool.add(&app);
    let _trial = Trial { pool: Arc::clone(&api.pool), key: app.key };
    let proven = deploy::prove(api, &app).await;
    proven.map(drop).map_err(|error| in_words_of(error, &app.dir, place))
}

/// The same, of which one worker is enough, whatever its manifest asks for.
fn alone(app: &App) -> Arc<App> {
    let manifest = Manifest { instances: Instances { min: 0, max: 1 }, ..app.manifest.clone() };
    Arc::new(App { manifest, ..app.clone() })
}

/// A version that nobody can ask for. Goes when it is dropped.
struct Trial {
    pool: Arc<Pool>,
    key: VersionKey,
}

impl Drop for Trial {
    fn drop(&mut self) {
        self.pool.remove(self.key, None);
    }
}

/// The same error, with the place that people know.
fn in_words_of(mut error: ApiError, dir: &Path, place: &Path) -> ApiError {
    let (dir, place) = (dir.display().to_string(), place.display().to_string());
    let replace = |text: &mut String| *text = text.replace(&dir, &place);
    error.detail = error.detail.replace(&dir, &place).into();
    if let Some(StartReport { summary, cause, suggestion, output, .. }) = error.start.as_deref_mut() {
        summary.iter_mut().chain(cause).chain(suggestion).chain(output).for_each(replace);
    }
    error
}
