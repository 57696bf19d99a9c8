//! The user's cache folder: what can be made again, and saves time where it is still there.

use std::path::PathBuf;

/// rnnx's folder below `XDG_CACHE_HOME` or `~/.cache`. It may not exist; none if the user has neither.
pub fn folder() -> Option<PathBuf> {
    let var = |name| std::env::var_os(name).filter(|v| !v.is_empty());
    let cache = var("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(var("HOME")?).join(".cache")))?;
    Some(cache.join("rnnx"))
}
