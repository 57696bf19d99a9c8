//! The character LM in training and in use: the parts agree, and it learns.

#[path = "train/local.rs"]
mod local;

use half::f16;
use rnnx::Result;
use rnnx::autograd::Tape;
use rnnx::data::chars::CharVocab;
use rnnx::data::charset::CharsetChoice;
use rnnx::data::corpus::{Corpus, CorpusSpec};
use rnnx::nn::CellKind;
use rnnx::optim::{Adam, AdamConfig, Clip};
use rnnx::programs::charlm::data::CharBatch;
use rnnx::programs::charlm::data::{CharData, CharSource};
use rnnx::programs::charlm::division::{DivisionSpec, ValidSplit};
use rnnx::programs::charlm::generate::generator::Generator;
use rnnx::programs::charlm::generate::sample;
use rnnx::programs::charlm::model::{CharLm, CharLmSizes, State};
use rnnx::tensor::Tensor;
use rnnx::train::model::{Draws, Model};
use rnnx::train::step::{Step, score};

const SIZES: CharLmSizes = CharLmSizes {
    cell: CellKind::Lstm,
    vocab: 31,
    embedding: 12,
    hidden: 40,
    layers: 2,
    tied: false,
};

/// The streaming engine sums in another order than the matrix products, and its activations are
/// other approximations; both are in f32, and logits are about 1 here.
const ENGINE: f32 = 1e-4;

/// Matrix products of few rows and of many are summed by different kernels, so the last bits differ
/// (6e-7 was seen); with equal numbers of rows they are the same.
const CHUNKS: f32 = 5e-6;

/// Ids `[T, B]` that go through the whole vocabulary.
fn ids(steps: usize, batch: usize) -> Vec<u32> {
    let numbers = 0..(steps * batch) as u32;
    numbers
        .map(|i| (i * i + 7 * i) % SIZES.vocab as u32)
        .collect()
}

/// A model whose logits are not all near zero.
fn model() -> Result<CharLm> {
    let mut model = CharLm::new::<f32>(SIZES, 5);
    for x in model.params_mut().values_mut().data_mut::<f32>()? {
        // Values that f16 holds exactly, for the engine keeps its weights so.
        *x = f16::from_f32(*x * 2.0).to_f32();
    }
    Ok(model)
}

/// Logits `[T * B, V]` of ids `[T, B]`, fed in chunks of `chunk` steps with the state carried.
fn logits(model: &CharLm, ids: &[u32], batch: usize, chunk: usize) -> Result<Vec<f32>> {
    let mut tape = Tape::inference();
    let params = model.params().bind(&mut tape);
    let (mut all, mut state): (Vec<f32>, Option<State>) = (Vec::new(), None);
    for ids in ids.chunks(chunk * batch) {
        let ids = Tensor::from_slice(ids, [ids.len() / batch, batch])?;
        let (logits, next) = model.forward(&mut tape, &params, &ids, None, state.as_ref())?;
        all.extend(logits.value().data::<f32>()?);
        state = Some(next);
    }
    Ok(all)
}

#[test]
fn chunks_with_the_state_carried_give_the_logits_of_one_shot() -> Result<()> {
    let model = model()?;
    for (steps, batch) in [(24, 3), (24, 16)] {
        let ids = ids(steps, batch);
        let whole = logits(&model, &ids, batch, steps)?;
        assert_eq!(whole.len(), steps * batch * SIZES.vocab);
        for chunk in [1, 5, 12, 23] {
            let parts = logits(&model, &ids, batch, chunk)?;
            assert_eq!(parts.len(), whole.len());
            for (a, b) in parts.iter().zip(&whole) {
                assert!((a - b).abs() <= CHUNKS, "{a} and {b} in chunks of {chunk}");
            }
        }
        // The state matters: without it, the second half would be another.
        let second = logits(&model, &ids[ids.len() / 2..], batch, steps)?;
        let pairs = second.iter().zip(&whole[whole.len() / 2..]);
        let largest = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(largest > 100.0 * CHUNKS, "{largest}");
    }
    Ok(())
}

#[test]
fn the_streaming_engine_gives_the_logits_of_the_model() -> Result<()> {
    let model = model()?;
    let weights = sample::weights(&model.export()?, false)?;
    let (steps, batch) = (60, 3);
    let ids = ids(steps, batch);
    let expected = logits(&model, &ids, batch, steps)?;
    let mut generator = Generator::new(&weights, batch)?;
    let mut largest = 0.0f32;
    for (ids, expected) in ids.chunks(batch).zip(expected.chunks(batch * SIZES.vocab)) {
        let ids: Vec<u16> = ids.iter().map(|&id| id as u16).collect();
        for (a, b) in generator.step(&ids).iter().zip(expected) {
            assert!((a - b).abs() <= ENGINE, "{a} and {b}");
            largest = largest.max(b.abs());
        }
    }
    assert!(largest > 0.1, "logits of at most {largest} show nothing");
    Ok(())
}

// ---- training ------------------------------------------------------------------------------

fn trainer(sizes: CharLmSizes, learning_rate: f64, dropout: f64) -> Result<Step<CharLm>> {
    let model = CharLm::new::<f32>(sizes, 1);
    let adam = AdamConfig::keras(learning_rate);
    let adam = Adam::new::<f32>(adam, model.params().layout());
    let model = model.with_dropout(dropout).with_l2(1e-4);
    Ok(Step::new(model, adam, Clip::PerTensor { max: 1.0 }, 1))
}

#[test]
fn training_and_evaluation_score_alike_without_dropout() -> Result<()> {
    let ids = ids(17, 4);
    let batch = CharBatch {
        ids: Tensor::from_slice(&ids[..64], [16, 4])?,
        targets: Tensor::from_slice(&ids[4..], [16, 4])?,
    };
    let mut step = trainer(SIZES, 1e-2, 0.0)?;
    let mut before = f64::INFINITY;
    for _ in 0..5 {
        let evaluated = score(step.model(), &batch)?;
        let trained = step.train(&batch, 0)?;
        // The same bits: evaluation is the forward pass of training.
        assert_eq!(evaluated.ce.to_bits(), trained.ce.to_bits());
        assert_eq!(evaluated.correct, trained.correct);
        assert!(trained.loss > trained.ce && trained.grad_norm > 0.0);
        assert!(trained.ce < before);
        before = trained.ce;
    }
    // With dropout they differ, and evaluation stays as it is.
    let mut dropping = trainer(SIZES, 1e-2, 0.5)?;
    let evaluated = score(dropping.model(), &batch)?;
    assert_eq!(evaluated.ce, score(dropping.model(), &batch)?.ce);
    assert_ne!(dropping.train(&batch, 0)?.ce, evaluated.ce);
    Ok(())
}

#[test]
fn a_step_takes_nothing_from_one_that_failed() -> Result<()> {
    let batch = |ids: &[u32]| -> Result<CharBatch> {
        Ok(CharBatch {
            ids: Tensor::from_slice(ids, [16, 4])?,
            targets: Tensor::from_slice(ids, [16, 4])?,
        })
    };
    let ids = ids(16, 4);
    let mut wrong = ids.clone();
    wrong[7] = u32::MAX;
    let (good, bad) = (batch(&ids)?, batch(&wrong)?);
    let draws = Draws::new(1, 0);
    let mut steps = Vec::new();
    for is_failed in [false, true] {
        let mut step = trainer(SIZES, 1e-2, 0.0)?;
        for n in 0..2 {
            if is_failed {
                let failed = step.train_all(&[good.clone(), bad.clone()], 0);
                assert!(failed.is_err());
            }
            match n {
                0 => step.train(&good, 0).map(|_| ())?,
                _ => step.issue(&good, &draws).map(|_| ())?,
            }
        }
        steps.push(step);
    }
    let [x, y] = [&steps[0], &steps[1]].map(|step| step.model().export());
    assert_eq!(x?.tensors, y?.tensors);
    Ok(())
}

#[test]
fn a_text_of_200_characters_is_learned_by_heart() -> Result<()> {
    let text = "def gcd(a, b):\n    while b:\n        a, b = b, a % b\n    return a\n\n\n\
                def fib(n):\n    x, y = 0, 1\n    for _ in range(n):\n        x, y = y, x + y\n    \
                return x\n\n\nprint(gcd(12, 18), fib(10), [k for k in range(9)])\n";
    assert!((200..230).contains(&text.len()), "{}", text.len());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("text.py");
    std::fs::write(&path, text).expect("a written file");
    let corpus = Corpus::load(&CorpusSpec {
        paths: vec![path],
        globs: vec![],
        stdin: None,
        charset: CharsetChoice::Auto,
        max_chars: 1000,
        seed: 1,
    })?;
    let length = text.len() - 1;
    let spec = DivisionSpec {
        valid_split: ValidSplit::Tail,
        valid_fraction: 0.0,
        seed: 1,
        seq_length: length,
        batch_size: 1,
    };
    let source = CharSource::new(corpus, spec)?;
    let data = CharData::new(&source, CharVocab::of(&source.corpus, 1)?)?;
    let batch = data.train_batch(&[0])?;

    let sizes = CharLmSizes {
        cell: CellKind::Lstm,
        vocab: data.vocab.len(),
        embedding: 16,
        hidden: 64,
        layers: 2,
        tied: false,
    };
    let mut step = trainer(sizes, 1e-2, 0.0)?;
    let steps = 400;
    let mut learned = None;
    for n in 1..=steps {
        let scores = step.train(&batch, 0)?;
        if n == 1 {
            let chance = (sizes.vocab as f64).ln();
            assert!((scores.ce - chance).abs() < 0.1, "{}", scores.ce);
        }
        if scores.ce < 0.1 {
            learned = Some(n);
            break;
        }
    }
    let learned = learned.expect("a loss below 0.1 within 400 steps");
    assert!(learned > 20, "{learned} steps are too few to be true");

    // What it learned it can say: the likeliest characters after the first are the text.
    let weights = sample::weights(&step.model().export()?, false)?;
    let mut generator = Generator::new(&weights, 1)?;
    let known = data.train_ids();
    let right = known.windows(2).filter(|pair| {
        let logits = generator.step(&pair[..1]);
        let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
        best == Some(usize::from(pair[1]))
    });
    let right = right.count();
    assert!(right * 100 >= length * 97, "{right} of {length}");
    Ok(())
}
