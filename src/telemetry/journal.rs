//! systemd's journal in its native protocol (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>): one datagram an event.
//! Events are encoded where they happen and sent by the log's thread, since a full journal blocks its senders.
//!
//! `journalctl` shows nothing but the message: it ends with the fields, which are also fields of the journal's.

use super::queue::Queue;
use std::fmt::{Debug, Write};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

pub const SOCKET: &str = "/run/systemd/journal/socket";

/// Bytes of one value; the rest is cut, so that a datagram fits into a socket's buffer.
const VALUE_LIMIT: usize = 96 << 10;

pub struct JournalLayer {
    queue: Arc<Queue>,
}

/// Writes the fields of one event.
struct Encoder {
    record: Vec<u8>,
    message: String,
    /// As they are shown behind the message.
    shown: String,
}

pub fn connect() -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(SOCKET)?;
    Ok(socket)
}

/// Sends each record as a datagram. What the journal does not take is lost: there is nobody to tell.
pub fn send(socket: &UnixDatagram, records: &[u8], ends: &[usize]) {
    let mut start = 0;
    for end in ends {
        let _ = socket.send(&records[start..*end]);
        start = *end;
    }
}

impl JournalLayer {
    pub fn new(queue: Arc<Queue>) -> Self {
        JournalLayer { queue }
    }
}

impl<S: Subscriber> Layer<S> for JournalLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let meta = event.metadata();
        let mut encoder =
            Encoder { record: Vec::with_capacity(512), message: String::new(), shown: String::new() };
        // The numbers of syslog(3).
        let priority = match *meta.level() {
            Level::ERROR => "3",
            Level::WARN => "4",
            Level::INFO => "6",
            _ => "7",
        };
        encoder.field("PRIORITY", priority.as_bytes());
        encoder.field("SYSLOG_IDENTIFIER", b"buntime");
        encoder.field("BUNTIME_TARGET", meta.target().as_bytes());
        event.record(&mut encoder);
        self.queue.push(&encoder.end());
    }
}

impl Encoder {
    fn field(&mut self, name: &str, value: &[u8]) {
        let value = &value[..value.len().min(VALUE_LIMIT)];
        self.record.extend_from_slice(name.as_bytes());
        if value.contains(&b'\n') {
            self.record.push(b'\n');
            self.record.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            self.record.push(b'=');
        }
        self.record.extend_from_slice(value);
        self.record.push(b'\n');
    }

    fn end(mut self) -> Vec<u8> {
        let message = std::mem::take(&mut self.message) + &self.shown;
        self.field("MESSAGE", message.as_bytes());
        self.record
    }

    fn value(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message = value.to_owned();
            return;
        }
        // What is no word has quotes. Writing to a String does not fail.
        let is_word = !value.is_empty() && value.chars().all(|c| c.is_ascii_graphic() && c != '"');
        let _ = if is_word {
            write!(self.shown, " {}={value}", field.name())
        } else {
            write!(self.shown, " {}={value:?}", field.name())
        };
        let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        let name: String = "BUNTIME_".chars().chain(field.name().chars().map(letter)).collect();
        self.field(&name, value.as_bytes());
    }
}

impl Visit for Encoder {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.value(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        // Writing to a String fails only if the value's own `fmt` does; what it wrote so far is kept.
        let _ = write!(text, "{value:?}");
        self.value(field, &text);
    }
}

#[cfg(test)]
mod tests {
    use super::super::queue::testing;
    use super::*;
    use std::time::Duration;
    use tracing_subscriber::prelude::*;

    #[test]
    fn an_event_is_encoded_with_priority_and_upper_case_fields_which_its_message_shows_too() {
        let (queue, output) = testing::collecting();
        let subscriber = tracing_subscriber::registry().with(JournalLayer::new(Arc::clone(&queue)));
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(target: "buntime::http", app = "shop", request_id = 7, why = "a b", "two\nlines");
        });
        queue.flush(Duration::from_secs(60));
        let mut expected = b"PRIORITY=4\nSYSLOG_IDENTIFIER=buntime\nBUNTIME_TARGET=buntime::http\n".to_vec();
        expected.extend_from_slice(b"BUNTIME_APP=shop\nBUNTIME_REQUEST_ID=7\nBUNTIME_WHY=a b\n");
        let message = b"two\nlines app=shop request_id=7 why=\"a b\"";
        expected.extend_from_slice(b"MESSAGE\n\x29\0\0\0\0\0\0\0");
        expected.extend_from_slice(message);
        expected.push(b'\n');
        assert_eq!(String::from_utf8_lossy(&output.lock().unwrap()), String::from_utf8_lossy(&expected));
    }

    #[test]
    fn each_record_is_a_datagram_of_its_own() {
        let (socket, journal) = UnixDatagram::pair().unwrap();
        send(&socket, b"A=1\nB=2\n", &[4, 8]);
        let mut buffer = [0; 16];
        for expected in [&b"A=1\n"[..], b"B=2\n"] {
            let length = journal.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], expected);
        }
    }
}
