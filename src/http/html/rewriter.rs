//! A document through which the snippets go in: held back until their place is known, passed on untouched after.

use super::placement::{Placement, Scanner};
use super::pragma;
use super::snippets;
use crate::http::live::policy::Needs;
use crate::http::live::{Tag, policy};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

/// What is inserted, ready to stand in a document of any charset that extends ASCII.
#[derive(Clone, Debug)]
pub struct Snippets {
    /// Empty = none.
    pub base: String,
    pub script: String,
    pub live: Option<LiveScript>,
    /// False: a fragment, which has no head, is left as it is.
    pub fragments: bool,
}

/// The script of live reload, and what it takes to run it.
#[derive(Clone, Debug)]
pub struct LiveScript {
    /// False: it goes into whole documents alone.
    pub fragments: bool,
    pub tag: Tag,
    pub needs: Needs,
    /// What the policies in the response's head let it have.
    pub nonce: Option<String>,
}

/// Takes a document in pieces and gives it out with the snippets in it.
pub struct Rewriter {
    snippets: Snippets,
    /// None = the place is known, all is given out.
    scanner: Option<Scanner>,
    held: BytesMut,
}

/// Text in the place of what stood from one offset to another.
struct Edit {
    from: usize,
    to: usize,
    text: String,
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
            let edits = self.edits(&document, &placement);
            let end = edits.iter().map(|edit| edit.to).max().unwrap_or(0);
            out.push_back(apply(&document[..end], &edits));
            document = document.split_off(end);
        }
        if !document.is_empty() {
            out.push_back(document);
        }
    }

    /// What changes in a document, in order.
    fn edits(&self, document: &[u8], placement: &Placement) -> Vec<Edit> {
        let Snippets { base, script, live, .. } = &self.snippets;
        let insert = |at, text| Edit { from: at, to: at, text };
        let mut edits = Vec::new();
        if let Some(at) = placement.base {
            edits.push(insert(at, base.clone()));
        }
        let mut scripts = script.clone();
        let live = live.as_ref().filter(|live| live.fragments || placement.document);
        if let Some(LiveScript { tag, needs, nonce, .. }) = live {
            let policies: Vec<_> =
                placement.pragmas.iter().filter_map(|pragma| pragma::policy(document, pragma)).collect();
            let nonce = nonce.clone().or_else(|| {
                let known =
                    policies.iter().find_map(|policy| snippets::nonce(&policy.text)).map(str::to_owned);
                let wanted = || policies.iter().any(|policy| policy::asks_for_nonce(&policy.text));
                known.or_else(|| wanted().then(policy::new_nonce))
            });
            for policy in policies {
                if let Some(text) = needs.amend(&policy.text, nonce.as_deref()) {
                    let (from, to) = policy.at;
                    edits.push(Edit { from, to, text: pragma::value(&text, policy.is_quoted) });
                }
            }
            scripts.push_str(&tag.element(nonce.as_deref()));
        }
        edits.push(insert(placement.script, scripts));
        // Stable: the base goes before the script where both have the same place.
        edits.sort_by_key(|edit| edit.from);
        edits
    }
}

fn apply(document: &[u8], edits: &[Edit]) -> Bytes {
    let added: usize = edits.iter().map(|edit| edit.text.len()).sum();
    let mut changed = BytesMut::with_capacity(document.len() + added);
    let mut copied = 0;
    for edit in edits {
        changed.extend_from_slice(&document[copied..edit.from]);
        changed.extend_from_slice(edit.text.as_bytes());
        copied = edit.to;
    }
    changed.freeze()
}
