//! Lines of charts: their strokes, the shapes of their points (so that runs differ without their
//! colours), and legend entries.

use std::fmt::Write;

use super::text::escape;

/// Colours that the style sheet has.
pub const COLOURS: usize = 6;

/// The look of a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stroke {
    /// Noisy values of steps, in the background.
    Thin,
    /// Values of steps, alone in their chart.
    Fine,
    /// Training means.
    Dashed,
    /// What matters most.
    Bold,
}

impl Stroke {
    /// Whether the line joins values of whole epochs.
    pub fn is_epochs(self) -> bool {
        matches!(self, Stroke::Dashed | Stroke::Bold)
    }

    /// Its class in the page's style sheet.
    pub fn class(self) -> &'static str {
        match self {
            Stroke::Thin => "thin",
            Stroke::Fine => "fine",
            Stroke::Dashed => "dashed",
            Stroke::Bold => "bold",
        }
    }
}

/// The shape of a marker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mark {
    /// The only one where all lines belong to one run.
    Circle,
    /// On its side.
    Square,
    /// Point up.
    Triangle,
    /// A square on its corner.
    Diamond,
    /// A triangle, point down.
    Down,
    /// Two bars.
    Cross,
}

const ALL: [Mark; 6] = [
    Mark::Circle,
    Mark::Square,
    Mark::Triangle,
    Mark::Diamond,
    Mark::Down,
    Mark::Cross,
];

impl Mark {
    /// The marker of the run of this index. Runs of one colour have different ones.
    pub fn of(run: usize) -> Self {
        ALL[(run + run / COLOURS) % ALL.len()]
    }

    /// The class that dashes a line without markers; none for the first shape.
    pub fn dash(self) -> String {
        match ALL.iter().position(|m| *m == self) {
            Some(0) | None => String::new(),
            Some(i) => format!(" d{i}"),
        }
    }

    /// The closed outline around (`x`, `y`) in the size of a circle of radius 3.2.
    fn outline(self, x: f64, y: f64) -> String {
        let corners: &[(f64, f64)] = match self {
            Mark::Circle => &[],
            Mark::Square => &[(-3.0, -3.0), (3.0, -3.0), (3.0, 3.0), (-3.0, 3.0)],
            Mark::Triangle => &[(0.0, -4.0), (4.0, 3.2), (-4.0, 3.2)],
            Mark::Diamond => &[(0.0, -4.4), (4.4, 0.0), (0.0, 4.4), (-4.4, 0.0)],
            Mark::Down => &[(0.0, 4.0), (4.0, -3.2), (-4.0, -3.2)],
            Mark::Cross => &[
                (-1.3, -4.0),
                (1.3, -4.0),
                (1.3, -1.3),
                (4.0, -1.3),
                (4.0, 1.3),
                (1.3, 1.3),
                (1.3, 4.0),
                (-1.3, 4.0),
                (-1.3, 1.3),
                (-4.0, 1.3),
                (-4.0, -1.3),
                (-1.3, -1.3),
            ],
        };
        let mut path = String::new();
        for (i, (dx, dy)) in corners.iter().enumerate() {
            let command = if i == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{command}{:.1} {:.1}", x + dx, y + dy);
        }
        path + "Z"
    }

    /// Its outline around (0, 0); none of a circle.
    pub fn shape(self) -> Option<String> {
        (self != Mark::Circle).then(|| self.outline(0.0, 0.0))
    }

    /// The marker at (`x`, `y`) of the picture, with a text for the pointer.
    pub fn draw(self, x: f64, y: f64, class: &str, title: &str) -> String {
        let title = escape(title);
        match self {
            Mark::Circle => format!(
                "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.2\"><title>{title}\
                 </title></circle>"
            ),
            _ => format!(
                "<path class=\"mark {class}\" d=\"{}\"><title>{title}</title></path>",
                self.outline(x, y)
            ),
        }
    }
}

/// One line of a chart.
#[derive(Clone, Debug)]
pub struct Series {
    /// What the legend calls it.
    pub name: String,
    /// The number of its colour, below [`COLOURS`].
    pub colour: usize,
    /// The shape of its markers; a line without markers is dashed by it.
    pub mark: Mark,
    /// How it is drawn.
    pub stroke: Stroke,
    /// (x, y) by rising x; a NaN or infinite y is a gap.
    pub points: Vec<(f64, f64)>,
    /// Text beside the line's end, before its last value.
    pub label: Option<String>,
}

/// An entry of a legend: a piece of the line with its marker, and a text.
pub fn legend_entry(colour: &str, stroke: Stroke, mark: Option<Mark>, text: &str) -> String {
    let (class, text) = (stroke.class(), escape(text));
    let dash = match (stroke, mark) {
        (Stroke::Fine, Some(mark)) => mark.dash(),
        _ => String::new(),
    };
    let mark = match mark {
        Some(Mark::Circle) if stroke.is_epochs() => {
            format!("<circle cx=\"13\" cy=\"5\" r=\"3\" class=\"{colour} {class}\"/>")
        }
        Some(mark) if stroke.is_epochs() => {
            let outline = mark.outline(13.0, 5.0);
            format!("<path class=\"mark {colour} {class}\" d=\"{outline}\"/>")
        }
        _ => String::new(),
    };
    format!(
        "<span><svg viewBox=\"0 0 26 10\" aria-hidden=\"true\"><path class=\"line {colour} \
         {class}{dash}\" d=\"M1 5H25\"/>{mark}</svg>{text}</span>"
    )
}
