//! What people read who sit at the terminal of `buntime dev`: a line for each request, on stdout.
//!
//! One for the process, as the log itself is, and none where nobody wants it.

use super::queue::Queue;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

static PRINTER: OnceLock<Printer> = OnceLock::new();

/// Longest path shown, in bytes.
const MAX_PATH: usize = 200;
/// How long the end of the process waits for a terminal that takes nothing.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Printer {
    queue: Arc<Queue>,
    colour: bool,
    /// Seconds by which clocks here are ahead of UTC.
    ahead: i64,
}

/// A request that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub method: &'a str,
    pub path: &'a str,
    /// None = there was no answer.
    pub status: Option<u16>,
    pub took: Duration,
    pub app: Option<&'a str>,
    /// The answer broke off.
    pub broken: bool,
}

/// The printer of this process, if it has one.
pub fn printer() -> Option<&'static Printer> {
    PRINTER.get()
}

impl Printer {
    /// Starts the one of this process. `ahead` is by how many seconds clocks here are ahead of UTC.
    ///
    /// # Errors
    /// Its thread cannot be started.
    pub fn start(ahead: i64) -> io::Result<&'static Printer> {
        let write = |records: &[u8], _: &[usize]| {
            // Whoever read it has gone.
            let mut stdout = io::stdout().lock();
            let _ = stdout.write_all(records).and_then(|()| stdout.flush());
        };
        // https://no-color.org
        let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        let printer = Printer { queue: Queue::start(write, |_| {})?, colour, ahead };
        Ok(PRINTER.get_or_init(|| printer))
    }

    pub fn request(&self, request: &Request<'_>) {
        self.queue.push(line(request, self.now(), self.colour).as_bytes());
    }

    /// A line of our own, with the time.
    pub fn note(&self, text: &str) {
        self.queue.push(note(text, self.now(), self.colour).as_bytes());
    }

    /// A text of our own, which may hold what terminals obey.
    pub fn print(&self, text: &str) {
        self.queue.push(text.as_bytes());
    }

    pub fn is_coloured(&self) -> bool {
        self.colour
    }

    /// Waits until all that was printed so far is written, at most a second.
    pub fn flush(&self) {
        self.queue.flush(FLUSH_TIMEOUT);
    }

    /// Seconds since midnight, here.
    fn now(&self) -> u64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(since.as_secs()).unwrap_or_default() + self.ahead;
        u64::try_from(seconds.rem_euclid(24 * 60 * 60)).unwrap_or_default()
    }
}

/// Text from outside as it may go to a terminal: without anything that one obeys.
pub fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            // Also what would turn the direction of the line.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' => {
                out.extend(c.escape_unicode());
            }
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

fn line(request: &Request<'_>, midnight: u64, colour: bool) -> String {
    let Request { method, path, status, took, app, broken } = *request;
    let paint = |text: &str, code: &str| match colour {
        true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        false => text.to_owned(),
    };
    let soft = |text: &str| paint(text, "2");
    let time = clock(midnight);
    let status = match status {
        Some(status) => {
            let code = match status / 100 {
                2 => "32",
                3 => "36",
                4 => "33",
                5 => "31",
                _ => "0",
            };
            paint(&status.to_string(), code)
        }
        None => paint("---", "31"),
    };
    let end = path.floor_char_boundary(MAX_PATH);
    let more = if end < path.len() { "…" } else { "" };
    let mut line = format!("{} {:<6} {status} ", soft(&time), harmless(method));
    // Writing to a String cannot fail.
    let _ = write!(line, "{:>9} ", soft(&shown(took)));
    let _ = write!(line, "{}{more}", harmless(&path[..end]));
    if let Some(app) = app {
        let _ = write!(line, "  {}", soft(&harmless(app)));
    }
    if broken {
        let _ = write!(line, "  {}", paint("broke off", "31"));
    }
    line.push('\n');
    line
}

fn note(text: &str, midnight: u64, colour: bool) -> String {
    let (time, text) = (clock(midnight), harmless(text));
    match colour {
        true => format!("\u{1b}[2m{time}\u{1b}[0m \u{1b}[36m{text}\u{1b}[0m\n"),
        false => format!("{time} {text}\n"),
    }
}

fn clock(midnight: u64) -> String {
    format!("{:02}:{:02}:{:02}", midnight / 3600, midnight / 60 % 60, midnight % 60)
}

fn shown(took: Duration) -> String {
    match took.as_secs_f64() {
        seconds if seconds < 0.0095 => format!("{:.1} ms", seconds * 1e3),
        seconds if seconds < 0.9995 => format!("{:.0} ms", seconds * 1e3),
        seconds => format!("{seconds:.2} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: Request<'_> = Request {
        method: "GET",
        path: "/cart",
        status: Some(200),
        took: Duration::from_micros(1234),
        app: Some("shop"),
        broken: false,
    };

    #[test]
    fn a_request_is_one_line() {
        assert_eq!(line(&REQUEST, 45_296, false), "12:34:56 GET    200    1.2 ms /cart  shop\n");
        let broken =
            Request { status: None, app: None, broken: true, took: Duration::from_secs(3), ..REQUEST };
        assert_eq!(line(&broken, 0, false), "00:00:00 GET    ---    3.00 s /cart  broke off\n");
    }

    #[test]
    fn the_status_has_a_colour_where_colours_are_wanted() {
        for (status, code) in [(204, "32"), (304, "36"), (404, "33"), (500, "31")] {
            let text = line(&Request { status: Some(status), ..REQUEST }, 0, true);
            assert!(text.contains(&format!("\u{1b}[{code}m{status}\u{1b}[0m")), "{text:?}");
        }
        assert!(!line(&REQUEST, 0, false).contains('\u{1b}'));
    }

    #[test]
    fn a_path_tells_the_terminal_nothing() {
        let path = "/\u{1b}[2J\u{7}\r\n\u{9b}31m\u{202e}x";
        let text = line(&Request { path, method: "G\u{1b}T", app: Some("a\u{1b}b"), ..REQUEST }, 0, false);
        assert_eq!(text.matches(char::is_control).collect::<String>(), "\n", "{text:?}");
        assert!(text.contains("\\u{1b}[2J") && !text.contains('\u{202e}'), "{text:?}");
        let long = line(&Request { path: &"é".repeat(500), ..REQUEST }, 0, false);
        assert!(long.contains("é…") && long.len() < 300, "{long}");
    }

    #[test]
    fn durations_are_as_exact_as_people_read_them() {
        let of = |micros| shown(Duration::from_micros(micros));
        let shown = [42, 9_400, 12_300, 999_000, 1_234_000].map(of);
        assert_eq!(shown, ["0.0 ms", "9.4 ms", "12 ms", "999 ms", "1.23 s"]);
    }
}
