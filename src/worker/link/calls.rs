//! The calls of a script plugin's worker that are open, counted so that one that asks and never reads costs no more than
//! PROTOCOL.md allows.

use crate::wire::{MAX_CALLS, MAX_CALLS_BYTES, WireError};
use std::collections::HashMap;

/// A call is open until its RESULT has gone out.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// Bytes of each that has no answer yet.
    open: HashMap<u32, usize>,
    bytes: usize,
    /// Answers that are in the link's outbox.
    queued: usize,
    /// Answers that the driver is writing.
    leaving: usize,
}

impl Calls {
    /// # Errors
    /// The id is of one that has no answer yet, or there are too many, or of too many bytes.
    pub fn begin(&mut self, id: u32, bytes: usize) -> Result<(), WireError> {
        if self.open.len() + self.queued + self.leaving >= MAX_CALLS {
            return Err(WireError::OutOfRange("the number of open calls"));
        }
        if self.bytes + bytes > MAX_CALLS_BYTES {
            return Err(WireError::OutOfRange("the size of all open calls"));
        }
        if self.open.insert(id, bytes).is_some() {
            return Err(WireError::Unexpected("a CALL whose id is in use"));
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Its RESULT is in the outbox.
    pub fn answered(&mut self, id: u32) {
        if let Some(bytes) = self.open.remove(&id) {
            self.bytes -= bytes;
            self.queued += 1;
        }
    }

    /// What the driver was writing is written, and it takes what is in the outbox.
    pub fn turn_over(&mut self) {
        self.leaving = std::mem::take(&mut self.queued);
    }
}
