//! The certificates that are served with. Another shelf takes the place of the one before it as a whole: from the next handshake
//! on, while connections that are there keep what they began with.

use super::challenges::Challenges;
use super::pair::Pair;
use super::shelf::Shelf;
use super::sources::{Read, SourceError, Sources, State};
use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Certificates {
    shelf: ArcSwap<Shelf>,
    held: Mutex<Held>,
    challenges: Arc<Challenges>,
}

/// What the shelf is made of.
#[derive(Debug)]
struct Held {
    sources: Sources,
    read: Read,
    /// Those of ACME by their domains, in the order of the settings. None = it has none yet.
    issued: Vec<(Box<str>, Option<Arc<Pair>>)>,
    /// The files when they were read, whether they could be used or not.
    state: State,
}

impl Certificates {
    /// Reads the pairs of `sources`.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn load(sources: Sources) -> Result<Arc<Certificates>, SourceError> {
        let state = sources.state();
        let read = sources.read()?;
        for (files, pair) in &read {
            if pair.is_expired(SystemTime::now()) {
                tracing::warn!(file = %files.cert.display(), "a certificate has expired");
            }
        }
        let held = Held { sources, read, issued: Vec::new(), state };
        Ok(Arc::new(Certificates {
            shelf: ArcSwap::from_pointee(held.shelf()),
            held: Mutex::new(held),
            challenges: Arc::default(),
        }))
    }

    /// Reads all files again. The log says what comes of it.
    ///
    /// # Errors
    /// One of them cannot be used. Then all stays as it is.
    pub fn reload(&self) -> Result<(), SourceError> {
        let mut held = self.held();
        let sources = held.sources.clone();
        self.exchange(&mut held, sources)
    }

    /// The same for a configuration that names other files.
    ///
    /// # Errors
    /// As [`Certificates::reload`].
    pub fn reload_from(&self, sources: Sources) -> Result<(), SourceError> {
        self.exchange(&mut self.held(), sources)
    }

    fn exchange(&self, held: &mut Held, sources: Sources) -> Result<(), SourceError> {
        // Before they are read: what changes meanwhile is seen by the next look.
        let state = sources.state();
        let result = sources.read().and_then(|read| held.fits(read, SystemTime::now()));
        let result = match result {
            Ok(read) => {
                held.tell_gone(&read);
                held.read = read;
                held.sources = sources;
                self.shelf.store(Arc::new(held.shelf()));
                tracing::info!(certificates = held.read.len(), "the certificates were read again");
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "the certificates stay as they were");
                Err(error)
            }
        };
        held.state = state;
        result
    }

    /// Looks for changed files, for as long as there are certificates. A change counts once a look has found the files
    /// as the look before it did, so one that is being written is not read.
    pub async fn watch(certificates: Weak<Certificates>) {
        let mut last = None;
        loop {
            tokio::time::sleep(LOOK).await;
            let Some(certificates) = certificates.upgrade() else { return };
            let look = tokio::task::spawn_blocking(move || {
                let now = certificates.held().sources.state();
                if last.as_ref() == Some(&now) && now != certificates.held().state {
                    let _ = certificates.reload(); // it has said why it did not
                }
                now
            });
            let Ok(now) = look.await else { return };
            last = Some(now);
        }
    }

    /// ACME is to get a certificate for `domain`. Until then handshakes for it fail, unless a file has one.
    pub fn awaits(&self, domain: &str) {
        let mut held = self.held();
        held.issued.push((domain.into(), None));
        self.shelf.store(Arc::new(held.shelf()));
    }

    /// ACME has got a certificate for `domain`, which takes the place of the one before it.
    pub fn issued(&self, domain: &str, pair: Pair) {
        let mut held = self.held();
        let pair = Some(Arc::new(pair));
        match held.issued.iter_mut().find(|(other, _)| **other == *domain) {
            Some((_, old)) => *old = pair,
            None => held.issued.push((domain.into(), pair)),
        }
        self.shelf.store(Arc::new(held.shelf()));
    }

    /// Whether there is one for a client that asks for `name`.
    pub fn has(&self, name: Option<&str>) -> bool {
        self.shelf.load().choose(name).is_some()
    }

    /// The name under which apps on this machine may ask: the first one of the default certificate.
    pub fn first_name(&self) -> Option<String> {
        self.shelf.load().first_name().map(str::to_owned)
    }

    pub fn challenges(&self) -> &Arc<Challenges> {
        &self.challenges
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn shelf(&self) -> Shelf {
        let read = self.read.iter().map(|(_, pair)| pair);
        let pairs = read.chain(self.issued.iter().filter_map(|(_, pair)| pair.as_ref()));
        let awaited = self.issued.iter().filter(|(_, pair)| pair.is_none()).map(|(domain, _)| &**domain);
        Shelf::new(pairs.cloned(), SystemTime::now()).awaiting(awaited)
    }

    /// Refuses what would take the place of a better one.
    fn fits(&self, new: Read, now: SystemTime) -> Result<Read, SourceError> {
        // It was emptied, or what is mounted there is gone: no name would get an answer.
        let has_other = self.issued.iter().any(|(_, pair)| pair.is_some());
        if new.is_empty() && !self.read.is_empty() && !has_other {
            return Err(SourceError::NoneLeft);
        }
        let worse = new.iter().find(|(files, pair)| {
            let old = self.read.iter().find(|(other, _)| other == files);
            pair.is_expired(now) && old.is_some_and(|(_, old)| !old.is_expired(now))
        });
        match worse {
            Some((files, _)) => Err(SourceError::Expired { file: files.cert.clone() }),
            None => Ok(new),
        }
    }

    /// A pair of which both files were removed is served no more.
    fn tell_gone(&self, new: &Read) {
        for (files, pair) in &self.read {
            if !new.iter().any(|(other, _)| other == files) {
                let (file, names) = (files.cert.display(), pair.facts.names.join(", "));
                tracing::warn!(%file, names, "a certificate is there no more");
            }
        }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.shelf.load().choose(hello.server_name()).map(|pair| Arc::clone(&pair.key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::pair::PairFiles;
    use crate::tls::testing::made;
    use std::path::Path;

    /// With `a.test` in one pair and `b.test` in another one.
    fn laid() -> (tempfile::TempDir, Arc<Certificates>) {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            lay(dir.path(), name, &format!("{name}.test"), 2100);
        }
        let sources = Sources { dir: Some(dir.path().to_owned()), ..Sources::default() };
        let certificates = Certificates::load(sources).unwrap();
        (dir, certificates)
    }

    fn lay(dir: &Path, file: &str, name: &str, year: i32) {
        let made = made(&[name], |params| params.not_after = rcgen::date_time_ymd(year, 1, 1));
        made.write(&dir.join(format!("{file}.crt")), &dir.join(format!("{file}.key")));
    }

    /// As ACME does.
    fn issue(certificates: &Certificates, name: &str) {
        let made = made(&[name], |params| params.not_after = rcgen::date_time_ymd(2100, 1, 1));
        let files = PairFiles { cert: "cert".into(), key: "key".into() };
        let (cert, key) = (made.cert.pem(), made.key.serialize_pem());
        certificates.issued(name, Pair::parse(cert.as_bytes(), key.as_bytes(), &files).unwrap());
    }

    fn names(certificates: &Certificates) -> Vec<String> {
        certificates.held().read.iter().map(|(_, pair)| pair.facts.names.join(",")).collect()
    }

    fn chosen(certificates: &Certificates, name: &str) -> Arc<CertifiedKey> {
        Arc::clone(&certificates.shelf.load().choose(Some(name)).unwrap().key)
    }

    #[test]
    fn a_reload_takes_all_that_changed() {
        let (dir, certificates) = laid();
        let before = chosen(&certificates, "a.test");
        lay(dir.path(), "a", "a.test", 2100);
        lay(dir.path(), "c", "c.test", 2100);
        certificates.reload().unwrap();
        assert!(!Arc::ptr_eq(&before, &chosen(&certificates, "a.test")));
        assert_eq!(names(&certificates), ["a.test", "b.test", "c.test"]);
        std::fs::remove_file(dir.path().join("b.crt")).unwrap();
        std::fs::remove_file(dir.path().join("b.key")).unwrap();
        certificates.reload().unwrap();
        assert_eq!(names(&certificates), ["a.test", "c.test"]);
    }

    /// All handshakes failed from the second look on.
    #[test]
    fn a_directory_that_was_emptied_leaves_the_certificates_serving() {
        let (dir, certificates) = laid();
        for file in dir.path().read_dir().unwrap() {
            std::fs::remove_file(file.unwrap().path()).unwrap();
        }
        assert!(matches!(certificates.reload(), Err(SourceError::NoneLeft)));
        assert_eq!(names(&certificates), ["a.test", "b.test"]);
        assert!(certificates.has(Some("a.test")) && certificates.has(None));
        // ACME has none yet, so nothing would be left either.
        certificates.awaits("acme.test");
        assert!(matches!(certificates.reload_from(Sources::default()), Err(SourceError::NoneLeft)));
        issue(&certificates, "acme.test");
        certificates.reload().unwrap();
        assert_eq!(names(&certificates), [""; 0]);
        assert!(certificates.has(Some("acme.test")));
    }

    /// The one with the link was taken off without a word.
    #[test]
    fn a_link_that_leads_nowhere_keeps_all_as_they_are() {
        let (dir, certificates) = laid();
        let live = tempfile::tempdir().unwrap();
        let [cert, key] = ["fullchain.pem", "privkey.pem"].map(|file| live.path().join(file));
        made(&["c.test"], |_| {}).write(&cert, &key);
        std::os::unix::fs::symlink(live.path(), dir.path().join("c.test")).unwrap();
        certificates.reload().unwrap();
        assert_eq!(names(&certificates), ["a.test", "b.test", "c.test"]);
        let before = chosen(&certificates, "c.test");
        drop(live);
        assert!(matches!(certificates.reload(), Err(SourceError::Pair(_))));
        assert!(Arc::ptr_eq(&before, &chosen(&certificates, "c.test")));
    }

    #[test]
    fn one_pair_that_cannot_be_used_keeps_all_as_they_are() {
        let (dir, certificates) = laid();
        let before = chosen(&certificates, "a.test");
        lay(dir.path(), "a", "a.test", 2100);
        // Its key is the one from before.
        made(&["b.test"], |_| {}).write(&dir.path().join("b.crt"), &dir.path().join("elsewhere"));
        assert!(matches!(certificates.reload(), Err(SourceError::Pair(_))));
        assert!(Arc::ptr_eq(&before, &chosen(&certificates, "a.test")));
        std::fs::remove_file(dir.path().join("b.key")).unwrap();
        assert!(matches!(certificates.reload(), Err(SourceError::Lonely { .. })));
        assert!(Arc::ptr_eq(&before, &chosen(&certificates, "a.test")));
        lay(dir.path(), "b", "b.test", 2100);
        certificates.reload().unwrap();
        assert!(!Arc::ptr_eq(&before, &chosen(&certificates, "a.test")));
    }

    #[test]
    fn an_expired_certificate_takes_the_place_of_none_that_is_valid() {
        let (dir, certificates) = laid();
        lay(dir.path(), "a", "a.test", 2001);
        assert!(matches!(certificates.reload(), Err(SourceError::Expired { .. })));
        // Where it had expired before it is no worse.
        let sources = Sources { dir: Some(dir.path().to_owned()), ..Sources::default() };
        let certificates = Certificates::load(sources).unwrap();
        lay(dir.path(), "a", "a.test", 2002);
        certificates.reload().unwrap();
    }

    #[test]
    fn another_configuration_is_taken_whole_or_not_at_all() {
        let (dir, certificates) = laid();
        lay(dir.path(), "other", "c.test", 2100);
        let [cert, key] = ["other.crt", "other.key"].map(|file| dir.path().join(file));
        let gone = Some(PairFiles { cert: dir.path().join("gone"), key: key.clone() });
        assert!(certificates.reload_from(Sources { pair: gone, ..Sources::default() }).is_err());
        assert_eq!(names(&certificates), ["a.test", "b.test"]);
        let there = Some(PairFiles { cert, key });
        certificates.reload_from(Sources { pair: there, ..Sources::default() }).unwrap();
        assert_eq!(names(&certificates), ["c.test"]);
        certificates.reload().unwrap();
        assert_eq!(names(&certificates), ["c.test"]);
    }

    #[test]
    fn what_acme_has_got_stands_behind_the_files_and_is_replaced_by_its_domain() {
        let (_dir, certificates) = laid();
        let of_file = chosen(&certificates, "a.test");
        issue(&certificates, "a.test");
        assert!(Arc::ptr_eq(&of_file, &chosen(&certificates, "a.test")));
        certificates.awaits("acme.test");
        assert!(!certificates.has(Some("acme.test")) && certificates.has(Some("other.test")));
        issue(&certificates, "acme.test");
        let first = chosen(&certificates, "acme.test");
        issue(&certificates, "acme.test");
        assert!(!Arc::ptr_eq(&first, &chosen(&certificates, "acme.test")));
        certificates.reload().unwrap();
        assert!(!Arc::ptr_eq(&of_file, &chosen(&certificates, "acme.test")));
        assert_eq!(certificates.held().issued.len(), 2);
    }

    #[test]
    fn with_acme_alone_the_first_of_its_names_is_the_default_whichever_came_first() {
        let certificates = Certificates::load(Sources::default()).unwrap();
        for name in ["a.test", "b.test", "c.test"] {
            certificates.awaits(name);
        }
        for (issued, first) in [("c.test", "c.test"), ("a.test", "a.test"), ("b.test", "a.test")] {
            issue(&certificates, issued);
            assert_eq!(certificates.first_name().as_deref(), Some(first));
        }
    }

    #[test]
    fn a_pair_that_was_left_behind_and_has_expired_hides_not_what_acme_has_got() {
        let dir = tempfile::tempdir().unwrap();
        lay(dir.path(), "a", "a.test", 2001);
        let sources = Sources { dir: Some(dir.path().to_owned()), ..Sources::default() };
        let certificates = Certificates::load(sources).unwrap();
        let expired = chosen(&certificates, "a.test");
        issue(&certificates, "a.test");
        assert!(!Arc::ptr_eq(&expired, &chosen(&certificates, "a.test")));
    }

    /// Written in two steps, of which neither alone is a pair.
    #[tokio::test(start_paused = true)]
    async fn changed_files_are_read_once_they_are_quiet() {
        let (dir, certificates) = laid();
        let before = chosen(&certificates, "a.test");
        let watching = tokio::spawn(Certificates::watch(Arc::downgrade(&certificates)));
        lay(dir.path(), "a", "a.test", 2100);
        while Arc::ptr_eq(&before, &chosen(&certificates, "a.test")) {
            tokio::time::sleep(LOOK).await;
        }
        drop(certificates);
        watching.await.unwrap();
    }
}
