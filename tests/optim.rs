//! The optimizers against PyTorch's numbers: on the CPU in f64, and their kernels on the emulated
//! device.

use rnnx::device::Gpu;
use rnnx::device::emulated::Emulated;
use rnnx::nn::{Init, Layout, Params};
use rnnx::optim::adam_gpu::GpuAdam;
use rnnx::optim::{Adam, AdamConfig, Clip, OptimizerKind};
use rnnx::tensor::Tensor;
use serde_json::Value;

const SHAPES: [&[usize]; 2] = [&[3, 5], &[7]];
const CASES: [&str; 5] = ["adamw", "adam", "momentless", "sgd", "plain_sgd"];

/// The same formulas in f64, in another order of products.
const F64: f64 = 1e-13;
/// f32 rounding of parameters below 1, over five steps.
const F32: f64 = 1e-6;

fn golden() -> Value {
    serde_json::from_str(include_str!("golden/optimizers.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    let numbers = value.as_array().unwrap().iter();
    numbers.map(|x| x.as_f64().unwrap()).collect()
}

/// Tensor number k: see `golden/README.md`.
fn fill(k: usize, count: usize) -> Vec<f64> {
    let value = |i| 0.5 * (0.7 * i as f64 + 1.3 * k as f64 + 0.1).sin();
    (0..count).map(value).collect()
}

fn config(case: &Value, kind: OptimizerKind) -> AdamConfig {
    let number = |name: &str| case[name].as_f64().unwrap();
    AdamConfig {
        kind,
        learning_rate: 1.0,
        beta1: number("beta1"),
        beta2: number("beta2"),
        epsilon: number("epsilon"),
        weight_decay: number("weight_decay"),
    }
}

fn kind(name: &str) -> OptimizerKind {
    match name.contains("sgd") {
        true => OptimizerKind::Sgd,
        false => OptimizerKind::Adam,
    }
}

fn layout() -> Layout {
    let mut layout = Layout::default();
    for (name, shape) in ["a", "b"].into_iter().zip(SHAPES) {
        layout.add(name, shape, Init::Zeros);
    }
    layout
}

/// The values of both tensors, tensor number `k` and the next, in the places of the layout.
fn flat(k: usize) -> Vec<f64> {
    let layout = layout();
    let mut flat = vec![0.0; layout.len()];
    for (i, s) in layout.segments().iter().enumerate() {
        let values = fill(k + i, s.shape.numel());
        flat[s.offset..][..values.len()].copy_from_slice(&values);
    }
    flat
}

/// The values of both tensors, one after the other.
fn packed(flat: &[f64]) -> Vec<f64> {
    let layout = layout();
    let segments = layout.segments().iter();
    let values = segments.flat_map(|s| flat[s.offset..][..s.shape.numel()].to_vec());
    values.collect()
}

#[track_caller]
fn close(what: &str, got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!(
            (g - w).abs() <= tolerance,
            "{what}[{i}]: {g}, PyTorch has {w}"
        );
    }
}

#[test]
fn steps_match_pytorch_on_the_cpu() {
    let golden = golden();
    for name in CASES {
        let case = &golden[name];
        let mut params = Params::new::<f64>(layout(), 1);
        *params.values_mut() = Tensor::from_slice(&flat(0), [layout().len()]).unwrap();
        let mut adam = Adam::new::<f64>(config(case, kind(name)), &layout());
        for (step, rate) in numbers(&golden["rates"]).into_iter().enumerate() {
            adam.config.learning_rate = rate;
            let gradient = Tensor::from_slice(&flat(10 * step + 2), [layout().len()]).unwrap();
            adam.update(&mut params, &gradient, Clip::Off).unwrap();
            let want = numbers(&case[format!("after_{}", step + 1)]);
            let got = packed(params.values().data::<f64>().unwrap());
            close(&format!("{name}, step {step}"), &got, &want, F64);
        }
    }
}

#[test]
fn steps_match_pytorch_on_a_device() {
    let golden = golden();
    for name in CASES {
        let case = &golden[name];
        let gpu = Gpu::new(Emulated::new(0));
        let f32s = |k| flat(k).iter().map(|x| *x as f32).collect::<Vec<f32>>();
        let mut params = Params::new::<f32>(layout(), 1);
        *params.values_mut() = Tensor::from_slice(&f32s(0), [layout().len()]).unwrap();
        let adam = Adam::new::<f32>(config(case, kind(name)), &layout());
        let mut adam = GpuAdam::new(&gpu, &adam, &layout(), |_| 0.0, None).unwrap();
        params.to_gpu(&gpu, false).unwrap();
        adam.set_rates(&gpu, &numbers(&golden["rates"])).unwrap();
        for step in 0..numbers(&golden["rates"]).len() {
            let gradient = Tensor::from_slice(&f32s(10 * step + 2), [layout().len()]).unwrap();
            let gradient = gradient.to_gpu(&gpu).unwrap();
            adam.update(&gpu, &mut params, &gradient, Clip::Off)
                .unwrap();
            let want = numbers(&case[format!("after_{}", step + 1)]);
            let got = params.values().to_cpu().unwrap();
            let got: Vec<f64> = got
                .data::<f32>()
                .unwrap()
                .iter()
                .map(|x| f64::from(*x))
                .collect();
            close(&format!("{name}, step {step}"), &packed(&got), &want, F32);
        }
    }
}
