//! The steps of a start, and how long each one took.

use std::time::Duration;

/// The steps so far, for listings and for whoever has to find out why a start failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Journey {
    /// From the order to a process that runs.
    pub spawn: Option<Duration>,
    /// From the order to the shim's HELLO.
    pub connect: Option<Duration>,
    /// From the assignment to READY or FAILED.
    pub load: Option<Duration>,
}

impl Journey {
    /// Each step that was taken with its own time, in their order: `spawn` (the process), `connect` (the shim), `import` (the
    /// app). The first two of a worker that was a spare lie before anybody asked for the app.
    pub fn steps(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        let connect = self.connect.map(|connect| connect.saturating_sub(self.spawn.unwrap_or_default()));
        [("spawn", self.spawn), ("connect", connect), ("import", self.load)]
            .into_iter()
            .filter_map(|(name, took)| took.map(|took| (name, took)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_has_its_own_time_and_those_not_taken_are_left_out() {
        let millis = Duration::from_millis;
        let journey = Journey { spawn: Some(millis(3)), connect: Some(millis(20)), load: None };
        assert_eq!(journey.steps().collect::<Vec<_>>(), [("spawn", millis(3)), ("connect", millis(17))]);
        assert_eq!(Journey::default().steps().count(), 0);
    }
}
