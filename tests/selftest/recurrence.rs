//! `rnnx selftest --recurrence`: whole sequences against their steps, on the emulated device.

use super::*;
use rnnx::selftest::recurrence::{self, Grid};

fn grid(gpu: &Arc<Gpu>, filter: Option<&str>) -> Vec<CaseResult> {
    recurrence::run(gpu, &Grid::SMALL, filter).unwrap()
}

#[test]
fn whole_sequences_are_steps_over_the_grid() {
    let gpu = Gpu::new(Emulated::new(0));
    gpu.set_recurrence(Recurrence::Auto);
    let results = grid(&gpu, None);
    assert_passed(&results);
    // Six forms of a layer, of two sizes each, and the decoder of one: two numbers of rows by two of steps, of which
    // one is a single step, and the largest without ragged rows.
    assert_eq!(results.len(), (6 * 2 + 1) * 5);
    let (steps, whole): (Vec<_>, Vec<_>) = results.iter().partition(|r| r.by_steps);
    assert_eq!(steps.len(), (6 * 2 + 1) * 2);
    assert!(steps.iter().all(|r| r.message == "a single step"));
    assert!(whole.iter().all(|r| r.error < r.bound && r.bound < 1e-2));
    assert!(whole.iter().any(|r| r.error > 0.0));
    for op in recurrence::OPS {
        assert!(whole.iter().any(|r| r.op == op), "{op}");
    }
    // It leaves nothing behind.
    assert_eq!(gpu.recurrence(), Recurrence::Auto);
    assert!(gpu.news().is_empty());
}

#[test]
fn a_kernel_that_is_wrong_fails_its_sizes_of_the_grid() {
    for (name, argument) in WHOLE {
        let fault: &'static [_] = Box::leak(Box::new([(name, argument)]));
        let op = name.trim_end_matches("_fwd_");
        let results = grid(&Faulty::gpu(Fault::Whole(fault)), Some(op));
        let (wrong, right): (Vec<_>, Vec<_>) = results.iter().partition(|r| !r.passed);
        assert!(wrong.iter().all(|r| r.op == op && r.error > r.bound));
        assert!(!wrong.is_empty());
        assert!(right.iter().all(|r| r.by_steps), "{right:#?}");
        let r = wrong[0];
        let named = "64 units, 1 row of 3 steps";
        assert!(
            r.case.contains(named) && r.message.contains("step by step"),
            "{r:?}"
        );
    }
}

#[test]
fn bits_of_whole_sequences_that_change_from_run_to_run_fail() {
    let results = grid(&Faulty::gpu(Fault::EverySecondLstm), Some("lstm"));
    let whole: Vec<_> = results.iter().filter(|r| !r.by_steps).collect();
    // Three forms of two sizes, of which three each have more than one step.
    assert_eq!(whole.len(), 3 * 2 * 3);
    for r in whole {
        assert!(!r.passed && r.error <= r.bound, "{r:?}");
        assert!(
            r.message.contains("has other bits in a second run"),
            "{r:?}"
        );
    }
}
