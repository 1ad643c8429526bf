//! The terminal: keys that come one by one and are not shown, and left as it was found however the process ends.

use nix::sys::signal::Signal;
use nix::sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr};
use std::io::{IsTerminal, stdin, stdout};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// As it was, while it is not.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Puts the terminal back when it goes, which it does when the process returns and when it panics.
#[must_use]
pub struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        restore();
    }
}

/// Whether people see what goes to stdout.
pub fn is_shown() -> bool {
    stdout().is_terminal()
}

/// Has keys come at once and without echo. What is written goes on to be treated as ever, and the keys for signals stay such.
/// False = stdin is no terminal, or is another process's at the moment.
pub fn listen() -> bool {
    let stdin = stdin();
    if !stdin.is_terminal() || is_others() {
        return false;
    }
    let Ok(before) = tcgetattr(stdin.as_fd()) else { return false };
    let mut changed = before.clone();
    changed.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
    changed.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
    changed.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
    let mut kept = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
    let is_done = tcsetattr(stdin.as_fd(), SetArg::TCSANOW, &changed).is_ok();
    if is_done {
        kept.get_or_insert(before);
    }
    is_done
}

/// Whether another process has the terminal in front of it: this one is in the background. One that has gone is nobody's.
pub fn is_others() -> bool {
    nix::unistd::tcgetpgrp(stdin().as_fd()).is_ok_and(|group| group != nix::unistd::getpgrp())
}

/// Makes it what it was before the first [`listen`]. Harmless where there was none. Another's stays as it is: to change it would stop
/// this process (SIGTTOU).
pub fn restore() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before.filter(|_| !is_others()) {
        let _ = tcsetattr(stdin().as_fd(), SetArg::TCSANOW, &before); // it may have gone
    }
}

/// Whether the end of the terminal is the end of this process: not so where it was started to outlive it (nohup(1)).
pub fn ends_with_it() -> bool {
    // proc_pid_status(5): a mask, whose first bit is for signal 1.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask & 1 << (Signal::SIGHUP as u32 - 1) == 0
}

/// By how many seconds clocks here are ahead of UTC. The system's own program is asked, which knows all about time zones; where
/// there is none it is UTC.
pub fn ahead_of_utc() -> i64 {
    let date = Command::new("date").arg("+%z").stdin(Stdio::null()).stderr(Stdio::null()).output();
    let text = date.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    text.and_then(|text| offset(text.trim())).unwrap_or(0)
}

/// `+0530` in seconds.
fn offset(text: &str) -> Option<i64> {
    let (sign, digits) = (text.get(..1)?, text.get(1..)?);
    let (hours, minutes) = (digits.get(..2)?.parse::<i64>().ok()?, digits.get(2..)?.parse::<i64>().ok()?);
    let seconds = hours * 3600 + minutes * 60;
    match sign {
        "+" => Some(seconds),
        "-" => Some(-seconds),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_read_as_date_writes_it() {
        let read = ["+0000", "+0530", "-0330", "+1400", "", "+", "UTC", "é000"].map(offset);
        let expected = [Some(0), Some(19_800), Some(-12_600), Some(50_400), None, None, None, None];
        assert_eq!(read, expected);
    }
}
