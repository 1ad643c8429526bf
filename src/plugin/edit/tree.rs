//! Where everything in a YAML text begins and ends, in bytes.

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

/// Characters between two remembered places.
const STRIDE: usize = 256;

pub struct Document<'t> {
    pub text: &'t str,
    /// None = there is nothing in it.
    pub root: Option<Node>,
    /// Behind a `---`, where there is one.
    pub start: Option<usize>,
}

/// A value. Its anchor and its tag may stand before its start.
pub struct Node {
    pub start: usize,
    /// Without white space, comments and empty lines behind it.
    pub end: usize,
    pub shape: Shape,
}

pub enum Shape {
    /// Nothing is written.
    Null,
    /// On lines of its own or not, plain, quoted, or an alias.
    Scalar,
    /// `|` or `>`. The header stands before the start. Where the empty lines at its end are over.
    Block {
        whole_end: usize,
    },
    Seq {
        flow: bool,
        items: Vec<Node>,
    },
    Map {
        flow: bool,
        entries: Vec<Entry>,
    },
}

pub struct Entry {
    /// What the key says; none = it is no plain text, or has a style of its own (`? `).
    pub key: Option<String>,
    pub key_start: usize,
    /// Behind the colon; none = there is no colon where one is expected.
    pub colon: Option<usize>,
    pub value: Node,
}

/// A map or a list that is not closed yet.
struct Open {
    start: usize,
    flow: bool,
    is_map: bool,
    nodes: Vec<(Node, Option<String>)>,
}

impl<'t> Document<'t> {
    /// None = it is not understood.
    pub fn parse(text: &'t str) -> Option<Document<'t>> {
        let places = Places::new(text);
        let mut document = Document { text, root: None, start: None };
        let mut open: Vec<Open> = Vec::new();
        // The parser wants no tab behind a colon; a space is as long.
        let spaced = text.replace(":\t", ": ");
        for event in Parser::new_from_str(&spaced) {
            let (event, span) = event.ok()?;
            let (start, end) = places.bytes(span);
            let (node, key) = match event {
                Event::DocumentStart(true) => {
                    document.start = Some(end);
                    continue;
                }
                Event::MappingStart(..) | Event::SequenceStart(..) => {
                    let flow = text[start..end].starts_with(['{', '[']);
                    let is_map = matches!(event, Event::MappingStart(..));
                    open.push(Open { start, flow, is_map, nodes: Vec::new() });
                    continue;
                }
                Event::MappingEnd | Event::SequenceEnd => (open.pop()?.close(text, start), None),
                Event::Scalar(value, style, ..) => {
                    let node = scalar(text, start, end, style, value.is_empty());
                    (node, Some(value.into_owned()))
                }
                Event::Alias(_) => (written(text, start, end), None),
                _ => continue,
            };
            match open.last_mut() {
                Some(parent) => parent.nodes.push((node, key)),
                None => document.root = Some(node),
            }
        }
        if matches!(document.root, Some(Node { shape: Shape::Null, .. })) {
            document.root = None;
        }
        Some(document)
    }
}

impl Open {
    /// `at` is where the end was seen: of a flow collection that is its last character.
    fn close(self, text: &str, at: usize) -> Node {
        let Open { start, flow, is_map, nodes } = self;
        let last = nodes.last().map_or(start, |(node, _)| node.end);
        let shape = match is_map {
            false => Shape::Seq { flow, items: nodes.into_iter().map(|(node, _)| node).collect() },
            true => {
                let mut entries = Vec::with_capacity(nodes.len() / 2);
                let mut nodes = nodes.into_iter();
                while let (Some((key, name)), Some((value, _))) = (nodes.next(), nodes.next()) {
                    entries.push(entry(text, key, name, value));
                }
                Shape::Map { flow, entries }
            }
        };
        let end = match (flow, &shape) {
            (true, _) => at + 1,
            (false, Shape::Map { entries, .. }) => entries.last().map_or(start, |entry| entry.value.end),
            (false, _) => last,
        };
        Node { start, end, shape }
    }
}

fn entry(text: &str, key: Node, name: Option<String>, mut value: Node) -> Entry {
    let behind = &text[key.end..];
    let gap = behind.len() - behind.trim_start_matches([' ', '\t']).len();
    let colon = behind[gap..].starts_with(':').then_some(key.end + gap + 1);
    if matches!(value.shape, Shape::Null) {
        value.end = colon.unwrap_or(key.end);
        value.start = value.end;
    }
    let before = text[..key.start].trim_end_matches([' ', '\t']);
    // `? key`, and keys with an anchor or a tag, are left alone.
    let plain = !before.ends_with('?') && matches!(key.shape, Shape::Scalar);
    Entry { key: name.filter(|_| plain), key_start: key.start, colon, value }
}

fn scalar(text: &str, start: usize, end: usize, style: ScalarStyle, empty: bool) -> Node {
    match style {
        // What stands there is the end of the document, unless it is a tag or an anchor.
        ScalarStyle::Plain if empty && !text[start..end].starts_with(['!', '&']) => {
            written(text, start, start)
        }
        ScalarStyle::Plain => written(text, start, end),
        ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => {
            let quote = if style == ScalarStyle::SingleQuoted { '\'' } else { '"' };
            // An anchor or a tag may come first. Neither has a quote in it.
            let open = text[start..end].find(quote).map_or(start, |at| start + at);
            Node { start, end: closing(text, open, quote).unwrap_or(end), shape: Shape::Scalar }
        }
        ScalarStyle::Literal | ScalarStyle::Folded => {
            let trimmed = text[start..end].trim_end();
            // One without content ends on the line of its header.
            let end_of_text = match trimmed.is_empty() {
                true => text[..start].trim_end().len(),
                false => start + trimmed.len(),
            };
            Node { start, end: end_of_text, shape: Shape::Block { whole_end: end } }
        }
    }
}

fn written(text: &str, start: usize, end: usize) -> Node {
    let trimmed = text[start..end].trim_end();
    match trimmed.is_empty() {
        true => {
            let end = text[..start].trim_end().len();
            Node { start: end, end, shape: Shape::Null }
        }
        false => Node { start, end: start + trimmed.len(), shape: Shape::Scalar },
    }
}

/// Behind the quote that closes the one at `open`.
fn closing(text: &str, open: usize, quote: char) -> Option<usize> {
    let mut rest = text[open + 1..].char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        match c {
            '\\' if quote == '"' => drop(rest.next()),
            c if c == quote => match rest.peek() {
                Some((_, next)) if *next == quote && quote == '\'' => drop(rest.next()),
                _ => return Some(open + 1 + at + 1),
            },
            _ => {}
        }
    }
    None
}

/// The parser counts characters, a text is cut by bytes.
struct Places<'t> {
    text: &'t str,
    /// The byte of every `STRIDE`th character; none are needed where each character is a byte.
    every: Vec<usize>,
}

impl<'t> Places<'t> {
    fn new(text: &'t str) -> Places<'t> {
        let every = match text.is_ascii() {
            true => Vec::new(),
            false => text.char_indices().step_by(STRIDE).map(|(at, _)| at).collect(),
        };
        Places { text, every }
    }

    fn bytes(&self, span: Span) -> (usize, usize) {
        (self.byte(span.start.index()), self.byte(span.end.index()))
    }

    fn byte(&self, character: usize) -> usize {
        if self.every.is_empty() {
            return character.min(self.text.len());
        }
        let Some(&near) = self.every.get(character / STRIDE) else { return self.text.len() };
        let rest = &self.text[near..];
        rest.char_indices().nth(character % STRIDE).map_or(self.text.len(), |(at, _)| near + at)
    }
}
