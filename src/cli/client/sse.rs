//! Server-sent events: the lines of a stream become events (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).

/// Longest event, in bytes.
const MAX_EVENT: usize = 4 << 20;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// The last one that was sent, with this event or before it.
    pub id: Option<String>,
    /// `message` where the stream says nothing.
    pub kind: String,
    pub data: String,
}

/// What was read so far of a stream.
#[derive(Debug, Default)]
pub struct Parser {
    /// Without a line's end.
    rest: Vec<u8>,
    /// The last byte was a carriage return: a line feed behind it belongs to it.
    after_return: bool,
    begun: bool,
    /// As the lines have it.
    id: Option<String>,
    /// As of the last empty line.
    last: Option<String>,
    kind: String,
    data: Option<String>,
}

impl Parser {
    /// After which event to go on: also that of a block without data. What has begun and is not whole does not count.
    pub fn last_id(&self) -> Option<&str> {
        self.last.as_deref()
    }

    /// Takes the next bytes and gives the events that they complete.
    ///
    /// # Errors
    /// An event that is too long.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, &'static str> {
        let mut events = Vec::new();
        for &byte in bytes {
            let after_return = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => {
                    let line = std::mem::take(&mut self.rest);
                    events.extend(self.line(&String::from_utf8_lossy(&line)));
                }
                _ => self.rest.push(byte),
            }
            if self.rest.len() + self.data.as_ref().map_or(0, String::len) > MAX_EVENT {
                return Err("an event is too long");
            }
        }
        Ok(events)
    }

    fn line(&mut self, line: &str) -> Option<Event> {
        // A byte order mark may stand before everything.
        let line = if self.begun { line } else { line.trim_start_matches('\u{feff}') };
        self.begun = true;
        if line.is_empty() {
            self.last.clone_from(&self.id);
            let kind = std::mem::take(&mut self.kind);
            let data = self.data.take()?;
            let kind = if kind.is_empty() { "message".to_owned() } else { kind };
            return Some(Event { id: self.id.clone(), kind, data });
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => self.kind = value.to_owned(),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()).filter(|id| !id.is_empty()),
            // A comment has an empty name; others mean nothing here.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(id: Option<&str>, kind: &str, data: &str) -> Event {
        Event { id: id.map(str::to_owned), kind: kind.into(), data: data.into() }
    }

    const STREAM: &str = "\u{feff}: hello\n\nid: 7\nevent: log\ndata: {\"a\":1}\n\ndata:one\r\ndata: two\r\n\r\nevent: gap\nid: 9\rdata\r\rretry: 5\nnonsense\nevent: never\n\ndata: cut";

    fn expected() -> Vec<Event> {
        vec![
            event(Some("7"), "log", "{\"a\":1}"),
            event(Some("7"), "message", "one\ntwo"),
            event(Some("9"), "gap", ""),
        ]
    }

    #[test]
    fn lines_become_events() {
        assert_eq!(Parser::default().push(STREAM.as_bytes()).unwrap(), expected());
    }

    #[test]
    fn an_id_counts_alone_and_not_before_its_block_is_whole() {
        let mut parser = Parser::default();
        assert_eq!(parser.push(b"retry: 1\nid: b-1\n\n").unwrap(), []);
        assert_eq!(parser.last_id(), Some("b-1"));
        assert_eq!(parser.push(b"id: b-2\nevent: log\ndata: cut").unwrap(), []);
        assert_eq!(parser.last_id(), Some("b-1"));
        assert_eq!(parser.push(b"\n\n").unwrap(), [event(Some("b-2"), "log", "cut")]);
        assert_eq!(parser.last_id(), Some("b-2"));
    }

    #[test]
    fn an_event_without_end_is_refused() {
        assert!(Parser::default().push(&vec![b'x'; MAX_EVENT + 1]).is_err());
        let lines = "data: xxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n".repeat(MAX_EVENT / 16);
        assert!(Parser::default().push(lines.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn the_same_events_come_in_whatever_pieces(cut in 0..STREAM.len(), size in 1usize..9) {
            let (mut parser, mut events) = (Parser::default(), Vec::new());
            events.extend(parser.push(&STREAM.as_bytes()[..cut]).unwrap());
            for piece in STREAM.as_bytes()[cut..].chunks(size) {
                events.extend(parser.push(piece).unwrap());
            }
            prop_assert_eq!(events, expected());
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = Parser::default().push(&bytes);
        }
    }
}
