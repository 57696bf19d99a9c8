//! A study from its order to `study.json`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::baselines::baselines;
use super::dump::INTERRUPTED;
use super::duplicates::Duplicate;
use super::format::{FORMAT, FileInfo, KIND, ModelFound, Study, StudySettings, TextInfo};
use super::held_out::{StudyText, TextOrder};
use super::models::StudyModel;
use super::parts::Parts;
use super::subject::{ALL, Material, Subject};
use crate::data::vocab::Vocab;
use crate::files::run::{RunFolder, STATE, STUDY};
use crate::files::state::TrainState;
use crate::programs::charlm::config::CharLmConfig;
use crate::train::config_file::trained;
use crate::train::progress::{Progress, thousands};
use crate::{Error, Result, interrupt};

/// Study runs.
#[derive(Debug)]
pub struct StudyOrder {
    /// Each with its name in tables: run folders or checkpoints' folders.
    pub runs: Vec<(String, PathBuf)>,
    /// Files of the user's; empty for those that the runs did not train on.
    pub text: Vec<PathBuf>,
    /// How much to measure.
    pub settings: StudySettings,
    /// Where `study.json` and its parts go; none is the folder of the only run.
    pub out: Option<PathBuf>,
    /// Where notes go.
    pub progress: Progress,
}

/// A run that is opened.
struct Opened {
    name: String,
    folder: RunFolder,
    checkpoint: PathBuf,
    state: TrainState,
}

/// What runs were trained on, and are studied on.
struct Source {
    /// A hash of the files that were trained on and of the vocabulary.
    trained: String,
    /// Hashes of training texts with those files, in some order each, and of the vocabulary.
    orders: Vec<String>,
    /// What is read.
    text: StudyText,
}

/// Measures the runs and writes `study.json`; what was measured before is taken from the parts in its
/// folder. Returns the study and the file's path.
///
/// # Errors
/// [`Error::Checkpoint`] for a run that cannot be read or is none of a character LM;
/// [`Error::Data`] where there is nothing to study it on, or the runs would be studied on different
/// texts; [`Error::Usage`] where the folder holds another `study.json`; [`Error::Interrupted`];
/// [`Error::Io`].
pub fn run(order: &StudyOrder) -> Result<(Study, PathBuf)> {
    let opened = order.runs.iter().map(|(name, path)| open(name, path));
    let opened: Vec<Opened> = opened.collect::<Result<_>>()?;
    let Some(first) = opened.first() else {
        return Err(Error::Usage("name at least one run's folder".into()));
    };
    let out = match (&order.out, &opened[..]) {
        (Some(out), _) => out.clone(),
        (None, [only]) => only.folder.path().to_path_buf(),
        (None, _) => PathBuf::from("study"),
    };
    let file = out.join(STUDY);
    if file.exists() {
        check_own(&file)?;
    }
    let mut sources: Vec<Source> = Vec::new();
    let mut models = Vec::new();
    for run in &opened {
        models.push(prepare(run, order, &mut sources)?);
    }
    leave_out_duplicates(&mut sources);
    let materials = sources.into_iter();
    let materials = materials.map(|source| (source.trained, Material::new(source.text)));
    let materials: Vec<(String, Material)> = materials.collect();
    let texts = materials.iter().map(|(_, m)| m.text.sha256());
    let texts: Vec<String> = texts.collect();
    if let Some(other) = models.iter().position(|(_, m)| texts[*m] != texts[0]) {
        return Err(Error::Data(format!(
            "{} and {} would be studied on different files, or on different characters of them: study \
             them one at a time, or give both the same files with --text",
            first.name, opened[other].name
        )));
    }
    // Runs first; where they trained on different texts, the baselines of each.
    for (n, (trained, material)) in materials.iter().enumerate() {
        let run = opened.iter().zip(&models).find(|(_, (_, of))| *of == n);
        let run = run.filter(|_| materials.len() > 1);
        let of = run.map_or_else(String::new, |(run, _)| format!(" of {}", run.name));
        let baselines = baselines(material, trained, &of);
        models.extend(baselines.into_iter().map(|model| (model, n)));
    }
    let parts = Parts::open(&out)?;
    let text = &materials[0].1.text;
    let mut notes: Vec<String> = Vec::new();
    let of_texts = materials.iter().flat_map(|(_, m)| &m.text.notes).cloned();
    for note in of_texts.chain(opened.iter().filter_map(Opened::note)) {
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    tell(text, &notes, &order.progress);
    let mut study = Study {
        kind: KIND.into(),
        format: FORMAT,
        text: TextInfo {
            source: text.source.clone(),
            sha256: texts[0].clone(),
            characters: text.files.iter().map(|f| f.chars.len()).sum(),
            left_out: text.left_out,
            files: text.files.iter().map(FileInfo::of).collect(),
            duplicates: text.duplicates.clone(),
        },
        settings: order.settings.clone(),
        models: Vec::new(),
        notes,
    };
    for (model, material) in &models {
        let (trained, material) = &materials[*material];
        let subject = Subject::new(model, material, &order.settings);
        let found = measure(&subject, [&texts[0], trained], &parts, &order.progress)?;
        study.models.push(found);
    }
    study.write(&file)?;
    Ok((study, file))
}

impl Opened {
    /// What its weights may know that nothing here says.
    fn note(&self) -> Option<String> {
        let began = self.state.is_imported() || self.state.init_sha256.is_some();
        began.then(|| {
            format!(
                "{} began with the weights of another model, which may have been trained on the files \
                 that are read",
                self.name
            )
        })
    }
}

/// A file of that name that is no study is not rnnx's to replace.
fn check_own(file: &Path) -> Result<()> {
    let text = fs::read(file).map_err(Error::io("read", file))?;
    let value: Option<Value> = serde_json::from_slice(&text).ok();
    let kind = value.as_ref().and_then(|v| v.get("kind")?.as_str());
    match kind {
        Some(KIND) => Ok(()),
        _ => Err(Error::Usage(format!(
            "{}: is there and is no study of rnnx: give another folder with -o",
            file.display()
        ))),
    }
}

fn open(name: &str, path: &Path) -> Result<Opened> {
    let (folder, checkpoint) = RunFolder::find(path)?;
    let path = checkpoint.join(STATE);
    let state = TrainState::load(&path)?;
    state.require_program(&path, "charlm")?;
    Ok(Opened {
        name: name.to_owned(),
        folder,
        checkpoint,
        state,
    })
}

/// The model of a run, and the number of its source among those that are there; a new one where no run
/// before was trained on the same files with the same vocabulary.
fn prepare(
    run: &Opened,
    order: &StudyOrder,
    sources: &mut Vec<Source>,
) -> Result<(StudyModel, usize)> {
    let vocab = Vocab::read_chars(&run.folder)?;
    let config: CharLmConfig = trained(&run.folder, &run.checkpoint)?;
    let vocab_sha256 = run.folder.vocab_sha256()?;
    let ordered = Parts::key(&[&run.state.data_sha256, &vocab_sha256]);
    let known = sources.iter().position(|s| s.orders.contains(&ordered));
    let number = match known {
        Some(known) => known,
        None => {
            let wanted = TextOrder {
                paths: order.text.clone(),
                max_chars: order.settings.max_chars,
            };
            let text = StudyText::find(&run.folder, &config, &run.state, vocab.clone(), &wanted)?;
            let files = text.trained_sha256();
            let files = files.unwrap_or_else(|| run.state.data_sha256.clone());
            let trained = Parts::key(&[&files, &vocab_sha256]);
            let known = sources.iter().position(|s| s.trained == trained);
            let number = known.unwrap_or(sources.len());
            match known {
                Some(known) => sources[known].orders.push(ordered),
                None => sources.push(Source {
                    trained,
                    orders: vec![ordered],
                    text,
                }),
            }
            number
        }
    };
    let (name, checkpoint) = (run.name.clone(), &run.checkpoint);
    let trained = &sources[number].trained;
    let model = StudyModel::of_run(name, checkpoint, &config, &run.state, &vocab, trained)?;
    Ok((model, number))
}

/// Leaves out what is almost the same as a file that any of the runs has trained on: all read the same.
fn leave_out_duplicates(sources: &mut [Source]) {
    let mut known: Vec<Duplicate> = Vec::new();
    for duplicate in sources.iter().flat_map(|source| &source.text.duplicates) {
        if known.iter().all(|other| other.name != duplicate.name) {
            known.push(duplicate.clone());
        }
    }
    for source in sources {
        source.text.leave_out(&known);
    }
}

fn tell(text: &StudyText, notes: &[String], progress: &Progress) {
    let chars: usize = text.files.iter().map(|file| file.chars.len()).sum();
    progress.line(&format!(
        "text: {} characters of {} files that were not trained on ({})",
        thousands(chars as f64),
        text.files.len(),
        text.source
    ));
    for note in notes {
        progress.line(&format!("note: {note}"));
    }
    if text.left_out > 0 {
        progress.line(&format!(
            "note: {} characters are left out because the vocabulary lacks them",
            thousands(text.left_out as f64)
        ));
    }
}

/// Takes every measure of a model that is not there yet. What decides them besides the model are
/// `texts`: the files that are read and what was trained on.
fn measure(
    subject: &Subject,
    texts: [&str; 2],
    parts: &Parts,
    progress: &Progress,
) -> Result<ModelFound> {
    let model = subject.model;
    let settings = serde_json::to_string(subject.settings);
    let settings = settings.map_err(|e| Error::Data(format!("settings: {e}")))?;
    let format = FORMAT.to_string();
    let mut found = ModelFound {
        name: model.name.clone(),
        kind: model.kind.into(),
        checkpoint: model.checkpoint.clone(),
        step: model.step,
        recipe: model.recipe.clone(),
        sha256: model.sha256.clone(),
        measures: Default::default(),
    };
    for measure in &ALL {
        let [read, trained] = texts;
        let decides = [
            measure.name,
            &format,
            &model.sha256,
            read,
            trained,
            &settings,
        ];
        let key = Parts::key(&decides);
        let value = match parts.get(&key, progress)? {
            Some(value) => value,
            None => {
                if interrupt::asked() {
                    return Err(Error::Interrupted(INTERRUPTED.into()));
                }
                progress.line(&format!("{}: {}", model.name, measure.about));
                parts.put(&key, &(measure.take)(subject)?)?
            }
        };
        found.measures.insert(measure.name.into(), value);
    }
    Ok(found)
}
