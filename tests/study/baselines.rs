//! The baselines that a study compares a run with.

use std::sync::Arc;

use rnnx::data::chars::CharVocab;
use rnnx::programs::charlm::study::baselines::{ORDERS, baselines};
use rnnx::programs::charlm::study::held_out::{StudyText, TrainingPart};
use rnnx::programs::charlm::study::models::StudyModel;
use rnnx::programs::charlm::study::ngram::{Cached, Contexts, KneserNey};
use rnnx::programs::charlm::study::predictor::Predictor;
use rnnx::programs::charlm::study::source::{Half, SourceFile};
use rnnx::programs::charlm::study::subject::Material;

const LETTERS: [char; 4] = ['a', 'b', 'c', '\n'];

fn file(half: Half, ids: &[u32]) -> SourceFile {
    let chars: Vec<char> = ids.iter().map(|&id| LETTERS[id as usize]).collect();
    let mut files = (0..).map(|n| SourceFile::new(format!("{n}.py"), chars.clone(), ids.to_vec()));
    files
        .find(|file| file.half() == half)
        .expect("a name of this half")
}

/// Of each character those before have nothing to say.
fn random(seed: u32, length: usize) -> Vec<u32> {
    let mut state = seed;
    let draw = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 30
    };
    (0..length).map(draw).collect()
}

fn material(training: Option<&[Vec<u32>]>, files: Vec<SourceFile>) -> Material {
    let part = |ids: &Vec<u32>| TrainingPart {
        name: "t.py".into(),
        ids: ids.clone(),
    };
    Material::new(StudyText {
        source: "here".into(),
        files,
        training: training.map(|files| Arc::new(files.iter().map(part).collect())),
        duplicates: Vec::new(),
        vocab: CharVocab::from_tokens(LETTERS).expect("a vocabulary"),
        left_out: 0,
        notes: Vec::new(),
    })
}

fn counted(training: &[Vec<u32>], order: usize) -> KneserNey {
    let contexts = Contexts::new(training.iter().map(|file| &file[..]), LETTERS.len(), 20);
    KneserNey::new(Arc::new(contexts.expect("a short text")), order)
}

/// What a model says all along a file.
fn read(model: &mut dyn Predictor, file: &SourceFile) -> Vec<Vec<f32>> {
    model.reset();
    let each = file.ids.iter().map(|&id| {
        let mut p = vec![0.0; model.vocab()];
        model.predict(&mut p);
        model.read(id);
        p
    });
    each.collect()
}

fn made(model: &StudyModel, file: &SourceFile) -> Vec<Vec<f32>> {
    let mut predictor = (model.make)(file).expect("a model");
    read(&mut *predictor, file)
}

/// The order that takes the fewest bits for a file.
fn best(training: &[Vec<u32>], file: &SourceFile) -> usize {
    let bits = |order: usize| -> f64 {
        let said = read(&mut counted(training, order), file);
        let each = said
            .iter()
            .zip(&file.ids)
            .map(|(p, &id)| -f64::from(p[id as usize]).log2());
        each.sum()
    };
    let best = ORDERS
        .into_iter()
        .min_by(|&a, &b| bits(a).total_cmp(&bits(b)));
    best.expect("an order")
}

#[test]
fn the_cache_is_of_the_best_order_on_the_files_for_choosing() {
    let training = [random(1, 3000), random(2, 3000)];
    // The one has nothing to remember, the other is known by heart.
    let (new, known) = (random(3, 400), training[0][500..900].to_vec());
    for (choose, report, order) in [(&new, &known, 3), (&known, &new, 20)] {
        let files = vec![file(Half::Report, report), file(Half::Choose, choose)];
        assert_eq!(best(&training, &files[1]), order);
        assert_ne!(best(&training, &files[0]), order);
        let material = material(Some(&training), files.clone());
        let models = baselines(&material, "text", "");
        let names: Vec<&str> = models.iter().map(|model| &*model.name).collect();
        assert_eq!(
            names,
            [
                "3-grams",
                "6-grams",
                "10-grams",
                "20-grams",
                "n-grams + cache"
            ]
        );
        for (model, order) in models.iter().zip(ORDERS) {
            assert_eq!(
                made(model, &files[0]),
                read(&mut counted(&training, order), &files[0])
            );
        }
        let mut cached = Cached::new(counted(&training, order));
        assert_eq!(made(&models[4], &files[0]), read(&mut cached, &files[0]));
    }
}

#[test]
fn baselines_are_known_by_their_text_and_kind() {
    let training = [random(1, 50)];
    let of = |training: Option<&[Vec<u32>]>, trained: &str| {
        let files = vec![file(Half::Report, &[0, 1])];
        baselines(&material(training, files), trained, " of a run")
    };
    let (one, same) = (of(Some(&training), "one"), of(Some(&training), "one"));
    let mut hashes: Vec<String> = one.iter().map(|model| model.sha256.clone()).collect();
    let again: Vec<String> = same.iter().map(|model| model.sha256.clone()).collect();
    assert_eq!(hashes, again);
    hashes.extend(
        of(Some(&training), "other")
            .into_iter()
            .map(|model| model.sha256),
    );
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), 10);
    assert!(
        one.iter()
            .all(|model| model.kind == "baseline" && model.checkpoint.is_empty())
    );
    assert!(
        one.iter()
            .all(|model| model.name.ends_with(" of a run") && model.step.is_none())
    );
    // Without a file for choosing and without a training text.
    assert_eq!(made(&one[4], &file(Half::Report, &[2, 2]))[0].len(), 4);
    assert!(of(None, "one").is_empty());
}
