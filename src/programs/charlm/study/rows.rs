//! What the rows of the measures say in a table.

use super::bins::Span;
use super::estimate::Estimate;
use super::measures::classes::ClassRow;
use super::measures::closure::ClosureRow;
use super::measures::context::ContextRow;
use super::measures::delimiters::DelimiterRow;
use super::measures::identifiers::IdentifierRow;
use super::measures::indentation::IndentationRow;
use super::measures::snippets::SnippetRow;

/// Events of a bin with their figures.
pub trait Row {
    /// The names of the figures.
    const FIGURES: &'static [&'static str];
    /// The bin.
    fn label(&self) -> String;
    /// What of the bin is this model's alone.
    fn detail(&self) -> Option<String> {
        None
    }
    /// Events.
    fn n(&self) -> u64;
    /// The figures, in the order of their names.
    fn figures(&self) -> Vec<Option<Estimate>>;
}

/// The bins of a row, `all` where it is of everything.
fn joined(parts: impl IntoIterator<Item = Option<String>>) -> String {
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    match parts.is_empty() {
        true => "all".into(),
        false => parts.join(", "),
    }
}

fn span(unit: &str, span: Option<Span>) -> Option<String> {
    span.map(|span| format!("{unit}{}", span.name()))
}

impl Row for ClassRow {
    const FIGURES: &'static [&'static str] = &["bits a character", "top-1"];

    fn label(&self) -> String {
        joined([self.class.map(|class| class.name().to_owned())])
    }

    fn n(&self) -> u64 {
        self.n
    }

    fn figures(&self) -> Vec<Option<Estimate>> {
        vec![self.bits, self.top1]
    }
}

impl Row for ClosureRow {
    const FIGURES: &'static [&'static str] = &["p", "top-1", "type accuracy", "wrong type"];

    fn label(&self) -> String {
        joined([span("", self.distance), span("depth ", self.depth)])
    }

    fn n(&self) -> u64 {
        self.n
    }

    fn figures(&self) -> Vec<Option<Estimate>> {
        vec![self.p, self.top1, self.type_accuracy, self.wrong_type]
    }
}

impl Row for SnippetRow {
    const FIGURES: &'static [&'static str] = &["all top-1", "all types", "p of all"];

    fn label(&self) -> String {
        joined([span("closers ", self.closers)])
    }

    fn n(&self) -> u64 {
        self.n
    }

    fn figures(&self) -> Vec<Option<Estimate>> {
        vec![self.top1, self.type_accuracy, self.p]
    }
}

impl Row for IndentationRow {
    const FIGURES: &'static [&'static str] = &["p", "exact", "legal"];

    fn label(&self) -> String {
        joined([
            self.step.map(|step| step.name().to_owned()),
            span("level ", self.level),
            span("", self.distance),
        ])
    }

    fn n(&self) -> u64 {
        self.n
    }

    fn figures(&self) -> Vec<Option<Estimate>> {
        vec![self.p, self.exact, self.legal]
    }
}

impl Row for DelimiterRow {
    const FIGURES: &'static [&'static str] = &["p", "share of quotes", "too early"];

    fn label(&self) -> String {
        joined([Some(self.kind.clone()), span("", self.length)])
    }

    fn n(&self) -> u64 {
        self.n
    }

    fn figures(&self) -> Vec<Option<Estimate>> {
        vec![self.p, self.share, self.early]
    }
}

impl Row for IdentifierRow {
    const FIGURES: &'static [&'static str] = &["completed", "bits a character", "gain"];

    fn label(&self) -> String {
        joined([span("", self.distance)])
    }

    fn n(&self) -> u64 {
        self.n
    }

    fn figures(&self) -> Vec<Option<Estimate>> {
        vec![self.completed, self.bits, self.gain]
    }
}

/// The context's lengths are columns.
impl Row for ContextRow {
    const FIGURES: &'static [&'static str] = &[
        "effective",
        "L(1)",
        "L(2)",
        "L(4)",
        "L(8)",
        "L(16)",
        "L(32)",
        "L(64)",
        "L(128)",
        "L(256)",
        "L(512)",
        "L(1024)",
    ];

    fn label(&self) -> String {
        joined([self.class.map(|class| class.name().to_owned())])
    }

    fn n(&self) -> u64 {
        self.n
    }

    fn figures(&self) -> Vec<Option<Estimate>> {
        let losses = self.losses.iter().map(|loss| loss.bits);
        [self.effective].into_iter().chain(losses).collect()
    }
}
