//! What the operating system tells of this process: memory and time, from `/proc`. Zeros where there is no such thing.

use std::fs;

/// Linux counts the time of processes in hundredths of a second, whatever the machine.
const TICKS_PER_SECOND: f64 = 100.0;

/// Time on a processor, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessorTime {
    /// In the process's own code.
    pub user: f64,
    /// In the kernel.
    pub system: f64,
}

/// The time that all threads of the process have taken.
pub fn processor_time() -> ProcessorTime {
    read_times("/proc/self/stat")
}

/// The time that the thread with the number of the process has taken.
pub fn main_thread_time() -> ProcessorTime {
    read_times(&format!("/proc/self/task/{}/stat", std::process::id()))
}

fn read_times(path: &str) -> ProcessorTime {
    fs::read_to_string(path).ok().and_then(|text| parse_times(&text)).unwrap_or_default()
}

fn parse_times(text: &str) -> Option<ProcessorTime> {
    // The name of the program stands in parentheses and may have anything in it.
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut seconds = || fields.next()?.parse::<f64>().ok().map(|ticks| ticks / TICKS_PER_SECOND);
    Some(ProcessorTime { user: seconds()?, system: seconds()? })
}

/// The memory of the machine, in bytes.
pub fn total_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// The release of the operating system's kernel.
pub fn kernel_release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_stand_behind_the_name() {
        let text = "1 (a ) name) S 0 1 1 0 -1 4194560 1 2 3 4 250 125 0 0 20 0 9 0 7";
        assert_eq!(parse_times(text), Some(ProcessorTime { user: 2.5, system: 1.25 }));
        assert_eq!(parse_times("1 (short) S"), None);
        assert!(total_memory() > 1 << 20 && !kernel_release().is_empty());
    }
}
