//! Static sites, served by the supervisor itself: no worker is involved.
//!
//! A path is decoded once and checked (`path`), opened beneath the root (`root`), held against the request's
//! conditions (`validators`) and range (`range`), and sent (`content`), all in one trip to a blocking thread.

mod content;
mod media;
mod path;
mod range;
mod root;
mod validators;

pub use root::StaticRoot;
pub use validators::tags;

use super::negotiate;
use super::problem::{Code, Problem};
use crate::shortage::Shortage;
use crate::telemetry::Seldom;
use buntime_plugin::Body;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};
use media::Media;
use path::{FilePath, PathError};
use range::Selection;
use root::Found;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use validators::{Validators, Verdict};

/// Content codings of precompressed siblings, their extensions, the best first.
const CODINGS: [(&str, &str); 3] = [("br", "br"), ("zstd", "zst"), ("gzip", "gz")];

/// For names with a hash: a year is as long as caches go (RFC 9111 §1.2.2 has no limit, custom does).
const FOREVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// For all else: kept, but asked about each time, which an entity tag makes cheap.
const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");

/// A request for a file.
#[derive(Clone, Copy, Debug)]
pub struct FileRequest<'a> {
    pub method: &'a Method,
    /// As it stands in the request line, from the slash after the mount on.
    pub path: &'a str,
    pub query: Option<&'a str>,
    pub headers: &'a HeaderMap,
    /// `/shop`; empty or `/` = the root of the host.
    pub mount: &'a str,
    /// HTML will be changed on its way out (base injection): it is sent whole and without a content coding.
    pub rewritten: bool,
}

/// Answers a request from the files of a static root.
///
/// # Errors
/// 400 for a path that no honest client sends, 404, 405, 412, 416, 503 where the machine has too little of something, and 500 where it fails.
pub async fn serve(root: &Arc<StaticRoot>, request: FileRequest<'_>) -> Result<Response<Body>, Problem> {
    if request.method != Method::GET && request.method != Method::HEAD {
        return Err(
            Problem::new(Code::MethodNotAllowed).header(header::ALLOW, HeaderValue::from_static("GET, HEAD"))
        );
    }
    let path = FilePath::parse(request.path).map_err(|error| match error {
        PathError::Invalid(why) => Problem::new(Code::InvalidPath).detail(why),
        PathError::Refused => Problem::new(Code::NotFound),
    })?;
    let job = Job {
        root: root.clone(),
        path,
        method: request.method.clone(),
        headers: request.headers.clone(),
        rewritten: request.rewritten,
        now: SystemTime::now(),
    };
    match tokio::task::spawn_blocking(move || job.run()).await {
        Ok(Ok(Outcome::Response(response))) => Ok(response),
        Ok(Ok(Outcome::Problem(code))) => Err(Problem::new(code)),
        Ok(Ok(Outcome::Unsatisfiable { size })) => Err(Problem::new(Code::RangeNotSatisfiable)
            .header(header::CONTENT_RANGE, ascii(format!("bytes */{size}")))),
        Ok(Ok(Outcome::IsDirectory(path))) => to_directory(&path, &request),
        Ok(Err(error)) => Err(internal(&error)),
        Err(gone) => Err(internal(&io::Error::other(gone))),
    }
}

/// One request, with all it needs on a blocking thread.
struct Job {
    root: Arc<StaticRoot>,
    path: FilePath,
    method: Method,
    headers: HeaderMap,
    rewritten: bool,
    now: SystemTime,
}

/// A file that was found, under the name that tells its type.
struct Source {
    name: Vec<u8>,
    file: File,
    metadata: Metadata,
}

enum Outcome {
    Response(Response<Body>),
    Problem(Code),
    Unsatisfiable {
        size: u64,
    },
    /// There is a directory with an index, and the path lacks its slash.
    IsDirectory(FilePath),
}

impl Job {
    fn run(self) -> io::Result<Outcome> {
        if self.path.directory {
            let index = self.index_of(self.path.as_bytes());
            return self.send_or_fall_back(index);
        }
        let name = self.path.as_bytes().to_vec();
        match self.root.find(&name)? {
            Found::File(file, metadata) => self.send(Source { name, file, metadata }),
            Found::Nothing => self.fall_back(),
            Found::Directory => match self.root.find(&self.index_of(&name))? {
                Found::File(..) => Ok(Outcome::IsDirectory(self.path)),
                _ => self.fall_back(),
            },
        }
    }

    fn send_or_fall_back(&self, name: Vec<u8>) -> io::Result<Outcome> {
        match self.root.find(&name)? {
            Found::File(file, metadata) => self.send(Source { name, file, metadata }),
            _ => self.fall_back(),
        }
    }

    /// The root's index stands for every address that a single-page app may route; for nothing else.
    fn fall_back(&self) -> io::Result<Outcome> {
        let name = self.index_of(b"");
        if self.is_navigation()
            && let Found::File(file, metadata) = self.root.find(&name)?
        {
            return self.send(Source { name, file, metadata });
        }
        Ok(Outcome::Problem(Code::NotFound))
    }

    /// A browser that opens a page, not one that loads a part of it: a missing `.js` must not be answered with HTML.
    fn is_navigation(&self) -> bool {
        let navigates = match self.headers.get("sec-fetch-mode") {
            Some(mode) => mode == "navigate",
            None => negotiate::names_html(self.headers.get(header::ACCEPT)),
        };
        navigates && media::extension(self.path.last()).is_none()
    }

    fn index_of(&self, directory: &[u8]) -> Vec<u8> {
        let mut name = directory.to_vec();
        if !name.is_empty() {
            name.push(b'/');
        }
        name.extend_from_slice(self.root.index().as_bytes());
        name
    }

    fn send(&self, source: Source) -> io::Result<Outcome> {
        let media = Media::of(&source.name);
        let immutable = !media.html && media::is_hashed(&source.name);
        let plain = self.rewritten && media.html;
        let (coding, file, metadata) = match media.compressible && !plain {
            true => self.best_coding(source)?,
            false => ("", source.file, source.metadata),
        };
        let size = metadata.size();
        let validators = Validators::new(size, modified(&metadata), metadata.ino(), coding, self.now);

        let mut response = Response::new(Body::Empty);
        let headers = response.headers_mut();
        validators.write(headers);
        headers.insert(header::CACHE_CONTROL, if immutable { FOREVER } else { REVALIDATE });
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if media.compressible {
            headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        }
        let ranged = match validators.judge(&self.method, &self.headers) {
            Verdict::Failed => return Ok(Outcome::Problem(Code::PreconditionFailed)),
            Verdict::NotModified => {
                *response.status_mut() = StatusCode::NOT_MODIFIED;
                return Ok(Outcome::Response(response));
            }
            Verdict::Proceed { ranged } => ranged && !plain,
        };
        headers.insert(header::CONTENT_TYPE, media.content_type);
        if !coding.is_empty() {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
        }
        if !plain {
            headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        }
        let selection = if ranged { range::select(&self.headers, size) } else { Selection::Whole };
        let (first, length) = match selection {
            Selection::Whole => (0, size),
            Selection::Part { first, length } => {
                let range = format!("bytes {first}-{}/{size}", first + length - 1);
                headers.insert(header::CONTENT_RANGE, ascii(range));
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                (first, length)
            }
            Selection::Unsatisfiable => return Ok(Outcome::Unsatisfiable { size }),
        };
        if self.method == Method::HEAD {
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        } else {
            *response.body_mut() = content::read(file, first, length)?;
        }
        Ok(Outcome::Response(response))
    }

    /// The sibling that the client likes best, the earlier one in the table between equals; else the file itself.
    fn best_coding(&self, source: Source) -> io::Result<(&'static str, File, Metadata)> {
        let quality = |coding| negotiate::coding_quality(&self.headers, header::ACCEPT_ENCODING, coding);
        let mut wanted = CODINGS.map(|(coding, extension)| (quality(coding), coding, extension));
        wanted.sort_by_key(|(quality, ..)| std::cmp::Reverse(*quality));
        for (_, coding, extension) in wanted.into_iter().filter(|(quality, ..)| *quality > 0) {
            let sibling = [source.name.as_slice(), b".", extension.as_bytes()].concat();
            if let Found::File(file, metadata) = self.root.find(&sibling)? {
                return Ok((coding, file, metadata));
            }
        }
        Ok(("", source.file, source.metadata))
    }
}

fn to_directory(path: &FilePath, request: &FileRequest<'_>) -> Result<Response<Body>, Problem> {
    let mut url = path.directory_url(request.mount);
    if let Some(query) = request.query {
        url.push('?');
        url.push_str(query);
    }
    let location = HeaderValue::try_from(url).map_err(|_| Problem::new(Code::InvalidPath))?;
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

/// Time of last modification since the epoch; a date before 1970 counts as 1970.
fn modified(metadata: &Metadata) -> Duration {
    let time = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn ascii(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("numbers and fixed words are visible ASCII")
}

fn internal(error: &io::Error) -> Problem {
    if let Some(shortage) = Shortage::of(error) {
        return short(error, shortage);
    }
    tracing::error!(%error, "a static file could not be read");
    Problem::new(Code::Internal).detail(format!("A static file could not be read: {error}"))
}

/// It is there, and the machine has nothing to open it with. Every request may meet that.
pub fn short(error: &io::Error, shortage: Shortage) -> Problem {
    static LOGGED: Seldom = Seldom::quiet();
    if let Some(unsaid) = LOGGED.admit() {
        tracing::error!(%error, hint = shortage.hint(), unsaid, "a static file could not be opened");
    }
    Problem::new(Code::NoResources)
        .detail(format!("A static file could not be opened: {error}"))
        .hint(shortage.hint())
        .retry_after(Duration::from_secs(1))
}

#[cfg(test)]
mod tests;
