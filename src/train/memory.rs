//! How much memory a training step takes, asked before it is taken.

use crate::error::{Error, Result};

/// Fails if a step needs more memory than the machine has free, or where that is not known, than the
/// system gives.
///
/// # Errors
/// [`Error::Usage`] with both figures and the settings that lower what is needed.
pub fn check(needed: u128, settings: &str) -> Result<()> {
    let free = available();
    let known = match free {
        Some(free) if needed > u128::from(free) => format!("{:.1} GB are free", free as f64 / 1e9),
        None if !is_given(needed) => "the system does not give that".into(),
        _ => return Ok(()),
    };
    Err(Error::Usage(format!(
        "a training step of this size needs about {:.1} GB of memory, and {known}: lower {settings}",
        needed as f64 / 1e9
    )))
}

/// Whether the system promises so many bytes. They are given back untouched.
fn is_given(bytes: u128) -> bool {
    let bytes = usize::try_from(bytes);
    bytes.is_ok_and(|n| Vec::<u8>::new().try_reserve_exact(n).is_ok())
}

/// Bytes that can be had without swapping, where the system tells (Linux): what the machine has
/// free, within the limits of the container (control group) and of the shell (`ulimit -v`).
fn available() -> Option<u64> {
    let machine = field("/proc/meminfo", "MemAvailable:").map(|kib| kib * 1024);
    let groups = [
        // Version 2 of control groups, then version 1.
        ("memory.max", "memory.current", "inactive_file"),
        (
            "memory/memory.limit_in_bytes",
            "memory/memory.usage_in_bytes",
            "total_inactive_file",
        ),
    ];
    let group = groups
        .iter()
        .find_map(|(limit, used, cache)| group_headroom(limit, used, cache));
    let space = field("/proc/self/limits", "Max address space").and_then(|limit| {
        let used = field("/proc/self/status", "VmSize:")? * 1024;
        Some(limit.saturating_sub(used))
    });
    [machine, group, space].into_iter().flatten().min()
}

/// What a control group may still take. File pages that nobody needs give way, so they are free.
fn group_headroom(limit: &str, used: &str, cache: &str) -> Option<u64> {
    let root = "/sys/fs/cgroup";
    let limit = field(&format!("{root}/{limit}"), "")?;
    let stat = match cache.starts_with("total") {
        true => format!("{root}/memory/memory.stat"),
        false => format!("{root}/memory.stat"),
    };
    let used = field(&format!("{root}/{used}"), "")?;
    let used = used.saturating_sub(field(&stat, cache).unwrap_or(0));
    Some(limit.saturating_sub(used))
}

/// The number behind `name` in a file of the system; none where it says `max` or `unlimited`.
fn field(path: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_there_is_is_refused_with_the_settings_to_lower() {
        assert!(check(1, "batch-size").is_ok());
        let message = check(u128::MAX, "batch-size").unwrap_err().to_string();
        assert!(message.ends_with("lower batch-size"), "{message}");
        assert!(is_given(1 << 20) && !is_given(1 << 62) && !is_given(u128::MAX));
    }
}
