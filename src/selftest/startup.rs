//! The check of a GPU before its first use: one case of each op, against the CPU.
//!
//! A check that has passed is not repeated for the same program, driver and GPU: a mark in the user's
//! cache folder (`XDG_CACHE_HOME`, or `~/.cache`) says so. A failure leaves none.

use super::{cases, one};
use crate::device::{Gpu, Recurrence};
use crate::error::{Error, Result};
use crate::files::cache;
use crate::files::text::sha256;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

/// Compares a GPU with the CPU, unless that has been done and has passed.
///
/// # Errors
/// As [`spot_check`].
pub fn check(gpu: &Arc<Gpu>) -> Result<()> {
    let mark = cache::folder().and_then(|folder| Some(folder.join(mark_name(gpu)?)));
    check_once(gpu, mark.as_deref())
}

/// As [`check`], with the file that says that it has passed; without one it is always done.
///
/// # Errors
/// As [`spot_check`].
pub fn check_once(gpu: &Arc<Gpu>, mark: Option<&Path>) -> Result<()> {
    if mark.is_some_and(Path::exists) {
        return Ok(());
    }
    spot_check(gpu)?;
    // Where steps have to be taken one by one, the next start tries again.
    let whole = gpu.recurrence() != Recurrence::Steps;
    let mark = mark.filter(|_| whole);
    if let Some((mark, folder)) = mark.and_then(|mark| Some((mark, mark.parent()?))) {
        // Where nothing can be kept, the next start checks again: that is all.
        let _ = fs::create_dir_all(folder).and_then(|()| fs::write(mark, ""));
    }
    Ok(())
}

/// Runs one case of each op, the middle one of its sizes, in each data type. Where whole sequences in one
/// kernel fail, the GPU is used without them, and its log says so.
///
/// # Errors
/// [`Error::Op`] with the first case that failed and what differed.
pub fn spot_check(gpu: &Arc<Gpu>) -> Result<()> {
    let (table, mut refused) = (cases::table(), None);
    for cases in table.chunk_by(|a, b| a.op == b.op) {
        let case = &cases[cases.len() / 2];
        for &dtype in case.dtypes {
            let result = one(case, Some(gpu), dtype);
            if !result.passed && cases::WHOLE.contains(&result.op) {
                refused.get_or_insert(format!("{}: {}", result.op, result.message));
            } else if !result.passed {
                let message = format!(
                    "{} {dtype} ({}) differs from the CPU: {}",
                    result.op, result.case, result.message
                );
                return Err(Error::op("start-up check", message));
            }
        }
    }
    // What the cases said of how they took their steps is not for the user's log.
    gpu.forget_news();
    if let Some(why) = refused {
        gpu.refuse_whole(&format!("the start-up check failed: {why}"));
    }
    Ok(())
}

/// A name for this very program (its size and time, too), driver and GPU.
fn mark_name(gpu: &Gpu) -> Option<String> {
    let program = fs::metadata(std::env::current_exe().ok()?).ok()?;
    let built = program.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    let key = format!(
        "rnnx {}, {} bytes of {} ns, {}",
        env!("CARGO_PKG_VERSION"),
        program.len(),
        built.as_nanos(),
        gpu.driver().description()
    );
    Some(format!("gpu-checked-{}", sha256(key.as_bytes())))
}
