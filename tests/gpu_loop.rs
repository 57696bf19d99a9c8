//! The training loop on a GPU: a captured step gives what the same steps give one by one.

use rnnx::device::driver::{Arg, DevicePtr, Driver, Event, Gemm, Graph, Launch};
use rnnx::device::emulated::Emulated;
use rnnx::device::{Gpu, Recurrence};
use rnnx::error::{Error, Result};
use rnnx::files::state::LossScaler;
use rnnx::nn::CellKind;
use rnnx::optim::{Adam, AdamConfig, Clip};
use rnnx::programs::charlm::data::CharBatch;
use rnnx::programs::charlm::feed::TextFeed;
use rnnx::programs::charlm::model::{CharLm, CharLmSizes};
use rnnx::tensor::Tensor;
use rnnx::train::graph::{Feed, GpuLoop};
use rnnx::train::model::Model;
use rnnx::train::ring::SLOTS;
use rnnx::train::scores::Scores;
use rnnx::train::step::{Step, score};
use std::sync::Arc;

const SIZES: CharLmSizes = CharLmSizes {
    cell: CellKind::Lstm,
    vocab: 11,
    embedding: 4,
    hidden: 7,
    layers: 2,
    tied: false,
};
const T: usize = 5;
const B: usize = 3;
const WINDOWS: usize = 8;

fn text() -> Vec<u16> {
    (0..WINDOWS * (T + 1) + 2)
        .map(|i| (i * i % SIZES.vocab) as u16)
        .collect()
}

fn step_on(gpu: &Arc<Gpu>) -> Step<CharLm> {
    step_of(gpu, SIZES)
}

fn step_of(gpu: &Arc<Gpu>, sizes: CharLmSizes) -> Step<CharLm> {
    let model = CharLm::new::<f32>(sizes, 3);
    let config = AdamConfig::keras(1e-2);
    let adam = Adam::new::<f32>(config, model.params().layout());
    let model = model.with_dropout(0.3).with_l2(1e-2);
    Step::new(model, adam, Clip::PerTensor { max: 0.05 }, 5)
        .to_gpu(gpu, Some(LossScaler::FIRST))
        .unwrap()
}

/// The batch of a step, made on the host.
fn batch(order: &[u32], step_in_epoch: usize, gpu: &Arc<Gpu>) -> CharBatch {
    let text = text();
    let pick = |offset: usize| {
        let at = |i: usize| {
            let (t, b) = (i / B, i % B);
            let window = order[step_in_epoch * B + b] as usize;
            u32::from(text[window * (T + 1) + t + offset])
        };
        let ids: Vec<u32> = (0..T * B).map(at).collect();
        Tensor::from_slice(&ids, [T, B]).unwrap()
    };
    let batch = CharBatch {
        ids: pick(0),
        targets: pick(1),
    };
    batch.to_device(Some(gpu)).unwrap()
}

const ORDERS: [[u32; 6]; 3] = [[5, 1, 7, 0, 2, 6], [0, 1, 2, 3, 4, 5], [7, 6, 5, 4, 3, 2]];

fn feed(gpu: &Arc<Gpu>) -> GpuLoop<TextFeed> {
    let feed = TextFeed::new(gpu, &text(), WINDOWS, [T, B]).unwrap();
    GpuLoop::new(gpu, feed).unwrap()
}

/// Three epochs of two steps, by the loop, in bursts of one or two steps.
fn by_loop(gpu: Arc<Gpu>, burst: usize) -> (Vec<Scores>, Step<CharLm>, GpuLoop<TextFeed>) {
    by_loop_with(gpu, burst, &[])
}

/// The same, where each step has a learning rate of its own if there are any.
fn by_loop_with(
    gpu: Arc<Gpu>,
    burst: usize,
    rates: &[f64],
) -> (Vec<Scores>, Step<CharLm>, GpuLoop<TextFeed>) {
    let mut step = step_on(&gpu);
    let mut feed = feed(&gpu);
    let mut scores = Vec::new();
    for (epoch, order) in ORDERS.iter().enumerate() {
        feed.feed().set_order(&gpu, order).unwrap();
        feed.begin(0, 2 * epoch as u64).unwrap();
        for _ in 0..2 / burst {
            let first = scores.len() as u64;
            if let Some(rates) = rates.get(scores.len()..scores.len() + burst) {
                step.set_rates(rates).unwrap();
            }
            scores.extend(feed.run(&mut step, first, burst).unwrap());
            // Between bursts a validation uses the device's memory.
            score(step.model(), &batch(order, 0, &gpu)).unwrap();
        }
    }
    (scores, step, feed)
}

fn assert_same(a: &[Scores], b: &[Scores]) {
    assert_eq!(a.len(), b.len());
    for (n, (a, b)) in a.iter().zip(b).enumerate() {
        assert_eq!(
            a.ce.to_bits(),
            b.ce.to_bits(),
            "step {n}: {} and {}",
            a.ce,
            b.ce
        );
        assert_eq!(a.correct, b.correct, "step {n}");
        assert_eq!(a.grad_norm.to_bits(), b.grad_norm.to_bits(), "step {n}");
        assert_eq!(a.scaler, b.scaler, "step {n}");
        assert!((a.loss - b.loss).abs() < 1e-6, "step {n}");
    }
}

#[test]
fn the_captured_step_gives_the_same_bits_as_single_steps() {
    let gpu = Gpu::new(Emulated::new(0));
    let mut single = step_on(&gpu);
    let mut want = Vec::new();
    for order in &ORDERS {
        for i in 0..2 {
            let batch = batch(order, i, &gpu);
            want.push(single.train(&batch, want.len() as u64).unwrap());
        }
    }
    for burst in [1, 2] {
        let (got, step, mut feed) = by_loop(Gpu::new(Emulated::new(0)), burst);
        assert_eq!(feed.captured(), Some(Ok(())));
        assert_eq!(feed.news().unwrap(), "step: one captured graph");
        assert!(feed.news().is_none(), "told once");
        assert_same(&want, &got);
        let (a, b) = (
            single.model().export().unwrap(),
            step.model().export().unwrap(),
        );
        for (name, tensor) in &a.tensors {
            assert_eq!(tensor.data, b.tensors[name].data, "{name}");
        }
    }
    assert!(want[0].ce != want[2].ce, "other batches have other losses");
}

#[test]
fn a_captured_step_takes_a_learning_rate_that_changes() {
    let rates = [1e-2, 1e-2, 4e-3, 2e-2, 2e-2, 1e-3];
    let gpu = Gpu::new(Emulated::new(0));
    let mut single = step_on(&gpu);
    let mut want = Vec::new();
    for (n, rate) in rates.into_iter().enumerate() {
        single.set_rates(&[rate]).unwrap();
        let batch = batch(&ORDERS[n / 2], n % 2, &gpu);
        want.push(single.train(&batch, n as u64).unwrap());
    }
    let weights = |step: &Step<CharLm>| step.model().export().unwrap();
    for burst in [1, 2] {
        let (got, step, feed) = by_loop_with(Gpu::new(Emulated::new(0)), burst, &rates);
        assert_eq!(feed.captured(), Some(Ok(())));
        assert_same(&want, &got);
        for (name, tensor) in &weights(&single).tensors {
            assert_eq!(tensor.data, weights(&step).tensors[name].data, "{name}");
        }
    }
    // Where it stays, one rate for all gives what the optimizer's own does.
    let (own, kept, _) = by_loop(Gpu::new(Emulated::new(0)), 2);
    let (same, step, _) = by_loop_with(Gpu::new(Emulated::new(0)), 2, &[1e-2; 6]);
    assert_same(&own, &same);
    let differs = |a: &Step<CharLm>, b: &Step<CharLm>| {
        let (a, b) = (weights(a), weights(b));
        a.tensors
            .iter()
            .any(|(name, t)| t.data != b.tensors[name].data)
    };
    assert!(!differs(&kept, &step) && differs(&kept, &single));
}

/// A kernel for whole sequences gives up in a validation, and the training steps after it are taken step by
/// step, too: the graph that was captured before, with such kernels in it, is not run again.
#[test]
fn a_graph_from_before_a_fault_is_captured_anew() {
    let sizes = CharLmSizes {
        hidden: 192,
        layers: 1,
        ..SIZES
    };
    const FAULT: usize = 4;
    let on = |device: Emulated| {
        let gpu = Gpu::new(device);
        gpu.set_recurrence(Recurrence::Whole);
        (step_of(&gpu, sizes), gpu)
    };
    // Three blocks of 256 threads send a step's h to three blocks, and four words of dz: 9,216 and 36,864
    // stores a launch of five steps. The validation has more, and misses one of them.
    let (mut step, gpu) = on(Emulated::new(0).losing(40_000));
    let (mut graphs, mut got) = (feed(&gpu), Vec::new());
    for n in 0..2 * FAULT {
        if n == FAULT {
            assert_eq!(graphs.captured(), Some(Ok(())));
            assert!(graphs.news().is_some());
            let ids = Tensor::from_slice(&[1u32; 19 * B], [19, B]).unwrap();
            let long = CharBatch {
                ids: ids.clone(),
                targets: ids,
            };
            let long = long.to_device(Some(&gpu)).unwrap();
            assert!(score(step.model(), &long).unwrap().ce.is_finite());
            assert_eq!(gpu.recurrence(), Recurrence::Steps);
            let told = gpu.news().join("; ");
            assert!(told.contains("step by step from here on"), "{told}");
        }
        graphs.feed().set_order(&gpu, &ORDERS[n / 2 % 3]).unwrap();
        graphs.begin(n as u64 % 2, n as u64).unwrap();
        got.extend(graphs.run(&mut step, n as u64, 1).unwrap());
    }
    assert_eq!(graphs.captured(), Some(Ok(())));
    assert_eq!(graphs.news().unwrap(), "step: one captured graph");

    // The same, one by one, where the way is changed by hand, and where it is not.
    let one_by_one = |from: usize| {
        let (mut step, gpu) = on(Emulated::new(0));
        let train = |n: usize| {
            if n == from {
                gpu.set_recurrence(Recurrence::Steps);
            }
            let batch = batch(&ORDERS[n / 2 % 3], n % 2, &gpu);
            step.train(&batch, n as u64).unwrap()
        };
        (0..2 * FAULT).map(train).collect::<Vec<_>>()
    };
    assert_same(&one_by_one(FAULT), &got);
    let whole = one_by_one(2 * FAULT);
    assert!(whole[FAULT].grad_norm != got[FAULT].grad_norm);
}

#[test]
fn the_ring_goes_round() {
    let gpu = Gpu::new(Emulated::new(0));
    let mut step = step_on(&gpu);
    let mut feed = feed(&gpu);
    feed.feed().set_order(&gpu, &ORDERS[0]).unwrap();
    // Steps 60 .. 68 of the run lie on both sides of the ring's end.
    let first = SLOTS as u64 - 4;
    let mut all = Vec::new();
    for n in 0..4 {
        feed.begin(0, first + 2 * n).unwrap();
        all.extend(feed.run(&mut step, first + 2 * n, 2).unwrap());
    }
    assert_eq!(all.len(), 8);
    assert!(all.iter().all(|s| s.ce > 0.5 && s.ce < 4.0), "{all:?}");
    let skipped: Vec<u32> = all.iter().map(|s| s.scaler.unwrap().good_steps).collect();
    assert_eq!(skipped, [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
#[should_panic(expected = "a step has 1 to 64 batches, not 65")]
fn a_step_has_no_more_batches_than_figures_have_room() {
    let _ = feed(&Gpu::new(Emulated::new(0))).accumulating(SLOTS + 1);
}

#[test]
fn ids_beyond_a_byte_reach_the_batch() {
    let gpu = Gpu::new(Emulated::new(0));
    let id = |at: usize| 65_534 - 700 * at as u16;
    let text: Vec<u16> = (0..WINDOWS * (T + 1) + 1).map(id).collect();
    let feed = TextFeed::new(&gpu, &text, WINDOWS, [T, B]).unwrap();
    feed.set_order(&gpu, &ORDERS[0]).unwrap();
    let counter = Tensor::from_slice(&[1u32, 0], [2]).unwrap();
    feed.issue(&gpu, &counter.to_gpu(&gpu).unwrap()).unwrap();
    let host = |tensor: &Tensor| tensor.to_cpu().unwrap().data::<u32>().unwrap().to_vec();
    for (offset, tensor) in [&feed.batch().ids, &feed.batch().targets]
        .into_iter()
        .enumerate()
    {
        let expected = (0..T * B).map(|i| {
            let window = ORDERS[0][B + i % B] as usize;
            u32::from(id(window * (T + 1) + i / B + offset))
        });
        assert_eq!(host(tensor), expected.collect::<Vec<_>>());
    }
}

/// The emulated device, but capture is refused, as by an old driver.
#[derive(Debug)]
struct NoGraphs(Emulated);

impl Driver for NoGraphs {
    fn description(&self) -> String {
        self.0.description()
    }
    fn alloc(&self, bytes: usize) -> Result<DevicePtr> {
        self.0.alloc(bytes)
    }
    fn free(&self, ptr: DevicePtr) -> Result<()> {
        self.0.free(ptr)
    }
    fn upload(&self, to: DevicePtr, from: &[u8]) -> Result<()> {
        self.0.upload(to, from)
    }
    fn download(&self, to: &mut [u8], from: DevicePtr) -> Result<()> {
        self.0.download(to, from)
    }
    fn copy(&self, to: DevicePtr, from: DevicePtr, bytes: usize) -> Result<()> {
        self.0.copy(to, from, bytes)
    }
    fn fill(&self, to: DevicePtr, value: u8, bytes: usize) -> Result<()> {
        self.0.fill(to, value, bytes)
    }
    fn launch(&self, launch: &Launch, args: &[Arg]) -> Result<()> {
        self.0.launch(launch, args)
    }
    fn clusters(&self, launch: &Launch) -> Result<u32> {
        self.0.clusters(launch)
    }
    fn gemm(&self, gemm: &Gemm) -> Result<()> {
        self.0.gemm(gemm)
    }
    fn synchronize(&self) -> Result<()> {
        self.0.synchronize()
    }
    fn record(&self) -> Result<Event> {
        self.0.record()
    }
    fn elapsed_ms(&self, from: &Event, to: &Event) -> Result<f32> {
        self.0.elapsed_ms(from, to)
    }
    fn capture(&self, _: &mut dyn FnMut() -> Result<()>) -> Result<Graph> {
        Err(Error::Device("no graphs here".into()))
    }
    fn replay(&self, graph: &Graph) -> Result<()> {
        self.0.replay(graph)
    }
}

#[test]
fn a_driver_without_graphs_trains_the_same() {
    let (want, ..) = by_loop(Gpu::new(Emulated::new(0)), 2);
    let (got, _, mut feed) = by_loop(Gpu::new(NoGraphs(Emulated::new(0))), 2);
    assert_eq!(feed.captured(), Some(Err("no graphs here")));
    assert!(feed.news().unwrap().contains("no graphs here"));
    assert_same(&want, &got);
}
