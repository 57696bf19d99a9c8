//! Attention heat maps of the runs whose samples have weights.

use std::fmt::Write;

use crate::report::attention::heat_map;
use crate::report::text::escape;
use crate::report::{PairSample, RunData};

/// Maps drawn of a run, and how many of them are open.
const DRAWN: usize = 8;
const OPEN: usize = 3;
/// A row of weights sums to 1 but for f32's rounding over 30 terms and decimal places left out.
const SUM_TOLERANCE: f32 = 1e-3;

/// The maps; nothing where no run has attention.
pub fn section(runs: &[RunData]) -> String {
    let mut out = String::new();
    for run in runs {
        let aligned = run.pairs.iter().filter(|p| !p.attention.is_empty());
        let maps: Vec<String> = aligned.take(DRAWN).map(figure).collect();
        if maps.is_empty() {
            continue;
        }
        let (open, folded) = maps.split_at(maps.len().min(OPEN));
        let _ = write!(
            out,
            "<section><h2>Attention weights of {}</h2><p class=\"note\">Each row is one output \
             token and shows where in the source the model looked as it was decided: the \
             stronger the colour, the greater the weight. &lt;EOS&gt; is the decision to stop. \
             The rows are the model's own output, right or wrong.</p><div class=\"maps\">{}</div>",
            escape(&run.label()),
            open.concat()
        );
        if !folded.is_empty() {
            let _ = write!(
                out,
                "<details class=\"more\"><summary>{} more</summary><div \
                 class=\"maps\">{}</div></details>",
                folded.len(),
                folded.concat()
            );
        }
        out += "</section>\n";
    }
    out
}

fn figure(pair: &PairSample) -> String {
    format!(
        "<figure class=\"card map\"><figcaption><p class=\"doc\">{}</p><p class=\"note\">{}</p>\
         </figcaption><div class=\"scroll\">{}</div></figure>",
        escape(&pair.docstring),
        sums(&pair.attention),
        heat_map(&pair.source, &pair.prediction, &pair.attention)
    )
}

/// Says whether every row of weights is a distribution, as it must be.
fn sums(weights: &[Vec<f32>]) -> String {
    let sums = weights.iter().map(|row| row.iter().sum::<f32>());
    let off = |(_, sum): &(usize, f32)| sum.is_nan() || (sum - 1.0).abs() > SUM_TOLERANCE;
    match sums.enumerate().find(off) {
        None => format!(
            "{} rows of {} weights; each row sums to 1.",
            weights.len(),
            weights.first().map_or(0, Vec::len)
        ),
        Some((row, sum)) => format!(
            "<strong>Row {} sums to {sum:.4}, not to 1: these weights are no attention.</strong>",
            row + 1
        ),
    }
}
