//! The frame of every page: head, title and footer, with style and script inside.

use std::fmt::Write;
use std::time::SystemTime;

use super::marks::COLOURS;
use super::run::RunData;
use super::text::escape;

/// Colours, and how charts look.
pub const CHARTS: &str = include_str!("chart.css");
/// Type and parts of every page.
pub const STYLE: &str = include_str!("page.css");
/// Draws the charts anew, and what the page does beyond that.
const SCRIPTS: [&str; 2] = [include_str!("chart.js"), include_str!("page.js")];
/// Seconds after which the page of a run under way is read again.
const EVERY: u64 = 10;
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
    let (refresh, live) = match runs.iter().any(|run| run.live) {
        true => following(),
        false => Default::default(),
    };
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         {refresh}<link rel=\"icon\" href=\"data:,\">\n<title>{title} – rnnx report</title>\n\
         <style>\n{CHARTS}{STYLE}{style}</style>\n</head>\n<body>\n<header><h1>{heading}</h1>\
         <p>{subtitle}</p>{live}</header>\n<main>\n"
    );
    out += body;
    out += &footer(runs);
    let [chart, page] = SCRIPTS;
    let _ = write!(out, "<script>\n{chart}{page}</script>\n</body>\n</html>\n");
    out
}

/// What lets the page of a run under way follow it: without scripts, and a line that says so, from
/// which the script knows when the page was drawn.
fn following() -> (String, String) {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let drawn = since.map_or(0, |since| since.as_secs());
    (
        format!("<noscript><meta http-equiv=\"refresh\" content=\"{EVERY}\"></noscript>\n"),
        format!(
            "<p class=\"live\" data-drawn=\"{drawn}\" data-every=\"{EVERY}\">The run goes on, and \
             this page with it.</p>"
        ),
    )
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
