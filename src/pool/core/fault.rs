//! Wrong decisions, for tests that show that the simulation notices them.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A draining worker gets requests again when it has room.
    ChoosesDraining,
    EvictsBusy,
    /// A start under way is not seen.
    StartsTwice,
    /// Those who wait for a start that fails are dropped without an answer.
    ForgetsWaiters,
    /// An exchange whose head was reported never ends.
    LeaksInFlight,
    NeverExpires,
    IgnoresConcurrency,
    ReusesEphemeral,
    Overfills,
    HoardsSpares,
    /// The old workers go before a new one is Ready.
    LeavesGap,
    /// A worker that comes to rest is not seen as room for somebody who waits.
    ForgetsRoom,
    DrainsForEver,
    /// A request goes ahead to a worker although another one could have it sooner.
    SendsAheadAnyway,
    /// Restarted workers go before others are Ready.
    RestartsAtOnce,
    RetiresMinimum,
    StartsHeld,
    NeverExpiresStarters,
    /// Whoever was sent ahead to a worker that fails to start hears nothing.
    ForgetsSent,
    EvictsPinned,
    /// Whoever has a request goes before a pinned version, whatever rests.
    KeepsPinnedWaiting,
}
