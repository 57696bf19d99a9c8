//! The explorer's page in a browser; skipped, with a word, where there is none.

#[cfg(unix)]
#[path = "../support/browser.rs"]
mod browser;
#[cfg(unix)]
mod explorer;
mod limits;
#[cfg(unix)]
mod numbers;
#[cfg_attr(not(unix), expect(dead_code, reason = "for a browser"))]
mod support;
#[cfg(unix)]
mod usage;
