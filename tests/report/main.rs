//! The HTML report and the attention picture: what they show, and that they need nothing but
//! themselves.

mod attention;
#[cfg(unix)]
mod browser;
mod charlm;
#[cfg(unix)]
#[path = "../support/browser.rs"]
#[expect(dead_code, reason = "the explorer's page is tried with all of it")]
mod chromium;
mod command;
mod pairs;
mod seq2seq;
mod support;
