//! Other processes, as /proc shows them. Elsewhere than on Linux nothing is known of them.

/// CPU time of a process, in microseconds. The kernel counts in hundredths of a second.
pub(crate) fn cpu_us(pid: u32) -> Option<u64> {
    let stat = stat(pid)?;
    Some((number(&stat, UTIME)? + number(&stat, STIME)?) * 10_000)
}

/// CPU time of a process and all its descendants, those that have ended included, in microseconds.
pub(crate) fn tree_cpu_us(root: u32) -> u64 {
    let time = |pid: u32| {
        let stat = stat(pid)?;
        let own = number(&stat, UTIME)? + number(&stat, STIME)?;
        Some((own + number(&stat, CHILDREN_UTIME)? + number(&stat, CHILDREN_STIME)?) * 10_000)
    };
    time(root).unwrap_or(0) + children(root).into_iter().map(tree_cpu_us).sum::<u64>()
}

/// The parent of a process.
pub(crate) fn parent(pid: u32) -> Option<u32> {
    number(&stat(pid)?, PARENT).and_then(|pid| u32::try_from(pid).ok())
}

/// The name of a process's program.
pub(crate) fn name(pid: u32) -> Option<String> {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim_end().to_owned())
}

/// Memory of a process in MiB, shared pages counted in proportion.
pub(crate) fn memory_mib(pid: u32) -> Option<f64> {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: f64 = pss.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1024.0)
}

/// Bytes that a process had written to disk.
pub(crate) fn bytes_written(pid: u32) -> Option<u64> {
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    io.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.parse().ok()
}

// Fields of /proc/PID/stat, counted from the one behind the name.
const PARENT: usize = 1;
const UTIME: usize = 11;
const STIME: usize = 12;
const CHILDREN_UTIME: usize = 13;
const CHILDREN_STIME: usize = 14;

/// The fields behind the name, which may hold blanks.
fn stat(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat[stat.rfind(')')? + 2..].to_owned())
}

fn number(stat: &str, field: usize) -> Option<u64> {
    stat.split(' ').nth(field)?.parse().ok()
}

fn children(pid: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_string_lossy().parse::<u32>().ok());
    pids.filter(|child| parent(*child) == Some(pid)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_behind_a_name_with_blanks() {
        let line = "S 42 1 1 0 -1 4194560 1 2 3 4 150 50 70 30 20";
        assert_eq!(number(line, PARENT), Some(42));
        assert_eq!(number(line, UTIME), Some(150));
        assert_eq!(number(line, STIME), Some(50));
        assert_eq!(number(line, CHILDREN_UTIME), Some(70));
        assert_eq!(number(line, CHILDREN_STIME), Some(30));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_seen() {
        let own = std::process::id();
        assert!(memory_mib(own).unwrap() > 1.0);
        assert!(cpu_us(own).is_some());
        assert!(parent(own).is_some());
        assert_eq!(cpu_us(u32::MAX), None);
    }
}
