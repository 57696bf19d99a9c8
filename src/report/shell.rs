//! The frame of every page: head, title and footer, with style and script inside.

use std::fmt::Write;

use super::marks::COLOURS;
use super::run::RunData;
use super::text::escape;

/// Colours, type and parts of every page.
pub const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// Forbids every request that the page could make.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";

/// What differs between the pages of one kind of model and those of another.
pub struct Shell {
    /// The browser's title, escaped.
    pub title: String,
    /// The heading, escaped.
    pub heading: String,
    /// The line below the heading, escaped.
    pub subtitle: String,
    /// Style after that of every page.
    pub style: &'static str,
}

/// A whole page of HTML that needs nothing but itself.
pub fn wrap(shell: &Shell, body: &str, runs: &[RunData]) -> String {
    let Shell {
        title,
        heading,
        subtitle,
        style,
    } = shell;
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <link rel=\"icon\" href=\"data:,\">\n<title>{title} – rnnx report</title>\n\
         <style>\n{STYLE}{style}</style>\n</head>\n<body>\n<header><h1>{heading}</h1>\
         <p>{subtitle}</p></header>\n<main>\n"
    );
    out += body;
    out += &footer(runs);
    let _ = write!(out, "<script>\n{SCRIPT}</script>\n</body>\n</html>\n");
    out
}

fn footer(runs: &[RunData]) -> String {
    let counts = runs.iter().map(|r| {
        format!(
            "{}: {} step records, {} epoch records, {} samples",
            escape(&r.name),
            r.steps.len(),
            r.epochs.len(),
            r.samples.len() + r.pairs.len()
        )
    });
    format!(
        "</main>\n<footer>{}.<br>Drawn by rnnx {} from metrics.jsonl, config.toml and samples.</footer>\n",
        counts.collect::<Vec<_>>().join("; "),
        env!("CARGO_PKG_VERSION")
    )
}

/// A dot in the run's colour before its name, for tables.
pub fn run_key(index: usize, name: &str) -> String {
    format!(
        "<span class=\"key c{}\"></span>{}",
        index % COLOURS,
        escape(name)
    )
}
