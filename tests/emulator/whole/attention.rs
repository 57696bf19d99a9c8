//! kernels/attention_whole_fwd.cu, attention_whole_bwd.cu and attention_steps.cu: the decoder with attention in one
//! kernel a pass gives what its steps give.

use super::*;
use rnnx::data::spans::Spans;
use rnnx::device::measured::{BothWays, Measured, Size};
use rnnx::ops::attention::{self, Memory, Query, Weights, attention_lstm};

/// A decoder over targets and sources of these lengths.
#[derive(Clone)]
struct Decoder {
    targets: Vec<usize>,
    sources: Vec<usize>,
    hidden: usize,
    /// A, the width of the attention.
    width: usize,
    recording: bool,
    /// Which of y, context, alpha, h_n and c_n get a gradient.
    seeded: [bool; 5],
}

const OUTPUTS: [&str; 5] = ["y", "context", "alpha", "h_n", "c_n"];
/// E and D.
const INPUTS: usize = 5;
const DEPTH: usize = 24;

impl Decoder {
    /// Targets as those of [`Case::ragged`]; sources of one to `longest` positions.
    fn ragged(steps: usize, batch: usize, longest: usize, hidden: usize) -> Self {
        Decoder {
            targets: Case::ragged(steps, batch, hidden).lengths,
            sources: (0..batch).map(|b| 1 + b * 5 % longest).collect(),
            hidden,
            width: hidden,
            recording: true,
            seeded: [true; 5],
        }
    }

    fn run(&self, gpu: &Arc<Gpu>, offsets: Option<&Tensor>) -> Result<Vec<(String, Vec<f32>)>> {
        let (packing, spans) = (Packing::new(&self.targets)?, Spans::new(&self.sources)?);
        let (n, b, m) = (packing.rows(), packing.batch(), spans.total());
        let (h, a) = (self.hidden, self.width);
        let mut tape = match self.recording {
            true => Tape::new(),
            false => Tape::inference(),
        };
        // The arguments of gates and tanh are of the order of one.
        let scale = |n: usize| (3.0 / n as f32).sqrt();
        let shapes: [(&str, f32, &[usize]); 10] = [
            ("x", 1.0, &[n, INPUTS]),
            ("w_ih", scale(INPUTS + DEPTH), &[4 * h, INPUTS + DEPTH]),
            ("b", 0.5, &[4 * h]),
            ("w_hh", scale(h), &[4 * h, h]),
            ("h0", 1.0, &[b, h]),
            ("w_q", scale(h), &[a, h]),
            ("b_q", 0.5, &[a]),
            ("v", 2.0 * scale(a), &[1, a]),
            ("keys", 1.0, &[m, a]),
            ("values", 1.0, &[m, DEPTH]),
        ];
        let mut leaves: Vec<(&str, Var)> = shapes
            .iter()
            .zip(1..)
            .map(|((name, scale, shape), seed)| {
                (*name, tape.leaf(place::<f16>(gpu, seed, *scale, shape)))
            })
            .collect();
        leaves.push(("c0", tape.leaf(place::<f32>(gpu, 11, 1.0, &[b, h]))));
        let of = |wanted: &str| {
            let found = leaves.iter().find(|(name, _)| *name == wanted);
            &found.expect("a leaf").1
        };
        let weights = Weights {
            w_ih: of("w_ih"),
            bias: of("b"),
            w_hh: of("w_hh"),
        };
        let query = Query {
            w_q: of("w_q"),
            b_q: of("b_q"),
            v: of("v"),
        };
        let memory = Memory {
            keys: of("keys"),
            values: of("values"),
            spans: &spans,
            offsets: None,
        };
        let packed = Packed {
            packing: &packing,
            offsets,
        };
        let state = (of("h0"), of("c0"));
        let out = attention_lstm(&mut tape, of("x"), weights, state, query, memory, packed)?;
        let outputs = [out.y, out.context, out.alpha, out.h_n, out.c_n];
        let named = OUTPUTS.iter().zip(&outputs);
        let mut found: Vec<(String, Vec<f32>)> = named
            .map(|(name, var)| ((*name).to_owned(), numbers(var.value())))
            .collect();
        if !self.recording {
            return Ok(found);
        }
        let seeds = outputs.iter().zip(self.seeded).zip(91..);
        let seeds = seeds.filter(|((_, seeded), _)| *seeded);
        let seeds = seeds.map(|((var, _), seed)| {
            let shape = var.value().dims();
            let seed = match var.value().dtype() {
                rnnx::dtype::DType::F16 => place::<f16>(gpu, seed, 1.0, shape),
                _ => place::<f32>(gpu, seed, 1.0, shape),
            };
            (var.slot(), seed)
        });
        found.extend(gradients(tape, seeds.collect(), &leaves)?);
        Ok(found)
    }

    fn whole_is_steps(&self) {
        let gpu = on(0, Recurrence::Whole);
        let got = self.run(&gpu, None).unwrap();
        let news = gpu.news();
        let says = format!(
            "recurrence: attention of {} units, whole sequences (whole)",
            self.hidden
        );
        assert_eq!(news, [says]);
        let passes = if self.recording { 2 } else { 1 };
        assert_eq!(gpu.whole_passes(), passes);
        let want = self.run(&on(0, Recurrence::Steps), None).unwrap();
        let (b, t) = (self.targets.len(), self.targets[0]);
        let of = format!("{b} targets of {t} steps, {} units", self.hidden);
        near(&got, &want, &of);
    }
}

#[test]
fn whole_targets_give_what_steps_give() {
    for (hidden, longest) in [(64, 7), (128, 3)] {
        for batch in [1, 7, 8, 9] {
            Decoder::ragged(3, batch, longest, hidden).whole_is_steps();
        }
    }
    for (batch, hidden) in [(9, 192), (5, 256)] {
        Decoder::ragged(3, batch, 6, hidden).whole_is_steps();
    }
}

#[test]
fn many_steps_and_more_positions_than_threads() {
    Decoder::ragged(24, 19, 5, 64).whole_is_steps();
    // 300 positions of a group; sources that are longer than a warp.
    let long = Decoder {
        sources: vec![70, 1, 45, 60, 33, 64, 2, 25, 40],
        ..Decoder::ragged(4, 9, 1, 64)
    };
    long.whole_is_steps();
}

#[test]
fn targets_of_one_length_and_a_gradient_of_one_output() {
    let uniform = Decoder {
        targets: vec![4; 9],
        ..Decoder::ragged(4, 9, 6, 64)
    };
    uniform.whole_is_steps();
    for k in 0..OUTPUTS.len() {
        let mut seeded = [false; 5];
        seeded[k] = true;
        let of = Decoder::ragged(4, 9, 6, 64);
        Decoder { seeded, ..of }.whole_is_steps();
    }
    let of = Decoder::ragged(4, 9, 6, 128);
    Decoder {
        recording: false,
        ..of
    }
    .whole_is_steps();
}

#[test]
fn every_schedule_gives_the_same_bits() {
    let decoder = Decoder::ragged(4, 12, 6, 128);
    let first = decoder.run(&on(0, Recurrence::Whole), None).unwrap();
    for schedule in [0, 1, 77] {
        let again = decoder.run(&on(schedule, Recurrence::Whole), None).unwrap();
        assert!(again == first, "{schedule}");
    }
}

/// Where each step begins may be on the device before; then that is read.
#[test]
fn offsets_that_are_given_are_read() {
    let decoder = Decoder {
        targets: vec![3, 2, 1],
        recording: false,
        ..Decoder::ragged(3, 3, 4, 64)
    };
    let gpu = on(0, Recurrence::Whole);
    let run = |offsets: &[u32]| {
        let offsets = Tensor::from_slice(offsets, [offsets.len()]).unwrap();
        decoder.run(&gpu, Some(&offsets.to_gpu(&gpu).unwrap()))
    };
    let own = decoder.run(&gpu, None).unwrap();
    assert!(run(&[0, 3, 5, 6]).unwrap() == own);
    // Those of a batch whose second target is longer.
    assert!(run(&[0, 3, 4, 6]).unwrap() != own);
    let error = run(&[0, 3, 5]).unwrap_err().to_string();
    assert!(error.contains("offsets [3] of u32 for 3 steps"), "{error}");
}

// ---- which way is taken --------------------------------------------------------------------

fn says(gpu: &Arc<Gpu>, decoder: &Decoder, what: &str) {
    decoder.run(gpu, None).unwrap();
    decoder.run(gpu, None).unwrap();
    let news = gpu.news();
    assert!(news.len() == 1 && news[0].ends_with(what), "{news:?}");
}

#[test]
fn the_log_says_once_how_targets_are_taken_and_why() {
    let auto = || on(0, Recurrence::Auto);
    let decoder = Decoder {
        recording: false,
        ..Decoder::ragged(2, 8, 3, 64)
    };
    let of = |change: fn(&mut Decoder)| {
        let mut decoder = decoder.clone();
        change(&mut decoder);
        decoder
    };
    says(
        &auto(),
        &decoder,
        "attention of 64 units, whole sequences (auto)",
    );
    let odd = of(|d| (d.hidden, d.width) = (40, 40));
    says(
        &auto(),
        &odd,
        "step by step (auto: whole sequences need a multiple of 64 up to 256)",
    );
    let narrow = of(|d| d.width = 32);
    says(
        &auto(),
        &narrow,
        "(auto: whole sequences need attention of as many units as the decoder has)",
    );
    let device = "the device runs no clusters of as many blocks with as much shared memory)";
    says(
        &Gpu::new(Emulated::new(0).without_clusters()),
        &decoder,
        device,
    );
    let long = of(|d| d.sources[0] = 700);
    says(&auto(), &long, device);
    // A cluster takes eight rows, and the emulated device has three: that is a few rounds, or too many.
    let rows = |n: usize| {
        let of = Decoder::ragged(2, n, 2, 64);
        Decoder {
            recording: false,
            ..of
        }
    };
    says(&auto(), &rows(96), "whole sequences (auto)");
    says(
        &auto(),
        &rows(97),
        "(auto: whole sequences would take 5 rounds of all rows)",
    );
    let quiet = on(0, Recurrence::Steps);
    decoder.run(&quiet, None).unwrap();
    assert!(quiet.news().is_empty());
}

/// The backward pass needs more shared memory: where only that does not fit, it goes by the steps.
#[test]
fn a_forward_pass_alone() {
    let decoder = Decoder {
        sources: vec![620, 1],
        ..Decoder::ragged(3, 2, 1, 64)
    };
    let gpu = on(0, Recurrence::Whole);
    let got = decoder.run(&gpu, None).unwrap();
    let news = gpu.news();
    let says =
        "attention of 64 units, whole sequences forward, step by step back (whole: the device";
    assert!(news.len() == 1 && news[0].contains(says), "{news:?}");
    assert_eq!(gpu.whole_passes(), 1);
    let want = decoder.run(&on(0, Recurrence::Steps), None).unwrap();
    near(&got, &want, "a forward pass");
}

#[test]
fn what_was_measured_decides() {
    let gpu = on(0, Recurrence::Auto);
    gpu.set_measured(Some(Measured(vec![BothWays {
        size: Size {
            cell: attention::WORD.into(),
            units: 64,
            rows: 8,
            training: true,
        },
        whole_us: 9.0,
        steps_us: 5.0,
    }])));
    let decoder = Decoder::ragged(2, 8, 3, 64);
    says(
        &gpu,
        &decoder,
        "step by step (auto: measured to be faster here)",
    );
}

#[test]
fn where_a_kernel_gives_up_steps_take_over() {
    let decoder = Decoder {
        recording: false,
        ..Decoder::ragged(6, 12, 4, 64)
    };
    let want = decoder.run(&on(0, Recurrence::Steps), None).unwrap();
    // 80 energies of step 0: two blocks send their part of 20 positions to both. Then each of 2 x 128 threads
    // sends its states to both. In step 0 nothing but energies is waited for. Odd numbers are stores to the first
    // block, whose fault is told.
    for (lost, step) in [(1, 0), (79, 0), (81, 1), (79 + 512, 1)] {
        let gpu = Gpu::new(Emulated::new(0).losing(lost));
        let got = decoder.run(&gpu, None).unwrap();
        assert!(got == want, "{lost}");
        let news = gpu.news();
        let gave_up = format!("attention_whole_fwd_64 gave up waiting at step {step} in cluster 0");
        assert!(news.len() == 2 && news[1].contains(&gave_up), "{news:?}");
        assert_eq!(gpu.recurrence(), Recurrence::Steps);
    }
}

/// Of a training step the results are no numbers, and an error says why.
#[test]
fn a_training_step_whose_kernel_gives_up_is_an_error() {
    let decoder = Decoder {
        targets: vec![2; 8],
        ..Decoder::ragged(2, 8, 4, 64)
    };
    // 20 positions, two blocks of 128 threads that send to both: a step back sends four numbers of dz a thread, then
    // the gradients of weights, then dq. Forward there are fewer stores in all than in one step back.
    let (dz, gradients, dq) = (4 * 512, 80, 512);
    let step = dz + gradients + dq;
    for (lost, pass, at, de) in [
        (1, "fwd", 0, false),
        (dz + gradients + 1, "bwd", 1, false),
        // In the last one, step 0: without the gradients of weights there is no de, and so none of keys.
        (step + 1, "bwd", 0, true),
        (step + dz + gradients, "bwd", 0, false),
        (step + dz + gradients + 1, "bwd", 0, true),
        (step + step, "bwd", 0, true),
    ] {
        let gpu = Gpu::new(Emulated::new(0).losing(lost));
        let found = decoder.run(&gpu, None).unwrap();
        let numbers = |wanted: &str| {
            let of = found.iter().find(|(name, _)| name == wanted);
            &of.expect("a gradient").1
        };
        assert!(numbers("d w_hh").iter().any(|x| x.is_nan()), "{lost}");
        assert_eq!(
            numbers("d keys").iter().all(|x| x.is_finite()),
            de,
            "{lost}"
        );
        let error = gpu.check_fault().unwrap_err();
        let named = format!("attention_whole_{pass}_64 gave up waiting at step {at} in cluster 0");
        assert!(
            matches!(&error, Error::Device(why) if why.contains(&named)),
            "{error}"
        );
    }
}
