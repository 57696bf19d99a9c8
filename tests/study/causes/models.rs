//! Networks whose inside is known.

use std::collections::HashMap;

use rnnx::data::chars::CharVocab;
use rnnx::nn::CellKind;
use rnnx::programs::charlm::generate::weights::CharLmWeights;
use rnnx::programs::charlm::study::causes::brackets::BracketIds;
use rnnx::programs::charlm::study::causes::network::{Lane, Network, Part, Shape, State, Unit};
use rnnx::programs::charlm::study::source::SourceFile;
use rnnx::rng::{Purpose, Stream};

// ---- texts -----------------------------------------------------------------------------------

/// The printable characters and the newline.
pub fn vocab() -> CharVocab {
    CharVocab::from_tokens((' '..='~').chain(['\n'])).expect("a vocabulary")
}

/// The ids of brackets in [`vocab`].
pub fn ids() -> BracketIds {
    BracketIds::of(&vocab()).expect("all brackets")
}

/// A file of these characters.
pub fn file(name: &str, text: &str) -> SourceFile {
    let vocab = vocab();
    let chars: Vec<char> = text.chars().collect();
    let id = |c: &char| u32::from(vocab.id(*c).expect("in the vocabulary"));
    let ids = chars.iter().map(id).collect();
    SourceFile::new(name.into(), chars, ids)
}

/// Files of nested brackets of the three types, five lines at a time.
pub fn files(seed: u64, n: u32) -> Vec<SourceFile> {
    let one = |number| {
        let mut random = Stream::new(seed, Purpose::Study, number).reader();
        let mut text = String::new();
        while text.len() < 450 {
            let mut open = Vec::new();
            text += "a = ";
            for _ in 0..random.below(24) {
                match random.below(5) {
                    0 if open.len() < 4 => {
                        let kind = ["()", "[]", "{}"][random.below(3) as usize];
                        text += &kind[..1];
                        open.push(&kind[1..]);
                    }
                    1 => text += open.pop().unwrap_or("b"),
                    _ => text.push('c'),
                }
            }
            while let Some(closer) = open.pop() {
                text += closer;
            }
            text.push('\n');
        }
        file(&format!("{seed}/{number}.py"), &text)
    };
    (0..n).map(one).collect()
}

// ---- a stack ---------------------------------------------------------------------------------

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

/// A stack for Python's brackets.
pub fn stack() -> Stack {
    Stack {
        pairs: ids().pairs.to_vec(),
        vocab: vocab().len(),
        closer: (0.6, 0.1),
    }
}

impl Network for Stack {
    fn shape(&self) -> Shape {
        Shape {
            cell: CellKind::Rnn,
            vocab: self.vocab,
            layers: 1,
            hidden: 400,
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

// ---- a copy ----------------------------------------------------------------------------------

/// Characters from a character to its copy.
pub const LAG: usize = 40;

/// Expects what stood [`LAG`] characters before; where nothing did, all the same. Unit 0 counts, the
/// others hold the last characters.
pub struct Lag;

impl Lag {
    pub const RIGHT: f64 = 0.9;

    pub fn wrong() -> f64 {
        (1.0 - Lag::RIGHT) / (vocab().len() - 1) as f64
    }
}

impl Network for Lag {
    fn shape(&self) -> Shape {
        Shape {
            cell: CellKind::Rnn,
            vocab: vocab().len(),
            layers: 1,
            hidden: 1 + LAG,
        }
    }

    fn read(&self, lanes: &mut [Lane], ids: &[u32]) {
        for (lane, id) in lanes.iter_mut().zip(ids) {
            let count = lane.state.h[0] as usize;
            lane.state.h[1 + count % LAG] = *id as f32;
            lane.state.h[0] += 1.0;
        }
    }

    fn log_p(&self, state: &State, log_p: &mut [f64]) {
        let count = state.h[0] as usize;
        if count < LAG {
            let uniform = -(log_p.len() as f64).ln();
            log_p.fill(uniform);
            return;
        }
        log_p.fill(((1.0 - Lag::RIGHT) / (log_p.len() - 1) as f64).ln());
        log_p[state.h[1 + count % LAG] as usize] = Lag::RIGHT.ln();
    }
}

// ---- weights ---------------------------------------------------------------------------------

/// What a bracket adds to the counter's cell state.
pub const COUNTER_STEP: f64 = 0.5;

/// An LSTM of three units: c of unit 0 rises by [`COUNTER_STEP`] at an opener and falls at a closer;
/// unit 1 does the opposite; unit 2 forgets half at each character and takes up none.
pub fn counter() -> CharLmWeights {
    let (vocab, hidden) = (vocab(), 3);
    let v = vocab.len();
    let mut embedding = vec![0.0; v * 2];
    for c in "([{)]}".chars() {
        let id = usize::from(vocab.id(c).expect("a bracket"));
        embedding[2 * id] = if "([{".contains(c) { 1.0 } else { -1.0 };
    }
    let mut w_ih = vec![0.0; 4 * hidden * 2];
    let step = (COUNTER_STEP as f32).atanh();
    (w_ih[2 * (2 * hidden)], w_ih[2 * (2 * hidden + 1)]) = (step, -step);
    // i, f and o of the counters are open; g has no bias.
    let mut bias = vec![0.0; 4 * hidden];
    for unit in 0..2 {
        (bias[unit], bias[hidden + unit], bias[3 * hidden + unit]) = (20.0, 20.0, 20.0);
    }
    let tensors = HashMap::from([
        ("embedding.weight", (vec![v, 2], embedding)),
        ("lstm.weight_ih_l0", (vec![4 * hidden, 2], w_ih)),
        (
            "lstm.weight_hh_l0",
            (vec![4 * hidden, hidden], vec![0.0; 4 * hidden * hidden]),
        ),
        ("lstm.bias_ih_l0", (vec![4 * hidden], bias)),
        ("lstm.bias_hh_l0", (vec![4 * hidden], vec![0.0; 4 * hidden])),
        ("out.weight", (vec![v, hidden], vec![0.0; v * hidden])),
        ("out.bias", (vec![v], vec![0.0; v])),
    ]);
    CharLmWeights::from_tensors(
        false,
        |name| tensors.contains_key(name),
        |name| Ok(tensors[name].clone()),
    )
    .expect("well-formed tensors")
}

/// A small LSTM with random weights.
pub fn random_weights() -> CharLmWeights {
    let (v, hidden) = (vocab().len(), 8);
    let mut random = Stream::new(8, Purpose::Init, 0).reader();
    let shapes = [
        ("embedding.weight", vec![v, 4]),
        ("lstm.weight_ih_l0", vec![4 * hidden, 4]),
        ("lstm.weight_hh_l0", vec![4 * hidden, hidden]),
        ("lstm.bias_ih_l0", vec![4 * hidden]),
        ("lstm.bias_hh_l0", vec![4 * hidden]),
        ("out.weight", vec![v, hidden]),
        ("out.bias", vec![v]),
    ];
    let mut tensors = HashMap::new();
    for (name, shape) in shapes {
        let n: usize = shape.iter().product();
        let values: Vec<f32> = (0..n).map(|_| random.normal() as f32).collect();
        tensors.insert(name, (shape, values));
    }
    CharLmWeights::from_tensors(
        false,
        |name| tensors.contains_key(name),
        |name| Ok(tensors[name].clone()),
    )
    .expect("well-formed tensors")
}
