//! TEMPORARY
use super::*;
use crate::model::*;
use std::path::PathBuf;
pub struct Rules { pub worker_dirs: Vec<PathBuf>, pub reserved: Vec<String>, pub max_body_size: u64, pub environment: crate::config::Environment, pub watch_files: bool }
pub struct Watcher;
impl Watcher {
    pub fn start(rules: Rules, index: Arc<Index>, tell: Box<dyn Fn(Change) + Send>) -> std::io::Result<Watcher> {
        let mut found = vec![];
        let mut key = 0;
        for d in rules.worker_dirs { for e in std::fs::read_dir(d)? { let e = e?; key += 1;
            let dir = e.path(); let name = e.file_name().into_string().unwrap();
            let mut manifest = Manifest::default();
            if name == "once" { manifest.ttl = std::time::Duration::ZERO; }
            for f in ["index.ts", "index.js"] { let entrypoint = dir.join(f); if entrypoint.exists() {
            found.push(Arc::new(App { key: VersionKey(key), name: AppName::parse(&name).unwrap(), version: AppVersion::Latest, dir: dir.clone(), manifest: manifest.clone(), kind: Kind::Worker { entrypoint }, env: Default::default(), needs_fresh: None })); break; } }
        } }
        index.replace_all(found, &mut |c| tell(c));
        Ok(Watcher)
    }
}
