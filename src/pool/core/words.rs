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
    pub const ALL: [Reason; 24] = [
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
