//! What a process uses, as the kernel tells in `/proc`. Each of these reads files: not for a task that others wait for.

use std::time::Duration;

/// Bytes of memory, and which of the kernel's numbers they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    pub bytes: u64,
    pub measure: Measure,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Proportional: of what several processes share each has its part.
    Pss,
    /// Resident and its own, without files and what is shared: where the kernel does not let us know more.
    RssAnon,
}

impl Measure {
    /// As proc(5) calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Measure::Pss => "pss",
            Measure::RssAnon => "rssAnon",
        }
    }
}

/// The memory of a process; None = it is gone. The proportional size takes the right to trace the process (proc_pid_smaps(5)),
/// which may be missing where it runs as another user; what is in its `status` is there for everybody.
pub fn memory(pid: u32) -> Option<Memory> {
    let pss = proportional_memory(pid).map(|bytes| Memory { bytes, measure: Measure::Pss });
    pss.or_else(|| kib(pid, "status", "RssAnon:").map(|bytes| Memory { bytes, measure: Measure::RssAnon }))
}

/// Bytes of proportional set size (proc_pid_smaps(5)).
pub fn proportional_memory(pid: u32) -> Option<u64> {
    kib(pid, "smaps_rollup", "Pss:")
}

/// What one walk through all pages of a process tells (proc_pid_smaps(5)): proportional bytes, and those that nobody shares.
pub fn proportional_and_own_memory(pid: u32) -> Option<(u64, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let of = |name| line_kib(&text, name);
    Some((of("Pss:")?, of("Private_Clean:")? + of("Private_Dirty:")?))
}

/// Bytes of resident set size (proc_pid_statm(5)): cheap, and readable for everybody.
pub fn resident_memory(pid: u32) -> Option<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// Time on processors, in user and in system mode (proc_pid_stat(5)), without that of its children.
pub fn cpu(pid: u32) -> Option<Duration> {
    let stat = stat(pid)?;
    // What is behind the name begins with the third field; these are the 14th and the 15th.
    let mut times = stat.split_ascii_whitespace().skip(11).map(str::parse::<u64>);
    let ticks = times.next()?.ok()? + times.next()?.ok()?;
    Some(Duration::from_millis(ticks.saturating_mul(1000) / ticks_a_second()))
}

/// Stopped by a signal or a debugger: silence is then no fault of the app.
pub fn is_stopped(pid: u32) -> bool {
    stat(pid).is_some_and(|stat| stat.trim_start().starts_with(['T', 't']))
}

/// What stands behind the name of the program, which may hold anything.
fn stat(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')').map(|(_, rest)| rest.to_owned())
}

/// A line of one of the process's files that has a number of KiB, in bytes.
fn kib(pid: u32, file: &str, name: &str) -> Option<u64> {
    line_kib(&std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?, name)
}

fn line_kib(text: &str, name: &str) -> Option<u64> {
    let kib = text.lines().find_map(|line| line.strip_prefix(name))?;
    kib.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

fn ticks_a_second() -> u64 {
    // It is 100 on every Linux, and never 0.
    rustix::param::clock_ticks_per_second().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_time() {
        let pid = std::process::id();
        let memory = memory(pid).unwrap();
        assert_eq!(memory.measure, Measure::Pss);
        let own = kib(pid, "status", "RssAnon:").unwrap();
        assert!(own > 1 << 20 && memory.bytes > 1 << 20, "{own} {memory:?}");
        let (pss, uss) = proportional_and_own_memory(pid).unwrap();
        let rss = resident_memory(pid).unwrap();
        assert!(uss > 1 << 20 && pss >= uss && rss > 1 << 20, "{uss} {pss} {rss}");
        let before = cpu(pid).unwrap();
        let mut spent = before;
        while spent <= before + Duration::from_millis(20) {
            spent = cpu(pid).unwrap();
        }
        assert!(!is_stopped(pid));
    }

    #[test]
    fn a_process_that_is_gone_uses_nothing() {
        // Above the highest number that Linux gives to a process.
        let pid = (1 << 22) + 1;
        assert_eq!((memory(pid), cpu(pid)), (None, None));
        assert_eq!((proportional_and_own_memory(pid), resident_memory(pid)), (None, None));
        assert!(!is_stopped(pid));
    }
}
