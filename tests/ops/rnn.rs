//! The tanh RNN's formula.

use super::recurrent::numbers::check_formula;
use rnnx::ops::recurrent::CellKind;

#[test]
fn the_formula_in_plain_loops() {
    check_formula(CellKind::Rnn, |(x, s), _, c| ((x[0] + s[0]).tanh(), c));
}
