//! The supervisor itself, under the names that all exporters of processes use.

use super::collect::Families;
use super::families;
use nix::sys::resource::{Resource, getrlimit};
use std::fs;
use std::sync::OnceLock;

/// What `/proc/self/stat` tells (proc_pid_stat(5)).
struct Stat {
    /// Clock ticks in user and system mode.
    ticks: u64,
    /// Clock ticks after the start of the system.
    started: u64,
    /// Bytes.
    virtual_size: u64,
    /// Pages.
    resident: u64,
}

/// What cannot be read is left out.
pub(super) fn collect(into: &mut Families) {
    if let Some(stat) = fs::read_to_string("/proc/self/stat").ok().and_then(|text| Stat::read(&text)) {
        let per_second = clock_ticks() as f64;
        into.number(&families::PROCESS_CPU, [], stat.ticks as f64 / per_second);
        into.number(&families::PROCESS_VIRTUAL, [], stat.virtual_size as f64);
        into.number(&families::PROCESS_RESIDENT, [], (stat.resident * page_size()) as f64);
        if let Some(booted) = booted() {
            into.number(&families::PROCESS_START, [], booted as f64 + stat.started as f64 / per_second);
        }
    }
    if let Some(open) = open_descriptors() {
        into.number(&families::PROCESS_OPEN_FDS, [], open as f64);
    }
    if let Ok((most, _)) = getrlimit(Resource::RLIMIT_NOFILE) {
        into.number(&families::PROCESS_MAX_FDS, [], most as f64);
    }
}

impl Stat {
    fn read(text: &str) -> Option<Stat> {
        // The name may hold anything. What is behind it begins with the third field.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Stat {
            ticks: field(14)? + field(15)?,
            started: field(22)?,
            virtual_size: field(23)?,
            resident: field(24)?,
        })
    }
}

/// The size of their directory is their number since Linux 6.2 (proc_pid_fd(5)); before, they are counted, which takes milliseconds
/// where there are thousands.
fn open_descriptors() -> Option<u64> {
    const DIR: &str = "/proc/self/fd";
    let known = fs::metadata(DIR).ok()?.len();
    // One of those that are counted is that of the directory.
    let counted = || Some(fs::read_dir(DIR).ok()?.count().saturating_sub(1) as u64);
    if known > 0 { Some(known) } else { counted() }
}

/// When the system was started, in seconds since 1970 (proc_stat(5)). Read once: it is corrected with the clock, and a start time
/// that moves looks like a restart.
fn booted() -> Option<u64> {
    static BOOTED: OnceLock<Option<u64>> = OnceLock::new();
    *BOOTED.get_or_init(|| {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
    })
}

fn clock_ticks() -> u64 {
    rustix::param::clock_ticks_per_second()
}

fn page_size() -> u64 {
    rustix::param::page_size() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use buntime_plugin::metrics::Value;

    #[test]
    fn this_process_is_as_the_system_says() {
        let mut into = Families::default();
        collect(&mut into);
        let families = into.into_families();
        let value = |desc: &families::Desc| {
            let family = families.iter().find(|family| family.name == desc.name).unwrap();
            match family.samples[0].value {
                Value::Number(number) => number,
                Value::Histogram(_) => panic!("{} is a number", desc.name),
            }
        };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - value(&families::PROCESS_START);
        assert!((-2.0..86_400.0).contains(&age), "{age}");
        assert!(value(&families::PROCESS_RESIDENT) > 1e6);
        assert!(value(&families::PROCESS_VIRTUAL) >= value(&families::PROCESS_RESIDENT));
        assert!(value(&families::PROCESS_OPEN_FDS) >= 3.0);
        assert!(value(&families::PROCESS_MAX_FDS) >= value(&families::PROCESS_OPEN_FDS));
        assert!(value(&families::PROCESS_CPU) >= 0.0);
    }
}
