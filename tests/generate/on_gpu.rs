//! Many streams on the emulated device against the CPU's engine.

use rnnx::device::Gpu;
use rnnx::device::emulated::Emulated;
use rnnx::nn::CellKind;
use rnnx::programs::charlm::generate::generator::{Generator, MAX_STREAMS};
use rnnx::programs::charlm::generate::on_gpu::GpuGenerator;
use rnnx::programs::charlm::generate::weights::CharLmWeights;

use super::support::{Sizes, load_of, tensors, weights};

/// f32 on both sides, from weights that are exact in f16: other orders of sums over 12 steps.
const F32: f32 = 1e-5;
/// f16 states keep 11 bits: 5e-4 a rounding of numbers below 1, in sums of 19 products by weights
/// below 0.6, carried on over 12 steps.
const F16: f32 = 1e-2;

const SIZES: Sizes = Sizes {
    v: 13,
    e: 5,
    h: 19,
    layers: 2,
};

/// Logits of some steps of 20 streams, each with a text of its own: more streams than characters, and
/// so more than a table has rows.
fn compare(cell: CellKind, mixed: bool, tolerance: f32) {
    compare_of(&weights(cell, SIZES, 3), mixed, tolerance);
}

fn compare_of(weights: &CharLmWeights, mixed: bool, tolerance: f32) {
    let (cell, streams) = (weights.cell(), 20);
    let mut on_cpu = Generator::new(weights, streams).unwrap();
    let gpu = Gpu::new(Emulated::new(1));
    let mut on_gpu = GpuGenerator::new(weights, streams, &gpu, mixed).unwrap();
    for t in 0..12 {
        let ids: Vec<u16> = (0..streams)
            .map(|s| ((s * s + 5 * t) % 13) as u16)
            .collect();
        let want = on_cpu.step(&ids).to_vec();
        let got = on_gpu.step(&ids).unwrap();
        assert_eq!(got.len(), want.len());
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            let error = (got - want).abs();
            assert!(
                error < tolerance,
                "{cell} step {t} logit {i}: {got} for {want}"
            );
        }
    }
}

#[test]
fn logits_agree_with_the_cpus() {
    for cell in CellKind::ALL {
        compare(cell, false, F32);
        compare(cell, true, F16);
    }
}

/// A tied model's output layer is the embedding on both.
#[test]
fn a_tied_models_logits_agree_with_the_cpus() {
    let sizes = Sizes {
        e: SIZES.h,
        ..SIZES
    };
    let mut tensors = tensors(CellKind::Lstm, sizes, 3);
    tensors.remove("out.weight");
    let weights = load_of(true, &tensors).unwrap();
    assert!(weights.sizes().tied);
    compare_of(&weights, false, F32);
    compare_of(&weights, true, F16);
}

#[test]
fn a_step_after_the_first_takes_no_new_memory() {
    let weights = weights(CellKind::Lstm, SIZES, 3);
    let gpu = Gpu::new(Emulated::new(0));
    let mut on_gpu = GpuGenerator::new(&weights, 3, &gpu, true).unwrap();
    for _ in 0..3 {
        on_gpu.step(&[0, 1, 2]).unwrap();
    }
    let after_three = gpu.blocks_allocated();
    for _ in 0..3 {
        on_gpu.step(&[2, 1, 0]).unwrap();
    }
    assert_eq!(gpu.blocks_allocated(), after_three);
}

#[test]
fn what_cannot_be_generated_is_refused_as_on_the_cpu() {
    let weights = weights(CellKind::Lstm, SIZES, 3);
    let gpu = Gpu::new(Emulated::new(0));
    for streams in [0, MAX_STREAMS + 1] {
        let error = GpuGenerator::new(&weights, streams, &gpu, true).err();
        let error = error.expect("refused");
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("streams"), "{error}");
    }
}
