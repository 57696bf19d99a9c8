//! A tanh RNN, of which one block takes up to 256 units.

use super::*;

fn of_rnn(case: Case) -> Case {
    Case {
        kind: CellKind::Rnn,
        ..case
    }
}

#[test]
fn whole_sequences_of_an_rnn_give_what_steps_give() {
    for hidden in [64, 128] {
        for batch in [1, 7, 8, 19] {
            for steps in [2, 3] {
                whole_is_steps(&of_rnn(Case::uniform(steps, batch, hidden)));
                whole_is_steps(&of_rnn(Case::ragged(steps, batch, hidden)));
            }
        }
    }
    for (batch, hidden) in [(1, 192), (8, 192), (7, 256)] {
        whole_is_steps(&of_rnn(Case::ragged(3, batch, hidden)));
    }
    // A block takes several groups for many steps.
    whole_is_steps(&of_rnn(Case::ragged(32, 64, 64)));
}

#[test]
fn tables_zero_states_and_layers_side_by_side_of_an_rnn() {
    for uniform in [false, true] {
        let case = match uniform {
            true => Case::uniform(4, 19, 64),
            false => Case::ragged(4, 19, 64),
        };
        for (table, state) in [(true, true), (true, false), (false, false)] {
            for recording in [true, false] {
                whole_is_steps(&of_rnn(Case {
                    table,
                    state,
                    recording,
                    ..case.clone()
                }));
            }
        }
        whole_is_steps(&of_rnn(Case {
            state: false,
            ways: 2,
            ..case
        }));
    }
}

#[test]
fn every_schedule_gives_the_same_bits_of_an_rnn() {
    for hidden in [64, 192] {
        same_bits(&of_rnn(Case::ragged(4, 12, hidden)));
    }
}

/// Its blocks wait for nobody, so that no cluster is needed.
#[test]
fn an_rnn_of_up_to_256_units_needs_no_clusters() {
    for (hidden, what) in [
        (256, "rnn of 256 units, whole sequences (auto)"),
        (
            320,
            "step by step (auto: whole sequences need a multiple of 64 up to 256)",
        ),
    ] {
        let gpu = Gpu::new(Emulated::new(0).without_clusters());
        run(&gpu, &of_rnn(Case::uniform(2, 3, hidden))).unwrap();
        let news = gpu.news();
        assert!(news.len() == 1 && news[0].contains(what), "{news:?}");
    }
}
