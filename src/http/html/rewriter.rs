//! A document through which the snippets go in: held back until their place is known, passed on untouched after.

use super::placement::{Placement, Scanner};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

/// What is inserted, ready to stand in a document of any charset that extends ASCII.
#[derive(Clone, Debug)]
pub struct Snippets {
    pub base: String,
    pub script: String,
    /// False: a fragment, which has no head, is left as it is.
    pub fragments: bool,
}

/// Takes a document in pieces and gives it out with the snippets in it.
pub struct Rewriter {
    snippets: Snippets,
    /// None = the place is known, all is given out.
    scanner: Option<Scanner>,
    held: BytesMut,
}

impl Rewriter {
    pub fn new(snippets: Snippets) -> Rewriter {
        Rewriter { snippets, scanner: Some(Scanner::new()), held: BytesMut::new() }
    }

    /// Takes the next piece; what can be given out is put behind `out`.
    pub fn push(&mut self, piece: Bytes, out: &mut VecDeque<Bytes>) {
        let Some(scanner) = &mut self.scanner else {
            out.push_back(piece);
            return;
        };
        // UTF-16 with a byte order mark: nothing that we could insert would be right.
        let wide = self.held.is_empty() && matches!(piece.as_ref(), [0xfe | 0xff, ..]);
        let placement = if wide { None } else { scanner.read(&piece) };
        if placement.is_none() && !wide {
            self.held.extend_from_slice(&piece);
            return;
        }
        self.scanner = None;
        let document = match self.held.is_empty() {
            true => piece,
            false => {
                self.held.extend_from_slice(&piece);
                std::mem::take(&mut self.held).freeze()
            }
        };
        self.give(document, placement, out);
    }

    /// The document has ended.
    pub fn finish(&mut self, out: &mut VecDeque<Bytes>) {
        if let Some(scanner) = self.scanner.take() {
            let document = std::mem::take(&mut self.held).freeze();
            self.give(document, scanner.end(), out);
        }
    }

    fn give(&self, mut document: Bytes, placement: Option<Placement>, out: &mut VecDeque<Bytes>) {
        if let Some(placement) = placement.filter(|at| at.document || self.snippets.fragments) {
            let start = self.assemble(&document, placement);
            let rest = document.split_off(placement.script);
            out.push_back(start);
            document = rest;
        }
        if !document.is_empty() {
            out.push_back(document);
        }
    }

    /// The document up to the later of the two places, with what is inserted.
    fn assemble(&self, document: &[u8], placement: Placement) -> Bytes {
        let Snippets { base, script, .. } = &self.snippets;
        let mut start = BytesMut::with_capacity(placement.script + base.len() + script.len());
        let mut copied = 0;
        if let Some(at) = placement.base {
            start.extend_from_slice(&document[..at]);
            start.extend_from_slice(base.as_bytes());
            copied = at;
        }
        start.extend_from_slice(&document[copied..placement.script]);
        start.extend_from_slice(script.as_bytes());
        start.freeze()
    }
}
