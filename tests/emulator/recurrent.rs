//! Packed sequences of different lengths on the emulated device, for every cell: each sequence gets
//! the bits that it gets alone, forward and backward. (What is summed over sequences is in src/selftest.)

use crate::support::{SCHEDULES, Storage, values};
use half::f16;
use rnnx::Result;
use rnnx::autograd::{Backward, Grads, Slot, Tape, Var};
use rnnx::data::packing::Packing;
use rnnx::device::Gpu;
use rnnx::device::emulated::Emulated;
use rnnx::ops::recurrent::{
    CellKind, Hidden, Input, Output, State, recurrent_packed, recurrent_side_by_side,
};
use rnnx::tensor::{Stored, Tensor};
use std::sync::Arc;

const INPUTS: usize = 3;
const HIDDEN: usize = 5;
/// Two end at one step, and at some steps none ends.
const LENGTHS: [usize; 5] = [6, 4, 4, 3, 1];

/// Hands the outputs their gradients.
struct Seeds(Vec<(Option<Slot>, Tensor)>);

impl Backward for Seeds {
    fn name(&self) -> &'static str {
        "seeds"
    }

    fn backward(self: Box<Self>, grads: &mut Grads) -> Result<()> {
        let mut seeds = self.0.into_iter();
        seeds.try_for_each(|(slot, seed)| grads.add(slot, seed))
    }
}

/// The sequences `which` of the batch, in that order.
struct Batch<'a> {
    gpu: Arc<Gpu>,
    which: &'a [usize],
    packing: Packing,
}

impl Batch<'_> {
    /// Tensor `seed`, a row for each element of each sequence, packed.
    fn elements<T: Storage + Stored>(&self, seed: u32, width: usize) -> Tensor {
        let mut data: Vec<T> = Vec::new();
        for t in 0..self.packing.steps() {
            for b in &self.which[..self.packing.active(t)] {
                let of_b = values::<T>(LENGTHS[0] * width, 100 * seed + *b as u32, 0.7);
                data.extend(of_b[t * width..][..width].iter().map(|&x| T::from_f32(x)));
            }
        }
        self.place(&data, &[self.packing.rows(), width])
    }

    /// Tensor `seed`, a row for each sequence.
    fn states<T: Storage + Stored>(&self, seed: u32) -> Tensor {
        let row = |&b: &usize| values::<T>(HIDDEN, 100 * seed + b as u32, 0.7);
        let data: Vec<T> = self.which.iter().flat_map(row).map(T::from_f32).collect();
        self.place(&data, &[self.which.len(), HIDDEN])
    }

    fn weights<T: Storage + Stored>(&self, seed: u32, shape: &[usize]) -> Tensor {
        let data = values::<T>(shape.iter().product(), seed, 0.7);
        let data: Vec<T> = data.into_iter().map(T::from_f32).collect();
        self.place(&data, shape)
    }

    fn place<T: Stored>(&self, data: &[T], shape: &[usize]) -> Tensor {
        let host = Tensor::from_slice(data, shape).unwrap();
        host.to_gpu(&self.gpu).unwrap()
    }
}

fn numbers<T: Storage + Stored>(t: &Tensor) -> Vec<f32> {
    let t = t.to_cpu().unwrap();
    t.data::<T>().unwrap().iter().map(|x| x.to_f32()).collect()
}

/// y, dx; h_n, dh0, and c_n, dc0 of a cell that has them. Without a backward pass: y; h_n, c_n.
fn run<T: Storage + Stored>(
    kind: CellKind,
    schedule: u64,
    which: &[usize],
    recording: bool,
) -> [Vec<Vec<f32>>; 2] {
    let lengths: Vec<usize> = which.iter().map(|&b| LENGTHS[b]).collect();
    let batch = Batch {
        gpu: Gpu::new(Emulated::new(schedule)),
        which,
        packing: Packing::new(&lengths).unwrap(),
    };
    let mut tape = match recording {
        true => Tape::new(),
        false => Tape::inference(),
    };
    let rows = kind.gates() * HIDDEN;
    let w_hh = tape.leaf(batch.weights::<T>(1, &[rows, HIDDEN]));
    let w_ih = tape.leaf(batch.weights::<T>(2, &[rows, INPUTS]));
    let bias = tape.leaf(batch.weights::<T>(3, &[rows]));
    let b_hh = tape.leaf(batch.weights::<T>(10, &[rows]));
    let x = tape.leaf(batch.elements::<T>(4, INPUTS));
    let h0 = tape.leaf(batch.states::<T>(5));
    let c0 = tape.leaf(batch.states::<f32>(6));
    let input = Input::Dense {
        x: &x,
        w_ih: &w_ih,
        bias: &bias,
    };
    let hidden = Hidden {
        w_hh: &w_hh,
        b_hh: kind.has_b_hh().then_some(&b_hh),
    };
    let state = State {
        h: h0.clone(),
        c: kind.has_c().then(|| c0.clone()),
    };
    let (packing, state) = (&batch.packing, Some(&state));
    let out = recurrent_packed(&mut tape, kind, input, hidden, state, packing).unwrap();
    let mut of_elements = vec![numbers::<T>(out.y.value())];
    let mut of_states = vec![numbers::<T>(out.state.h.value())];
    of_states.extend(out.state.c.iter().map(|c| numbers::<f32>(c.value())));
    if !recording {
        return [of_elements, of_states];
    }
    let end = tape.output(Tensor::scalar(0.0f32), [out.y.slot()]);
    let mut seeds = vec![
        (out.y.slot(), batch.elements::<T>(7, HIDDEN)),
        (out.state.h.slot(), batch.states::<T>(8)),
    ];
    seeds.extend((out.state.c.iter()).map(|c| (c.slot(), batch.states::<f32>(9))));
    tape.push(Seeds(seeds));
    let mut grads = tape.backward(&end, Tensor::scalar(0.0f32)).unwrap();
    let mut take = |slot| grads.take(slot).unwrap();
    of_elements.push(numbers::<T>(&take(x.slot())));
    of_states.push(numbers::<T>(&take(h0.slot())));
    if kind.has_c() {
        of_states.push(numbers::<f32>(&take(c0.slot())));
    }
    [of_elements, of_states]
}

fn as_alone<T: Storage + Stored>(kind: CellKind, recording: bool) {
    let all: Vec<usize> = (0..LENGTHS.len()).collect();
    let packing = Packing::new(&LENGTHS).unwrap();
    let packed = run::<T>(kind, SCHEDULES[0], &all, recording);
    for schedule in &SCHEDULES[1..] {
        assert_eq!(
            packed,
            run::<T>(kind, *schedule, &all, recording),
            "{schedule}"
        );
    }
    for b in all {
        let alone = run::<T>(kind, SCHEDULES[0], &[b], recording);
        for (of_elements, want) in packed[0].iter().zip(&alone[0]) {
            let width = want.len() / LENGTHS[b];
            let rows = (0..LENGTHS[b]).map(|t| packing.row(t, b).unwrap());
            let got: Vec<f32> = rows
                .flat_map(|row| of_elements[row * width..][..width].to_vec())
                .collect();
            assert_eq!(got, *want, "sequence {b}");
        }
        for (of_states, want) in packed[1].iter().zip(&alone[1]) {
            assert_eq!(of_states[b * HIDDEN..][..HIDDEN], *want, "sequence {b}");
        }
    }
}

#[test]
fn a_packed_sequence_has_the_bits_that_it_has_alone() {
    for kind in CellKind::ALL {
        for recording in [true, false] {
            as_alone::<f32>(kind, recording);
            as_alone::<f16>(kind, recording);
        }
    }
}

// ---- side by side --------------------------------------------------------------------------

/// Two layers over inputs of their own, alone and side by side: y, h_n, c_n, and the gradients of x, W_ih
/// and W_hh of each, for the same gradients of the outputs.
fn two_layers<T: Storage + Stored>(kind: CellKind, together: bool) -> Vec<Vec<f32>> {
    let which: Vec<usize> = (0..LENGTHS.len()).collect();
    let batch = Batch {
        gpu: Gpu::new(Emulated::new(0)),
        which: &which,
        packing: Packing::new(&LENGTHS).unwrap(),
    };
    let mut tape = Tape::new();
    let rows = kind.gates() * HIDDEN;
    // x, W_ih, b, W_hh, b_hh of each layer.
    let layers = [0, 20].map(|of: u32| {
        [
            batch.elements::<T>(of + 4, INPUTS),
            batch.weights::<T>(of + 2, &[rows, INPUTS]),
            batch.weights::<T>(of + 3, &[rows]),
            batch.weights::<T>(of + 1, &[rows, HIDDEN]),
            batch.weights::<T>(of + 10, &[rows]),
        ]
        .map(|t| tape.leaf(t))
    });
    let parts = layers.each_ref().map(|[x, w_ih, bias, w_hh, b_hh]| {
        let b_hh = kind.has_b_hh().then_some(b_hh);
        (Input::Dense { x, w_ih, bias }, Hidden { w_hh, b_hh })
    });
    let outputs: Vec<Output> = match together {
        true => {
            let out = recurrent_side_by_side(&mut tape, kind, &parts, &batch.packing);
            vec![out.unwrap()]
        }
        false => parts
            .iter()
            .map(|(input, hidden)| {
                let packing = &batch.packing;
                recurrent_packed(&mut tape, kind, *input, *hidden, None, packing).unwrap()
            })
            .collect(),
    };
    // Each layer's seeds, and, for one output of both, side by side.
    let seeds = |t: fn(&Batch, u32) -> Tensor| {
        let of = [7, 27].map(|seed| t(&batch, seed));
        match together {
            true => vec![beside(&of, &batch)],
            false => of.to_vec(),
        }
    };
    let end = tape.output(Tensor::scalar(0.0f32), outputs.iter().map(|o| o.y.slot()));
    let mut given = Vec::new();
    for (out, seed) in outputs.iter().zip(seeds(|b, k| b.elements::<T>(k, HIDDEN))) {
        given.push((out.y.slot(), seed));
    }
    for (out, seed) in outputs.iter().zip(seeds(|b, k| b.states::<T>(k + 1))) {
        given.push((out.state.h.slot(), seed));
    }
    for (out, seed) in outputs.iter().zip(seeds(|b, k| b.states::<f32>(k + 2))) {
        given.extend(out.state.c.iter().map(|c| (c.slot(), seed.clone())));
    }
    tape.push(Seeds(given));
    let mut found = Vec::new();
    for of in 0..2 {
        let (out, way) = if together {
            (&outputs[0], Some(of))
        } else {
            (&outputs[of], None)
        };
        let columns = |v: &Var, all: Vec<f32>| match way {
            Some(way) => {
                let width = v.value().shape().last();
                let rows = all.chunks(width);
                rows.flat_map(|row| row[way * HIDDEN..][..HIDDEN].to_vec())
                    .collect()
            }
            None => all,
        };
        found.push(columns(&out.y, numbers::<T>(out.y.value())));
        found.push(columns(&out.state.h, numbers::<T>(out.state.h.value())));
        let c = out.state.c.as_ref();
        found.extend(c.map(|c| columns(c, numbers::<f32>(c.value()))));
    }
    let mut grads = tape.backward(&end, Tensor::scalar(0.0f32)).unwrap();
    for [x, w_ih, _, w_hh, _] in &layers {
        found.push(numbers::<T>(&grads.take(x.slot()).unwrap()));
        found.push(numbers::<f32>(&grads.take(w_ih.slot()).unwrap()));
        found.push(numbers::<f32>(&grads.take(w_hh.slot()).unwrap()));
    }
    found
}

/// Two matrices `[rows, H]` as one `[rows, 2H]`.
fn beside(parts: &[Tensor; 2], batch: &Batch) -> Tensor {
    let mut tape = Tape::inference();
    let vars = parts.each_ref().map(|t| Var::constant(t.clone()));
    let joined = rnnx::ops::concat(&mut tape, &vars.each_ref()).unwrap();
    assert!(
        joined
            .value()
            .gpu()
            .is_some_and(|gpu| Arc::ptr_eq(gpu, &batch.gpu))
    );
    joined.into_value()
}

#[test]
fn layers_side_by_side_have_the_bits_that_they_have_alone() {
    for kind in CellKind::ALL {
        assert_eq!(
            two_layers::<f32>(kind, true),
            two_layers::<f32>(kind, false)
        );
        assert_eq!(
            two_layers::<f16>(kind, true),
            two_layers::<f16>(kind, false)
        );
    }
}
