//! What the units of a network hold at places of files, and what those places are.

use rayon::prelude::*;

use super::draws::Draw;
use super::network::{Network, Shape, Unit};
use crate::nn::CellKind;
use crate::programs::charlm::study::source::SourceFile;
use crate::programs::charlm::study::syntax::BracketKind;

/// How much is recorded.
#[derive(Clone, Copy, Debug)]
pub struct RecordSpec {
    /// At most so many files, drawn at random.
    pub files: usize,
    /// Characters that are read of each file.
    pub chars: usize,
    /// One place in so many is recorded.
    pub every: u32,
}

/// What is known of a place, which is between two characters: the state has read the one before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// Brackets that are open.
    pub depth: u8,
    /// Whether a string is open.
    pub in_string: bool,
    /// Levels of indentation of the line.
    pub indent: u8,
    /// Characters of the line before the place.
    pub column: u16,
    /// The type of the innermost bracket that is open, of those that are closed at some time.
    pub innermost: Option<BracketKind>,
}

/// The recorded places of one file.
#[derive(Clone, Debug)]
pub struct FileRecord {
    /// The places.
    pub places: Vec<Place>,
    /// Every unit's value at each of them, `[places, units]`.
    pub values: Vec<f32>,
}

/// The recorded places of some files.
#[derive(Clone, Debug)]
pub struct Record {
    /// The units, in the order of their values.
    pub units: Vec<Unit>,
    /// The files.
    pub files: Vec<FileRecord>,
    /// What the gates that keep a unit's state did.
    pub gates: Option<Gates>,
}

/// What the gate that keeps a unit's state did at every character that was read: f of an LSTM, z of a
/// GRU. Per unit, `[layers, H]`.
#[derive(Clone, Debug)]
pub struct Gates {
    /// Characters.
    pub chars: usize,
    /// How often it was below [`CLOSED`].
    pub closed: Vec<usize>,
    /// How often it was above [`OPEN`].
    pub open: Vec<usize>,
    /// The sum of its logarithms.
    pub log: Vec<f64>,
}

/// Below this a gate counts as closed.
pub const CLOSED: f32 = 0.1;
/// Above this a gate counts as open.
pub const OPEN: f32 = 0.9;

impl Gates {
    /// The gate of a cell that keeps its state; a tanh RNN has none.
    fn of(cell: CellKind) -> Option<usize> {
        match cell {
            CellKind::Rnn => None,
            CellKind::Lstm | CellKind::Gru => Some(1),
        }
    }

    fn new(shape: Shape) -> Self {
        let units = shape.layers * shape.hidden;
        Gates {
            chars: 0,
            closed: vec![0; units],
            open: vec![0; units],
            log: vec![0.0; units],
        }
    }

    /// Counts a step whose gates are `[layers, G, H]`.
    fn add(&mut self, gates: &[f32], gate: usize, shape: Shape) {
        self.chars += 1;
        let layers = gates.chunks_exact(shape.cell.gates() * shape.hidden);
        let values = layers.flat_map(|layer| &layer[gate * shape.hidden..][..shape.hidden]);
        for (unit, &value) in values.enumerate() {
            self.closed[unit] += usize::from(value < CLOSED);
            self.open[unit] += usize::from(value > OPEN);
            self.log[unit] += f64::from(value).ln();
        }
    }

    fn join(mut self, other: &Gates) -> Self {
        self.chars += other.chars;
        let add = |to: &mut Vec<usize>, from: &[usize]| {
            to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
        };
        add(&mut self.closed, &other.closed);
        add(&mut self.open, &other.open);
        let logs = self.log.iter_mut().zip(&other.log);
        logs.for_each(|(to, from)| *to += from);
        self
    }
}

impl Record {
    /// Reads the beginnings of files and records places.
    pub fn of<N: Network>(network: &N, files: &[&SourceFile], spec: &RecordSpec) -> Self {
        let mut order: Vec<usize> = (0..files.len()).collect();
        Draw::Files.stream(0).reader().shuffle(&mut order);
        order.truncate(spec.files);
        order.sort_unstable();
        let read: Vec<(FileRecord, Option<Gates>)> = order
            .par_iter()
            .map(|&n| read(network, files[n], n as u32, spec))
            .collect();
        let (files, gates): (Vec<FileRecord>, Vec<Option<Gates>>) = read.into_iter().unzip();
        let gates = gates.into_iter().flatten();
        Record {
            units: network.shape().units().collect(),
            files,
            gates: gates.reduce(|all, file| all.join(&file)),
        }
    }

    /// Places of all files.
    pub fn places(&self) -> usize {
        self.files.iter().map(|file| file.places.len()).sum()
    }

    /// A unit's values at the places of a file, in order. `unit` is its number in `units`.
    pub fn values<'a>(
        &self,
        file: &'a FileRecord,
        unit: usize,
    ) -> impl Iterator<Item = f32> + Clone + 'a {
        file.values
            .iter()
            .copied()
            .skip(unit)
            .step_by(self.units.len())
    }

    /// Every unit's mean over all places.
    pub fn means(&self) -> Vec<f32> {
        let mut sums = vec![0.0; self.units.len()];
        for place in self
            .files
            .iter()
            .flat_map(|file| file.values.chunks(self.units.len()))
        {
            for (sum, &value) in sums.iter_mut().zip(place) {
                *sum += f64::from(value);
            }
        }
        let places = self.places() as f64;
        sums.into_iter().map(|sum| (sum / places) as f32).collect()
    }
}

/// Records one file, number `n` of those it was drawn from.
fn read<N: Network>(
    network: &N,
    file: &SourceFile,
    n: u32,
    spec: &RecordSpec,
) -> (FileRecord, Option<Gates>) {
    let shape = network.shape();
    let stream = Draw::Places.stream(n);
    let innermost = innermost(file);
    let keeps = Gates::of(shape.cell);
    let mut gates = keeps.map(|_| Gates::new(shape));
    let mut record = FileRecord {
        places: Vec::new(),
        values: Vec::new(),
    };
    let mut lane = network.begin();
    let length = spec.chars.min(file.ids.len() - 1);
    for (t, &id) in file.ids[..length].iter().enumerate() {
        network.read_all(&mut lane, &[id]);
        if let (Some(gates), Some(gate)) = (&mut gates, keeps) {
            gates.add(&lane.state.gates, gate, shape);
        }
        if stream.word(t as u64) % spec.every == 0 {
            let mark = file.marks[t + 1];
            record.places.push(Place {
                depth: mark.depth,
                in_string: mark.in_string,
                indent: mark.indent,
                column: mark.column,
                innermost: innermost[t + 1],
            });
            record.values.extend(lane.state.values());
        }
    }
    (record, gates)
}

/// The type of the innermost pair of brackets around each character; a closer is inside its own.
fn innermost(file: &SourceFile) -> Vec<Option<BracketKind>> {
    let mut kinds = vec![None; file.ids.len()];
    let mut brackets = file.syntax.brackets.clone();
    brackets.sort_unstable_by_key(|bracket| bracket.open);
    for bracket in brackets {
        kinds[bracket.open + 1..=bracket.close].fill(Some(bracket.kind));
    }
    kinds
}
