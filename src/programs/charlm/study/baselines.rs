//! The baselines of a study: n-gram models of the text that a run was trained on.

use std::sync::{Arc, Mutex, PoisonError};

use super::dump::{INTERRUPTED, bits};
use super::held_out::TrainingPart;
use super::models::{Factory, StudyModel};
use super::ngram::{Cached, Contexts, KneserNey};
use super::parts::Parts;
use super::predictor::Predictor;
use super::source::Half;
use super::subject::Material;
use crate::{Error, Result, interrupt};

/// The orders whose models are compared. What the longest sees goes back 19 characters.
pub const ORDERS: [usize; 4] = [3, 6, 10, 20];
const LONGEST: usize = ORDERS[ORDERS.len() - 1];
/// Goes up with every change of what the models predict.
const VERSION: &str = "1";

/// The baselines of a text: Kneser-Ney models of [`ORDERS`], and the best of them on the files for
/// choosing with a cache of each file. None where the training text is not known. `trained` is a hash of
/// the training text and the vocabulary; `of` ends the models' names.
pub fn baselines(material: &Material, trained: &str, of: &str) -> Vec<StudyModel> {
    let Some(training) = &material.text.training else {
        return Vec::new();
    };
    let ngrams = Arc::new(Ngrams {
        training: training.clone(),
        vocab: material.text.vocab.len(),
        contexts: Mutex::default(),
    });
    let model = |name: String, what: String, make: Factory| StudyModel {
        name: format!("{name}{of}"),
        kind: "baseline",
        checkpoint: String::new(),
        step: None,
        recipe: None,
        sha256: Parts::key(&["n-grams", VERSION, trained, &what]),
        weights: None,
        make,
    };
    let mut models = Vec::new();
    for order in ORDERS {
        let ngrams = ngrams.clone();
        let make: Factory =
            Box::new(move |_| Ok(Box::new(KneserNey::new(ngrams.contexts()?, order))));
        models.push(model(format!("{order}-grams"), order.to_string(), make));
    }
    let files = material.text.files.iter();
    let choose = files.filter(|file| file.half() == Half::Choose);
    let choose: Vec<Vec<u32>> = choose.map(|file| file.ids.clone()).collect();
    let best = Mutex::new(None);
    let make: Factory = Box::new(move |_| {
        let contexts = ngrams.contexts()?;
        let mut best = lock(&best);
        let order = match *best {
            Some(order) => order,
            None => *best.insert(best_order(&contexts, &choose)?),
        };
        Ok(Box::new(Cached::new(KneserNey::new(contexts, order))))
    });
    models.push(model("n-grams + cache".into(), "cache".into(), make));
    models
}

/// The n-grams of a training text, counted when they are first asked for.
struct Ngrams {
    training: Arc<Vec<TrainingPart>>,
    vocab: usize,
    contexts: Mutex<Option<Arc<Contexts>>>,
}

impl Ngrams {
    fn contexts(&self) -> Result<Arc<Contexts>> {
        let mut contexts = lock(&self.contexts);
        if let Some(contexts) = &*contexts {
            return Ok(contexts.clone());
        }
        let files = self.training.iter().map(|part| &*part.ids);
        let counted = Arc::new(Contexts::new(files, self.vocab, LONGEST)?);
        *contexts = Some(counted.clone());
        Ok(counted)
    }
}

/// A lock holds all or nothing, so a thread that ended before it was done has spoilt nothing.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The order whose model takes the fewest bits for these files; of equal ones the highest.
fn best_order(contexts: &Arc<Contexts>, files: &[Vec<u32>]) -> Result<usize> {
    let mut best = (f64::INFINITY, LONGEST);
    for order in ORDERS {
        let mut model = KneserNey::new(contexts.clone(), order);
        let mut cost = 0.0;
        for file in files {
            if interrupt::asked() {
                return Err(Error::Interrupted(INTERRUPTED.into()));
            }
            model.reset();
            for &id in file {
                cost += bits(model.probabilities()[id as usize] as f32);
                model.read(id);
            }
        }
        if cost <= best.0 {
            best = (cost, order);
        }
    }
    Ok(best.1)
}
