//! The GRU's formula (Cho et al., PyTorch's form), and PyTorch's numbers.

use super::recurrent::numbers::{check_formula, check_golden};
use rnnx::ops::recurrent::CellKind;

#[test]
fn the_formula_in_plain_loops() {
    let sigmoid = |z: f64| 1.0 / (1.0 + (-z).exp());
    check_formula(CellKind::Gru, |(x, s), h, c| {
        let (r, z) = (sigmoid(x[0] + s[0]), sigmoid(x[1] + s[1]));
        let n = (x[2] + r * s[2]).tanh();
        ((1.0 - z) * n + z * h, c)
    });
}

#[test]
fn goldens_of_pytorch() {
    let text = include_str!("../golden/gru.json");
    let inputs = ["x", "w_ih", "w_hh", "b_ih", "b_hh", "h0"];
    check_golden(CellKind::Gru, text, &inputs);
}
