//! Where in a document the base goes: what a browser takes as the head (HTML §13.2.6.4), as far as that needs.

use super::tokenizer::{Found, Pragma, Token, Tokenizer, Word};

/// How far into a document a `<base>` of its own is looked for. So much of it may be held back.
pub const LIMIT: usize = 64 << 10;

/// Offsets at which to insert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// None = the head has a `<base href>` already.
    pub base: Option<usize>,
    /// Not before `base`. Behind a leading `<meta charset>`, which must stay within the first 1024 bytes.
    pub script: usize,
    /// False for a fragment: no doctype, no `<html>`, no `<head>` were seen.
    pub document: bool,
    /// Where `<meta http-equiv>` stand in the head, in their order.
    pub pragmas: Vec<Pragma>,
}

/// Reads a document up to the end of its head.
#[derive(Debug)]
pub struct Scanner {
    tokenizer: Tokenizer,
    /// Behind `<head>`, or before what implies it.
    head: Option<usize>,
    script: usize,
    /// Only `meta` and `title` were seen in the head.
    leading: bool,
    has_base: bool,
    document: bool,
    pragmas: Vec<Pragma>,
    /// Open templates. What they hold is no part of the document.
    templates: u32,
}

impl Scanner {
    pub fn new() -> Scanner {
        Scanner {
            tokenizer: Tokenizer::new(),
            head: None,
            script: 0,
            leading: true,
            has_base: false,
            document: false,
            pragmas: Vec::new(),
            templates: 0,
        }
    }

    /// Reads on. The answer depends on the bytes only, not on how they are cut into pieces.
    pub fn read(&mut self, bytes: &[u8]) -> Option<Placement> {
        for byte in bytes {
            let ended = self.tokenizer.take(*byte).is_some_and(|found| self.see(found));
            if ended || self.tokenizer.position() == LIMIT {
                // Without a head so far: between two tokens the base implies one, and what follows is still right.
                let head = self.head.unwrap_or(self.tokenizer.boundary());
                return Some(self.placement(head));
            }
        }
        None
    }

    /// The document has ended within its head. None = it has no element and no text: nothing needs a base.
    pub fn end(&self) -> Option<Placement> {
        self.head.map(|head| self.placement(head))
    }

    fn placement(&self, head: usize) -> Placement {
        Placement {
            base: (!self.has_base).then_some(head),
            script: self.script.max(head),
            document: self.document,
            pragmas: self.pragmas.clone(),
        }
    }

    /// True if the head ends here.
    fn see(&mut self, found: Found) -> bool {
        if self.head.is_some() {
            return self.in_head(found);
        }
        match found.token {
            Token::Doctype => self.document = true,
            Token::Start { name, .. } if name.as_bytes() == b"html" => self.document = true,
            Token::Start { name, .. } if name.as_bytes() == b"head" => {
                self.document = true;
                self.head = Some(found.end);
            }
            Token::End { name } if !closes_head(name) => {}
            _ => {
                self.head = Some(found.start);
                return self.in_head(found);
            }
        }
        false
    }

    fn in_head(&mut self, found: Found) -> bool {
        if self.templates > 0 {
            match found.token {
                Token::Start { name, .. } if name.as_bytes() == b"template" => self.templates += 1,
                Token::End { name } if name.as_bytes() == b"template" => self.templates -= 1,
                _ => {}
            }
            return false;
        }
        match found.token {
            Token::Text => true,
            Token::Doctype => false,
            Token::End { name } => closes_head(name),
            Token::Start { name, has_href, has_charset, pragma } => {
                if name.as_bytes() == b"meta" {
                    self.pragmas.extend(pragma);
                }
                match name.as_bytes() {
                    b"meta" if has_charset && self.leading => self.script = found.end,
                    b"meta" | b"title" | b"html" | b"head" => {}
                    b"base" => self.has_base |= has_href,
                    b"basefont" | b"bgsound" | b"link" | b"noscript" | b"noframes" | b"style" | b"script" => {
                        self.leading = false;
                    }
                    b"template" => {
                        self.leading = false;
                        self.templates = 1;
                    }
                    _ => return true,
                }
                false
            }
        }
    }
}

/// Other end tags mean nothing in a head or before it.
fn closes_head(name: Word) -> bool {
    matches!(name.as_bytes(), b"head" | b"body" | b"html" | b"br")
}
