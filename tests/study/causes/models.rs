//! Networks whose inside is known.

use rnnx::nn::CellKind;
use rnnx::programs::charlm::study::causes::network::{Lane, Network, Part, Shape, State, Unit};

/// A pair of brackets, by the ids of its characters.
pub type Pair = (u32, u32);

/// A stack of brackets in a hidden state: unit 0 is the depth, unit 1 the type of the innermost open
/// bracket, unit 2 counts characters, units 3.. are the stack. What it predicts it reads off units 0
/// and 1.
#[derive(Clone, Debug)]
pub struct Stack {
    pub pairs: Vec<Pair>,
    pub vocab: usize,
    /// Where a bracket is open: the probability of its closer, and of each other closer.
    pub closer: (f64, f64),
}

pub const DEPTH: Unit = unit(0);
pub const KIND: Unit = unit(1);
pub const COUNT: Unit = unit(2);

const fn unit(unit: usize) -> Unit {
    Unit {
        layer: 0,
        part: Part::H,
        unit,
    }
}

const FIRST: usize = 3;

impl Network for Stack {
    fn shape(&self) -> Shape {
        Shape {
            cell: CellKind::Rnn,
            vocab: self.vocab,
            layers: 1,
            hidden: 32,
        }
    }

    fn read(&self, lanes: &mut [Lane], ids: &[u32]) {
        for (lane, id) in lanes.iter_mut().zip(ids) {
            let h = &mut lane.state.h;
            // The stack itself is not what is held: its height is what it was.
            let height = (FIRST..h.len()).take_while(|&at| h[at] != 0.0).count();
            let mut top = FIRST + height;
            if let Some(kind) = self.pairs.iter().position(|pair| pair.0 == *id) {
                h[top] = 1.0 + kind as f32;
                top += 1;
            } else if self.pairs.iter().any(|pair| pair.1 == *id) && height > 0 {
                top -= 1;
                h[top] = 0.0;
            }
            h[0] = (top - FIRST) as f32;
            h[1] = if top > FIRST { h[top - 1] } else { 0.0 };
            h[2] += 1.0;
            for (unit, value) in &lane.held {
                lane.state.set(*unit, *value);
            }
        }
    }

    fn log_p(&self, state: &State, log_p: &mut [f64]) {
        let open = state.h[0].round() >= 1.0;
        let (right, wrong) = if open { self.closer } else { (0.0, 0.0) };
        let wrongs = self.pairs.len() - 1;
        let left = 1.0 - right - wrong * wrongs as f64;
        log_p.fill((left / (self.vocab - self.pairs.len()) as f64).ln());
        for (kind, (_, closer)) in self.pairs.iter().enumerate() {
            let p = if state.h[1].round() as usize == kind + 1 {
                right
            } else {
                wrong
            };
            log_p[*closer as usize] = p.max(1e-9).ln();
        }
    }
}

/// Knows nothing: every character has 1 / V.
pub struct Nothing(pub usize);

impl Network for Nothing {
    fn shape(&self) -> Shape {
        Shape {
            cell: CellKind::Rnn,
            vocab: self.0,
            layers: 1,
            hidden: 1,
        }
    }

    fn read(&self, _: &mut [Lane], _: &[u32]) {}

    fn log_p(&self, _: &State, log_p: &mut [f64]) {
        log_p.fill(-(self.0 as f64).ln());
    }
}
