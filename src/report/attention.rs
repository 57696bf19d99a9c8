//! The heat map of an alignment: source tokens across, output tokens down, a cell for each weight.

use std::fmt::Write;

use super::scale::ticks;
use super::text::{Unit, escape, tick};

/// Width and height of a cell, pixels.
const CELL: (f64, f64) = (22.0, 18.0);
/// Space between cells.
const GAP: f64 = 1.0;
/// Width of a column of the labels' monospaced type of 12 pixels.
const COLUMN: f64 = 7.25;
/// Columns that a label may take; longer tokens end in an ellipsis.
const LABEL: usize = 18;
/// Columns of a token in the text of a cell.
const TITLE: usize = 60;
/// Sine and cosine of 45 degrees, at which source labels rise.
const DIAGONAL: f64 = std::f64::consts::FRAC_1_SQRT_2;
/// Opacity of a cell of weight zero: the grid stays to be seen.
const FAINT: f64 = 0.05;
/// Steps of the scale below the map.
const STEPS: usize = 10;
/// What the last row is called where the output ended by itself.
const END: &str = "<EOS>";

/// The style of a file of its own, for white paper.
const STYLE: &str = "text { font: 12px \"DejaVu Sans Mono\", Menlo, Consolas, monospace; fill: #1b1d21; } \
    .at-name { font-family: \"DejaVu Sans\", \"Segoe UI\", Helvetica, Arial, sans-serif; fill: #5c626b; } \
    .at-special { fill: #8a5a00; font-style: italic; } \
    .at-w { fill: #08306b; } .at-none { fill: none; stroke: #b9bdc3; stroke-dasharray: 2 2; } \
    .at-tick { stroke: #b9bdc3; }";

/// A drawing and its size in pixels.
struct Picture {
    width: f64,
    height: f64,
    body: String,
}

/// Draws one alignment as an SVG file: white background, its own style, no network.
///
/// `weights` is `[output, source]`, or `[output + 1, source]` where the last row belongs to the
/// `<EOS>` that ended the output. Cells show their tokens and weight under the pointer; tokens
/// longer than 18 columns are cut with an ellipsis. A weight that is missing or no number is drawn
/// as an empty cell.
pub fn attention_svg(source: &[String], output: &[String], weights: &[Vec<f32>]) -> String {
    let Picture {
        width,
        height,
        body,
    } = draw(source, output, weights);
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" \
         width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\">\
         <title>Attention weights</title><style>{STYLE}</style>\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>{body}</svg>\n"
    )
}

/// The same drawing for a page, whose style sheet colours it.
pub fn heat_map(source: &[String], output: &[String], weights: &[Vec<f32>]) -> String {
    let picture = draw(source, output, weights);
    let (w, h) = (picture.width.round(), picture.height.round());
    format!(
        "<svg class=\"heat\" width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {w} {h}\" role=\"img\" \
         aria-label=\"Attention weights\">{}</svg>",
        picture.body
    )
}

fn draw(source: &[String], output: &[String], weights: &[Vec<f32>]) -> Picture {
    let longest = weights.iter().map(Vec::len).max().unwrap_or(0);
    let (rows, columns) = (weights.len().max(output.len()), source.len().max(longest));
    if rows == 0 || columns == 0 {
        let body = "<text class=\"at-name\" x=\"12\" y=\"24\">no attention weights</text>";
        return Picture {
            width: 180.0,
            height: 40.0,
            body: body.into(),
        };
    }
    let across: Vec<&str> = (0..columns).map(|i| token(source, i, "")).collect();
    let down: Vec<&str> = (0..rows).map(|i| token(output, i, END)).collect();
    let width_of = |t: &&str| columns_of(&fit(t, LABEL)) as f64 * COLUMN;
    let left = 24.0 + down.iter().map(width_of).fold(0.0, f64::max) + 8.0;
    let top = 24.0 + across.iter().map(width_of).fold(0.0, f64::max) * DIAGONAL + 12.0;
    let (width, height) = (columns as f64 * CELL.0, rows as f64 * CELL.1);
    let ends = across.iter().enumerate();
    let ends = ends.map(|(i, t)| (i as f64 + 0.7) * CELL.0 + width_of(t) * DIAGONAL);
    let reach = ends.fold(width, f64::max).max(250.0) + 12.0;

    let mut out = String::new();
    names(&mut out, left, top, height);
    for (i, text) in across.iter().enumerate() {
        let (x, y) = (left + (i as f64 + 0.5) * CELL.0 + 3.0, top - 6.0);
        let place = format!("transform=\"translate({x:.1} {y:.1}) rotate(-45)\"");
        label(&mut out, text, &place);
    }
    for (i, text) in down.iter().enumerate() {
        let y = top + (i as f64 + 0.5) * CELL.1 + 4.0;
        let place = format!("x=\"{:.1}\" y=\"{y:.1}\" text-anchor=\"end\"", left - 7.0);
        label(&mut out, text, &place);
    }
    let greatest = greatest(weights);
    for (row, output) in down.iter().enumerate() {
        out += "<g class=\"at-row\">";
        for (column, source) in across.iter().enumerate() {
            let weight = weights.get(row).and_then(|r| r.get(column)).copied();
            let (x, y) = (left + column as f64 * CELL.0, top + row as f64 * CELL.1);
            let title = format!("{} → {}", fit(source, TITLE), fit(output, TITLE));
            cell(&mut out, (x, y), weight, greatest, &title);
        }
        out += "</g>";
    }
    legend(&mut out, left, top + height + 14.0, greatest);
    Picture {
        width: left + reach,
        height: top + height + 46.0,
        body: out,
    }
}

/// The token of this index; the row after the last output is the end of the sequence.
fn token<'a>(tokens: &'a [String], i: usize, end: &'a str) -> &'a str {
    match tokens.get(i) {
        Some(token) => token,
        None if i == tokens.len() => end,
        None => "",
    }
}

fn names(out: &mut String, left: f64, top: f64, height: f64) {
    let middle = top + height / 2.0;
    let _ = write!(
        out,
        "<text class=\"at-name\" x=\"{left:.1}\" y=\"15\">source →</text><text class=\"at-name\" \
         transform=\"translate(14 {middle:.1}) rotate(-90)\" text-anchor=\"middle\">← output</text>"
    );
}

fn label(out: &mut String, text: &str, place: &str) {
    let shown = fit(text, LABEL);
    let class = match text {
        "<UNK>" | END | "<SOS>" | "<PAD>" => " class=\"at-special\"",
        _ => "",
    };
    let full = match shown == text {
        true => String::new(),
        false => format!("<title>{}</title>", escape(text)),
    };
    let _ = write!(out, "<text{class} {place}>{full}{}</text>", escape(&shown));
}

fn cell(out: &mut String, at: (f64, f64), weight: Option<f32>, greatest: f64, title: &str) {
    let (x, y) = (at.0 + GAP / 2.0, at.1 + GAP / 2.0);
    let (w, h) = (CELL.0 - GAP, CELL.1 - GAP);
    let (look, value) = match weight.filter(|w| w.is_finite()) {
        Some(weight) => (
            format!(
                "class=\"at-w\" fill-opacity=\"{:.3}\"",
                opacity(f64::from(weight) / greatest)
            ),
            format!("{weight:.4}"),
        ),
        None => ("class=\"at-none\"".into(), "no weight".into()),
    };
    let _ = write!(
        out,
        "<rect {look} x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w}\" height=\"{h}\"><title>{}: {value}\
         </title></rect>",
        escape(title)
    );
}

/// Opacity of a cell at this share of the scale.
fn opacity(share: f64) -> f64 {
    FAINT + (1.0 - FAINT) * share.clamp(0.0, 1.0)
}

/// The round number at which the scale ends: the greatest weight or a little more.
fn greatest(weights: &[Vec<f32>]) -> f64 {
    let finite = weights.iter().flatten().filter(|w| w.is_finite());
    let most = finite.fold(0.0f32, |a, w| a.max(*w));
    // A softmax of one term may round to a bit over 1.
    let most = (f64::from(most) * 1e5).round() / 1e5;
    if most <= 0.0 {
        return 1.0;
    }
    ticks(0.0, most, 5.0).last().copied().unwrap_or(1.0)
}

/// Pale to dark with the weights at both ends and in the middle.
fn legend(out: &mut String, left: f64, top: f64, greatest: f64) {
    let width = 12.0;
    for i in 0..=STEPS {
        let _ = write!(
            out,
            "<rect class=\"at-w\" fill-opacity=\"{:.3}\" x=\"{:.1}\" y=\"{top:.1}\" \
             width=\"{width}\" height=\"9\"/>",
            opacity(i as f64 / STEPS as f64),
            left + i as f64 * width
        );
    }
    for share in [0.0, 0.5, 1.0] {
        let x = left + (share * STEPS as f64 + 0.5) * width;
        let text = match share {
            0.0 => "0".to_owned(),
            _ => tick(greatest * share, greatest / 20.0, Unit::Plain),
        };
        let _ = write!(
            out,
            "<path class=\"at-tick\" d=\"M{x:.1} {:.1}v4\"/><text class=\"at-name\" x=\"{x:.1}\" \
             y=\"{:.1}\" text-anchor=\"middle\">{text}</text>",
            top + 9.0,
            top + 26.0
        );
    }
    let _ = write!(
        out,
        "<text class=\"at-name\" x=\"{:.1}\" y=\"{:.1}\">attention weight</text>",
        left + (STEPS + 2) as f64 * width,
        top + 9.0
    );
}

/// As much of `text` as fits into `columns`, the cut shown by an ellipsis.
fn fit(text: &str, columns: usize) -> String {
    if columns_of(text) <= columns {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut taken = 1;
    for c in text.chars() {
        taken += columns_of_char(c);
        if taken > columns {
            break;
        }
        out.push(c);
    }
    out + "…"
}

fn columns_of(text: &str) -> usize {
    text.chars().map(columns_of_char).sum()
}

/// Columns that a character takes in monospaced type: marks over another none, wide ones two.
fn columns_of_char(c: char) -> usize {
    match c as u32 {
        0x300..=0x36f | 0x200b..=0x200f | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff => 2,
        0xfe30..=0xfe6f | 0xff00..=0xff60 | 0x1f300..=0x1faff | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}
