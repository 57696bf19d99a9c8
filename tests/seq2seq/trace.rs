//! What a training step asks of a device: launches, products, copies and waits, counted at the
//! default sizes. The device does nothing but count, so that the full size costs no time.

use super::{Pairs, batch, for_each_kind, sizes_of};
use rnnx::device::Gpu;
use rnnx::device::driver::{Arg, DevicePtr, Driver, Event, Gemm, Graph, Launch};
use rnnx::error::{Error, Result};
use rnnx::files::state::LossScaler;
use rnnx::optim::{Adam, AdamConfig, Clip};
use rnnx::programs::seq2seq::decode::{DecodeOptions, decode};
use rnnx::programs::seq2seq::model::{ModelKind, Seq2Seq, Seq2SeqSizes};
use rnnx::train::model::Model;
use rnnx::train::ring::Ring;
use rnnx::train::step::Step;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    launches: usize,
    products: usize,
    copies: usize,
    fills: usize,
    uploads: usize,
    /// Downloads, and waits for all work.
    waits: usize,
    /// Questions of how many clusters of a launch run at once.
    occupancy: usize,
}

/// A device that counts and computes nothing.
#[derive(Clone, Debug, Default)]
struct Counting {
    /// Clusters that it says can run at once.
    clusters: u32,
    counts: Arc<Mutex<Counts>>,
    /// Bytes.
    allocated: Arc<AtomicU64>,
}

impl Counting {
    fn count(&self, of: impl FnOnce(&mut Counts) -> &mut usize) -> Result<()> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *of(&mut counts) += 1;
        Ok(())
    }

    /// What was counted since the last call.
    fn take(&self) -> Counts {
        std::mem::take(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn absent<T>(op: &'static str) -> Result<T> {
    Err(Error::op(op, "a device that only counts has none"))
}

impl Driver for Counting {
    fn description(&self) -> String {
        "a device that counts".into()
    }
    fn alloc(&self, bytes: usize) -> Result<DevicePtr> {
        let bytes = (bytes as u64).next_multiple_of(256);
        let end = self.allocated.fetch_add(bytes, Ordering::Relaxed);
        Ok(DevicePtr::new(1 << 32 | end))
    }
    fn free(&self, _: DevicePtr) -> Result<()> {
        Ok(())
    }
    fn upload(&self, _: DevicePtr, _: &[u8]) -> Result<()> {
        self.count(|c| &mut c.uploads)
    }
    fn download(&self, to: &mut [u8], _: DevicePtr) -> Result<()> {
        to.fill(0);
        self.count(|c| &mut c.waits)
    }
    fn copy(&self, _: DevicePtr, _: DevicePtr, _: usize) -> Result<()> {
        self.count(|c| &mut c.copies)
    }
    fn fill(&self, _: DevicePtr, _: u8, _: usize) -> Result<()> {
        self.count(|c| &mut c.fills)
    }
    fn launch(&self, _: &Launch, _: &[Arg]) -> Result<()> {
        self.count(|c| &mut c.launches)
    }
    fn clusters(&self, _: &Launch) -> Result<u32> {
        self.count(|c| &mut c.occupancy)?;
        Ok(self.clusters)
    }
    fn gemm(&self, _: &Gemm) -> Result<()> {
        self.count(|c| &mut c.products)
    }
    fn synchronize(&self) -> Result<()> {
        self.count(|c| &mut c.waits)
    }
    fn record(&self) -> Result<Event> {
        absent("record")
    }
    fn elapsed_ms(&self, _: &Event, _: &Event) -> Result<f32> {
        absent("elapsed_ms")
    }
    fn capture(&self, _: &mut dyn FnMut() -> Result<()>) -> Result<Graph> {
        absent("capture")
    }
    fn replay(&self, _: &Graph) -> Result<()> {
        absent("replay")
    }
}

const SIZES: Seq2SeqSizes = Seq2SeqSizes {
    source_vocab: 4000,
    target_vocab: 7000,
    embedding: 256,
    hidden: 256,
    layers: 1,
    heads: 4,
    copy: false,
    tied: false,
};

/// Sources of 1 to 30 tokens and targets of 1 to 50, the longest among them.
fn pairs() -> Pairs {
    let side = |n: usize, longest: usize| vec![5u32; 1 + n * 37 % longest];
    (0..128).map(|n| (side(n, 30), side(n, 50))).collect()
}

/// What the third of three training steps of a kind of model asks for: 128 pairs of at most 30 and
/// 50 tokens, 256 units, mixed precision.
fn of_a_step(kind: ModelKind) -> Counts {
    of_a_step_on(&Counting::default(), kind, SIZES).0
}

/// The same on a device, of a model of these sizes; and what the log says of its recurrences.
fn of_a_step_on(device: &Counting, kind: ModelKind, sizes: Seq2SeqSizes) -> (Counts, Vec<String>) {
    let gpu = Gpu::new(device.clone());
    let model = Seq2Seq::new::<f32>(kind, sizes_of(kind, sizes), 1).with_dropout(0.3);
    let adam = Adam::new::<f32>(AdamConfig::torch(1e-3), model.params().layout());
    let clip = Clip::Global {
        max: 5.0,
        epsilon: 1e-6,
    };
    let step = Step::new(model, adam, clip, 1);
    let mut step = step.to_gpu(&gpu, Some(LossScaler::FIRST)).unwrap();
    let ring = Ring::new(&gpu).unwrap();
    let batch = batch(&pairs());
    ring.begin(0, 0).unwrap();
    let mut counts = Counts::default();
    for n in 0..3 {
        device.take();
        let inputs = step.model().inputs(&batch).unwrap();
        let issued = step.issue(&inputs, &ring.draws(1, n)).unwrap();
        ring.record(&step, &issued).unwrap();
        counts = device.take();
    }
    (counts, gpu.news())
}

/// The host gives a step all its indices in one copy, and waits for nothing.
#[test]
fn a_step_is_one_upload_and_no_wait() {
    for_each_kind(|kind| {
        let counts = of_a_step(kind);
        assert_eq!((counts.uploads, counts.waits), (1, 0), "{kind}: {counts:?}");
    });
}

/// The numbers that docs/gpu.md tells. In its chain are 30 steps of the encoder, whose two directions run
/// side by side, and 51 of the decoder: 2 (2 * 30 - 1) + 2 * 4 * 51 = 526 of them, forward and backward.
#[test]
fn what_a_step_with_attention_asks_for() {
    let expected = Counts {
        launches: 324,
        products: 288,
        copies: 10,
        fills: 5,
        uploads: 1,
        waits: 0,
        occupancy: 0,
    };
    assert_eq!(of_a_step(ModelKind::Attention), expected);
    // With whole sequences the chain is a kernel a pass of encoder and decoder.
    let device = Counting {
        clusters: 31,
        ..Counting::default()
    };
    let (whole, _) = of_a_step_on(&device, ModelKind::Attention, SIZES);
    let expected = Counts {
        launches: 68,
        products: 28,
        copies: 8,
        fills: 2,
        ..expected
    };
    assert_eq!(whole, expected);
    // 15 more where a row of the queries has the gates' room beside it.
    let mib = device.allocated.load(Ordering::Relaxed) >> 20;
    assert!(mib <= 361, "{mib} MiB");
}

/// Whole sequences in one kernel read where each of their steps begins: for all layers and both directions
/// from the one copy, too. Of two layers each, the LSTM model takes 30 steps twice and 51 twice so; the
/// attention model 30 twice, both directions at once, and 51 once. A pass of a layer is then one launch. The
/// decoder's first layer, with attention, has two a step and pass, and then six for both passes.
#[test]
fn whole_sequences_are_one_upload_too() {
    let two_layers = Seq2SeqSizes { layers: 2, ..SIZES };
    let of_a_step = |clusters, kind| {
        let device = Counting {
            clusters,
            ..Counting::default()
        };
        of_a_step_on(&device, kind, two_layers)
    };
    let both_passes = |layers: &[usize]| layers.iter().map(|steps| 2 * steps - 2).sum::<usize>();
    let lstm = "recurrence: lstm of 256 units, whole sequences (auto)";
    let attention = "recurrence: attention of 256 units, whole sequences (auto)";
    for (kind, layers, attended, says) in [
        (ModelKind::Lstm, &[30, 30, 51, 51][..], 0, &[lstm][..]),
        (
            ModelKind::Attention,
            &[30, 30, 51],
            2 * 2 * 51 - 6,
            &[lstm, attention],
        ),
    ] {
        // Of an H100 as one was seen.
        let (whole, news) = of_a_step(31, kind);
        assert_eq!(news, says, "{kind}");
        assert_eq!((whole.uploads, whole.waits), (1, 0), "{kind}: {whole:?}");
        let (steps, _) = of_a_step(0, kind);
        let fewer = steps.launches - whole.launches;
        let expected = both_passes(layers) + attended;
        assert_eq!(fewer, expected, "{kind}: {whole:?}");
        // Which the first step has asked, for all that come.
        assert_eq!((whole.occupancy, steps.occupancy), (0, 0), "{kind}");
    }
}

/// A batch is decoded greedily from what was given at its start: the sources, the first tokens, and of a
/// Transformer the first time the table of positions. The device that counts never writes `<EOS>`, so that
/// all 50 steps run.
#[test]
fn greedy_decoding_gives_the_device_nothing_between_its_steps() {
    for_each_kind(|kind| {
        let device = Counting::default();
        let gpu = Gpu::new(device.clone());
        let mut model = Seq2Seq::new::<f32>(kind, sizes_of(kind, SIZES), 1);
        model.params_mut().to_gpu(&gpu, true).unwrap();
        let pairs = pairs();
        let sources: Vec<&[u32]> = pairs.iter().map(|pair| &pair.0[..]).collect();
        let options = DecodeOptions::greedy(50);
        device.take();
        let outputs = decode(&model, &sources, options).unwrap();
        assert!(outputs.iter().all(|output| output.tokens.len() == 50));
        let uploads = if kind == ModelKind::Transformer { 3 } else { 2 };
        assert_eq!(device.take().uploads, uploads, "{kind}");
    });
}
