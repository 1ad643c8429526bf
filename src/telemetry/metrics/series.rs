//! What is counted of one version of an app. Found once, then kept with the version: recording is a few relaxed additions.

use super::histogram::{Histogram, REQUESTS, TraceId};
use http::{Method, StatusCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What belongs to no app: the API, the landing page, what means nothing. No app can be called so.
pub const NONE: &str = "_none";
/// The apps beyond the limit, together.
pub const OTHER: &str = "_other";

/// The methods that have a label of their own (RFC 9110 §9.3, RFC 5789).
#[rustfmt::skip]
pub const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "_other"];

/// Classes of status codes. `aborted`: the client had gone before there was one.
pub const CLASSES: [&str; 6] = ["aborted", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// The counters of a version.
#[derive(Debug)]
pub struct Series {
    pub(super) app: Arc<str>,
    pub(super) version: Arc<str>,
    /// By method and class.
    requests: [[AtomicU64; CLASSES.len()]; METHODS.len()],
    pub(super) duration: Histogram,
    received: AtomicU64,
    sent: AtomicU64,
    /// Of its workers, in nanoseconds.
    cpu: AtomicU64,
    /// Shown under `_other`.
    folded: AtomicBool,
}

/// A method's place among the labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MethodLabel(u8);

/// What of a request is counted at its end.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    pub method: MethodLabel,
    /// None: its client had gone before there was one.
    pub status: Option<StatusCode>,
    pub took: Duration,
    pub trace: Option<TraceId>,
    /// Bytes of the answer's body.
    pub sent: u64,
}

impl MethodLabel {
    pub fn of(method: &Method) -> MethodLabel {
        let index = match *method {
            Method::GET => 0,
            Method::HEAD => 1,
            Method::POST => 2,
            Method::PUT => 3,
            Method::PATCH => 4,
            Method::DELETE => 5,
            Method::OPTIONS => 6,
            Method::TRACE => 7,
            Method::CONNECT => 8,
            _ => 9,
        };
        MethodLabel(index)
    }
}

impl Series {
    pub(super) fn new(app: Arc<str>, version: Arc<str>) -> Series {
        Series {
            app,
            version,
            requests: Default::default(),
            duration: Histogram::new(&REQUESTS),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            cpu: AtomicU64::new(0),
            folded: AtomicBool::new(false),
        }
    }

    /// A request has ended.
    pub fn ended(&self, request: &Ended) {
        let class = request.status.map_or(0, |status| usize::from(status.as_u16() / 100));
        let of_method = &self.requests[usize::from(request.method.0)];
        of_method[class.min(CLASSES.len() - 1)].fetch_add(1, Ordering::Relaxed);
        self.duration.note(request.took, request.trace);
        if request.sent > 0 {
            self.sent.fetch_add(request.sent, Ordering::Relaxed);
        }
    }

    /// Bytes of a request's body have come.
    pub fn received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A worker of it has spent time on processors.
    pub fn spent(&self, cpu: Duration) {
        self.cpu.fetch_add(cpu.as_nanos() as u64, Ordering::Relaxed);
    }

    /// The labels under which it is shown: app and version.
    pub fn labels(&self) -> [(&'static str, Arc<str>); 2] {
        match self.is_folded() {
            true => [("app", OTHER.into()), ("version", OTHER.into())],
            false => [("app", Arc::clone(&self.app)), ("version", Arc::clone(&self.version))],
        }
    }

    pub(super) fn is_folded(&self) -> bool {
        self.folded.load(Ordering::Relaxed)
    }

    pub(super) fn fold(&self) {
        self.folded.store(true, Ordering::Relaxed);
    }

    /// Each method and class that was seen, and how often.
    pub(super) fn requests(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        METHODS.iter().zip(&self.requests).flat_map(|(method, classes)| {
            let seen =
                CLASSES.iter().zip(classes).map(|(class, count)| (class, count.load(Ordering::Relaxed)));
            seen.filter(|(_, count)| *count > 0).map(|(class, count)| (*method, *class, count))
        })
    }

    /// Bytes of bodies that came and went.
    pub(super) fn bodies(&self) -> (u64, u64) {
        (self.received.load(Ordering::Relaxed), self.sent.load(Ordering::Relaxed))
    }

    /// Adds what others have counted that are gone.
    pub(super) fn add_bodies(&self, (received, sent): (u64, u64)) {
        self.received.fetch_add(received, Ordering::Relaxed);
        self.sent.fetch_add(sent, Ordering::Relaxed);
    }

    pub(super) fn cpu(&self) -> Duration {
        Duration::from_nanos(self.cpu.load(Ordering::Relaxed))
    }

    /// Adds what another one has counted.
    pub(super) fn add(&self, other: &Series) {
        let add = |into: &AtomicU64, from: &AtomicU64| {
            into.fetch_add(from.load(Ordering::Relaxed), Ordering::Relaxed);
        };
        for (into, from) in self.requests.iter().flatten().zip(other.requests.iter().flatten()) {
            add(into, from);
        }
        self.duration.add(&other.duration);
        add(&self.received, &other.received);
        add(&self.sent, &other.sent);
        add(&self.cpu, &other.cpu);
    }
}
