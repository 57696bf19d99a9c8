//! The LSTM's formula (Hochreiter & Schmidhuber), and PyTorch's numbers.

use super::recurrent::numbers::{check_formula, check_golden};
use rnnx::ops::recurrent::CellKind;

#[test]
fn the_formula_in_plain_loops() {
    let sigmoid = |z: f64| 1.0 / (1.0 + (-z).exp());
    check_formula(CellKind::Lstm, |(x, s), _, c| {
        let z = |gate: usize| x[gate] + s[gate];
        let c = sigmoid(z(1)) * c + sigmoid(z(0)) * z(2).tanh();
        (sigmoid(z(3)) * c.tanh(), c)
    });
}

#[test]
fn goldens_of_pytorch() {
    let text = include_str!("../golden/lstm.json");
    check_golden(CellKind::Lstm, text, &["x", "w_ih", "w_hh", "b"]);
}
