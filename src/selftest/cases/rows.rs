//! Ops on matrices and their rows.

use super::add;
use crate::autograd::Var;
use crate::ops;
use crate::selftest::Case;
use crate::selftest::bounds::{EXACT, PRODUCT, ROUNDED, SOFTMAX, SOFTMAX_GRADIENT, SUM, TWICE};
use crate::selftest::probe::{Input, probe};
use crate::selftest::side::ids;

/// The table's cases of this file.
pub(super) fn cases(table: &mut Vec<Case>) {
    products(table);
    biases(table);
    embeddings(table);
    losses(table);
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
