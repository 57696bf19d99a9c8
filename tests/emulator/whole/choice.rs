//! Which way a GPU takes, and what the log says of it.

use super::*;
use rnnx::device::measured::{BothWays, Measured, Size};

fn news(case: &Case, wish: Recurrence) -> Vec<String> {
    let gpu = on(0, wish);
    run(&gpu, case).unwrap();
    run(&gpu, case).unwrap();
    gpu.news()
}

#[test]
fn the_log_says_once_how_steps_are_taken_and_why() {
    let says = |case: &Case, wish, what: &str| {
        let news = news(case, wish);
        assert!(news.len() == 1 && news[0].contains(what), "{news:?}");
    };
    let case = Case::uniform(2, 8, 64);
    says(
        &case,
        Recurrence::Auto,
        "lstm of 64 units, whole sequences (auto)",
    );
    says(
        &Case::uniform(2, 1, 40),
        Recurrence::Auto,
        "step by step (auto: whole sequences need",
    );
    // At 512 units a cluster takes one group at once, and the emulated device has three.
    let many = Case::uniform(2, 25, 512);
    says(&many, Recurrence::Auto, "would take 2 rounds");
    assert!(news(&case, Recurrence::Steps).is_empty());
    assert!(news(&Case::uniform(1, 8, 64), Recurrence::Auto).is_empty());
}

#[test]
fn what_was_measured_decides_where_it_is_known() {
    let row = |units, whole_us| BothWays {
        size: Size {
            cell: "lstm".into(),
            units,
            rows: 8,
            training: true,
        },
        whole_us,
        steps_us: 5.0,
    };
    let measured = Measured(vec![row(64, 9.0), row(512, 1.0)]);
    let says = |case: &Case, wish, what: &str| {
        let gpu = on(0, wish);
        gpu.set_measured(Some(measured.clone()));
        run(&gpu, case).unwrap();
        let news = gpu.news();
        assert!(news.len() == 1 && news[0].contains(what), "{news:?}");
    };
    let (auto, case) = (Recurrence::Auto, Case::uniform(2, 8, 64));
    says(
        &case,
        auto,
        "step by step (auto: measured to be faster here)",
    );
    says(&case, Recurrence::Whole, "whole sequences (whole)");
    // In two rounds, where the rule alone says steps.
    says(&Case::uniform(2, 25, 512), auto, "whole sequences (auto)");
    // Other units were not measured.
    says(&Case::uniform(2, 8, 128), auto, "whole sequences (auto)");
}

#[test]
fn a_gru_is_taken_step_by_step() {
    let gpu = Gpu::new(Emulated::new(0));
    let says =
        "gru of 64 units, step by step (auto: only an LSTM, a tanh RNN and attention's decoder";
    let w_hh = place::<f16>(&gpu, 1, 0.2, &[192, 64]);
    let [x, w_ih, b] = [(2, &[6, 5][..]), (3, &[192, 5]), (4, &[192])]
        .map(|(seed, shape)| Var::constant(place::<f16>(&gpu, seed, 0.5, shape)));
    let (w_hh, input) = (
        Var::constant(w_hh),
        Input::Dense {
            x: &x,
            w_ih: &w_ih,
            bias: &b,
        },
    );
    let hidden = Hidden {
        w_hh: &w_hh,
        b_hh: Some(&b),
    };
    let packing = Packing::new(&[3, 2, 1]).unwrap();
    let tape = &mut Tape::inference();
    recurrent_packed(tape, CellKind::Gru, input, hidden, None, &packing).unwrap();
    assert!(gpu.news()[0].contains(says));
}
