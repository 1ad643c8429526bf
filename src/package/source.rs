//! A compressed stream that is read within limits, and what its errors mean.

use super::{Code, Limits, PackageError};
use std::cell::Cell;
use std::io::{self, Read};

/// What of a source was read, and whether that failed.
#[derive(Default)]
pub(super) struct Gauge {
    pub packed: Cell<u64>,
    pub failed: Cell<bool>,
}

/// Counts what is read.
pub(super) struct Counted<'g, R> {
    pub inner: R,
    pub gauge: &'g Gauge,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer);
        match &read {
            Ok(count) => self.gauge.packed.set(self.gauge.packed.get() + *count as u64),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => self.gauge.failed.set(true),
        }
        read
    }
}

/// What comes out of a decoder.
pub(super) struct Stream<'a> {
    decoder: Box<dyn Read + 'a>,
    gauge: &'a Gauge,
    limits: &'a Limits,
    pub unpacked: u64,
}

impl<'a> Stream<'a> {
    pub fn new(decoder: Box<dyn Read + 'a>, gauge: &'a Gauge, limits: &'a Limits) -> Stream<'a> {
        Stream { decoder, gauge, limits, unpacked: 0 }
    }

    /// Reads some bytes; none = the end, and all checksums were right.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, PackageError> {
        loop {
            match self.decoder.read(buffer) {
                Ok(count) => {
                    self.unpacked += count as u64;
                    self.limits.check_ratio(self.unpacked, self.gauge.packed.get())?;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.judge(error)),
            }
        }
    }

    /// Fills the buffer as far as there is something.
    pub fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, PackageError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read(&mut buffer[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(filled)
    }

    /// The decoders say in words alone what is wrong; a test holds on to them.
    fn judge(&self, error: io::Error) -> PackageError {
        if self.gauge.failed.get() {
            return PackageError::io("read the archive", error);
        }
        let words = error.to_string();
        let says = |text: &str| words.contains(text);
        let (code, message) = if says("checksum") {
            (Code::Checksum, "its contents do not fit its checksum")
        } else if says("too much memory") {
            (Code::WindowTooLarge, "to unpack it would take more memory than is allowed")
        } else if self.unpacked > 0 && (says("invalid gzip header") || says("Unknown frame descriptor")) {
            (Code::TrailingData, "something stands behind its end")
        } else if error.kind() == io::ErrorKind::UnexpectedEof {
            (Code::Truncated, "it ends too early")
        } else {
            (Code::Corrupt, "it is damaged")
        };
        let mut refusal = PackageError::new(code, format!("the archive cannot be unpacked: {message}"));
        if code == Code::WindowTooLarge {
            let log = self.limits.window_log;
            refusal = refusal.hint(format!("compress it without `--long` and `--ultra` (window log {log})"));
        }
        refusal.cause = Some(error);
        refusal
    }
}
