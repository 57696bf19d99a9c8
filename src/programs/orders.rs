//! What commands ask of a program, and what they get.

use crate::data::encoding::Oov;
use crate::data::split::Split;
use crate::data::syntax::GrammarChoice;
use crate::data::vocab::Vocab;
use crate::device::profile::Profile;
use crate::error::{Error, Result};
use crate::files::TestEvent;
use crate::files::onnx::Graph;
use crate::files::run::{MODEL, RunFolder};
use crate::files::state::TrainState;
use crate::files::tensors::TensorFile;
use crate::train::device::Chosen;
use crate::train::init::load_weights;
use crate::train::job::Job;
use crate::train::make::trained;
use crate::train::progress::Progress;
use crate::train::session::Summary;
use crate::train::settings::Config;
use crate::train::timing::Times;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use toml::Table;

// ---- train ---------------------------------------------------------------------------------

/// A run that has ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its folder.
    pub out: PathBuf,
    /// Its word of the setting whose words can each have a run; empty where there is none.
    pub word: &'static str,
    /// How its training ended.
    pub summary: Summary,
    /// Its figures on test data, where there are such.
    pub test: Option<TestEvent>,
}

// ---- eval ----------------------------------------------------------------------------------

/// Score a trained model. A program refuses what is not for it.
#[derive(Debug)]
pub struct EvalOrder {
    /// The run.
    pub folder: RunFolder,
    /// Its checkpoint.
    pub checkpoint: PathBuf,
    /// What the checkpoint says of the training.
    pub state: TrainState,
    /// The device.
    pub chosen: Chosen,
    /// The part of the data; none is the program's usual one.
    pub split: Option<Split>,
    /// Windows or pairs at a time; none is the run's own number.
    pub batch_size: Option<usize>,
    /// Where a text is now; empty where it was.
    pub corpus: Vec<PathBuf>,
    /// A text file in place of the run's own text.
    pub text: Option<PathBuf>,
    /// What becomes of its characters that the model does not know.
    pub oov: Oov,
    /// Pairs in place of the run's own.
    pub pairs: Option<PathBuf>,
    /// The field of `pairs` that holds the source; none is the run's own.
    pub source_field: Option<String>,
    /// The field of `pairs` that holds the target; none is the run's own.
    pub target_field: Option<String>,
    /// Refuse pairs whose source is empty.
    pub strict: bool,
    /// Hypotheses kept at each step of decoding; none is the run's own number.
    pub beam: Option<usize>,
    /// The power of a length that a beam divides by; none is the run's own.
    pub length_penalty: Option<f64>,
    /// What outputs are held to; none is the run's own.
    pub grammar: Option<GrammarChoice>,
    /// Never write `<UNK>`.
    pub no_unk: bool,
    /// Where to write the predictions.
    pub predictions: Option<PathBuf>,
    /// Where notes go.
    pub progress: Progress,
}

/// The figures of a trained model.
#[derive(Clone, Debug)]
pub struct Evaluated {
    /// For programs.
    pub figures: Map<String, Value>,
    /// For people.
    pub table: String,
}

impl EvalOrder {
    /// The model of the checkpoint, on its device.
    ///
    /// # Errors
    /// If the weights are damaged or another model's, or the device fails.
    pub fn model<J: Job>(&self, config: &J::Config, data: &J::Data) -> Result<J::Model> {
        let weights = load_weights(&self.checkpoint.join(MODEL))?;
        // As it was trained: only then is the loss the one that training recorded.
        if let Some(gpu) = &self.chosen.gpu {
            gpu.set_recurrence(config.common().recurrence);
        }
        trained::<J>(config, data, &weights, &self.chosen)
    }

    /// Fails for a loss that is not a number.
    ///
    /// # Errors
    /// As [`check_finite`].
    pub fn check_finite(&self, loss: f64) -> Result<()> {
        check_finite(&self.checkpoint, loss)
    }
}

/// Fails for a loss of a checkpoint's model that is not a number.
///
/// # Errors
/// [`Error::Checkpoint`] that says what to do.
pub fn check_finite(checkpoint: &Path, loss: f64) -> Result<()> {
    if loss.is_finite() {
        return Ok(());
    }
    let message = format!(
        "the loss of these weights is {loss}, not a finite number: their training had diverged. \
         Give an earlier checkpoint's folder"
    );
    Err(Error::checkpoint(checkpoint.join(MODEL), message))
}

/// Figures by their names, in this order.
pub fn figures<const N: usize>(pairs: [(&str, Value); N]) -> Map<String, Value> {
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value));
    pairs.into_iter().collect()
}

// ---- export --------------------------------------------------------------------------------

/// A trained model as other frameworks take it.
#[derive(Clone, Debug)]
pub struct Export {
    /// What the model is: its kind, sizes and limits.
    pub facts: Map<String, Value>,
    /// Its vocabulary.
    pub vocab: Vocab,
    /// Its weights under torch's names.
    pub weights: TensorFile,
    /// What it computes, where that was asked for: one graph, or several that work together.
    pub graphs: Vec<Graph>,
}

// ---- bench ---------------------------------------------------------------------------------

/// Time something of a program.
#[derive(Debug)]
pub struct BenchOrder<'a> {
    /// Settings in place of the defaults; those that a program does not have are not for it.
    pub settings: &'a Table,
    /// Seconds that each measurement lasts.
    pub seconds: f64,
    /// The device.
    pub chosen: &'a Chosen,
    /// The device is the emulated one, where everything takes long.
    pub emulated: bool,
    /// Nothing was timed before in this process, so that its peak memory will be this work's own.
    pub alone: bool,
    /// Say where the time of one step goes, on a GPU.
    pub profile: bool,
}

impl BenchOrder<'_> {
    /// The configuration of what is timed; the GPU takes recurrences as it says.
    ///
    /// # Errors
    /// [`Error::Usage`] for a value out of range.
    pub fn config<C: Config>(&self) -> Result<C> {
        let mut own = self.settings.clone();
        own.retain(|name, _| C::settings().find(name).is_some());
        let config = C::from_table(own)?;
        config.validate()?;
        if let Some(gpu) = &self.chosen.gpu {
            gpu.set_recurrence(config.common().recurrence);
        }
        Ok(config)
    }
}

/// One thing of a program that can be timed.
#[derive(Clone, Copy)]
pub struct Bench {
    /// What `rnnx bench` calls it.
    pub name: &'static str,
    /// Times it.
    pub run: fn(&BenchOrder) -> Result<BenchResult>,
}

/// What was timed.
#[derive(Debug)]
pub enum BenchResult {
    /// A training step.
    Step(Timed),
    /// The training steps of several models.
    Steps {
        /// What they share, for programs.
        figures: Map<String, Value>,
        /// Each model by its name.
        models: Vec<(String, Timed)>,
    },
    /// Other work, which no product is compared with.
    Rate {
        /// For people.
        line: String,
        /// For programs.
        figures: Map<String, Value>,
    },
}

impl BenchResult {
    /// Lines for people; `gemm` is a large product's rate in GFLOP/s.
    pub fn lines(&self, gemm: f64) -> Vec<String> {
        match self {
            BenchResult::Step(timed) => timed.lines(gemm),
            BenchResult::Steps { models, .. } => models
                .iter()
                .flat_map(|(_, timed)| timed.lines(gemm))
                .collect(),
            BenchResult::Rate { line, .. } => vec![line.clone()],
        }
    }

    /// The same for programs.
    pub fn json(&self, gemm: f64) -> Value {
        match self {
            BenchResult::Step(timed) => timed.json(gemm),
            BenchResult::Steps { figures, models } => {
                let models = models.iter().map(|(name, m)| (name.clone(), m.json(gemm)));
                let mut object = figures.clone();
                object.insert("models".into(), Value::Object(models.collect()));
                Value::Object(object)
            }
            BenchResult::Rate { figures, .. } => Value::Object(figures.clone()),
        }
    }
}

/// The figures of one piece of work.
#[derive(Debug)]
pub struct Timed {
    /// What it was, for people.
    pub what: String,
    /// Its times.
    pub times: Times,
    /// Rates, for people.
    pub rates: String,
    /// The same for programs.
    pub rate_figures: Map<String, Value>,
    /// Its rate of arithmetic, to be compared with that of a large product.
    pub gflops: f64,
    /// The process's peak memory, where that says something.
    pub peak_rss_mb: Option<f64>,
    /// What it was, for programs.
    pub figures: Map<String, Value>,
    /// Where the time goes, where that was asked for.
    pub profile: Option<Profile>,
}

impl Timed {
    /// Lines for people; `gemm` is a large product's rate in GFLOP/s.
    pub fn lines(&self, gemm: f64) -> Vec<String> {
        let t = &self.times;
        let line = format!(
            "{}: {:.4} ms a step (best {:.4}, worst {:.4} of {}), {}, {:.0} GFLOP/s = {:.0} % of \
             gemm{}",
            self.what,
            t.median * 1e3,
            t.best * 1e3,
            t.worst * 1e3,
            t.runs,
            self.rates,
            self.gflops,
            100.0 * self.gflops / gemm,
            self.peak_rss_mb
                .map_or(String::new(), |mb| format!(", peak memory {mb:.0} MB"))
        );
        let profile = self.profile.iter().flat_map(Profile::text);
        [line].into_iter().chain(profile).collect()
    }

    /// The same for programs.
    pub fn json(&self, gemm: f64) -> Value {
        let t = &self.times;
        let mut object = self.figures.clone();
        object.extend(figures([
            ("ms_per_step", json!(t.median * 1e3)),
            ("ms_best", json!(t.best * 1e3)),
            ("ms_worst", json!(t.worst * 1e3)),
            ("runs", json!(t.runs)),
        ]));
        object.extend(self.rate_figures.clone());
        object.extend(figures([
            ("gflops", json!(self.gflops)),
            ("share_of_gemm", json!(self.gflops / gemm)),
            ("peak_rss_mb", json!(self.peak_rss_mb)),
        ]));
        if let Some(profile) = &self.profile {
            object.insert("profile".into(), json!(profile));
        }
        Value::Object(object)
    }
}
