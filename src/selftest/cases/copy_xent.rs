//! Mixtures of a vocabulary and what can be copied: rows of words, of which some positions hold the
//! target and some what is no word.

use super::add;
use crate::autograd::Var;
use crate::data::spans::Spans;
use crate::error::Result;
use crate::ops;
use crate::ops::copy_xent::Copies;
use crate::selftest::Case;
use crate::selftest::bounds::{EXACT, SOFTMAX, SOFTMAX_GRADIENT};
use crate::selftest::probe::{Input, Output, probe, probe_forward};
use crate::selftest::side::{Side, ids, numbers};
use crate::tensor::Tensor;

/// Rows, words, and the positions of each row of the batch: one of all, fewer words than a warp has
/// lanes, more than a block has threads, and more positions than it has.
const PLANS: [(usize, usize, &[usize]); 5] = [
    (1, 1, &[1]),
    (33, 7, &[2, 7, 1, 3]),
    (7, 257, &[33, 5]),
    (33, 513, &[3, 1, 5, 5, 2]),
    (3, 2300, &[300]),
];

#[derive(Clone, Copy)]
struct Plan {
    rows: usize,
    vocab: usize,
    sources: &'static [usize],
}

/// The table's cases of this file.
pub(super) fn cases(table: &mut Vec<Case>) {
    for (rows, vocab, sources) in PLANS {
        let plan = Plan {
            rows,
            vocab,
            sources,
        };
        let name = format!("{rows}x{vocab} from {sources:?}");
        let mixture = format!("{name}, mixture");
        add(table, "copy_xent", name, move |side| plan.score(side));
        add(table, "copy_xent", mixture, move |side| plan.mix(side));
    }
    add(table, "copy_xent", "known ids", |side| {
        let read = side.place(&ids(2, [5000], 300)?)?;
        let known = Var::constant(ops::known(&read, 200, 3)?);
        probe_forward(side, &[], |_, _| Ok(vec![("known", known, EXACT)]))
    });
}

/// What is placed on a side.
struct Placed {
    spans: Spans,
    held: Tensor,
    of_batch: Tensor,
    targets: Tensor,
}

impl Plan {
    fn inputs(self) -> [Input; 3] {
        let positions = self.sources.iter().max().copied().unwrap_or(1);
        let weight = |k: usize| (1 + k * 7 % 13) as f64 / 64.0;
        let weights: Vec<f64> = (0..self.rows * positions).map(weight).collect();
        let leaf = |name, columns| Input::leaf(name, [self.rows, columns], SOFTMAX_GRADIENT);
        [
            leaf("logits", self.vocab).scaled(8.0),
            leaf("gate", 1).scaled(4.0),
            leaf("alpha", positions).of(&weights).wide(),
        ]
    }

    /// A third of the targets is of any kind, the others are what a position of their row holds.
    fn place(self, side: &Side) -> Result<Placed> {
        let spans = Spans::new(self.sources)?;
        let (batch, extended) = (self.sources.len(), self.vocab + spans.longest());
        let held = ids(3, [spans.total()], extended)?;
        let of_batch: Vec<u32> = (0..self.rows).map(|n| (n * 3 % batch) as u32).collect();
        let mut targets = ids(4, [self.rows], extended)?;
        let (from, held_ids) = (targets.data::<u32>()?.to_vec(), held.data::<u32>()?);
        let target = |(n, &any): (usize, &u32)| {
            let b = of_batch[n] as usize;
            match n % 3 {
                0 => any,
                _ => held_ids[spans.start(b) + any as usize % spans.len(b)],
            }
        };
        let chosen: Vec<u32> = from.iter().enumerate().map(target).collect();
        targets.data_mut::<u32>()?.copy_from_slice(&chosen);
        Ok(Placed {
            held: side.place(&held)?,
            of_batch: side.place(&Tensor::from_slice(&of_batch, [self.rows])?)?,
            targets: side.place(&targets)?,
            spans,
        })
    }

    fn score(self, side: &Side) -> Result<Vec<Output>> {
        let placed = self.place(side)?;
        probe(side, &self.inputs(), |tape, v| {
            let (copies, targets) = (placed.copies(), &placed.targets);
            let scored = ops::copy_xent(tape, v[0].clone(), &v[1], &v[2], copies, targets)?;
            let correct = Var::constant(scored.correct);
            Ok(vec![
                ("loss", scored.loss, SOFTMAX),
                ("correct", correct, EXACT),
            ])
        })
    }

    /// What is minus infinity is compared as a probability of zero.
    fn mix(self, side: &Side) -> Result<Vec<Output>> {
        let placed = self.place(side)?;
        probe_forward(side, &self.inputs(), |_, v| {
            let [logits, gate, alpha] = [0, 1, 2].map(|k| v[k].value());
            let mixture = ops::copy_mixture(logits, gate, alpha, placed.copies())?;
            let found = ops::likeliest(&mixture, 0)?;
            let p: Vec<f64> = numbers(&mixture)?.iter().map(|x| x.exp()).collect();
            let p = Tensor::from_slice(&p, mixture.shape().clone())?;
            Ok(vec![
                ("columns", Var::constant(found.columns), EXACT),
                ("gains", Var::constant(found.gains), SOFTMAX),
                ("mixture", Var::constant(p), SOFTMAX),
            ])
        })
    }
}

impl Placed {
    fn copies(&self) -> Copies<'_> {
        Copies {
            ids: &self.held,
            rows: &self.of_batch,
            spans: &self.spans,
            offsets: None,
        }
    }
}
