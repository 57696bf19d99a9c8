//! Logits of the streaming engine against plain cells in f64, and its bits against its own.

use rnnx::device::Level;
use rnnx::nn::CellKind;
use rnnx::programs::charlm::generate::generator::{Generator, MAX_STREAMS};
use rnnx::rng::{Purpose, Stream};

use super::support::{Sizes, Tensors, load, load_of, tensors, weights};

/// f32 sums of up to 64 products of size about 0.3 and activations within 4e-7, over 40 steps,
/// against f64: below 3e-6 at every level, times three.
const TOLERANCE: f64 = 1e-5;

/// The vector levels of this machine.
fn levels() -> impl Iterator<Item = Level> {
    let all = [Level::Portable, Level::Avx2, Level::Avx512];
    all.into_iter().filter(|&level| level <= Level::current())
}

/// The cells as the book has them, in f64, straight from the tensors.
fn reference(t: &Tensors, cell: CellKind, sizes: Sizes, ids: &[u16]) -> Vec<Vec<f64>> {
    let Sizes { v, e, h, layers } = sizes;
    let get = |name: &str, i: usize| f64::from(t[name].1[i]);
    let dot = |name: &str, row: usize, x: &[f64]| -> f64 {
        (0..x.len())
            .map(|k| get(name, row * x.len() + k) * x[k])
            .sum()
    };
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let mut state = vec![(vec![0.0; h], vec![0.0; h]); layers];
    let mut all = Vec::new();
    for &id in ids {
        let mut x: Vec<f64> = (0..e)
            .map(|k| get("embedding.weight", usize::from(id) * e + k))
            .collect();
        for (l, (hidden, memory)) in state.iter_mut().enumerate() {
            // One gate of one unit: the input's share and the recurrent one, each with its bias.
            let share = |side: &str, x: &[f64], row: usize| {
                dot(&format!("{cell}.weight_{side}_l{l}"), row, x)
                    + get(&format!("{cell}.bias_{side}_l{l}"), row)
            };
            let before = hidden.clone();
            for u in 0..h {
                let input = |gate: usize| share("ih", &x, gate * h + u);
                let recurrent = |gate: usize| share("hh", &before, gate * h + u);
                let sum = |gate: usize| input(gate) + recurrent(gate);
                hidden[u] = match cell {
                    CellKind::Rnn => sum(0).tanh(),
                    CellKind::Lstm => {
                        let (i, f, o) = (sigmoid(sum(0)), sigmoid(sum(1)), sigmoid(sum(3)));
                        memory[u] = f * memory[u] + i * sum(2).tanh();
                        o * memory[u].tanh()
                    }
                    CellKind::Gru => {
                        let (r, z) = (sigmoid(sum(0)), sigmoid(sum(1)));
                        let n = (input(2) + r * recurrent(2)).tanh();
                        (1.0 - z) * n + z * before[u]
                    }
                };
            }
            x.clone_from(hidden);
        }
        all.push(
            (0..v)
                .map(|r| dot("out.weight", r, &x) + get("out.bias", r))
                .collect(),
        );
    }
    all
}

/// `n` characters of a vocabulary of `v`, a fixed random sequence for each seed.
fn characters(n: usize, v: usize, seed: u64) -> Vec<u16> {
    let mut random = Stream::new(seed, Purpose::Sample, 99).reader();
    (0..n).map(|_| random.below(v as u32) as u16).collect()
}

const SIZES: [Sizes; 7] = [
    Sizes {
        v: 3,
        e: 5,
        h: 7,
        layers: 1,
    },
    Sizes {
        v: 3,
        e: 5,
        h: 7,
        layers: 2,
    },
    Sizes {
        v: 65,
        e: 1,
        h: 33,
        layers: 3,
    },
    Sizes {
        v: 95,
        e: 64,
        h: 64,
        layers: 2,
    },
    Sizes {
        v: 64,
        e: 5,
        h: 16,
        layers: 1,
    },
    Sizes {
        v: 1,
        e: 2,
        h: 1,
        layers: 3,
    },
    Sizes {
        v: 96,
        e: 9,
        h: 50,
        layers: 2,
    },
];

#[test]
fn logits_agree_with_the_f64_reference_for_every_cell_at_every_level() {
    for (seed, sizes) in (1..).zip(SIZES) {
        for cell in CellKind::ALL {
            let tensors = tensors(cell, sizes, seed);
            let weights = load(&tensors).expect("well-formed tensors");
            assert_eq!(
                (weights.cell(), weights.layers().len()),
                (cell, sizes.layers)
            );
            // A few streams side by side, each with a text of its own.
            let texts = [0, 1, 2].map(|s| characters(40, sizes.v, seed + s));
            let expected = texts
                .clone()
                .map(|ids| reference(&tensors, cell, sizes, &ids));
            for level in levels() {
                let mut generator = Generator::with_level(&weights, 3, level).expect("fits");
                assert_eq!(generator.level(), level);
                for t in 0..40 {
                    let logits = generator.step(&[0, 1, 2].map(|s: usize| texts[s][t]));
                    assert_eq!(logits.len(), 3 * sizes.v);
                    let expected = expected.iter().flat_map(|stream| &stream[t]);
                    for (i, (&got, want)) in logits.iter().zip(expected).enumerate() {
                        let error = (f64::from(got) - want).abs();
                        assert!(
                            error < TOLERANCE,
                            "{cell} {} {sizes:?} step {t} logit {i}: {got} for {want}",
                            level.name()
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn fused_levels_give_the_same_bits() {
    let sizes = Sizes {
        v: 95,
        e: 64,
        h: 100,
        layers: 2,
    };
    for cell in CellKind::ALL {
        let weights = weights(cell, sizes, 3);
        let bits: Vec<Vec<u32>> = levels()
            .filter(|&level| level != Level::Portable)
            .map(|level| {
                let mut generator = Generator::with_level(&weights, 1, level).expect("fits");
                let ids = characters(30, sizes.v, 3);
                let logits = ids.iter().flat_map(|&id| generator.step(&[id]).to_vec());
                logits.map(f32::to_bits).collect()
            })
            .collect();
        assert!(bits.windows(2).all(|pair| pair[0] == pair[1]), "{cell}");
    }
}

#[test]
fn a_stream_has_the_same_bits_alone_and_among_others() {
    let sizes = Sizes {
        v: 20,
        e: 5,
        h: 33,
        layers: 2,
    };
    for cell in CellKind::ALL {
        let weights = weights(cell, sizes, 4);
        for level in levels() {
            // 7 = a group of four, one of two and one more; 3 = no group of four.
            for streams in [3, 7] {
                let texts: Vec<Vec<u16>> = (0..streams).map(|s| characters(25, 20, s)).collect();
                let mut together =
                    Generator::with_level(&weights, streams as usize, level).expect("fits");
                let mut alone: Vec<Generator> = (0..streams)
                    .map(|_| Generator::with_level(&weights, 1, level).expect("fits"))
                    .collect();
                for t in 0..25 {
                    let ids: Vec<u16> = texts.iter().map(|text| text[t]).collect();
                    let logits = together.step(&ids);
                    for (s, single) in alone.iter_mut().enumerate() {
                        let expected = single.step(&ids[s..=s]);
                        let got = &logits[s * 20..][..20];
                        assert_eq!(got, expected, "{cell} stream {s} step {t}");
                    }
                }
            }
        }
    }
}

#[test]
fn reset_forgets_everything() {
    for cell in CellKind::ALL {
        let weights = weights(cell, SIZES[1], 5);
        let mut generator = Generator::new(&weights, 1).expect("fits");
        let first = generator.step(&[1]).to_vec();
        // After an odd number of steps the next pass would run backwards: same bits all the same.
        assert_ne!(generator.step(&[1]), first);
        generator.step(&[2]);
        generator.reset();
        assert_eq!(generator.step(&[1]), first);
    }
}

/// Without an output weight the embedding is that, where it fits: the logits are those of a copy.
#[test]
fn a_tied_embedding_is_the_output_weight() {
    let sizes = Sizes {
        v: 9,
        e: 12,
        h: 12,
        layers: 2,
    };
    let mut whole = tensors(CellKind::Lstm, sizes, 8);
    let shared = whole["embedding.weight"].clone();
    whole.insert("out.weight".into(), shared);
    let untied = load(&whole).unwrap();
    whole.remove("out.weight");
    let message = load(&whole).unwrap_err().to_string();
    assert!(message.contains("out.weight"), "{message}");
    let tied = load_of(true, &whole).unwrap();
    assert_eq!((tied.sizes().tied, untied.sizes().tied), (true, false));
    let [mut a, mut b] = [&tied, &untied].map(|w| Generator::new(w, 1).unwrap());
    for id in [0, 5, 8, 5] {
        assert_eq!(a.step(&[id]), b.step(&[id]));
    }
}

#[test]
fn the_shape_of_every_tensor_is_checked() {
    for cell in CellKind::ALL {
        check_shapes(cell);
    }
}

fn check_shapes(cell: CellKind) {
    let sizes = SIZES[1];
    let whole = tensors(cell, sizes, 6);
    for name in whole.keys() {
        let mut wrong = whole.clone();
        let (shape, values) = wrong.get_mut(name).expect("present");
        // One row more; `embedding.weight` and the first `weight_hh` set the sizes of the others.
        shape[0] += 1;
        values.resize(shape.iter().product(), 0.0);
        let message = load(&wrong).expect_err(name).to_string();
        let named = if name == "embedding.weight" {
            "out.weight"
        } else {
            name
        };
        assert!(
            message.contains(named) && message.contains("expected"),
            "{name}: {message}"
        );
        let mut missing = whole.clone();
        missing.remove(name);
        // Without its recurrent weights the second layer is not there at all.
        match load(&missing) {
            Ok(weights) => assert_eq!(
                (name.clone(), weights.layers().len()),
                (format!("{cell}.weight_hh_l1"), 1)
            ),
            Err(error) => assert!(error.to_string().contains(name), "{error}"),
        }
    }
    let mut poisoned = whole.clone();
    poisoned.get_mut("out.bias").expect("present").1[2] = f32::NAN;
    let message = load(&poisoned).expect_err("NaN").to_string();
    assert!(
        message.contains("out.bias holds NaN at index 2"),
        "{message}"
    );
}

#[test]
fn the_two_biases_are_added() {
    let mut tensors = tensors(CellKind::Lstm, SIZES[0], 7);
    let sum: Vec<f32> = (tensors["lstm.bias_ih_l0"].1.iter())
        .zip(&tensors["lstm.bias_hh_l0"].1)
        .map(|(a, b)| a + b)
        .collect();
    let weights = load(&tensors).expect("well-formed");
    assert_eq!(weights.layers()[0].bias(), sum);
    tensors
        .get_mut("lstm.bias_hh_l0")
        .expect("present")
        .1
        .fill(0.0);
    tensors.get_mut("lstm.bias_ih_l0").expect("present").1 = sum;
    let folded = load(&tensors).expect("well-formed");
    let step = |w| Generator::new(w, 1).expect("fits").step(&[0]).to_vec();
    assert_eq!(step(&weights), step(&folded));
}

/// b_hn stands inside the reset gate's product: it is no part of the sum.
#[test]
fn the_grus_biases_are_added_but_for_the_gate_n() {
    let tensors = tensors(CellKind::Gru, SIZES[0], 7);
    let [ih, hh] = ["gru.bias_ih_l0", "gru.bias_hh_l0"].map(|name| &tensors[name].1[..]);
    let weights = load(&tensors).expect("well-formed");
    let (layer, gates) = (&weights.layers()[0], 2 * SIZES[0].h);
    for (i, &bias) in layer.bias().iter().enumerate() {
        assert_eq!(bias, if i < gates { ih[i] + hh[i] } else { ih[i] });
    }
    assert_eq!(layer.b_hn(), &hh[gates..]);
}

#[test]
fn a_generator_refuses_what_it_cannot_run() {
    let sizes = SIZES[0];
    for streams in [0, MAX_STREAMS + 1] {
        let error = Generator::new(&weights(CellKind::Lstm, sizes, 8), streams)
            .err()
            .expect("refused");
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("streams"), "{error}");
    }
    let large = weights(
        CellKind::Lstm,
        Sizes {
            v: 65_536,
            e: 1,
            h: 1,
            layers: 1,
        },
        8,
    );
    let error = Generator::new(&large, 1).err().expect("refused");
    assert!(
        error.exit_code() == 3 && error.to_string().contains("65536"),
        "{error}"
    );
    let mut tensors = tensors(CellKind::Lstm, sizes, 8);
    tensors.get_mut("lstm.weight_hh_l0").expect("present").1[5] = 7e4;
    let overflow = load(&tensors).expect("finite in f32");
    let error = Generator::new(&overflow, 1)
        .err()
        .expect("refused")
        .to_string();
    assert!(error.contains("lstm.weight_hh_l0 holds 70000"), "{error}");
}
