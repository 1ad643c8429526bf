//! What must be cut out and put in so that a text says something else: as little as possible.

use super::emit;
use super::tree::{Document, Entry, Node, Shape};
use serde_yaml::{Mapping, Value};
use std::ops::Range;

/// None = the text has a style that is not understood.
pub fn apply(document: &Document<'_>, old: &Value, new: &Value) -> Option<String> {
    let text = document.text;
    let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let mut changes = Changes { text, newline, texts: Vec::new(), cuts: Vec::new() };
    document.root.iter().for_each(|root| written(root, &mut changes.texts));
    match &document.root {
        Some(root) => changes.node(root, old, new, false)?,
        None => changes.fill(document.start, new.as_mapping()?)?,
    }
    Some(changes.done())
}

struct Changes<'t> {
    text: &'t str,
    /// As the text ends its lines.
    newline: &'static str,
    /// Where scalars stand, keys among them, in their order: a `#` in one of them begins no comment.
    texts: Vec<Range<usize>>,
    cuts: Vec<(Range<usize>, String)>,
}

impl Changes<'_> {
    fn done(self) -> String {
        let mut cuts = self.cuts;
        cuts.sort_by_key(|(range, _)| (range.start, range.end));
        let mut out = String::with_capacity(self.text.len());
        let mut from = 0;
        for (range, put) in cuts {
            // Changes are inside one another only where a style was misunderstood; what comes out is then refused.
            out.push_str(self.text.get(from..range.start).unwrap_or(""));
            out.push_str(&put);
            from = from.max(range.end);
        }
        out.push_str(&self.text[from..]);
        out
    }

    /// A text without any value in it, but perhaps with comments.
    fn fill(&mut self, start: Option<usize>, map: &Mapping) -> Option<()> {
        let entries = map.iter().map(|(key, value)| emit::entry(key.as_str()?, value, 0, self.newline));
        let lines: Vec<_> = entries.collect::<Option<_>>()?;
        if !lines.is_empty() {
            let at = start.map_or(self.text.len(), |start| self.line_end(start));
            self.lines_at(at, &lines);
        }
        Some(())
    }

    /// A value that the parent leaves in its place. `inside` = somewhere in brackets.
    fn node(&mut self, node: &Node, old: &Value, new: &Value, inside: bool) -> Option<()> {
        if old == new {
            return Some(());
        }
        match (&node.shape, old, new) {
            (Shape::Map { flow, entries }, Value::Mapping(old), Value::Mapping(new))
                if is_understood(entries, old) && entries.iter().any(|entry| entry.is_in(new)) =>
            {
                self.map(node, entries, old, new, inside || *flow)
            }
            (Shape::Seq { flow, items }, Value::Sequence(old), Value::Sequence(new))
                if old.len() == new.len() && items.len() == old.len() && can_stay(items, old, new) =>
            {
                for ((node, old), new) in items.iter().zip(old).zip(new) {
                    self.node(node, old, new, inside || *flow)?;
                }
                Some(())
            }
            // In brackets, or at the top: there is no key whose value it is.
            (Shape::Map { flow: true, .. } | Shape::Seq { flow: true, .. } | Shape::Scalar, ..) => {
                self.inline(node.start..node.end, emit::flow(new)?)
            }
            // The top, of which nothing stays.
            (Shape::Map { flow: false, entries }, Value::Mapping(old), Value::Mapping(new))
                if is_understood(entries, old) =>
            {
                let first = entries.first()?;
                let at = self.line_start(first.key_start);
                let indent = first.key_start - at;
                let lines =
                    new.iter().map(|(key, value)| emit::entry(key.as_str()?, value, indent, self.newline));
                let lines: Vec<_> = lines.collect::<Option<_>>()?;
                for entry in entries {
                    self.take_out(entry);
                }
                if !lines.is_empty() {
                    self.put_before(
                        at,
                        &lines.iter().map(|line| format!("{}{line}", " ".repeat(indent))).collect::<Vec<_>>(),
                    );
                }
                Some(())
            }
            _ => None,
        }
    }

    fn map(
        &mut self,
        node: &Node,
        entries: &[Entry],
        old: &Mapping,
        new: &Mapping,
        flow: bool,
    ) -> Option<()> {
        for (index, entry) in entries.iter().enumerate() {
            let key = entry.key.as_deref()?;
            match (old.get(key), new.get(key)) {
                (Some(before), Some(after)) if before == after => {}
                (Some(before), Some(after)) => self.value(entry, before, after, flow)?,
                (Some(_), None) if flow => self.take_out_of_brackets(entries, index, new),
                (Some(_), None) => self.take_out_of_lines(entries, index),
                (None, _) => return None,
            }
        }
        let added: Vec<_> = new.iter().filter(|(key, _)| !old.contains_key(*key)).collect();
        let last = entries.last()?;
        if added.is_empty() {
            return Some(());
        }
        if flow {
            // Behind the last that stays.
            let stays = entries.iter().rev().find(|entry| entry.is_in(new))?;
            let entry = |(key, value): &(&Value, &Value)| {
                Some(format!(", {}: {}", emit::scalar(key.as_str()?), emit::flow(value)?))
            };
            let added: Option<String> = added.iter().map(entry).collect();
            self.cuts.push((stays.value.end..stays.value.end, added?));
            return Some(());
        }
        let indent = self.column(entries.first()?.key_start);
        let line = |(key, value): &(&Value, &Value)| {
            Some(format!(
                "{}{}",
                " ".repeat(indent),
                emit::entry(key.as_str()?, value, indent, self.newline)?
            ))
        };
        let lines: Vec<_> = added.iter().map(line).collect::<Option<_>>()?;
        let at = match whole_end(&last.value) {
            // Behind what goes there is no place, and a text that ends with the file would get another end.
            _ if !last.is_in(new) => None,
            Some(end) => Some(end).filter(|_| self.text[..end].ends_with(['\n', '\r'])),
            None => Some(self.line_end(node.end)),
        };
        match at {
            Some(at) => self.lines_at(at, &lines),
            None => self.put_before(self.line_start(last.key_start), &lines),
        }
        Some(())
    }

    /// Gives a key another value.
    fn value(&mut self, entry: &Entry, old: &Value, new: &Value, flow: bool) -> Option<()> {
        let colon = entry.colon?;
        let stays = match (&entry.value.shape, old, new) {
            (Shape::Map { entries, .. }, Value::Mapping(old), Value::Mapping(new)) => {
                is_understood(entries, old) && entries.iter().any(|entry| entry.is_in(new))
            }
            (Shape::Seq { items, .. }, Value::Sequence(old), Value::Sequence(new)) => {
                old.len() == new.len() && items.len() == old.len() && can_stay(items, old, new)
            }
            _ => false,
        };
        if stays {
            return self.node(&entry.value, old, new, flow);
        }
        let end = entry.value.end;
        let tall = emit::is_tall(new) && !flow;
        let behind = &self.text[colon..end];
        let first = colon + behind.len() - behind.trim_start_matches([' ', '\t']).len();
        let same_line = !self.text[colon..entry.value.start.min(end)].contains(['\n', '\r']);
        let low = matches!(entry.value.shape, Shape::Scalar)
            || matches!(entry.value.shape, Shape::Map { flow: true, .. } | Shape::Seq { flow: true, .. });
        if !tall && low && same_line {
            return self.inline(first..end, emit::flow(new)?);
        }
        let text = match flow {
            true => format!(" {}", emit::flow(new)?),
            false => emit::behind_colon(new, self.column(entry.key_start), self.newline)?,
        };
        self.inline(colon..end, text)
    }

    /// Puts `text` in the place of a value, whose comments go above it.
    fn inline(&mut self, range: Range<usize>, text: String) -> Option<()> {
        let comments = self.comments(range.clone(), false);
        self.keep(range.start, &comments);
        self.cuts.push((range, text));
        Some(())
    }

    /// Takes an entry out with its lines.
    fn take_out(&mut self, entry: &Entry) {
        let start = self.line_start(entry.key_start);
        let end = self.line_end(entry.value.end);
        let comments = self.comments(entry.key_start..end, true);
        self.keep(start, &comments);
        self.cuts.push((start..self.behind_break(end), String::new()));
    }

    fn take_out_of_lines(&mut self, entries: &[Entry], index: usize) {
        let entry = &entries[index];
        let before = &self.text[self.line_start(entry.key_start)..entry.key_start];
        match entries.get(index + 1) {
            // The first of a map that begins behind the `-` of a list.
            Some(next) if !before.trim().is_empty() => {
                let range = entry.key_start..next.key_start;
                let comments = self.comments(range.clone(), true);
                self.keep(entry.key_start, &comments);
                self.cuts.push((range, String::new()));
            }
            _ => self.take_out(entry),
        }
    }

    fn take_out_of_brackets(&mut self, entries: &[Entry], index: usize, new: &Mapping) {
        // With the comma behind it, unless nothing that stays follows; then with the one before it.
        let stays_behind = entries[index + 1..].iter().any(|entry| entry.is_in(new));
        let range = match entries[..index].last() {
            Some(before) if !stays_behind => before.value.end..entries[index].value.end,
            _ => {
                let end = entries.get(index + 1).map_or(entries[index].value.end, |next| next.key_start);
                entries[index].key_start..end
            }
        };
        let comments = self.comments(range.clone(), false);
        self.keep(range.start, &comments);
        self.cuts.push((range, String::new()));
    }

    /// Puts lines where a line ends, or where one begins.
    fn lines_at(&mut self, at: usize, lines: &[String]) {
        let text = lines.join(self.newline);
        let begins = at == 0 || self.text[..at].ends_with(['\n', '\r']);
        let text = match begins {
            true => format!("{text}{}", self.newline),
            false => format!("{}{text}", self.newline),
        };
        self.cuts.push((at..at, text));
    }

    /// Puts lines above the one that begins at `at`.
    fn put_before(&mut self, at: usize, lines: &[String]) {
        let text: String = lines.iter().map(|line| format!("{line}{}", self.newline)).collect();
        self.cuts.push((at..at, text));
    }

    /// Puts comments above the line that `at` is on.
    fn keep(&mut self, at: usize, comments: &[String]) {
        if !comments.is_empty() {
            let start = self.line_start(at);
            let line = &self.text[start..];
            let indent = line.len() - line.trim_start_matches(' ').len();
            let lines: Vec<_> =
                comments.iter().map(|comment| format!("{}{comment}", " ".repeat(indent))).collect();
            self.put_before(start, &lines);
        }
    }

    /// The comments in a piece of text; with `whole_lines` only those that have a line of their own.
    fn comments(&self, range: Range<usize>, whole_lines: bool) -> Vec<String> {
        let mut comments = Vec::new();
        let mut at = range.start;
        while let Some(found) = self.text[at..range.end].find('#') {
            let hash = at + found;
            // Not one that stands in a text. They are in their order.
            let before = self.texts.partition_point(|text| text.start <= hash);
            if let Some(text) = self.texts[..before].last().filter(|text| text.end > hash) {
                at = text.end.min(range.end);
                continue;
            }
            let end = self.line_end(hash).min(range.end);
            let own = self.text[self.line_start(hash)..hash].trim().is_empty();
            if own || !whole_lines {
                comments.push(self.text[hash..end].to_owned());
            }
            at = end;
        }
        comments
    }

    fn line_start(&self, at: usize) -> usize {
        self.text[..at].rfind(['\n', '\r']).map_or(0, |end| end + 1)
    }

    /// Before the break of the line that `at` is on.
    fn line_end(&self, at: usize) -> usize {
        self.text[at..].find(['\n', '\r']).map_or(self.text.len(), |end| at + end)
    }

    fn behind_break(&self, at: usize) -> usize {
        let rest = &self.text[at..];
        let length = if rest.starts_with("\r\n") { 2 } else { usize::from(!rest.is_empty()) };
        at + length
    }

    /// Of what stands behind a `-` too.
    fn column(&self, at: usize) -> usize {
        self.text[self.line_start(at)..at].chars().count()
    }
}

impl Entry {
    fn is_in(&self, map: &Mapping) -> bool {
        self.key.as_deref().is_some_and(|key| map.contains_key(key))
    }
}

/// Whether both parsers see the same keys, all of them plain texts.
fn is_understood(entries: &[Entry], map: &Mapping) -> bool {
    entries.len() == map.len() && entries.iter().all(|entry| entry.is_in(map) && entry.colon.is_some())
}

/// Whether each item can be changed where it stands.
fn can_stay(items: &[Node], old: &[Value], new: &[Value]) -> bool {
    items.iter().zip(old).zip(new).all(|((node, old), new)| match (&node.shape, old, new) {
        _ if old == new => true,
        (Shape::Map { entries, .. }, Value::Mapping(old), Value::Mapping(new)) => {
            is_understood(entries, old) && entries.iter().any(|entry| entry.is_in(new))
        }
        (Shape::Scalar, _, new) => !emit::is_tall(new),
        _ => false,
    })
}

/// Where the last block scalar in a value is over, if the value ends with one.
fn whole_end(node: &Node) -> Option<usize> {
    match &node.shape {
        Shape::Block { whole_end } => Some(*whole_end),
        Shape::Map { flow: false, entries } => entries.last().and_then(|entry| whole_end(&entry.value)),
        Shape::Seq { flow: false, items } => items.last().and_then(whole_end),
        _ => None,
    }
}

fn written(node: &Node, texts: &mut Vec<Range<usize>>) {
    match &node.shape {
        Shape::Scalar | Shape::Block { .. } => texts.push(node.start..node.end),
        Shape::Null => {}
        Shape::Seq { items, .. } => items.iter().for_each(|item| written(item, texts)),
        Shape::Map { entries, .. } => {
            for entry in entries {
                if let Some(colon) = entry.colon {
                    texts.push(entry.key_start..colon);
                }
                written(&entry.value, texts);
            }
        }
    }
}
