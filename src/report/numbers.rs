//! What the page's script draws a chart anew from: its points, thinned out, as JSON.

use serde_json::{Value, json};

use super::chart::Chart;
use super::marks::{COLOURS, Series, Stroke};
use super::text::Unit;

/// The points of a line as they are drawn.
pub struct Drawn {
    /// At most the lowest and the highest point of each pixel column, in their order, and one point
    /// for each gap.
    pub points: Vec<(f64, f64)>,
    /// Where points were left out, the mean of each column at its last point; a smoothed line is one
    /// of these.
    pub means: Option<Vec<(f64, f64)>>,
}

impl Drawn {
    /// Thins a line out that has more than two points a column; `px` is where an x lies, and `width` the
    /// number of columns.
    pub fn of(series: &Series, px: impl Fn(f64) -> f64, width: f64) -> Self {
        if series.points.len() as f64 <= 2.0 * width {
            return Drawn {
                points: series.points.clone(),
                means: None,
            };
        }
        let column = |p: &(f64, f64)| px(p.0).floor();
        let (mut points, mut means) = (Vec::new(), Vec::new());
        for all in series.points.chunk_by(|a, b| column(a) == column(b)) {
            for run in all.chunk_by(|a, b| a.1.is_finite() == b.1.is_finite()) {
                let low = (0..run.len()).min_by(|a, b| run[*a].1.total_cmp(&run[*b].1));
                let high = (0..run.len()).max_by(|a, b| run[*a].1.total_cmp(&run[*b].1));
                let (a, b) = (low.unwrap_or(0), high.unwrap_or(0));
                points.push(run[a.min(b)]);
                if a != b && run[0].1.is_finite() {
                    points.push(run[a.max(b)]);
                }
                let sum: f64 = run.iter().map(|p| p.1).sum();
                means.push((run[run.len() - 1].0, sum / run.len() as f64));
            }
        }
        Drawn {
            points,
            means: Some(means),
        }
    }
}

/// The script element. `range` is that of y; `outside` says how many values it leaves out.
pub fn script(
    chart: &Chart,
    range: Option<(f64, f64)>,
    outside: Option<&str>,
    drawn: &[Drawn],
) -> String {
    let lines = chart.series.iter().zip(drawn).map(|(s, drawn)| {
        let dash = match s.stroke {
            Stroke::Fine => s.mark.dash(),
            _ => String::new(),
        };
        json!({
            "name": s.name,
            "colour": s.colour % COLOURS,
            "stroke": s.stroke.class(),
            "dash": dash,
            "mark": s.mark.shape(),
            "label": s.label,
            "points": points(&drawn.points),
            "means": drawn.means.as_deref().map(points),
        })
    });
    let data = json!({
        "x": chart.x_label,
        "y": chart.y_label,
        "unit": match chart.unit {
            Unit::Plain => "plain",
            Unit::Percent => "percent",
            Unit::Short => "short",
        },
        "right": chart.right,
        "size": chart.size,
        "range": range,
        "outside": outside,
        "changes": chart.changes,
        "lines": lines.collect::<Vec<_>>(),
    });
    // `<` would let a name end the script element.
    let data = data.to_string().replace('<', "\\u003c");
    format!("<script type=\"application/json\">{data}</script>")
}

/// `[[x, ..], [y, ..]]`, the y with eight digits; a gap is null.
fn points(points: &[(f64, f64)]) -> Value {
    let short = |y: f64| format!("{y:.7e}").parse::<f64>().ok();
    let (x, y): (Vec<_>, Vec<_>) = points.iter().map(|p| (p.0, short(p.1))).unzip();
    json!([x, y])
}
