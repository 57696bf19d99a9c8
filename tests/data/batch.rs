use rnnx::Result;
use rnnx::data::chars::CharVocab;
use rnnx::data::corpus::Corpus;
use rnnx::programs::charlm::data::{CharBatch, CharData, CharSource};
use rnnx::programs::charlm::division::{Division, DivisionSpec, ValidSplit};
use rnnx::rng::{Purpose, Stream};

use super::{assert_fails, folder, spec};

fn corpus(text: &[u8]) -> Corpus {
    let dir = folder(&[("text", text)]);
    Corpus::load(&spec(&[&dir.path().join("text")])).expect("a corpus")
}

/// "abcdefghij" over and over: character i has id i % 10.
fn counting(chars: usize) -> Corpus {
    corpus(
        &(0..chars)
            .map(|i| b'a' + (i % 10) as u8)
            .collect::<Vec<_>>(),
    )
}

/// A text whose tail validates.
fn source(corpus: Corpus, valid_fraction: f64, t: usize, b: usize) -> Result<CharSource> {
    let spec = DivisionSpec {
        valid_split: ValidSplit::Tail,
        valid_fraction,
        seed: 1,
        seq_length: t,
        batch_size: b,
    };
    CharSource::new(corpus, spec)
}

fn data(corpus: Corpus, valid_fraction: f64, t: usize, b: usize) -> Result<CharData> {
    let source = source(corpus, valid_fraction, t, b)?;
    CharData::new(&source, CharVocab::of(&source.corpus, 1)?)
}

#[test]
fn windows_and_batches_by_hand() -> Result<()> {
    // 50 characters, 0.3 validate: 35 train, 8 windows of 4 (3 left over); 15 validate, 3 windows.
    let data = data(counting(50), 0.3, 3, 3)?;
    let split = Division {
        train_chars: 35,
        valid_chars: 15,
        train_windows: 8,
        valid_windows: 3,
        steps_per_epoch: 2,
    };
    assert_eq!(data.split, split);
    assert_eq!((data.steps_per_epoch(), data.batch_size()), (2, 3));
    assert_eq!(data.train_ids().len(), 35);
    assert_eq!(data.valid_ids()[..6], [5, 6, 7, 8, 9, 0]);
    assert_eq!(data.epoch_order(1, 0, false), (0..8).collect::<Vec<u32>>());
    assert_eq!(data.valid_order(), [0, 1, 2]);

    let ids = |batch: CharBatch| -> Result<[Vec<u32>; 2]> {
        Ok([batch.ids.data()?.to_vec(), batch.targets.data()?.to_vec()])
    };
    // Windows start at 28, 0 and 8; rows are time steps.
    let batch = data.train_batch(&[7, 0, 2])?;
    assert_eq!(batch.ids.dims(), [3, 3]);
    let [inputs, targets] = ids(batch)?;
    assert_eq!(inputs, [8, 0, 8, 9, 1, 9, 0, 2, 0]);
    assert_eq!(targets, [9, 1, 9, 0, 2, 0, 1, 3, 1]);
    let [inputs, targets] = ids(data.valid_batch(&[1, 2])?)?;
    assert_eq!(inputs, [9, 3, 0, 4, 1, 5]);
    assert_eq!(targets, [0, 4, 1, 5, 2, 6]);
    let [inputs, _] = ids(data.train_batch(&[1, 1, 1])?)?;
    assert_eq!(inputs, [4, 4, 4, 5, 5, 5, 6, 6, 6]);
    Ok(())
}

#[test]
fn the_default_split_of_the_embedded_corpus() -> Result<()> {
    let split = Division {
        train_chars: 5_700_000,
        valid_chars: 300_000,
        train_windows: 22_178, // 5_700_000 / 257
        valid_windows: 1_167,
        steps_per_epoch: 43,
    };
    let division = |chars, fraction, t, b| -> Result<Division> {
        Ok(source(counting(chars), fraction, t, b)?.division())
    };
    assert_eq!(division(6_000_000, 0.05, 256, 512)?, split);
    // floor in f64, as Python's int(10 * (1 - 0.9)): 1 - 0.9 is a little less than 0.1.
    assert_eq!(division(10, 0.9, 1, 1)?.train_chars, 0);
    assert_eq!(division(1001, 0.05, 1, 1)?.train_chars, 950);
    Ok(())
}

#[test]
fn each_epoch_has_its_own_order_of_all_windows() -> Result<()> {
    let data = data(counting(5000), 0.05, 9, 4)?;
    let all: Vec<u32> = (0..475).collect();
    let mut orders = Vec::new();
    for (seed, epoch) in [(1, 0), (1, 1), (2, 0)] {
        let order = data.epoch_order(seed, epoch, true);
        assert_eq!(order, data.epoch_order(seed, epoch, true));
        let mut expected = all.clone();
        Stream::new(seed, Purpose::Shuffle, epoch)
            .reader()
            .shuffle(&mut expected);
        assert_eq!(order, expected);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, all);
        assert!(!orders.contains(&order));
        orders.push(order);
    }
    Ok(())
}

#[test]
fn a_text_just_long_enough_works_and_one_shorter_says_which_flag_to_lower() -> Result<()> {
    let make = |chars, fraction, t, b| data(counting(chars), fraction, t, b);
    assert_eq!(make(11, 0.0, 10, 1)?.split.steps_per_epoch, 1);
    assert_fails(
        make(10, 0.0, 10, 1),
        3,
        &[
            "shorter than a window",
            "10 characters train",
            "lower seq-length",
            "corpus",
        ],
    );
    assert_fails(make(10, 0.0, usize::MAX, 1), 3, &["lower seq-length"]);
    assert_eq!(make(44, 0.0, 10, 4)?.split.steps_per_epoch, 1);
    assert_fails(
        make(43, 0.0, 10, 4),
        3,
        &[
            "3 windows",
            "batch-size 4",
            "lower batch-size to at most 3",
            "seq-length",
        ],
    );
    assert_fails(make(43, 0.0, 10, usize::MAX), 3, &["lower batch-size"]);
    // Half of 22 validates: one window. Half of 21 does too, but less than one trains.
    let half = make(22, 0.5, 10, 1)?;
    assert_eq!((half.split.train_windows, half.split.valid_windows), (1, 1));
    assert_fails(
        make(200, 0.05, 10, 1),
        3,
        &[
            "nothing to validate on",
            "10 characters validate",
            "valid-fraction",
            "seq-length",
        ],
    );
    assert_eq!(make(200, 0.0, 10, 1)?.valid_order(), [0u32; 0]);
    Ok(())
}

#[test]
fn values_that_make_no_sense_are_usage_errors() {
    let make = |fraction, t, b| data(counting(100), fraction, t, b);
    assert_fails(make(0.1, 0, 1), 2, &["seq-length"]);
    assert_fails(make(0.1, 1, 0), 2, &["batch-size"]);
    for fraction in [-0.1, 1.0, 7.0, f64::NAN, f64::INFINITY] {
        assert_fails(
            make(fraction, 1, 1),
            2,
            &["valid-fraction", &fraction.to_string()],
        );
    }
}

#[test]
fn a_saved_vocabulary_serves_another_text() -> Result<()> {
    let vocab = CharVocab::from_tokens("jihgfedcba".chars())?;
    let data = CharData::new(&source(counting(40), 0.25, 4, 2)?, vocab.clone())?;
    assert_eq!(data.train_ids()[..4], [9, 8, 7, 6]);
    assert_eq!(data.vocab, vocab);
    assert_fails(
        CharData::new(&source(corpus(b"abcabc?abc"), 0.0, 1, 1)?, vocab),
        3,
        &["character 7, '?'", "not in the vocabulary of 10"],
    );
    Ok(())
}
