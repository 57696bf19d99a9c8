//! How long units keep what they hold: forget gates, and the values of a unit that counts depth.
//!
//! Hewitt et al. 2020 (arXiv 2010.07515) show that an LSTM can hold a bounded stack with gates near 0
//! and 1 and a cell state at few distinct values; trained networks come close on Dyck words. Here it is
//! asked of one that was trained on source.

use serde::{Deserialize, Serialize};

use super::record::{Gates, Record};
use crate::programs::charlm::study::estimate::FEWEST;

/// The values of a unit at places of one depth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AtDepth {
    /// Brackets that are open.
    pub depth: u8,
    /// Places.
    pub places: usize,
    /// Mean of the unit; none from fewer than 50 places.
    pub mean: Option<f64>,
    /// Standard deviation around it.
    pub spread: Option<f64>,
}

/// The values of a unit by depth. `unit` is its number in the record's units.
pub fn by_depth(record: &Record, unit: usize) -> Vec<AtDepth> {
    let mut sums: Vec<(usize, f64, f64)> = Vec::new();
    for file in &record.files {
        for (place, value) in file.places.iter().zip(record.values(file, unit)) {
            let depth = usize::from(place.depth);
            sums.resize(sums.len().max(depth + 1), (0, 0.0, 0.0));
            let (n, x, xx) = sums[depth];
            let value = f64::from(value);
            sums[depth] = (n + 1, x + value, xx + value * value);
        }
    }
    let depths = sums.into_iter().enumerate().map(|(depth, sum)| {
        let (places, x, xx) = sum;
        let n = places as f64;
        let mean = (places as u64 >= FEWEST).then_some(x / n);
        AtDepth {
            depth: depth as u8, // a place's is no more
            places,
            mean,
            spread: mean.map(|mean| (xx / n - mean * mean).max(0.0).sqrt()),
        }
    });
    depths.collect()
}

/// What the gate that keeps a unit's state does: f of an LSTM, z of a GRU.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnitGate {
    /// The layer, from 0 at the input.
    pub layer: usize,
    /// The unit's number within the layer.
    pub unit: usize,
    /// Share of characters at which it is below 0.1.
    pub closed: f64,
    /// Share of characters at which it is above 0.9.
    pub open: f64,
    /// Characters after which half of a value is left, ln 2 / -mean ln f; none where the gate never
    /// lets go.
    pub half_life: Option<f64>,
}

/// The gates of a layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerGates {
    /// The layer, from 0 at the input.
    pub layer: usize,
    /// Share of characters and units at which the gate is below 0.1.
    pub closed: f64,
    /// Share of them at which it is above 0.9.
    pub open: f64,
    /// Units by half-life: the first number those below 1 character, then 1 to 2, 2 to 4 and so on; the
    /// last all from 1024 on.
    pub half_lives: Vec<usize>,
    /// The median half-life in characters; none where half of the units never let go.
    pub median_half_life: Option<f64>,
}

/// Units by half-life: so many bins.
const BINS: usize = 12;

/// Every unit's gate, by layer.
pub fn unit_gates(gates: &Gates, hidden: usize) -> Vec<UnitGate> {
    let chars = gates.chars as f64;
    let unit = |n: usize| {
        let decay = -gates.log[n] / chars;
        UnitGate {
            layer: n / hidden,
            unit: n % hidden,
            closed: gates.closed[n] as f64 / chars,
            open: gates.open[n] as f64 / chars,
            half_life: (decay > 0.0).then_some(std::f64::consts::LN_2 / decay),
        }
    };
    (0..gates.log.len()).map(unit).collect()
}

/// Each layer's gates.
pub fn layer_gates(units: &[UnitGate]) -> Vec<LayerGates> {
    let layers = units.chunk_by(|a, b| a.layer == b.layer).map(|units| {
        let n = units.len() as f64;
        let mut half_lives = vec![0; BINS];
        let mut lives: Vec<f64> = Vec::new();
        for unit in units {
            let life = unit.half_life.unwrap_or(f64::INFINITY);
            let bin = if life < 1.0 { 0.0 } else { 1.0 + life.log2() } as usize;
            half_lives[bin.min(BINS - 1)] += 1;
            lives.push(life);
        }
        lives.sort_unstable_by(f64::total_cmp);
        LayerGates {
            layer: units[0].layer,
            closed: units.iter().map(|unit| unit.closed).sum::<f64>() / n,
            open: units.iter().map(|unit| unit.open).sum::<f64>() / n,
            half_lives,
            median_half_life: Some(lives[lives.len() / 2]).filter(|life| life.is_finite()),
        }
    });
    layers.collect()
}
