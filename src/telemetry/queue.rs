//! The queue between those who log and the thread that writes: logging never waits for a slow terminal, pipe or
//! journal. What does not fit is dropped and counted.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes that may wait to be written. As many again may be in the writer's hands.
const CAPACITY: usize = 4 << 20;
/// How long the writer lets records collect, so that it is woken (and writes) a hundred times a second at most,
/// not once for each request.
const LINGER: Duration = Duration::from_millis(10);
/// Bytes after which it lingers no more.
const ENOUGH: usize = 256 << 10;

#[derive(Debug)]
pub struct Queue {
    state: Mutex<State>,
    /// The writer waits here for records.
    filled: Condvar,
    /// Those who flush wait here.
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct State {
    records: Vec<u8>,
    /// Where each record of `records` ends.
    ends: Vec<usize>,
    dropped: u64,
    /// The writer is asleep and wants to be woken by the next record.
    asleep: bool,
    /// The writer has taken records and not yet written them.
    writing: bool,
    /// Somebody flushes.
    urgent: bool,
}

impl Queue {
    /// Starts the writing thread. `write` gets a batch of records and the end of each; `report_dropped` is called
    /// after a batch behind which records were dropped, with their number, and may log.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        mut write: impl FnMut(&[u8], &[usize]) + Send + 'static,
        report_dropped: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Arc<Queue>> {
        let queue = Arc::new(Queue {
            state: Mutex::new(State::default()),
            filled: Condvar::new(),
            emptied: Condvar::new(),
        });
        let writer = Arc::clone(&queue);
        std::thread::Builder::new().name("log".into()).spawn(move || {
            let (mut records, mut ends) = (Vec::new(), Vec::new());
            loop {
                let dropped = writer.take(&mut records, &mut ends);
                if !ends.is_empty() {
                    write(&records, &ends);
                }
                if dropped > 0 {
                    report_dropped(dropped);
                }
                writer.wrote();
            }
        })?;
        Ok(queue)
    }

    /// Adds one record, or drops it when the queue is full. Never waits for the writing.
    pub fn push(&self, record: &[u8]) {
        let mut state = self.lock();
        if state.records.len() + record.len() > CAPACITY {
            state.dropped += 1;
            return;
        }
        state.records.extend_from_slice(record);
        let end = state.records.len();
        state.ends.push(end);
        // While the writer lingers, only a large heap of records is worth a wake-up.
        let before = end - record.len();
        if state.asleep || (before < ENOUGH && end >= ENOUGH) {
            state.asleep = false;
            drop(state);
            self.filled.notify_one();
        }
    }

    /// Waits until everything pushed so far is written, at most `timeout`.
    pub fn flush(&self, timeout: Duration) {
        let mut state = self.lock();
        state.urgent = true;
        state.asleep = false;
        self.filled.notify_one();
        let unwritten = |state: &mut State| !state.is_empty() || state.writing;
        // Whether it is empty or the time is over: there is nothing more to do.
        let _ = self.emptied.wait_timeout_while(state, timeout, unwritten);
    }

    /// For the writer: waits for records and swaps them with the emptied buffers. Returns how many were dropped.
    fn take(&self, records: &mut Vec<u8>, ends: &mut Vec<usize>) -> u64 {
        records.clear();
        ends.clear();
        let mut state = self.lock();
        while state.is_empty() {
            // A flush of an empty queue is answered by going to sleep.
            state.urgent = false;
            state.asleep = true;
            self.emptied.notify_all();
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.asleep = false;
        let linger = |state: &mut State| !state.urgent && state.records.len() < ENOUGH;
        let (mut state, _) =
            self.filled.wait_timeout_while(state, LINGER, linger).unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut state.records, records);
        std::mem::swap(&mut state.ends, ends);
        state.writing = true;
        std::mem::take(&mut state.dropped)
    }

    fn wrote(&self) {
        self.lock().writing = false;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_empty(&self) -> bool {
        self.ends.is_empty() && self.dropped == 0
    }
}

/// One record with each call of `write`, which is how the formatting layer uses it.
impl io::Write for &Queue {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        self.push(record);
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
pub mod testing {
    use super::*;

    /// A queue whose output is kept.
    pub fn collecting() -> (Arc<Queue>, Arc<Mutex<Vec<u8>>>) {
        let output = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&output);
        let write = move |records: &[u8], _: &[usize]| sink.lock().unwrap().extend_from_slice(records);
        (Queue::start(write, |_| {}).unwrap(), output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_flush_returns_when_everything_was_written_in_order() {
        let (queue, output) = testing::collecting();
        for i in 0..1000 {
            queue.push(format!("{i}\n").as_bytes());
        }
        queue.flush(LONG);
        let expected: String = (0..1000).map(|i| format!("{i}\n")).collect();
        assert_eq!(*output.lock().unwrap(), expected.into_bytes());
        queue.flush(LONG);
    }

    #[test]
    fn a_writer_that_is_stuck_stops_nobody_and_the_dropped_records_are_counted() {
        let (entered, stuck) = mpsc::channel();
        let (release, wait) = mpsc::channel::<()>();
        let (report, reports) = mpsc::channel();
        let write = move |_: &[u8], _: &[usize]| {
            entered.send(()).unwrap();
            wait.recv().unwrap();
        };
        let queue = Queue::start(write, move |dropped| report.send(dropped).unwrap()).unwrap();
        queue.push(b"first");
        stuck.recv().unwrap();

        let record = vec![b'x'; 1 << 20];
        for _ in 0..10 {
            queue.push(&record);
        }
        assert_eq!(queue.lock().records.len(), CAPACITY);

        release.send(()).unwrap();
        stuck.recv().unwrap();
        release.send(()).unwrap();
        assert_eq!(reports.recv().unwrap(), 6);
    }

    #[test]
    fn a_flush_gives_up_on_a_writer_that_is_stuck() {
        let (entered, stuck) = mpsc::channel();
        let (_release, wait) = mpsc::channel::<()>();
        let write = move |_: &[u8], _: &[usize]| {
            entered.send(()).unwrap();
            let _ = wait.recv();
        };
        let queue = Queue::start(write, |_| {}).unwrap();
        queue.push(b"first");
        stuck.recv().unwrap();
        queue.flush(Duration::from_millis(1));
        assert!(queue.lock().writing);
    }

    #[test]
    fn the_ends_of_records_survive_the_batching() {
        let (batch, batches) = mpsc::channel();
        let write = move |records: &[u8], ends: &[usize]| {
            let mut start = 0;
            for end in ends {
                batch.send(records[start..*end].to_vec()).unwrap();
                start = *end;
            }
        };
        let queue = Queue::start(write, |_| {}).unwrap();
        for record in [&b"a\nb"[..], b"", b"c"] {
            queue.push(record);
        }
        queue.flush(LONG);
        assert_eq!(batches.try_iter().collect::<Vec<_>>(), [b"a\nb".to_vec(), b"".to_vec(), b"c".to_vec()]);
    }
}
