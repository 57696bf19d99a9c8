//! A recurrent network whose inside can be read, copied and changed.

use serde::{Deserialize, Serialize};

use crate::nn::CellKind;

/// What a unit's value is taken from; C comes after H.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The hidden state.
    H,
    /// The cell state, of an LSTM alone.
    C,
}

impl Part {
    /// The parts that a cell has.
    pub fn of(cell: CellKind) -> &'static [Part] {
        match cell.has_c() {
            true => &[Part::H, Part::C],
            false => &[Part::H],
        }
    }
}

/// One number of a network's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unit {
    /// The layer, from 0 at the input.
    pub layer: usize,
    /// Hidden or cell state.
    pub part: Part,
    /// Its number within the layer.
    pub unit: usize,
}

/// Sizes of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The cell of every layer.
    pub cell: CellKind,
    /// V, characters.
    pub vocab: usize,
    /// Layers.
    pub layers: usize,
    /// H, units of a layer.
    pub hidden: usize,
}

impl Shape {
    /// Every number of the state: by layer, of a layer h before c.
    pub fn units(self) -> impl Iterator<Item = Unit> {
        (0..self.layers).flat_map(move |layer| {
            let parts = Part::of(self.cell).iter();
            parts
                .flat_map(move |&part| (0..self.hidden).map(move |unit| Unit { layer, part, unit }))
        })
    }
}

/// The inside of a network after the characters it has read.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Hidden states `[layers, H]`.
    pub h: Vec<f32>,
    /// Cell states `[layers, H]`; empty where the cell has none.
    pub c: Vec<f32>,
    /// The gates of the last step after their activation, `[layers, G, H]`: i, f, g, o of an LSTM;
    /// r, z, n of a GRU; a tanh RNN's one is h.
    pub gates: Vec<f32>,
    hidden: usize,
}

impl State {
    /// All zeros, as a text begins.
    pub fn zeros(shape: Shape) -> Self {
        let n = shape.layers * shape.hidden;
        State {
            h: vec![0.0; n],
            c: vec![0.0; if shape.cell.has_c() { n } else { 0 }],
            gates: vec![0.0; n * shape.cell.gates()],
            hidden: shape.hidden,
        }
    }

    /// A unit's value. Panics where the network has no such unit.
    pub fn get(&self, Unit { layer, part, unit }: Unit) -> f32 {
        let at = layer * self.hidden + unit;
        match part {
            Part::H => self.h[at],
            Part::C => self.c[at],
        }
    }

    /// Sets a unit. Panics where the network has no such unit.
    pub fn set(&mut self, Unit { layer, part, unit }: Unit, value: f32) {
        let at = layer * self.hidden + unit;
        match part {
            Part::H => self.h[at] = value,
            Part::C => self.c[at] = value,
        }
    }

    /// Every unit's value, in the order of [`Shape::units`].
    pub fn values(&self) -> impl Iterator<Item = f32> {
        let layers = self.h.chunks_exact(self.hidden).enumerate();
        layers.flat_map(|(l, h)| {
            let c = self.c.chunks_exact(self.hidden).nth(l).unwrap_or_default();
            h.iter().chain(c).copied()
        })
    }
}

impl std::fmt::Display for Unit {
    /// As `c 17 of layer 1`; layers count from 1, as people do.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let part = match self.part {
            Part::H => "h",
            Part::C => "c",
        };
        write!(f, "{part} {} of layer {}", self.unit, self.layer + 1)
    }
}

/// A text on its way through a network, and what is done to the network meanwhile.
#[derive(Clone, Debug)]
pub struct Lane {
    /// The state.
    pub state: State,
    /// Units that are held at a value whenever a character is read: the operator do(unit = value)
    /// of Pearl. What a step computes from the unit, in its own layer (h from c) and above,
    /// is computed from that value.
    pub held: Vec<(Unit, f32)>,
}

impl Lane {
    /// An undisturbed text in this state.
    pub fn new(state: State) -> Self {
        Lane {
            state,
            held: Vec::new(),
        }
    }
}

/// A character model with a state.
pub trait Network: Sync {
    /// Its sizes.
    fn shape(&self) -> Shape;

    /// Reads one character in each lane. What a lane becomes does not depend on the others.
    ///
    /// # Panics
    /// If there is not one id below V for each lane.
    fn read(&self, lanes: &mut [Lane], ids: &[u32]);

    /// log p of every character to come next, `[V]`, in nats.
    fn log_p(&self, state: &State, log_p: &mut [f64]);

    /// A lane at the beginning of a text.
    fn begin(&self) -> Lane {
        Lane::new(State::zeros(self.shape()))
    }

    /// Reads characters one after the other in one lane.
    fn read_all(&self, lane: &mut Lane, ids: &[u32]) {
        for &id in ids {
            self.read(std::slice::from_mut(lane), &[id]);
        }
    }
}
