//! The comparison table: a row for each model, the best value of each column marked.

use std::fmt::Write;

use super::is_python;
use crate::eval::bleu::NgramCounts;
use crate::files::TestEvent;
use crate::log::thousands;
use crate::report::RunData;
use crate::report::parts::table;
use crate::report::shell::run_key;
use crate::report::text::{duration, escape, percent, score};

/// Which value of a column is the best.
#[derive(Clone, Copy, PartialEq)]
enum Best {
    Least,
    Greatest,
    /// The column says how the run was made, not how good it is.
    None,
}

struct Column {
    group: &'static str,
    name: &'static str,
    best: Best,
    /// The value by which runs are ranked, and its text.
    cell: fn(&RunData) -> (f64, String),
}

const LOSS: &str = "Loss, nats a token";
const BLEU: &str = "BLEU-4";
const MATCH: &str = "Right, %";
const OUTPUT: &str = "Output, %";
const RUN: &str = "Run";

/// The column that only runs on code have.
const PARSES: &str = "parses";

/// The column that only runs that copy have.
const COPIED: &str = "copied";

/// The columns that tell runs on code apart whose outputs are more than words between blanks.
const OF_TOKENS: [&str; 2] = ["names, F1", "trees"];

const COLUMNS: [Column; 17] = [
    column(LOSS, "train", Best::Least, |r| loss(train_loss(r))),
    column(LOSS, "valid", Best::Least, |r| loss(valid_loss(r))),
    column(LOSS, "test", Best::Least, |r| loss(of(r, |t| t.loss))),
    column(BLEU, "plain", Best::Greatest, |r| {
        scored(of(r, |t| Some(t.scores.bleu)))
    }),
    column(BLEU, "smoothed", Best::Greatest, |r| {
        scored(of(r, |t| Some(t.scores.bleu_smoothed)))
    }),
    column("", "chrF", Best::Greatest, |r| {
        let x = of(r, |t| Some(t.scores.chrf));
        // sacrebleu's scale ends at 100, others' at 1.
        (x, if x > 1.0 { format!("{x:.2}") } else { score(x) })
    }),
    column(MATCH, "exact", Best::Greatest, |r| {
        share(of(r, |t| Some(t.scores.exact_match)))
    }),
    column(MATCH, "tokens", Best::Greatest, |r| {
        share(of(r, |t| Some(t.scores.token_accuracy)))
    }),
    column(OUTPUT, PARSES, Best::Greatest, |r| {
        share(of(r, |t| Some(t.scores.parse_rate)))
    }),
    column(OUTPUT, "<UNK>", Best::Least, |r| {
        share(of(r, |t| Some(t.scores.unk_rate)))
    }),
    column(OUTPUT, COPIED, Best::None, |r| {
        share(of(r, |t| t.copied_rate))
    }),
    column(OUTPUT, OF_TOKENS[0], Best::Greatest, |r| {
        share(of(r, |t| Some(t.scores.identifier_f1)))
    }),
    column(OUTPUT, OF_TOKENS[1], Best::Greatest, |r| {
        share(of(r, |t| Some(t.scores.tree_match)))
    }),
    column(RUN, "parameters", Best::Least, |r| {
        let count = r.test.as_ref().and_then(|t| t.parameters);
        (
            count.map_or(f64::NAN, |n| n as f64),
            count.map_or("–".into(), thousands),
        )
    }),
    column(RUN, "time", Best::Least, |r| {
        let seconds = seconds(r);
        (seconds, duration(seconds))
    }),
    column(RUN, "epochs", Best::None, |r| {
        let last = r.epochs.last().map(|e| e.epoch);
        let last = last.or(r.test.as_ref().and_then(|t| t.epoch));
        (f64::NAN, last.map_or("–".into(), thousands))
    }),
    column(RUN, "seed", Best::None, |r| {
        (f64::NAN, escape(r.setting("seed").unwrap_or("–")))
    }),
];

const fn column(
    group: &'static str,
    name: &'static str,
    best: Best,
    cell: fn(&RunData) -> (f64, String),
) -> Column {
    Column {
        group,
        name,
        best,
        cell,
    }
}

/// A figure of the run's test; NaN where there is none.
fn of(run: &RunData, read: fn(&TestEvent) -> Option<f64>) -> f64 {
    run.test.as_ref().and_then(read).unwrap_or(f64::NAN)
}

fn loss(x: f64) -> (f64, String) {
    (
        x,
        if x.is_finite() {
            format!("{x:.4}")
        } else {
            "–".into()
        },
    )
}

fn scored(x: f64) -> (f64, String) {
    (x, score(x))
}

fn share(x: f64) -> (f64, String) {
    (x, percent(x))
}

/// As the test recorded it, else of the last epoch.
fn train_loss(run: &RunData) -> f64 {
    let tested = of(run, |t| t.train_loss);
    match run.epochs.last() {
        Some(e) if !tested.is_finite() => e.train_loss,
        _ => tested,
    }
}

/// As the test recorded it, else of the last epoch.
fn valid_loss(run: &RunData) -> f64 {
    let tested = of(run, |t| t.valid_loss);
    match run.epochs.last() {
        Some(e) if !tested.is_finite() => e.valid_loss.unwrap_or(f64::NAN),
        _ => tested,
    }
}

/// Seconds of training: as the test recorded them, else of the epochs so far.
fn seconds(run: &RunData) -> f64 {
    match of(run, |t| t.train_seconds) {
        tested if tested.is_finite() => tested,
        _ => run.seconds(),
    }
}

/// The columns of these runs.
fn columns(runs: &[RunData]) -> Vec<&'static Column> {
    let has_code = runs.iter().any(is_python);
    let copies = |run: &RunData| run.setting("copy") == Some("true");
    let is_published = |run: &RunData| {
        let tokens = run.setting("target-tokens").unwrap_or("whitespace");
        tokens == "whitespace" && !copies(run)
    };
    let has_tokens = has_code && !runs.iter().all(is_published);
    let is_shown = |column: &&Column| match column.name {
        PARSES => has_code,
        COPIED => runs.iter().any(copies),
        name => has_tokens || !OF_TOKENS.contains(&name),
    };
    COLUMNS.iter().filter(is_shown).collect()
}

/// The comparison, its notes and BLEU's counts.
pub fn section(runs: &[RunData]) -> String {
    let columns = columns(runs);
    let mut out = "<section><h2>Results</h2><div class=\"card scroll\"><table class=\"numbers \
                   results\">"
        .to_owned();
    out += &head(&columns);
    let cells: Vec<Vec<_>> = columns
        .iter()
        .map(|c| runs.iter().map(c.cell).collect())
        .collect();
    let marked: Vec<_> = columns
        .iter()
        .zip(&cells)
        .map(|(c, cells)| best(c.best, cells))
        .collect();
    out += "<tbody>";
    for (i, run) in runs.iter().enumerate() {
        let _ = write!(out, "<tr><th>{}</th>", run_key(i, &run.label()));
        for c in 0..columns.len() {
            let text = &cells[c][i].1;
            let first = if starts_group(&columns, c) {
                "first"
            } else {
                ""
            };
            out += &if marked[c].as_ref() == Some(text) {
                format!("<td class=\"{first} best\"><i title=\"best\">★</i><b>{text}</b></td>")
            } else {
                format!("<td class=\"{first}\">{text}</td>")
            };
        }
        out += "</tr>";
    }
    out += "</tbody></table></div>";
    let _ = write!(out, "<p class=\"note\">{}</p>", notes(runs));
    out += &counts(runs);
    out + "</section>\n"
}

fn starts_group(columns: &[&Column], column: usize) -> bool {
    column == 0 || columns[column - 1].group != columns[column].group
}

/// Two rows: groups of columns, and the columns with the direction that is better.
fn head(columns: &[&Column]) -> String {
    let (mut groups, mut names) = (String::new(), String::new());
    for group in columns.chunk_by(|a, b| a.group == b.group) {
        let span = group.len();
        let _ = write!(
            groups,
            "<th class=\"first\" colspan=\"{span}\">{}</th>",
            group[0].group
        );
        for (i, column) in group.iter().enumerate() {
            let arrow = match column.best {
                Best::Least => " <span title=\"lower is better\">↓</span>",
                Best::Greatest => " <span title=\"higher is better\">↑</span>",
                Best::None => "",
            };
            let first = if i == 0 { "first" } else { "" };
            let _ = write!(
                names,
                "<th class=\"{first}\">{}{arrow}</th>",
                escape(column.name)
            );
        }
    }
    format!("<thead><tr><th rowspan=\"2\">Model</th>{groups}</tr><tr>{names}</tr></thead>")
}

/// The text of the best value, which every run of the same text shares. None where no value beats
/// another one.
fn best(rule: Best, cells: &[(f64, String)]) -> Option<String> {
    let finite = || cells.iter().filter(|c| c.0.is_finite());
    let found = match rule {
        Best::Least => finite().min_by(|a, b| a.0.total_cmp(&b.0)),
        Best::Greatest => finite().max_by(|a, b| a.0.total_cmp(&b.0)),
        Best::None => None,
    }?;
    finite().any(|c| c.1 != found.1).then(|| found.1.clone())
}

fn notes(runs: &[RunData]) -> String {
    let mut notes = Vec::new();
    if runs.len() > 1 {
        notes.push("★ and bold: best of its column (none where all are equal).".to_owned());
    }
    let columns = columns(runs);
    let told = [
        (PARSES, "; parses: outputs that are valid Python"),
        (COPIED, "; copied: tokens from the source"),
        (
            OF_TOKENS[0],
            "; names: identifiers, of outputs and references; trees: outputs with the syntax tree of their \
             references",
        ),
    ];
    let told = told
        .into_iter()
        .filter(|(name, _)| columns.iter().any(|c| c.name == *name));
    let told: String = told.map(|(_, text)| text).collect();
    notes.push(format!(
        "↓ lower is better, ↑ higher is better. BLEU-4 on tokens, from 0 to 1, over the whole test \
         split; smoothed: exponentially, for n-grams without a match. Exact: outputs equal to \
         their references; tokens: reference tokens in their places{told}. Time is that of training."
    ));
    for run in runs {
        let name = escape(&run.label());
        match &run.test {
            None if run.setting("pretrain").is_some() => notes.push(format!(
                "{name} is pre-training, which is not tested: its losses are those of its last epoch, without \
                 sources."
            )),
            None => notes.push(format!(
                "{name} has not been tested yet: its losses are those of its last epoch."
            )),
            Some(test) if run.overtaken => notes.push(format!(
                "{name} has trained on since it was tested{}.",
                test.step
                    .map_or(String::new(), |s| format!(" at step {}", thousands(s)))
            )),
            _ => {}
        }
    }
    notes.join(" ")
}

/// BLEU's counts, folded away.
fn counts(runs: &[RunData]) -> String {
    let head = [
        "Model",
        "1-grams",
        "2-grams",
        "3-grams",
        "4-grams",
        "Output tokens",
        "Reference tokens",
        "Brevity penalty",
        "Decoding",
    ];
    let row = |(i, run): (usize, &RunData)| {
        let counts = run.test.as_ref()?.scores.ngram_counts?;
        let NgramCounts {
            matches,
            totals,
            hyp_len,
            ref_len,
        } = counts;
        let found = matches.iter().zip(totals);
        let found = found.map(|(n, of)| format!("{} / {}", thousands(*n), thousands(of)));
        let others = [
            thousands(hyp_len),
            thousands(ref_len),
            score(counts.brevity_penalty()),
            duration(of(run, |t| t.decode_seconds)),
        ];
        Some((run_key(i, &run.label()), found.chain(others).collect()))
    };
    let rows: Vec<_> = runs.iter().enumerate().filter_map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    format!(
        "<details class=\"card\"><summary>What BLEU counts <span>· n-grams of the outputs found in \
         their references / all of them</span></summary><div class=\"scroll\">{}</div></details>",
        table("numbers", &head.map(str::to_owned), rows)
    )
}
