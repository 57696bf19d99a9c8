//! Rounds of steps that each rank takes by itself, against rounds made by hand.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use rnnx::Result;
use rnnx::files::TrainState;
use rnnx::nn::CellKind;
use rnnx::optim::{Adam, AdamConfig, Clip, OptimizerKind};
use rnnx::programs::charlm::data::CharBatch;
use rnnx::programs::charlm::model::{CharLm, CharLmSizes};
use rnnx::ranks::{Collective, Ranks};
use rnnx::tensor::Tensor;
use rnnx::train::model::Model;
use rnnx::train::outer::Local;
use rnnx::train::shards::Shards;
use rnnx::train::step::Step;

const SIZES: CharLmSizes = CharLmSizes {
    cell: CellKind::Lstm,
    vocab: 7,
    embedding: 3,
    hidden: 5,
    layers: 2,
    tied: false,
};
const LENGTH: usize = 6;
const SEED: u64 = 3;

// ---- ranks as threads ----------------------------------------------------------------------

type Bytes = Vec<u8>;

/// A rank's ends of the channels to the others: rank 0 has those of each, the others one pair.
#[derive(Debug)]
struct Threads {
    rank: usize,
    size: usize,
    ends: Mutex<Vec<(Sender<Bytes>, Receiver<Bytes>)>>,
}

impl Collective for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn carrier(&self) -> &'static str {
        "threads"
    }

    fn gather(&self, own: Bytes) -> Result<Option<Vec<Bytes>>> {
        let ends = self.ends.lock().unwrap();
        if self.rank > 0 {
            ends[0].0.send(own).unwrap();
            return Ok(None);
        }
        let others = ends.iter().map(|(_, from)| from.recv().unwrap());
        Ok(Some([own].into_iter().chain(others).collect()))
    }

    fn look(&self, _: Instant) -> Result<()> {
        Ok(())
    }

    fn broadcast(&self, bytes: Bytes) -> Result<Bytes> {
        let ends = self.ends.lock().unwrap();
        if self.rank > 0 {
            return Ok(ends[0].1.recv().unwrap());
        }
        ends.iter()
            .for_each(|(to, _)| to.send(bytes.clone()).unwrap());
        Ok(bytes)
    }
}

/// What `work` gives at each of so many ranks.
fn together<T: Send>(size: usize, work: impl Fn(Arc<Ranks>) -> T + Sync) -> Vec<T> {
    let mut ends: Vec<Vec<_>> = (0..size).map(|_| Vec::new()).collect();
    for rank in 1..size {
        let ((up, from), (down, to)) = (channel(), channel());
        ends[0].push((down, from));
        ends[rank].push((up, to));
    }
    thread::scope(|scope| {
        let start = |(rank, ends)| {
            let ends = Mutex::new(ends);
            let ranks = Ranks::over(Box::new(Threads { rank, size, ends }), (rank, size));
            let work = &work;
            scope.spawn(move || work(ranks))
        };
        let threads: Vec<_> = ends.into_iter().enumerate().map(start).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    })
}

// ---- a small model -------------------------------------------------------------------------

#[derive(Clone, Copy)]
struct Case {
    kind: OptimizerKind,
    dropout: f64,
    clip: Clip,
}

const ADAM: Case = Case {
    kind: OptimizerKind::Adam,
    dropout: 0.3,
    clip: Clip::PerTensor { max: 0.1 },
};

/// Flat weights, first and second moments.
type Flat = [Vec<f32>; 3];

impl Case {
    fn model(self) -> CharLm {
        CharLm::new::<f32>(SIZES, 1)
            .with_dropout(self.dropout)
            .with_l2(1e-3)
    }

    fn adam(self, model: &CharLm) -> Adam {
        let config = AdamConfig {
            kind: self.kind,
            ..AdamConfig::keras(RATE)
        };
        Adam::new::<f32>(config, model.params().layout())
    }

    fn step(self) -> Step<CharLm> {
        let model = self.model();
        let adam = self.adam(&model);
        Step::new(model, adam, self.clip, SEED)
    }

    /// A step of one process that goes on from there.
    fn from(self, [w, m, v]: &Flat, updates: u64) -> Step<CharLm> {
        let mut model = self.model();
        let values = model.params_mut().values_mut().data_mut::<f32>();
        values.unwrap().copy_from_slice(w);
        let mut adam = self.adam(&model);
        adam.m.data_mut::<f32>().unwrap().copy_from_slice(m);
        adam.v.data_mut::<f32>().unwrap().copy_from_slice(v);
        adam.step = updates;
        Step::new(model, adam, self.clip, SEED)
    }
}

const RATE: f64 = 0.01;

fn part(step: &Step<CharLm>, prefix: &str) -> Vec<f32> {
    let layout = step.model().params().layout();
    let mut flat = Tensor::zeros::<f32>([layout.len()]);
    layout
        .import(&step.moments().unwrap(), prefix, &mut flat)
        .unwrap();
    flat.data::<f32>().unwrap().to_vec()
}

fn flat(step: &Step<CharLm>) -> Flat {
    let weights = step.model().params().values();
    let weights = weights.data::<f32>().unwrap().to_vec();
    [weights, part(step, "m."), part(step, "v.")]
}

/// Rows of text by their numbers.
fn batch(rows: &[u32]) -> CharBatch {
    let ids = |more: u32| -> Vec<u32> {
        let id = |t: u32, row: u32| (row * row + 3 * row * t + t + more) % SIZES.vocab as u32;
        let times = 0..LENGTH as u32;
        times
            .flat_map(|t| rows.iter().map(move |&row| id(t, row)))
            .collect()
    };
    let tensor = |ids: Vec<u32>| Tensor::from_slice(&ids, [LENGTH, rows.len()]).unwrap();
    CharBatch {
        ids: tensor(ids(0)),
        targets: tensor(ids(1)),
    }
}

/// The rows of a step.
fn rows(step: u64, of: usize) -> Vec<u32> {
    (0..of as u32).map(|row| 10 * step as u32 + row).collect()
}

/// Trains rounds of `local` on so many ranks, on `of` rows a step; weights and moments of each rank, and
/// the outer momentum of rank 0.
fn trained(
    case: Case,
    ranks: usize,
    local: Local,
    rounds: u64,
    of: usize,
) -> Vec<(Flat, Vec<f32>)> {
    together(ranks, |ranks| {
        let is_first = ranks.is_first();
        let mut step = case.step().with_shards(Shards::of_each(&ranks, local));
        let mut state = TrainState::new("charlm", SEED, String::new());
        for round in 0..rounds {
            let first = round * local.steps;
            let all: Vec<_> = (first..first + local.steps).map(|n| rows(n, of)).collect();
            let rates = vec![RATE; local.steps as usize];
            let rows = |n: usize| (vec![&all[n][..]], first + n as u64);
            let scores = step.train_next(&state, &rates, rows, |_, rows| Ok(batch(rows)));
            let scores = scores.unwrap();
            assert_eq!(scores.len() as u64, local.steps);
            assert!(scores.iter().all(|s| s.tokens as usize == of * LENGTH));
            state.adam_step += local.steps;
        }
        let momentum = if is_first {
            part(&step, "u.")
        } else {
            Vec::new()
        };
        (flat(&step), momentum)
    })
}

/// The same by hand: each rank is a process by itself, and the sums stand here in words.
fn by_hand(case: Case, ranks: usize, local: Local, rounds: u64, of: usize) -> (Flat, Vec<f32>) {
    let mut now = flat(&case.step());
    let mut u = vec![0f32; now[0].len()];
    for round in 0..rounds {
        let begun = round * local.steps;
        let alone = |rank: usize| {
            let mut step = case.from(&now, begun);
            for n in begun..begun + local.steps {
                let own: Vec<u32> = rows(n, of).into_iter().skip(rank).step_by(ranks).collect();
                if !own.is_empty() {
                    let draws = n * ranks as u64 + rank as u64;
                    step.train(&batch(&own), draws).unwrap();
                }
            }
            flat(&step)
        };
        let ends: Vec<Flat> = (0..ranks).map(alone).collect();
        let mean = |of: &dyn Fn(&Flat) -> f64| {
            let x: Vec<f64> = ends.iter().map(of).collect();
            match x[..] {
                [a, b] => (a + b) / 2.0,
                [a, b, c] => (a + (b + c)) / 3.0,
                _ => panic!("no tree of {ranks}"),
            }
        };
        let mut next = now.clone();
        for i in 0..u.len() {
            let d = mean(&|of| f64::from(now[0][i]) - f64::from(of[0][i]));
            let momentum = local.momentum * f64::from(u[i]) + d;
            u[i] = momentum as f32;
            let along = d + local.momentum * momentum;
            next[0][i] = (f64::from(now[0][i]) - local.learning_rate * along) as f32;
            for k in [1, 2] {
                next[k][i] = mean(&|of| f64::from(of[k][i])) as f32;
            }
        }
        now = next;
    }
    (now, u)
}

fn local(steps: u64, learning_rate: f64, momentum: f64) -> Local {
    Local {
        steps,
        learning_rate,
        momentum,
    }
}

#[track_caller]
fn same(case: Case, ranks: usize, local: Local, rounds: u64, of: usize) {
    let (expected, momentum) = by_hand(case, ranks, local, rounds, of);
    let all = trained(case, ranks, local, rounds, of);
    for (rank, (state, _)) in all.iter().enumerate() {
        assert!(*state == expected, "rank {rank} of {ranks}");
    }
    assert!(all[0].1 == momentum, "the momentum");
    assert_ne!(expected[0], flat(&case.step())[0], "nothing was trained");
}

#[test]
fn plain_averaging_after_each_step_is_that_of_processes_by_themselves() {
    same(ADAM, 2, local(1, 1.0, 0.0), 3, 4);
}

#[test]
fn rounds_with_momentum_are_those_of_processes_by_themselves() {
    same(ADAM, 2, local(3, 0.7, 0.9), 2, 5);
    same(ADAM, 3, local(2, 0.5, 0.6), 2, 7);
}

#[test]
fn a_rank_without_rows_waits() {
    same(ADAM, 3, local(2, 0.7, 0.9), 2, 2);
}

/// Sums in another order, in f32: five times the distance of two numbers above 1, as forget biases are,
/// after three steps.
const ROUNDING: f32 = 6e-7;

#[test]
fn plain_averaging_of_gradient_descent_is_the_step_on_all_rows() {
    let sgd = Case {
        kind: OptimizerKind::Sgd,
        dropout: 0.0,
        clip: Clip::Off,
    };
    let mut whole = sgd.step();
    let before = flat(&whole)[0].clone();
    for step in 0..3 {
        whole.train(&batch(&rows(step, 4)), step).unwrap();
    }
    let parts = &trained(sgd, 2, local(1, 1.0, 0.0), 3, 4)[0].0[0];
    let whole = &flat(&whole)[0];
    let largest = |a: &[f32], b: &[f32]| {
        a.iter()
            .zip(b)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max)
    };
    let (error, moved) = (largest(whole, parts), largest(whole, &before));
    assert!(
        error <= ROUNDING && moved > 1000.0 * ROUNDING,
        "{error} of {moved}"
    );
}
