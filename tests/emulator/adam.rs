//! kernels/adam.cu against Algorithm 1 of Kingma & Ba in f64.

use crate::support::*;
use half::f16;
use rnnx::device::driver::Launch;

/// Elements of the segments.
const LENGTHS: [usize; 4] = [1, 33, 257, 70];
/// Elements of a block's span.
const SPAN: usize = 64;
/// Words of the state.
const SCALE: usize = 0;
const GOOD: usize = 1;
const STEPS: usize = 2;
const SKIPPED: usize = 3;
const FOUND: usize = 4;
const NORM: usize = 6;
const DONE: usize = 7;

const LR: f32 = 1e-2;
const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f32 = 1e-7;
const WEIGHT_DECAY: f32 = 0.25;
/// 1 / number of rows.
const MEAN: f32 = 1.0 / 48.0;
const DECAY: [f32; 4] = [0.0, 0.0, 2e-2, 0.0];

#[derive(Clone, Copy)]
struct Options {
    clip: f32,
    clip_epsilon: f32,
    per_tensor: bool,
    growth: u32,
}

/// What a run of the optimizer leaves behind.
struct Model {
    params: Vec<f32>,
    m: Vec<f32>,
    v: Vec<f32>,
    halves: Vec<f16>,
    state: Vec<u32>,
    rates: Vec<u32>,
}

impl Model {
    fn new(scale: f32) -> Self {
        let n = LENGTHS.iter().sum();
        let params = values::<f32>(n, 1, 1.0);
        let halves = params.iter().map(|&x| f16::from_f32(x)).collect();
        let mut state = vec![0; 8];
        state[SCALE] = scale.to_bits();
        Model {
            params,
            m: vec![0.0; n],
            v: vec![0.0; n],
            halves,
            state,
            rates: rates(&[LR]),
        }
    }

    /// One step with both kernels.
    fn step(&mut self, grads: &[f32], options: Options) {
        let (mut spans, mut starts, mut first) = (Vec::new(), vec![0u32], 0);
        for (segment, &length) in LENGTHS.iter().enumerate() {
            for at in (first..first + length).step_by(SPAN) {
                let end = (at + SPAN).min(first + length);
                spans.extend([segment as u32, at as u32, end as u32]);
            }
            first += length;
            starts.push(spans.len() as u32 / 3);
        }
        let blocks = spans.len() / 3;
        let bufs = [
            give(grads),
            give(&self.params),
            give(&DECAY),
            give(&spans),
            give(&starts),
            fresh::<f32>(blocks),
            fresh::<f32>(LENGTHS.len()),
            give(&self.state),
            number(LENGTHS.len() as u32),
            number(MEAN),
            number(options.clip),
            number(options.clip_epsilon),
            number(u32::from(options.per_tensor)),
            number(options.growth),
            give(&self.m),
            give(&self.v),
            give(&self.halves),
            give(&self.rates),
            number(BETA1 as f32),
            number(BETA2 as f32),
            number(BETA1.ln() as f32),
            number(BETA2.ln() as f32),
            number(EPSILON),
            number(WEIGHT_DECAY),
            number(0u32),
        ];
        let launches: [(Launch, &[usize]); 2] = [
            (
                Launch::new("adam_prepare", blocks as u32, 64),
                &[0, 1, 2, 3, 4, 5, 6, 7, 17, 8, 9, 10, 11, 12, 13],
            ),
            (
                Launch::new("adam_update", blocks as u32, 64),
                &[0, 1, 14, 15, 16, 2, 3, 6, 7, 17, 18, 19, 20, 21, 22, 23, 24],
            ),
        ];
        let out = run_all(&launches, &bufs);
        self.params = get(&out[1]);
        self.m = get(&out[14]);
        self.v = get(&out[15]);
        self.halves = get(&out[16]);
        self.state = get(&out[7]);
        self.rates = get(&out[17]);
        assert_eq!(self.state[DONE], 0);
    }

    fn scale(&self) -> f32 {
        f32::from_bits(self.state[SCALE])
    }
}

/// The words of these learning rates, none of them used.
fn rates(rates: &[f32]) -> Vec<u32> {
    let head = [0, rates.len() as u32];
    head.into_iter()
        .chain(rates.iter().map(|r| r.to_bits()))
        .collect()
}

/// The same in f64: parameters, m, v, and the norm of the last step.
struct Reference {
    w: Vec<f64>,
    m: Vec<f64>,
    v: Vec<f64>,
    t: i32,
    norm: f64,
    rate: f64,
}

impl Reference {
    fn new(params: &[f32]) -> Self {
        let w: Vec<f64> = params.iter().map(|&x| x.into()).collect();
        Reference {
            m: vec![0.0; w.len()],
            v: vec![0.0; w.len()],
            w,
            t: 0,
            norm: 0.0,
            rate: LR.into(),
        }
    }

    /// `grads` of a loss that was multiplied by `scale` and summed over the rows.
    fn step(&mut self, grads: &[f32], scale: f64, options: Options) {
        let segments: Vec<usize> = LENGTHS
            .iter()
            .enumerate()
            .flat_map(|(s, &n)| vec![s; n])
            .collect();
        let g: Vec<f64> = (0..grads.len())
            .map(|i| {
                let decay = f64::from(DECAY[segments[i]]) * self.w[i];
                f64::from(grads[i]) * f64::from(MEAN) / scale + decay
            })
            .collect();
        let mut squares = [0.0; 4];
        g.iter()
            .zip(&segments)
            .for_each(|(g, &s)| squares[s] += g * g);
        self.norm = squares.iter().sum::<f64>().sqrt();
        self.t += 1;
        for i in 0..g.len() {
            let norm = if options.per_tensor {
                squares[segments[i]].sqrt()
            } else {
                self.norm
            };
            let clip = f64::from(options.clip);
            let factor = if norm > clip {
                clip / (norm + f64::from(options.clip_epsilon))
            } else {
                1.0
            };
            let g = g[i] * factor;
            self.m[i] = BETA1 * self.m[i] + (1.0 - BETA1) * g;
            self.v[i] = BETA2 * self.v[i] + (1.0 - BETA2) * g * g;
            let m = self.m[i] / (1.0 - BETA1.powi(self.t));
            let v = self.v[i] / (1.0 - BETA2.powi(self.t));
            self.w[i] *= 1.0 - self.rate * f64::from(WEIGHT_DECAY);
            self.w[i] -= self.rate * m / (v.sqrt() + f64::from(EPSILON));
        }
    }
}

const GLOBAL: Options = Options {
    clip: 0.5,
    clip_epsilon: 1e-6,
    per_tensor: false,
    growth: 2000,
};
const PER_TENSOR: Options = Options {
    clip: 0.1,
    clip_epsilon: 0.0,
    per_tensor: true,
    growth: 2000,
};
const NONE: Options = Options {
    clip: f32::INFINITY,
    clip_epsilon: 0.0,
    per_tensor: false,
    growth: 0,
};

#[test]
fn steps_are_adam_s() {
    for options in [GLOBAL, PER_TENSOR, NONE] {
        let mut model = Model::new(1024.0);
        let mut reference = Reference::new(&model.params);
        for step in 0..4 {
            let grads = values::<f32>(model.params.len(), 10 + step, 48.0 * 1024.0);
            let grads: Vec<f32> = grads.iter().map(|g| g * 0.1).collect();
            model.step(&grads, options);
            reference.step(&grads, 1024.0, options);
            // A step moves a parameter by about LR; 1e-4 of that is f32 rounding in m and v.
            assert_close("w", &model.params, &reference.w, 1e-7, 1e-6);
            assert_close("m", &model.m, &reference.m, 1e-5, 1e-9);
            assert_close("v", &model.v, &reference.v, 1e-4, 1e-12);
            let norm = f32::from_bits(model.state[NORM]);
            assert_close("norm", &[norm], &[reference.norm], 1e-6, 0.0);
        }
        assert_eq!(model.state[STEPS], 4);
        assert_eq!([model.state[FOUND], model.state[SKIPPED]], [0, 0]);
        assert_eq!(model.scale(), 1024.0);
        let halves: Vec<f16> = model.params.iter().map(|&w| f16::from_f32(w)).collect();
        assert_eq!(model.halves, halves);
    }
}

#[test]
fn each_step_has_its_learning_rate_and_the_last_one_stays() {
    let mut model = Model::new(1.0);
    let mut reference = Reference::new(&model.params);
    let given = [1e-2, 4e-3, 2e-2];
    model.rates = rates(&given);
    for step in 0..5 {
        let grads = values::<f32>(model.params.len(), 10 + step, 48.0);
        reference.rate = given[(step as usize).min(2)].into();
        model.step(&grads, NONE);
        reference.step(&grads, 1.0, NONE);
        assert_close("w", &model.params, &reference.w, 1e-7, 1e-6);
        assert_eq!(model.rates[0], (step + 1).min(3));
    }
    // A skipped update uses its rate up.
    model.rates = rates(&given);
    model.step(&vec![f32::NAN; model.params.len()], NONE);
    assert_eq!(model.rates[0], 1);
}

#[test]
fn an_overflow_is_skipped_and_halves_the_scale() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut model = Model::new(65536.0);
        let good = values::<f32>(model.params.len(), 3, 1000.0);
        model.step(&good, GLOBAL);
        let before = (
            model.params.clone(),
            model.m.clone(),
            model.v.clone(),
            model.halves.clone(),
        );
        let mut grads = good.clone();
        grads[200] = bad;
        model.step(&grads, GLOBAL);
        let after = (
            model.params.clone(),
            model.m.clone(),
            model.v.clone(),
            model.halves.clone(),
        );
        assert!(before == after, "an update with {bad} was made");
        assert_eq!(model.scale(), 32768.0);
        let words = [GOOD, STEPS, SKIPPED, FOUND].map(|w| model.state[w]);
        assert_eq!(words, [0, 1, 1, 1]);
        model.step(&good, GLOBAL);
        let words = [GOOD, STEPS, SKIPPED, FOUND].map(|w| model.state[w]);
        assert_eq!(words, [1, 2, 1, 0]);
        assert!(model.params != before.0);
    }
    // It never falls below 1, and a fixed one never changes.
    let mut model = Model::new(1.0);
    let grads = vec![f32::NAN; model.params.len()];
    model.step(&grads, GLOBAL);
    assert_eq!(model.scale(), 1.0);
    let mut model = Model::new(512.0);
    model.step(&grads, NONE);
    assert_eq!((model.scale(), model.state[FOUND]), (512.0, 1));
}

#[test]
fn the_scale_doubles_after_enough_good_steps() {
    let mut model = Model::new(2.0);
    let grads = values::<f32>(model.params.len(), 3, 1.0);
    let options = Options {
        growth: 3,
        ..GLOBAL
    };
    let mut seen = Vec::new();
    for _ in 0..7 {
        model.step(&grads, options);
        seen.push((model.scale(), model.state[GOOD]));
    }
    let want = [
        (2.0, 1),
        (2.0, 2),
        (4.0, 0),
        (4.0, 1),
        (4.0, 2),
        (8.0, 0),
        (8.0, 1),
    ];
    assert_eq!(seen, want);
}
