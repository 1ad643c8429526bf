//! Whether the limit on descriptors fits what the configuration allows.

use crate::config::Config;
use nix::sys::resource::{Resource, getrlimit};

/// Descriptors that one worker takes here: its link, once more while that is full, two pipes, its process twice, and two for a moment
/// while it is started.
const EACH_WORKER: u64 = 8;
/// What the supervisor has open itself: listeners, the database, the directories that workers are kept from.
const OWN: u64 = 40;

/// Connections without which it is of no use.
const FEW: u64 = 8;

/// How a limit and a configuration go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    Enough,
    /// With all connections and workers that there may be, something will be refused.
    Tight {
        wanted: u64,
    },
    /// Not even one app and its clients have room.
    Hopeless {
        least: u64,
    },
}

impl Fit {
    pub fn of(limit: u64, config: &Config) -> Fit {
        Fit::between(limit, config.max_connections, config.pool_size, config.spares)
    }

    fn between(limit: u64, connections: usize, pool_size: usize, spares: usize) -> Fit {
        let workers = |count: usize| (count as u64).saturating_mul(EACH_WORKER);
        let least = OWN.saturating_add(workers(spares.saturating_add(1))).saturating_add(FEW);
        let wanted =
            OWN.saturating_add(workers(pool_size.saturating_add(spares))).saturating_add(connections as u64);
        match limit {
            _ if limit < least => Fit::Hopeless { least },
            _ if limit < wanted => Fit::Tight { wanted },
            _ => Fit::Enough,
        }
    }
}

/// Descriptors that this process may have open; none = the system does not say.
pub fn descriptors() -> Option<u64> {
    getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft)
}

/// Warns where not all that is allowed can be there at once.
///
/// # Errors
/// There is no room for anything.
pub fn check(config: &Config) -> anyhow::Result<()> {
    let Some(limit) = descriptors() else { return Ok(()) };
    match Fit::of(limit, config) {
        Fit::Enough => {}
        Fit::Tight { wanted } => tracing::warn!(
            limit,
            wanted,
            connections = config.max_connections,
            workers = config.pool_size + config.spares,
            hint = "raise it (`ulimit -Hn`, LimitNOFILE= of the service), or lower --max-connections or --pool-size",
            "the limit on descriptors is too low for as many connections and workers as there may be"
        ),
        Fit::Hopeless { least } => anyhow::bail!(
            "this process may have {limit} descriptors open, and it takes at least {least}\n\n\
             hint: raise the limit: `ulimit -Hn`, or LimitNOFILE= of the service"
        ),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_fits_all_connections_and_workers_or_is_told_to_be_tight_or_hopeless() {
        let (connections, pool_size, spares) = (100, 5, 1);
        let wanted = 40 + 6 * 8 + 100;
        let fit = |limit| Fit::between(limit, connections, pool_size, spares);
        assert_eq!([wanted, wanted - 1].map(fit), [Fit::Enough, Fit::Tight { wanted }]);
        assert_eq!([64, 63].map(fit), [Fit::Tight { wanted }, Fit::Hopeless { least: 64 }]);
        assert_eq!(Fit::between(u64::MAX, usize::MAX, usize::MAX, usize::MAX), Fit::Enough);
    }
}
