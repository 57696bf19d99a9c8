//! The range of an axis and its round ticks.

use super::marks::Series;

/// Values leave the scale where they would stretch it to this many times what 96 % of them need.
const FAR: f64 = 3.0;

/// The range of all values, and how many of a few far ones were left out of it: the first steps of
/// a run, or spikes, would press all others flat. Epoch values are never left out.
pub fn limits(series: &[Series]) -> (Option<(f64, f64)>, usize) {
    let finite = |s: &Series| {
        let ys = s.points.iter().map(|p| p.1);
        ys.filter(|y| y.is_finite()).collect::<Vec<_>>()
    };
    let mut all: Vec<f64> = series.iter().flat_map(finite).collect();
    all.sort_by(f64::total_cmp);
    let (Some(&lo), Some(&hi)) = (all.first(), all.last()) else {
        return (None, 0);
    };
    let (low, high) = (all[all.len() / 50], all[(all.len() - 1) - all.len() / 50]);
    if all.len() < 100 || high <= low {
        return (Some((lo, hi)), 0);
    }
    let kept = series.iter().filter(|s| s.stroke.is_epochs());
    let kept: Vec<f64> = kept.flat_map(finite).collect();
    let room = 0.25 * (high - low);
    let (mut bottom, mut top) = (lo, hi);
    if hi - low > FAR * (high - low) {
        top = kept.iter().copied().fold(high + room, f64::max);
    }
    if high - lo > FAR * (high - low) {
        bottom = kept.iter().copied().fold(low - room, f64::min);
    }
    let outside = all.iter().filter(|y| **y < bottom || **y > top).count();
    (Some((bottom, top)), outside)
}

/// Round numbers, about `count` steps apart, that enclose `lo` to `hi`.
pub fn ticks(lo: f64, hi: f64, count: f64) -> Vec<f64> {
    let pad = if hi > lo {
        0.0
    } else {
        (lo.abs() * 0.1).max(1e-12)
    };
    let (lo, hi) = (lo - pad, hi + pad);
    let raw = (hi - lo) / count;
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power);
    let step = step.into_iter().find(|s| *s >= raw).unwrap_or(10.0 * power);
    let (first, last) = ((lo / step + 1e-9).floor(), (hi / step - 1e-9).ceil());
    let n = (last - first).clamp(1.0, 50.0) as usize;
    (0..=n).map(|i| (first + i as f64) * step).collect()
}
