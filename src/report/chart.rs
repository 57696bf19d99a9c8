//! What a line chart shows.

use super::marks::Series;
use super::text::Unit;

/// A line chart over steps or epochs.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Above the plot.
    pub title: String,
    /// Below the x axis.
    pub x_label: &'static str,
    /// Beside the y axis.
    pub y_label: &'static str,
    /// How values of y are written.
    pub unit: Unit,
    /// A second scale of the same values at the right: its label, and its unit in the left one's.
    pub right: Option<(&'static str, f64)>,
    /// The lines, the first one lowest.
    pub series: Vec<Series>,
    /// Places on the x axis where something changed, each with a text for the pointer.
    pub changes: Vec<(f64, String)>,
    /// Width and height in pixels.
    pub size: (f64, f64),
}
