//! Variational dropout in the whole model: gradients, and what is dropped.

use rnnx::nn::CellKind;
use rnnx::programs::charlm::model::{CharLm, CharLmSizes};
use rnnx::tensor::Tensor;
use rnnx::train::model::Model;

use super::{F64_VALUE, check_gradients_of, close, pass};

#[test]
fn whole_model_gradients_with_variational_dropout() {
    for tied in [false, true] {
        let sizes = CharLmSizes {
            cell: CellKind::Lstm,
            vocab: 6,
            embedding: 5,
            hidden: 5,
            layers: 2,
            tied,
        };
        let model = CharLm::new::<f64>(sizes, 3).with_dropout(0.3);
        check_gradients_of(model.with_variational_dropout(true), 7, 3);
    }
}

/// With the cell's weights at zero all that a logit depends on is which outputs of the last layer are
/// dropped: the same ones at every step, and others in another row.
#[test]
fn variational_dropout_drops_the_same_at_every_step() {
    let (steps, rows, hidden) = (6, 2, 64);
    let sizes = CharLmSizes {
        cell: CellKind::Rnn,
        vocab: 3,
        embedding: 4,
        hidden,
        layers: 1,
        tied: false,
    };
    let mut model = CharLm::new::<f64>(sizes, 3).with_dropout(0.5);
    let layout = model.params().layout().clone();
    let values = model.params_mut().values_mut().data_mut::<f64>().unwrap();
    values.fill(0.0);
    for s in layout.segments() {
        // Every hidden unit is tanh(1), and the first logit is the sum of those that are left.
        if ["rnn.bias_ih_l0", "out.weight"].contains(&&*s.name) {
            values[s.offset..][..hidden].fill(1.0);
        }
    }
    let ids = Tensor::from_slice(&vec![1u32; steps * rows], [steps, rows]).unwrap();
    // The loss of one step and row is a function of its first logit alone.
    let losses = |variational: bool| -> Vec<f64> {
        let model = model.clone().with_variational_dropout(variational);
        let loss_of = |at: usize| {
            let mut targets = vec![1u32; steps * rows];
            targets[at] = 0;
            let targets = Tensor::from_slice(&targets, [steps, rows]).unwrap();
            let all = pass::<f64>(&model, &ids, &ids, 0.0, 5).loss;
            // How much likelier the second class is there than the first: the logit.
            all - pass::<f64>(&model, &ids, &targets, 0.0, 5).loss
        };
        (0..steps * rows).map(loss_of).collect()
    };
    let same = losses(true);
    let first = &same[..rows];
    for step in same.chunks(rows) {
        close("a step", step, first, F64_VALUE);
    }
    assert!((first[0] - first[1]).abs() > 1e-3, "{first:?}");
    let other = losses(false);
    let differ = other
        .chunks(rows)
        .any(|step| (step[0] - other[0]).abs() > 1e-3);
    assert!(differ, "{other:?}");
}
