//! Attention of several heads over sequences without padding, in each order that their rows can have, with
//! gradients that arrive at either output.

use super::add;
use crate::autograd::Var;
use crate::data::spans::Spans;
use crate::error::Result;
use crate::ops::dot_attention::{Attended, Attention, Projected, Sequences, dot_attention};
use crate::selftest::Case;
use crate::selftest::bounds::HEADS;
use crate::selftest::probe::{Input, Made, Output, probe, probe_forward};
use crate::selftest::side::Side;
use crate::tensor::Tensor;

/// What attends to what.
#[derive(Clone, Copy)]
struct Plan {
    queries: &'static [usize],
    keys: &'static [usize],
    heads: usize,
    depth: usize,
    causal: bool,
    /// The rows stand in the opposite order.
    listed: bool,
    /// Queries, keys and values are columns of one matrix.
    together: bool,
    weights: bool,
}

/// Lengths of queries and keys, heads and their columns, and whether it is causal.
type Sizes = (&'static [usize], &'static [usize], usize, usize, bool);

/// One of everything; fewer queries than keys; more keys than a warp has lanes, and more columns; more heads
/// than a block has warps.
const PLANS: [Sizes; 7] = [
    (&[1], &[1], 1, 1, false),
    (&[3, 1, 4], &[2, 5, 1], 2, 3, false),
    (&[4, 2, 1], &[4, 2, 1], 3, 7, true),
    (&[1, 1, 2], &[5, 3, 4], 1, 8, true),
    (&[41, 2], &[37, 70], 2, 33, false),
    (&[35], &[35], 1, 64, true),
    (&[2, 3], &[3, 2], 9, 4, false),
];

/// The table's cases of this file.
pub(super) fn cases(table: &mut Vec<Case>) {
    for (queries, keys, heads, depth, causal) in PLANS {
        let plan = Plan {
            queries,
            keys,
            heads,
            depth,
            causal,
            listed: false,
            together: false,
            weights: true,
        };
        let see = if causal { "causal " } else { "" };
        let name = format!("{see}{queries:?} to {keys:?}, {heads} heads of {depth}");
        let listed = Plan {
            listed: true,
            weights: false,
            ..plan
        };
        let mut put = |name: String, plan: Plan| {
            add(table, "dot_attention", name, move |side| plan.run(side));
        };
        put(name.clone(), plan);
        put(format!("{name}, listed"), listed);
        if queries == keys {
            let together = true;
            let name = format!("{name}, together");
            put(name, Plan { together, ..listed });
        }
    }
    add(table, "dot_attention", "steps of 3 sequences", |side| {
        let inputs = [
            Input::leaf("q", [3, 10], HEADS),
            Input::leaf("kv", [15, 20], HEADS),
        ];
        probe_forward(side, &inputs, |tape, v| {
            let [queries, memory] = [v[0].clone(), v[1].clone()];
            let attention = Attention {
                queries: &Sequences::steps(1, 3)?,
                keys: &Sequences::steps(5, 3)?,
                heads: 2,
                causal: true,
                weights: true,
            };
            let projected = Projected::Apart { queries, memory };
            Ok(made(dot_attention(tape, &projected, attention)?))
        })
    });
}

fn made(attended: Attended) -> Made {
    let alpha = attended.alpha.map(|alpha| ("alpha", alpha, HEADS));
    let context = ("context", attended.context, HEADS);
    [context].into_iter().chain(alpha).collect()
}

impl Plan {
    fn sequences(self, side: &Side, lengths: &[usize]) -> Result<Sequences> {
        let spans = Spans::new(lengths)?;
        let rows: Vec<u32> = (0..spans.total() as u32).rev().collect();
        let rows = side.place(&Tensor::from_slice(&rows, [rows.len()])?)?;
        let offsets = Tensor::from_slice(spans.offsets(), [spans.rows() + 1])?;
        let offsets = side.place(&offsets)?;
        let rows = self.listed.then_some(&rows);
        Ok(Sequences::of(&spans, rows, Some(&offsets)))
    }

    fn run(self, side: &Side) -> Result<Vec<Output>> {
        let width = self.heads * self.depth;
        let [queries, keys] = [self.queries, self.keys].map(|n| n.iter().sum::<usize>());
        // Scores of the order of one and more.
        let input = |name, rows: usize, parts: usize| {
            Input::leaf(name, [rows, parts * width], HEADS).scaled(2.0)
        };
        let inputs = match self.together {
            true => vec![input("qkv", queries, 3)],
            false => vec![input("q", queries, 1), input("kv", keys, 2)],
        };
        let sequences = [self.queries, self.keys].map(|lengths| self.sequences(side, lengths));
        let [of_queries, of_keys] = sequences;
        let attention = Attention {
            queries: &of_queries?,
            keys: &of_keys?,
            heads: self.heads,
            causal: self.causal,
            weights: self.weights,
        };
        probe(side, &inputs, |tape, v: &[Var]| {
            let projected = match v {
                [all] => Projected::Together(all.clone()),
                _ => Projected::Apart {
                    queries: v[0].clone(),
                    memory: v[1].clone(),
                },
            };
            Ok(made(dot_attention(tape, &projected, attention)?))
        })
    }
}
