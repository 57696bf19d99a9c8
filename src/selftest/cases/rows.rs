//! Ops on matrices and their rows.

use super::add;
use crate::autograd::Var;
use crate::ops;
use crate::selftest::Case;
use crate::selftest::bounds::{
    EXACT, PRODUCT, ROUNDED, ROUNDED_SUM, SOFTMAX, SOFTMAX_GRADIENT, SUM, TWICE,
};
use crate::selftest::probe::{Input, probe};
use crate::selftest::side::ids;
use crate::tensor::Tensor;

/// The table's cases of this file.
pub(super) fn cases(table: &mut Vec<Case>) {
    products(table);
    biases(table);
    embeddings(table);
    losses(table);
    concats(table);
    gathers(table);
}

fn products(table: &mut Vec<Case>) {
    for [m, k, n] in [[1, 1, 1], [7, 33, 1], [33, 257, 7], [257, 7, 33]] {
        for (ta, tb, form) in [
            (false, false, "as they are"),
            (true, false, "a transposed"),
            (false, true, "b transposed"),
            (true, true, "both transposed"),
        ] {
            let name = format!("{m}x{k}x{n}, {form}");
            add(table, "matmul", name, move |side| {
                let a = if ta { [k, m] } else { [m, k] };
                let b = if tb { [n, k] } else { [k, n] };
                let inputs = [
                    Input::leaf("a", a, PRODUCT),
                    Input::parameter("b", b, PRODUCT),
                ];
                probe(side, &inputs, |tape, v| {
                    let c = ops::matmul(tape, &v[0], &v[1], ta, tb)?;
                    Ok(vec![("c", c, PRODUCT)])
                })
            });
        }
    }
    // A second gradient is added to the first by the product itself.
    add(table, "matmul", "33x7x33, used twice", |side| {
        let inputs = [
            Input::leaf("a", [33, 7], PRODUCT),
            Input::parameter("b", [7, 33], PRODUCT),
        ];
        probe(side, &inputs, |tape, v| {
            let c = ops::matmul(tape, &v[0], &v[1], false, false)?;
            let d = ops::matmul(tape, &v[0], &v[1], false, false)?;
            Ok(vec![("c", c, PRODUCT), ("d", d, PRODUCT)])
        })
    });
}

/// Rows and columns; the last is past one block's 1024 rows.
const BIASED: [[usize; 2]; 5] = [[1, 1], [7, 33], [33, 257], [257, 7], [2100, 3]];

fn biases(table: &mut Vec<Case>) {
    for [rows, columns] in BIASED {
        let inputs = move || {
            [
                Input::leaf("x", [rows, columns], EXACT),
                Input::parameter("b", [columns], SUM),
            ]
        };
        add(
            table,
            "add_bias",
            format!("{rows}x{columns}"),
            move |side| {
                probe(side, &inputs(), |tape, v| {
                    let y = ops::add_bias(tape, v[0].clone(), &v[1])?;
                    Ok(vec![("y", y, ROUNDED)])
                })
            },
        );
    }
    add(table, "add_bias", "33x7, in place, used twice", |side| {
        let inputs = [
            Input::leaf("x", [33, 7], TWICE),
            Input::parameter("b", [7], SUM),
        ];
        probe(side, &inputs, |tape, v| {
            // Nobody else holds the sum, nor the first result.
            let x = ops::add(tape, &v[0], &v[0])?;
            let y = ops::add_bias(tape, x, &v[1])?;
            let y = ops::add_bias(tape, y, &v[1])?;
            Ok(vec![("y", y, TWICE)])
        })
    });
}

/// Vocabulary, width and tokens: more columns than a block has threads, and more tokens than a
/// chunk of 4096.
const TABLES: [[usize; 3]; 5] = [
    [1, 1, 1],
    [7, 33, 33],
    [33, 257, 7],
    [257, 7, 257],
    [5, 3, 5000],
];

fn embeddings(table: &mut Vec<Case>) {
    for [vocab, width, tokens] in TABLES {
        let name = format!("{vocab}x{width}, {tokens} tokens");
        add(table, "embedding", name, move |side| {
            let ids = side.place(&ids(1, [tokens], vocab)?)?;
            let inputs = [Input::parameter("table", [vocab, width], SUM)];
            probe(side, &inputs, |tape, v| {
                Ok(vec![("y", ops::embedding(tape, &v[0], &ids)?, EXACT)])
            })
        });
    }
}

/// Rows and columns: a warp takes a row of up to 512 columns, a block a longer one.
const LOGITS: [[usize; 2]; 8] = [
    [1, 1],
    [7, 33],
    [33, 7],
    [1, 257],
    [257, 33],
    [33, 512],
    [33, 513],
    [7, 1300],
];

fn losses(table: &mut Vec<Case>) {
    for [rows, vocab] in LOGITS {
        add(
            table,
            "softmax_xent",
            format!("{rows}x{vocab}"),
            move |side| {
                let targets = side.place(&ids(2, [rows], vocab)?)?;
                let inputs = [Input::leaf("logits", [rows, vocab], SOFTMAX_GRADIENT).scaled(8.0)];
                probe(side, &inputs, |tape, v| {
                    let scored = ops::softmax_xent(tape, v[0].clone(), &targets)?;
                    let correct = Var::constant(scored.correct);
                    Ok(vec![
                        ("loss", scored.loss, SOFTMAX),
                        ("correct", correct, EXACT),
                    ])
                })
            },
        );
    }
    for vocab in [33, 513] {
        let name = format!("7x{vocab}, in place");
        add(table, "softmax_xent", name, move |side| {
            let targets = side.place(&ids(2, [7], vocab)?)?;
            let inputs = [Input::leaf("x", [7, vocab], SOFTMAX_GRADIENT).scaled(4.0)];
            probe(side, &inputs, |tape, v| {
                // A sum of equals is exact, and nobody else holds it.
                let logits = ops::add(tape, &v[0], &v[0])?;
                let loss = ops::softmax_xent(tape, logits, &targets)?.loss;
                Ok(vec![("loss", loss, SOFTMAX)])
            })
        });
    }
}

// ---- concat --------------------------------------------------------------------------------

/// Rows and the widths of the parts; a block has at most 256 threads for the columns.
const PARTS: [(usize, &[usize]); 5] = [
    (1, &[1]),
    (7, &[33, 7]),
    (33, &[257, 1, 33]),
    (257, &[7, 7]),
    (7, &[1, 600, 32]),
];

fn concats(table: &mut Vec<Case>) {
    for (rows, widths) in PARTS {
        let name = format!("{rows} rows of {widths:?}");
        add(table, "concat", name, move |side| {
            let names = ["a", "b", "c"].into_iter().zip(widths);
            let parts = names.map(|(name, &w)| Input::leaf(name, [rows, w], EXACT));
            probe(side, &parts.collect::<Vec<_>>(), |tape, v| {
                let y = ops::concat(tape, &v.iter().collect::<Vec<_>>())?;
                Ok(vec![("y", y, EXACT)])
            })
        });
    }
    add(table, "concat", "7 rows, one part twice", |side| {
        let parts = [
            Input::leaf("a", [7, 33], ROUNDED),
            Input::leaf("b", [7, 5], EXACT),
        ];
        probe(side, &parts, |tape, v| {
            Ok(vec![(
                "y",
                ops::concat(tape, &[&v[0], &v[1], &v[0]])?,
                EXACT,
            )])
        })
    });
}

// ---- gather --------------------------------------------------------------------------------

/// Rows, width and rows picked: more columns than a block has threads, more picked rows than a
/// block looks at in one go (256), and more than a chunk of 4096.
const PICKED: [[usize; 3]; 5] = [
    [1, 1, 1],
    [33, 7, 33],
    [257, 33, 100],
    [7, 257, 300],
    [5, 3, 5000],
];

fn gathers(table: &mut Vec<Case>) {
    for [rows, width, picked] in PICKED {
        let name = format!("{picked} of {rows}x{width}");
        add(table, "gather", name, move |side| {
            let picked = side.place(&ids(4, [picked], rows)?)?;
            let inputs = [Input::leaf("x", [rows, width], ROUNDED_SUM)];
            probe(side, &inputs, |tape, v| {
                Ok(vec![("y", ops::gather(tape, &v[0], &picked)?, EXACT)])
            })
        });
    }
    // All rows in reverse, next to themselves: two gradients are added.
    add(table, "gather", "33x7, used twice", |side| {
        let order: Vec<u32> = (0..33).collect();
        let reverse: Vec<u32> = (0..33).rev().collect();
        let [order, reverse] = [order, reverse].map(|rows| Tensor::from_slice(&rows, [33]));
        let [order, reverse] = [side.place(&order?)?, side.place(&reverse?)?];
        probe(side, &[Input::leaf("x", [33, 7], ROUNDED)], |tape, v| {
            let same = ops::gather(tape, &v[0], &order)?;
            let turned = ops::gather(tape, &v[0], &reverse)?;
            Ok(vec![("same", same, EXACT), ("turned", turned, EXACT)])
        })
    });
}
