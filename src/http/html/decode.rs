//! Content codings undone, a bounded piece at a time (RFC 9110 §8.4.1), whatever the ratio of compression.

use super::gzip::Gzip;
use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use bytes::{Buf, Bytes};
use flate2::{Decompress, FlushDecompress, Status};
use http::HeaderMap;
use http::header;
use std::io;
use zstd::stream::raw::{DParameter, InBuffer, Operation, OutBuffer};

/// Most bytes that one step gives.
const PIECE: usize = 32 << 10;
/// Largest window of zstd on the web: 8 MiB (RFC 9659 §3).
const ZSTD_WINDOW_LOG: u32 = 23;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

/// How a response's content is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coded {
    Plain,
    By(Coding),
    /// In a way that we cannot undo, or several times.
    Unknown,
}

impl Coded {
    pub fn of(headers: &HeaderMap) -> Coded {
        let mut lines = headers.get_all(header::CONTENT_ENCODING).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else {
            let none = headers.contains_key(header::CONTENT_ENCODING);
            return if none { Coded::Unknown } else { Coded::Plain };
        };
        match line.to_str().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "identity" => Coded::Plain,
            "gzip" | "x-gzip" => Coded::By(Coding::Gzip),
            "deflate" => Coded::By(Coding::Deflate),
            "br" => Coded::By(Coding::Brotli),
            "zstd" => Coded::By(Coding::Zstd),
            _ => Coded::Unknown,
        }
    }
}

/// Undoes a coding. Bounded in memory by the coding's window.
pub struct Decoder {
    engine: Engine,
    input: Bytes,
    /// All that this input gives was given. (To ask again without need is an error to zstd.)
    drained: bool,
    output: Box<[u8]>,
}

enum Engine {
    Gzip(Box<Gzip>),
    /// Not begun: the first byte tells whether it has the frame that the standard asks for.
    Deflate,
    Inflate(Inflate),
    Brotli(Box<Brotli>),
    Zstd(Zstd),
}

/// Bytes taken of the input and given to the output.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub taken: usize,
    pub given: usize,
}

impl Decoder {
    pub fn new(coding: Coding) -> io::Result<Decoder> {
        let engine = match coding {
            Coding::Gzip => Engine::Gzip(Box::new(Gzip::new())),
            Coding::Deflate => Engine::Deflate,
            Coding::Brotli => Engine::Brotli(Box::new(Brotli::new())),
            Coding::Zstd => Engine::Zstd(Zstd::new()?),
        };
        Ok(Decoder { engine, input: Bytes::new(), drained: true, output: vec![0; PIECE].into_boxed_slice() })
    }

    /// Gives the decoder its next input. What it had must have been used up: [`Decoder::next`] gave none.
    pub fn feed(&mut self, input: Bytes) {
        debug_assert!(self.input.is_empty());
        self.input = input;
        self.drained = false;
    }

    /// The next piece of output; none = it needs more input.
    ///
    /// # Errors
    /// The input is not what its coding says.
    pub fn next(&mut self) -> io::Result<Option<Bytes>> {
        while !self.drained {
            let step = self.engine.step(&self.input, &mut self.output)?;
            self.input.advance(step.taken);
            if step.given > 0 {
                return Ok(Some(Bytes::copy_from_slice(&self.output[..step.given])));
            }
            if step.taken == 0 {
                if !self.input.is_empty() {
                    return Err(invalid("a coded stream that makes no progress"));
                }
                self.drained = true;
            }
        }
        Ok(None)
    }

    /// # Errors
    /// The input ended in the middle.
    pub fn finish(&self) -> io::Result<()> {
        let complete = match &self.engine {
            Engine::Gzip(gzip) => gzip.may_end(),
            Engine::Deflate => true,
            Engine::Inflate(inflate) => inflate.ended(),
            Engine::Brotli(brotli) => brotli.ended || !brotli.begun,
            Engine::Zstd(zstd) => zstd.between_frames,
        };
        if complete { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

impl Engine {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> io::Result<Step> {
        match self {
            Engine::Gzip(gzip) => gzip.step(input, output),
            Engine::Deflate => {
                let Some(first) = input.first() else { return Ok(Step { taken: 0, given: 0 }) };
                // "deflate" means the zlib format, but some send the bare stream. Only zlib's first byte says
                // "method 8, window of at most 32 KiB".
                let zlib = first & 0x0f == 8 && first >> 4 <= 7;
                let mut inflate = if zlib { Inflate::zlib() } else { Inflate::raw() };
                let step = inflate.step_and_ignore_rest(input, output);
                *self = Engine::Inflate(inflate);
                step
            }
            Engine::Inflate(inflate) => inflate.step_and_ignore_rest(input, output),
            Engine::Brotli(brotli) => brotli.step(input, output),
            Engine::Zstd(zstd) => zstd.step(input, output),
        }
    }
}

/// A deflate stream, bare or in the zlib format.
pub struct Inflate {
    state: Decompress,
    ended: bool,
}

impl Inflate {
    pub fn raw() -> Inflate {
        Inflate { state: Decompress::new(false), ended: false }
    }

    fn zlib() -> Inflate {
        Inflate { state: Decompress::new(true), ended: false }
    }

    pub fn ended(&self) -> bool {
        self.ended
    }

    pub fn step(&mut self, input: &[u8], output: &mut [u8]) -> io::Result<Step> {
        let (taken, given) = (self.state.total_in(), self.state.total_out());
        if self.ended {
            return Ok(Step { taken: 0, given: 0 });
        }
        let status = self.state.decompress(input, output, FlushDecompress::None)?;
        self.ended = status == Status::StreamEnd;
        // Both are at most the length of a slice.
        Ok(Step {
            taken: (self.state.total_in() - taken) as usize,
            given: (self.state.total_out() - given) as usize,
        })
    }

    fn step_and_ignore_rest(&mut self, input: &[u8], output: &mut [u8]) -> io::Result<Step> {
        let step = self.step(input, output)?;
        Ok(if self.ended { Step { taken: input.len(), ..step } } else { step })
    }
}

struct Brotli {
    state: BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    begun: bool,
    ended: bool,
}

impl Brotli {
    /// Without the extension for windows over 16 MiB, which the web does not have.
    fn new() -> Brotli {
        let [a, b, c] = std::array::from_fn(|_| StandardAlloc::default());
        Brotli { state: BrotliState::new_strict(a, b, c), begun: false, ended: false }
    }

    fn step(&mut self, input: &[u8], output: &mut [u8]) -> io::Result<Step> {
        let everything = input.len();
        if self.ended {
            return Ok(Step { taken: everything, given: 0 });
        }
        self.begun |= !input.is_empty();
        let (mut left, mut taken, mut room, mut given, mut total) = (input.len(), 0, output.len(), 0, 0);
        let (left, room) = (&mut left, &mut room);
        let result = BrotliDecompressStream(
            left,
            &mut taken,
            input,
            room,
            &mut given,
            output,
            &mut total,
            &mut self.state,
        );
        match result {
            BrotliResult::ResultFailure => return Err(invalid("not a brotli stream")),
            BrotliResult::ResultSuccess => {
                self.ended = true;
                taken = everything;
            }
            BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {}
        }
        Ok(Step { taken, given })
    }
}

struct Zstd {
    state: zstd::stream::raw::Decoder<'static>,
    between_frames: bool,
}

impl Zstd {
    fn new() -> io::Result<Zstd> {
        let mut state = zstd::stream::raw::Decoder::new()?;
        state.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG))?;
        Ok(Zstd { state, between_frames: true })
    }

    fn step(&mut self, input: &[u8], output: &mut [u8]) -> io::Result<Step> {
        if self.between_frames && input.is_empty() {
            return Ok(Step { taken: 0, given: 0 });
        }
        let mut input = InBuffer::around(input);
        let mut output = OutBuffer::around(output);
        self.between_frames = self.state.run(&mut input, &mut output)? == 0;
        Ok(Step { taken: input.pos(), given: output.pos() })
    }
}

pub fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
