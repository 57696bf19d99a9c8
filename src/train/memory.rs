//! How much memory a training step takes, asked before it is taken.

use crate::error::{Error, Result};
use crate::programs::charlm::model::CharLstmSizes;
use crate::programs::seq2seq::model::{ModelKind, Seq2SeqSizes};

/// Bytes of a training step of the character LM in f32.
///
/// A position keeps, for each layer, 4H gates, the cell state, the output and the dropped output;
/// besides, the logits, and two gradients `[H]` that are alive at once. Parameters come five times:
/// values, gradient, two moments, and the packed copies.
pub fn charlm_step(sizes: CharLstmSizes, batch: usize, seq_length: usize) -> u128 {
    let CharLstmSizes {
        vocab,
        embedding,
        hidden,
        layers,
    } = sizes;
    let [v, e, h, l] = [vocab, embedding, hidden, layers].map(|n| n as u128);
    let position = l * (4 * h + h + h + h) + v + 2 * h;
    let first = 4 * h * (e + h + 1);
    let parameters = v * e + first + (l - 1) * 4 * h * (2 * h + 1) + v * (h + 1);
    4 * (position * batch as u128 * seq_length as u128 + 5 * parameters)
}

/// Bytes of a training step of a seq2seq model in f32, for batches of so many source and target
/// positions.
///
/// A target position keeps the logits and their gradient, the decoder's gates and states, and what
/// the logits come from; a source position the encoder's, in both directions. Parameters come five
/// times, as in [`charlm_step`].
pub fn seq2seq_step(kind: ModelKind, sizes: Seq2SeqSizes, source: usize, target: usize) -> u128 {
    let [s, t] = [source, target].map(|n| n as u128);
    let [vs, vt, e, h] = [
        sizes.source_vocab,
        sizes.target_vocab,
        sizes.embedding,
        sizes.hidden,
    ]
    .map(|n| n as u128);
    let (features, gates) = match kind {
        ModelKind::Rnn => (h, 2 * h * (e + 2 * h)),
        ModelKind::Lstm => (h, 8 * h * (e + h)),
        ModelKind::Attention => (3 * h + e, 12 * h * (e + h) + 15 * h * h),
    };
    let parameters = (vs + vt) * e + vt * features + gates;
    4 * (t * (2 * vt + 12 * h + 2 * features) + s * (16 * h + 2 * e) + 5 * parameters)
}

/// Fails if a step needs more memory than the machine has free.
///
/// # Errors
/// [`Error::Usage`] with both figures and the settings to lower.
pub fn check(needed: u128) -> Result<()> {
    check_with(needed, "batch-size, seq-length or hidden-size")
}

/// As [`check`], with the settings that lower what this step needs.
///
/// # Errors
/// [`Error::Usage`] with both figures and the settings.
pub fn check_with(needed: u128, settings: &str) -> Result<()> {
    match available() {
        Some(free) if needed > u128::from(free) => Err(Error::Usage(format!(
            "a training step of this size needs about {:.1} GB of memory, and {:.1} GB are free: \
             lower {settings}",
            needed as f64 / 1e9,
            free as f64 / 1e9
        ))),
        _ => Ok(()),
    }
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
    fn the_published_step_fits_three_gigabytes_and_an_absurd_one_is_refused() {
        let sizes = CharLstmSizes {
            vocab: 95,
            embedding: 64,
            hidden: 256,
            layers: 2,
        };
        let bytes = charlm_step(sizes, 512, 256);
        assert!((2_000_000_000..3_000_000_000).contains(&bytes), "{bytes}");
        let message = check(charlm_step(sizes, 65_536, 65_536))
            .unwrap_err()
            .to_string();
        assert!(message.contains("batch-size"), "{message}");
        assert!(check(1).is_ok());
    }
}
