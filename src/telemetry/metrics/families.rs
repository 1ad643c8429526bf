//! The names of all metrics, after Prometheus' conventions: base units, `_total` for what only grows, a help of one sentence.

use buntime_plugin::metrics::{Family, Kind};

/// What a metric is called and means.
#[derive(Clone, Copy, Debug)]
pub struct Desc {
    pub name: &'static str,
    pub kind: Kind,
    pub unit: Option<&'static str>,
    pub help: &'static str,
}

impl Desc {
    const fn new(name: &'static str, kind: Kind, help: &'static str) -> Desc {
        Desc { name, kind, unit: None, help }
    }

    const fn unit(self, unit: &'static str) -> Desc {
        Desc { unit: Some(unit), ..self }
    }

    pub fn family(&self) -> Family {
        let family = Family::new(self.name, self.kind, self.help);
        Family { unit: self.unit, ..family }
    }
}

use Kind::{Counter, Gauge, Histogram};

pub const BUILD_INFO: Desc =
    Desc::new("buntime_build_info", Gauge, "Which Buntime runs, and on which Bun; always 1.");

pub const REQUESTS: Desc = Desc::new(
    "buntime_http_requests_total",
    Counter,
    "Requests that have ended, by app, version, method and class of status.",
);
pub const REQUEST_DURATION: Desc = Desc::new(
    "buntime_http_request_duration_seconds",
    Histogram,
    "From a request's head to the last byte of its answer.",
)
.unit("seconds");
pub const IN_FLIGHT: Desc = Desc::new(
    "buntime_http_requests_in_flight",
    Gauge,
    "Requests that have begun and not ended, their bodies included.",
);
pub const CONNECTIONS: Desc =
    Desc::new("buntime_http_connections", Gauge, "Connections of clients that are open.");
pub const REQUEST_BODY: Desc =
    Desc::new("buntime_http_request_body_bytes_total", Counter, "Bytes of request bodies that have come.")
        .unit("bytes");
pub const RESPONSE_BODY: Desc = Desc::new(
    "buntime_http_response_body_bytes_total",
    Counter,
    "Bytes of response bodies that were handed to connections.",
)
.unit("bytes");

pub const WORKER_STATE: Desc =
    Desc::new("buntime_worker_state", Gauge, "Workers in each state; spares have the app _none.");
pub const TRANSITIONS: Desc = Desc::new(
    "buntime_worker_transitions_total",
    Counter,
    "Changes of workers' states, and why; a worker that begins comes from none.",
);
pub const START_DURATION: Desc = Desc::new(
    "buntime_worker_start_duration_seconds",
    Histogram,
    "Phases of workers' starts, of workers that were spares and of fresh ones.",
)
.unit("seconds");
pub const WORKER_MEMORY: Desc = Desc::new(
    "buntime_worker_memory_bytes",
    Gauge,
    "Memory of workers as it was last read: resident, proportional, and their own alone.",
)
.unit("bytes");
pub const WORKER_CPU: Desc = Desc::new(
    "buntime_worker_cpu_seconds_total",
    Counter,
    "Time of workers on processors, as far as it was read before they ended.",
)
.unit("seconds");
pub const WORKER_LAG: Desc = Desc::new(
    "buntime_worker_event_loop_lag_seconds",
    Gauge,
    "How long the slowest worker took for its last sign of life, which silent workers with open requests are asked for.",
)
.unit("seconds");

pub const POOL_WAIT: Desc =
    Desc::new("buntime_pool_wait_seconds", Histogram, "How long requests waited that got no worker at once.")
        .unit("seconds");
pub const POOL_QUEUE: Desc =
    Desc::new("buntime_pool_queue_depth", Gauge, "Requests that wait for a worker now.");
pub const POOL_SIZE: Desc =
    Desc::new("buntime_pool_size", Gauge, "Processes with an app, starting and draining ones included.");
pub const POOL_LIMIT: Desc =
    Desc::new("buntime_pool_size_limit", Gauge, "How many processes with an app there may be.");
pub const POOL_SPARES: Desc =
    Desc::new("buntime_pool_spares", Gauge, "Pre-warmed workers without an app, ready and starting.");
pub const POOL_HITS: Desc =
    Desc::new("buntime_pool_hits_total", Counter, "Requests that found a loaded worker with room at once.");
pub const POOL_MISSES: Desc =
    Desc::new("buntime_pool_misses_total", Counter, "Requests that did not find one at once.");
pub const POOL_EVICTIONS: Desc =
    Desc::new("buntime_pool_evictions_total", Counter, "Workers that were ended to make room for others.");
pub const POOL_REJECTIONS: Desc =
    Desc::new("buntime_pool_rejections_total", Counter, "Requests that got no worker, and why.");

pub const HOOK_DURATION: Desc =
    Desc::new("buntime_plugin_hook_duration_seconds", Histogram, "How long hooks of plugins took.")
        .unit("seconds");

pub const PROCESS_CPU: Desc =
    Desc::new("process_cpu_seconds_total", Counter, "Time of the supervisor on processors.").unit("seconds");
pub const PROCESS_OPEN_FDS: Desc =
    Desc::new("process_open_fds", Gauge, "Descriptors that the supervisor has open.");
pub const PROCESS_MAX_FDS: Desc =
    Desc::new("process_max_fds", Gauge, "How many descriptors the supervisor may have open.");
pub const PROCESS_RESIDENT: Desc =
    Desc::new("process_resident_memory_bytes", Gauge, "Resident memory of the supervisor.").unit("bytes");
pub const PROCESS_VIRTUAL: Desc =
    Desc::new("process_virtual_memory_bytes", Gauge, "Virtual memory of the supervisor.").unit("bytes");
pub const PROCESS_START: Desc =
    Desc::new("process_start_time_seconds", Gauge, "When the supervisor started, in seconds since 1970.")
        .unit("seconds");

/// All that there are.
pub const ALL: [&Desc; 29] = [
    &BUILD_INFO,
    &REQUESTS,
    &REQUEST_DURATION,
    &IN_FLIGHT,
    &CONNECTIONS,
    &REQUEST_BODY,
    &RESPONSE_BODY,
    &WORKER_STATE,
    &TRANSITIONS,
    &START_DURATION,
    &WORKER_MEMORY,
    &WORKER_CPU,
    &WORKER_LAG,
    &POOL_WAIT,
    &POOL_QUEUE,
    &POOL_SIZE,
    &POOL_LIMIT,
    &POOL_SPARES,
    &POOL_HITS,
    &POOL_MISSES,
    &POOL_EVICTIONS,
    &POOL_REJECTIONS,
    &HOOK_DURATION,
    &PROCESS_CPU,
    &PROCESS_OPEN_FDS,
    &PROCESS_MAX_FDS,
    &PROCESS_RESIDENT,
    &PROCESS_VIRTUAL,
    &PROCESS_START,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_to_the_conventions() {
        for desc in ALL {
            let Desc { name, kind, unit, help } = desc;
            assert!(name.starts_with("buntime_") || name.starts_with("process_"), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Counter, "{name}");
            let base = name.trim_end_matches("_total");
            assert!(unit.is_none_or(|unit| base.ends_with(&format!("_{unit}"))), "{name}");
            assert!(help.ends_with('.') && !help.contains('\n'), "{name}");
        }
        let mut names: Vec<_> = ALL.iter().map(|desc| desc.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}
