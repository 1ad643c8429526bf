//! The manifest of an app: typed, validated values with their defaults.
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    pub name: Option<String>,
    pub version: Option<String>,
    pub enabled: bool,
    /// Relative path that stays inside the app.
    pub entrypoint: Option<String>,
    pub env: BTreeMap<String, String>,
    pub env_prefix: Vec<String>,
    pub env_passthrough: Vec<String>,
    /// Zero = ephemeral: a fresh worker for every request.
    pub ttl: Duration,
    pub idle_timeout: Duration,
    pub start_timeout: Duration,
    pub timeout: Duration,
    /// Zero = none.
    pub stream_timeout: Duration,
    pub drain_timeout: Duration,
    /// Zero = no limit.
    pub max_requests: u64,
    /// Bytes.
    pub max_body_size: u64,
    /// Bytes of proportional memory (PSS).
    pub max_memory: Option<u64>,
    pub concurrency: u32,
    pub instances: Instances,
    pub queue: Queue,
    pub low_memory: bool,
    pub inject_base: bool,
    /// Whether unsafe requests of browsers must come from the site itself; none = those with a cookie.
    pub csrf: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Instances {
    pub min: u32,
    pub max: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Queue {
    pub size: u32,
    pub timeout: Duration,
}

impl Default for Manifest {
    fn default() -> Self {
        Manifest {
            name: None,
            version: None,
            enabled: true,
            entrypoint: None,
            env: BTreeMap::new(),
            env_prefix: vec!["PUBLIC_".into(), "VITE_".into()],
            env_passthrough: Vec::new(),
            ttl: Duration::from_secs(600),
            idle_timeout: Duration::from_secs(60),
            start_timeout: Duration::from_secs(30),
            timeout: Duration::from_secs(30),
            stream_timeout: Duration::from_secs(300),
            drain_timeout: Duration::from_secs(600),
            max_requests: 0,
            max_body_size: 10 << 20,
            max_memory: None,
            concurrency: 1000,
            instances: Instances { min: 0, max: 1 },
            queue: Queue { size: 1000, timeout: Duration::from_secs(10) },
            low_memory: false,
            inject_base: false,
            csrf: None,
        }
    }
}
