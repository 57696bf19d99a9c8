//! The configuration: a table of what differs between the runs, and a list of what they share.

use std::fmt::Write;

use super::label;
use crate::report::RunData;
use crate::report::shell::run_key;
use crate::report::text::escape;

/// Differences and shared values; nothing where no run has a configuration.
pub fn section(runs: &[RunData]) -> String {
    let mut keys: Vec<&str> = Vec::new();
    for (key, _) in runs.iter().flat_map(|r| &r.config) {
        if !keys.contains(&key.as_str()) {
            keys.push(key);
        }
    }
    if keys.is_empty() {
        return String::new();
    }
    let agree = |key: &&str| runs.iter().all(|r| r.setting(key) == runs[0].setting(key));
    let (shared, differing): (Vec<_>, Vec<_>) = keys.into_iter().partition(agree);
    let mut out = "<section><h2>Configuration</h2>".to_owned();
    if !differing.is_empty() {
        out += &differences(runs, &differing);
    }
    if runs.len() > 1 && !shared.is_empty() {
        out += "<p class=\"note\">The same in all runs:</p>";
    }
    if !shared.is_empty() {
        out += "<dl class=\"card pairs\">";
        for key in shared {
            let value = runs[0].setting(key).unwrap_or("–");
            let _ = write!(
                out,
                "<div><dt>{}</dt><dd>{}</dd></div>",
                escape(key),
                escape(value)
            );
        }
        out += "</dl>";
    }
    out + "</section>\n"
}

fn differences(runs: &[RunData], keys: &[&str]) -> String {
    let mut out =
        "<div class=\"card scroll\"><table class=\"config\"><thead><tr><th>Differs</th>".to_owned();
    for (i, run) in runs.iter().enumerate() {
        let _ = write!(out, "<th>{}</th>", run_key(i, &label(run)));
    }
    out += "</tr></thead><tbody>";
    for key in keys {
        let values = runs
            .iter()
            .map(|r| r.setting(key).map_or("–".into(), escape));
        let _ = write!(
            out,
            "<tr><th>{}</th><td>{}</td></tr>",
            escape(key),
            values.collect::<Vec<_>>().join("</td><td>")
        );
    }
    out + "</tbody></table></div>"
}
