//! The words for states and reasons, as the log and later the metrics and the API say them.

use super::types::{Reason, State};

impl State {
    pub const ALL: [State; 5] =
        [State::Creating, State::Ready, State::Active, State::Idle, State::Terminated];

    pub fn as_str(self) -> &'static str {
        match self {
            State::Creating => "creating",
            State::Ready => "ready",
            State::Active => "active",
            State::Idle => "idle",
            State::Terminated => "terminated",
        }
    }
}

impl Reason {
    /// In the order in which they are declared.
    pub const ALL: [Reason; 25] = [
        Reason::Request,
        Reason::Minimum,
        Reason::Prove,
        Reason::Replacement,
        Reason::Spare,
        Reason::Loaded,
        Reason::Idle,
        Reason::Ttl,
        Reason::Ephemeral,
        Reason::Evicted,
        Reason::MaxRequests,
        Reason::Memory,
        Reason::ScaleDown,
        Reason::Deploy,
        Reason::Removed,
        Reason::Restart,
        Reason::Operator,
        Reason::Retired,
        Reason::StartFailed,
        Reason::StartTimeout,
        Reason::Starved,
        Reason::Unresponsive,
        Reason::Protocol,
        Reason::Crash,
        Reason::Shutdown,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Request => "request",
            Reason::Minimum => "minimum",
            Reason::Prove => "prove",
            Reason::Replacement => "replacement",
            Reason::Spare => "spare",
            Reason::Loaded => "loaded",
            Reason::Idle => "idle",
            Reason::Ttl => "idle-ttl",
            Reason::Ephemeral => "ephemeral",
            Reason::Evicted => "evicted",
            Reason::MaxRequests => "max-requests",
            Reason::Memory => "memory",
            Reason::ScaleDown => "scale-down",
            Reason::Deploy => "deploy",
            Reason::Removed => "removed",
            Reason::Restart => "restart",
            Reason::Operator => "operator",
            Reason::Retired => "retired",
            Reason::StartFailed => "start-failed",
            Reason::StartTimeout => "start-timeout",
            Reason::Starved => "starved",
            Reason::Unresponsive => "unresponsive",
            Reason::Protocol => "protocol",
            Reason::Crash => "crash",
            Reason::Shutdown => "shutdown",
        }
    }

    /// Something went wrong.
    pub fn is_fault(self) -> bool {
        matches!(
            self,
            Reason::StartFailed
                | Reason::StartTimeout
                | Reason::Unresponsive
                | Reason::Protocol
                | Reason::Crash
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The compiler says which is missing here.
    fn next(reason: Reason) -> Option<Reason> {
        match reason {
            Reason::Request => Some(Reason::Minimum),
            Reason::Minimum => Some(Reason::Prove),
            Reason::Prove => Some(Reason::Replacement),
            Reason::Replacement => Some(Reason::Spare),
            Reason::Spare => Some(Reason::Loaded),
            Reason::Loaded => Some(Reason::Idle),
            Reason::Idle => Some(Reason::Ttl),
            Reason::Ttl => Some(Reason::Ephemeral),
            Reason::Ephemeral => Some(Reason::Evicted),
            Reason::Evicted => Some(Reason::MaxRequests),
            Reason::MaxRequests => Some(Reason::Memory),
            Reason::Memory => Some(Reason::ScaleDown),
            Reason::ScaleDown => Some(Reason::Deploy),
            Reason::Deploy => Some(Reason::Removed),
            Reason::Removed => Some(Reason::Restart),
            Reason::Restart => Some(Reason::Operator),
            Reason::Operator => Some(Reason::Retired),
            Reason::Retired => Some(Reason::StartFailed),
            Reason::StartFailed => Some(Reason::StartTimeout),
            Reason::StartTimeout => Some(Reason::Starved),
            Reason::Starved => Some(Reason::Unresponsive),
            Reason::Unresponsive => Some(Reason::Protocol),
            Reason::Protocol => Some(Reason::Crash),
            Reason::Crash => Some(Reason::Shutdown),
            Reason::Shutdown => None,
        }
    }

    #[test]
    fn all_reasons_are_among_all_and_stand_where_their_numbers_are() {
        let declared: Vec<Reason> =
            std::iter::successors(Some(Reason::Request), |reason| next(*reason)).collect();
        assert_eq!(declared, Reason::ALL);
        assert!(declared.iter().enumerate().all(|(number, reason)| *reason as usize == number));
    }
}
