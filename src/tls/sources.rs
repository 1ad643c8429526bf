//! Which pairs the operator has: the one that is named, and those in a directory.

use super::pair::{Pair, PairError, PairFiles};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// As certbot names them.
const CHAIN: &str = "fullchain.pem";
const KEY: &str = "privkey.pem";
/// In a directory, the pair of this name is for whoever asks for no name that there is.
const DEFAULT: &str = "default";

/// Where pairs come from. Paths are absolute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    pub pair: Option<PairFiles>,
    /// `NAME.crt` or `NAME.pem` with `NAME.key`, and `NAME/fullchain.pem` with `NAME/privkey.pem`. Anything else in it is none of ours.
    pub dir: Option<PathBuf>,
    /// The directory in which systemd puts credentials.
    pub credentials: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("the directory {} cannot be read: {source}", dir.display())]
    Dir { dir: PathBuf, source: io::Error },
    #[error("{} is there without {missing}", file.display())]
    Lonely { file: PathBuf, missing: String },
    #[error("{} and {} are certificates for the same key", first.display(), second.display())]
    Twice { first: PathBuf, second: PathBuf },
    #[error(transparent)]
    Pair(#[from] PairError),
    #[error("the new certificate in {} has expired, and the one before it has not", file.display())]
    Expired { file: PathBuf },
    #[error("no certificate would be left")]
    NoneLeft,
}

/// The pairs as they were read, the default first.
pub type Read = Vec<(PairFiles, Arc<Pair>)>;

/// How the files stand: as long as it is the same, so are they.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct State {
    files: Vec<(PathBuf, Option<Stamp>)>,
    /// It can be told which pairs there are.
    is_whole: bool,
}

/// Device, inode, size, time of the last change of the content, and of anything (its mode).
type Stamp = [i64; 7];

impl Sources {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.pair.is_none() && self.dir.is_none()
    }

    /// Where the pairs are, as far as that can be told.
    pub fn files(&self) -> Vec<PairFiles> {
        self.find().unwrap_or_default()
    }

    /// Reads all pairs, or says why it cannot read one.
    pub fn read(&self) -> Result<Read, SourceError> {
        let read = |files: PairFiles| {
            let pair = Pair::read(&files, self.credentials.as_deref())?;
            Ok((files, Arc::new(pair)))
        };
        self.find()?.into_iter().map(read).collect()
    }

    pub fn state(&self) -> State {
        let found = self.find();
        let is_whole = found.is_ok();
        let files = found.into_iter().flatten().flat_map(|files| [files.cert, files.key]);
        let all = self.dir.iter().cloned().chain(files);
        let files = all.map(|path| (stamp(&path), path)).map(|(stamp, path)| (path, stamp)).collect();
        State { files, is_whole }
    }

    fn find(&self) -> Result<Vec<PairFiles>, SourceError> {
        let mut found: Vec<PairFiles> = self.pair.iter().cloned().collect();
        if let Some(dir) = &self.dir {
            found.extend(find_in(dir)?);
        }
        Ok(found)
    }
}

fn find_in(dir: &Path) -> Result<Vec<PairFiles>, SourceError> {
    let failed = |source| SourceError::Dir { dir: dir.to_owned(), source };
    let (mut certs, mut keys) = (BTreeMap::new(), BTreeMap::new());
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_stem().unwrap_or_default().to_owned();
        // Kubernetes and editors keep their own in such.
        if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
            continue;
        }
        // A link that leads nowhere, or what may not be looked at, could be a pair: to pass it over would take it off.
        let is_dir = match std::fs::metadata(&path) {
            Ok(meta) => meta.is_dir(),
            Err(_) if !is_there(&path) => continue,
            Err(source) => return Err(PairError::Read { file: path, source }.into()),
        };
        if is_dir {
            let name = path.file_name().unwrap_or_default().to_owned();
            for (map, file) in [(&mut certs, path.join(CHAIN)), (&mut keys, path.join(KEY))] {
                if is_there(&file) {
                    put(map, name.clone(), file)?;
                }
            }
            continue;
        }
        match path.extension().and_then(OsStr::to_str) {
            Some("crt" | "pem") => put(&mut certs, name, path)?,
            Some("key") => put(&mut keys, name, path)?,
            _ => {}
        }
    }
    let mut found = Vec::new();
    for (name, cert) in certs {
        let Some(key) = keys.remove(&name) else { return Err(lonely(cert, "its key", KEY, "key")) };
        let is_default = name == DEFAULT;
        found.push((!is_default, PairFiles { cert, key }));
    }
    if let Some(key) = keys.into_values().next() {
        return Err(lonely(key, "its certificate", CHAIN, "crt"));
    }
    // A sort keeps the order of names among the others.
    found.sort_by_key(|(later, _)| *later);
    Ok(found.into_iter().map(|(_, files)| files).collect())
}

/// Whatever it is, and whether it can be read or not: that is told when it is read.
fn is_there(path: &Path) -> bool {
    !matches!(std::fs::symlink_metadata(path), Err(error) if error.kind() == io::ErrorKind::NotFound)
}

fn put(
    map: &mut BTreeMap<std::ffi::OsString, PathBuf>,
    name: std::ffi::OsString,
    path: PathBuf,
) -> Result<(), SourceError> {
    match map.insert(name, path.clone()) {
        Some(other) => {
            let [first, second] = if other < path { [other, path] } else { [path, other] };
            Err(SourceError::Twice { first, second })
        }
        None => Ok(()),
    }
}

/// `in_directory` is what stands beside it in certbot's layout, `extension` what does in the flat one.
fn lonely(file: PathBuf, what: &str, in_directory: &str, extension: &str) -> SourceError {
    let own = file.file_name().is_some_and(|name| name == CHAIN || name == KEY);
    let beside = if own { file.with_file_name(in_directory) } else { file.with_extension(extension) };
    let missing = format!("{what}, {}", beside.file_name().unwrap_or_default().display());
    SourceError::Lonely { file, missing }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = std::fs::metadata(path).ok()?;
    let (device, inode, size) =
        (meta.dev().cast_signed(), meta.ino().cast_signed(), meta.size().cast_signed());
    Some([device, inode, size, meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::made;

    fn lay(dir: &Path, cert: &str, key: &str, name: &str) {
        made(&[name], |_| {}).write(&dir.join(cert), &dir.join(key));
    }

    fn sources(dir: &Path) -> Sources {
        Sources { dir: Some(dir.to_owned()), ..Sources::default() }
    }

    fn names(sources: &Sources) -> Vec<String> {
        let read = sources.read().unwrap();
        read.iter().map(|(_, pair)| pair.facts.names.join(",")).collect()
    }

    #[test]
    fn each_layout_is_found_in_the_order_of_names_behind_the_default() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path();
        std::fs::create_dir(place.join("c.test")).unwrap();
        lay(place, "a.test.crt", "a.test.key", "a.test");
        lay(place, "b.test.pem", "b.test.key", "b.test");
        lay(place, "c.test/fullchain.pem", "c.test/privkey.pem", "c.test");
        lay(place, "default.crt", "default.key", "z.test");
        for (name, text) in
            [("README", "x"), ("a.test.csr", "x"), (".hidden.crt", "x"), ("c.test/cert.pem", "x")]
        {
            std::fs::write(place.join(name), text).unwrap();
        }
        std::fs::create_dir_all(place.join("..data")).unwrap();
        std::fs::create_dir_all(place.join("empty")).unwrap();
        assert_eq!(names(&sources(place)), ["z.test", "a.test", "b.test", "c.test"]);
        let other = tempfile::tempdir().unwrap();
        lay(other.path(), "x", "y", "named.test");
        let pair = PairFiles { cert: other.path().join("x"), key: other.path().join("y") };
        let both = Sources { pair: Some(pair), ..sources(place) };
        assert_eq!(names(&both)[..2], ["named.test", "z.test"]);
    }

    #[test]
    fn one_half_of_a_pair_is_an_error_that_names_the_other() {
        for (file, missing) in [
            ("a.test.crt", "its key, a.test.key"),
            ("a.pem", "its key, a.key"),
            ("a.key", "its certificate, a.crt"),
            ("a.test/fullchain.pem", "its key, privkey.pem"),
            ("a.test/privkey.pem", "its certificate, fullchain.pem"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
            let error = sources(dir.path()).read().unwrap_err().to_string();
            assert_eq!(error, format!("{} is there without {missing}", path.display()));
        }
    }

    #[test]
    fn what_cannot_be_looked_at_is_an_error_and_not_passed_over() {
        use std::os::unix::fs::symlink;
        for (link, told) in [
            ("a.test/fullchain.pem", "a.test/fullchain.pem"),
            ("a.test/privkey.pem", "a.test/privkey.pem"),
            ("b.crt", "b.crt"),
            // A whole directory of certbot's, and who knows what it was.
            ("c.test", "c.test"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            lay(dir.path(), "a.test/fullchain.pem", "a.test/privkey.pem", "a.test");
            lay(dir.path(), "b.crt", "b.key", "b.test");
            let path = dir.path().join(link);
            let _ = std::fs::remove_file(&path);
            symlink("nowhere", &path).unwrap();
            let error = sources(dir.path()).read().unwrap_err().to_string();
            assert!(error.contains(&format!("{told} cannot be read: No such file")), "{error}");
        }
        // What may not be looked at is no less there; root may look at everything, so a loop stands for it.
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("a.test")).unwrap();
        for file in [CHAIN, KEY] {
            symlink(file, dir.path().join("a.test").join(file)).unwrap();
        }
        let error = sources(dir.path()).read().unwrap_err().to_string();
        assert!(error.contains("fullchain.pem cannot be read: Too many levels"), "{error}");
    }

    #[test]
    fn two_certificates_for_one_key_are_an_error_and_so_is_a_directory_that_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        lay(dir.path(), "a.crt", "a.key", "a.test");
        lay(dir.path(), "a.pem", "a.key", "a.test");
        let error = sources(dir.path()).read().unwrap_err().to_string();
        assert!(error.contains("a.crt and ") && error.contains("a.pem are certificates for"), "{error}");
        let error = sources(&dir.path().join("none")).read().unwrap_err().to_string();
        assert!(error.contains("none cannot be read: No such file"), "{error}");
    }

    #[test]
    fn each_change_of_a_file_is_another_state_and_reading_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path();
        lay(place, "a.crt", "a.key", "a.test");
        let sources = sources(place);
        let mut last = sources.state();
        sources.read().unwrap();
        assert_eq!(sources.state(), last);
        let mut differs = |what: &str| {
            let now = sources.state();
            assert_ne!(now, last, "{what}");
            last = now;
        };
        let text = std::fs::read(place.join("a.crt")).unwrap();
        std::fs::write(place.join("new"), &text).unwrap();
        std::fs::rename(place.join("new"), place.join("a.crt")).unwrap();
        differs("renamed over");
        std::fs::write(place.join("a.crt"), &text[1..]).unwrap();
        differs("written in place");
        lay(place, "b.crt", "b.key", "b.test");
        differs("another pair");
        std::fs::remove_file(place.join("b.key")).unwrap();
        differs("half of it");
    }
}
