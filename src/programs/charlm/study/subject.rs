//! A model with the text that it is measured on, and the list of measures.

use std::cell::OnceCell;
use std::sync::OnceLock;

use serde::Serialize;
use serde_json::{Value, json};

use super::causes::measures::{self as causes, Amounts};
use super::causes::writing::PROMPT;
use super::dump::{FileDump, Symbols, dump};
use super::estimate::{Bootstrap, SEED};
use super::format::{Blank, StudySettings};
use super::held_out::StudyText;
use super::measures::identifiers::{NameCounts, count_names};
use super::measures::reading::Reading;
use super::measures::{classes, closure, context, delimiters, identifiers, indentation, snippets};
use super::models::StudyModel;
use crate::programs::charlm::generate::weights::CharLmWeights;
use crate::{Error, Result};

/// A text, and what of it every model's measures need.
pub struct Material {
    /// The text.
    pub text: StudyText,
    /// The draws of its files.
    pub bootstrap: Bootstrap,
    /// The names of the training text, counted when they are first asked for.
    names: OnceLock<NameCounts>,
}

impl Material {
    /// That of a text.
    pub fn new(text: StudyText) -> Self {
        Material {
            bootstrap: Bootstrap::new(text.files.len()),
            text,
            names: OnceLock::new(),
        }
    }

    /// How often each name stands in the training text; none where that is not there.
    pub fn names(&self) -> Option<&NameCounts> {
        let training = self.text.training.as_ref()?;
        Some(self.names.get_or_init(|| {
            let chars = self.text.char_of();
            let texts = training.iter().map(|part| {
                let text = part.ids.iter().map(|&id| chars[id as usize]);
                text.collect()
            });
            count_names(&texts.collect::<Vec<_>>())
        }))
    }
}

/// What a measure is taken of.
pub struct Subject<'a> {
    /// The model.
    pub model: &'a StudyModel,
    /// The text.
    pub material: &'a Material,
    /// How much is measured.
    pub settings: &'a StudySettings,
    dumps: OnceCell<Vec<FileDump>>,
}

impl<'a> Subject<'a> {
    /// A model on a text.
    pub fn new(model: &'a StudyModel, material: &'a Material, settings: &'a StudySettings) -> Self {
        Subject {
            model,
            material,
            settings,
            dumps: OnceCell::new(),
        }
    }

    /// A measure that needs the inside of a network.
    fn inside(
        &self,
        take: impl Fn(&CharLmWeights, &StudyText, &Amounts) -> Result<Value>,
    ) -> Result<Value> {
        match &self.model.weights {
            None => blank("it is no recurrent network"),
            Some(weights) => {
                let seed = self.model.recipe.as_ref().map_or(SEED, |r| r.seed);
                let amounts = Amounts::new(self.settings.quick, weights.cell(), seed);
                take(weights, &self.material.text, &amounts)
            }
        }
    }

    /// What the model says of every character; the first call reads the files.
    ///
    /// # Errors
    /// As [`dump`].
    pub fn reading(&self) -> Result<Reading<'_>> {
        let text = &self.material.text;
        if self.dumps.get().is_none() {
            let dumps = dump(&text.files, Symbols::of(&text.vocab), &self.model.make)?;
            // It was empty, and nobody else has it.
            let _ = self.dumps.set(dumps);
        }
        Ok(Reading {
            files: &text.files,
            dumps: self.dumps.get().map_or(&[], Vec::as_slice),
            bootstrap: &self.material.bootstrap,
        })
    }
}

/// What can be measured of a model.
pub struct Measure {
    /// Its name in `study.json`.
    pub name: &'static str,
    /// What is said while it is taken.
    pub about: &'static str,
    /// Takes it: the figures, or a [`Blank`].
    pub take: fn(&Subject) -> Result<Value>,
}

/// Every measure, in the order of the tables.
pub static ALL: [Measure; 12] = [
    Measure {
        name: "classes",
        about: "bits a character by class",
        take: |subject| {
            let found = classes::measure(&subject.reading()?);
            found_or(found, "the files are empty")
        },
    },
    Measure {
        name: "closure",
        about: "bracket closure",
        take: |subject| {
            let found = closure::measure(&subject.reading()?);
            found_or(found, "no bracket is closed in any file")
        },
    },
    Measure {
        name: "snippets",
        about: "whole snippets",
        take: |subject| {
            let found = snippets::measure(&subject.reading()?);
            found_or(found, "no bracket is closed in any file")
        },
    },
    Measure {
        name: "indentation",
        about: "indentation return",
        take: |subject| {
            let found = indentation::measure(&subject.reading()?);
            found_or(
                found,
                "no file has two lines of code, the second without tabs",
            )
        },
    },
    Measure {
        name: "delimiters",
        about: "delimiters of strings",
        take: |subject| {
            let found = delimiters::measure(&subject.reading()?);
            found_or(found, "no string is closed in any file")
        },
    },
    Measure {
        name: "identifiers",
        about: "copies of names",
        take: |subject| {
            let Some(names) = subject.material.names() else {
                return blank("the training text, whose names are counted, is not found");
            };
            let chars = subject.material.text.char_of();
            let found = identifiers::measure(&subject.reading()?, names, &chars);
            found_or(
                found,
                "no file has a name that is rare in the training text",
            )
        },
    },
    Measure {
        name: "context",
        about: "truncated context",
        take: |subject| {
            let found = context::measure(
                &subject.material.text.files,
                &subject.material.bootstrap,
                subject.settings.context_places,
                &subject.model.make,
            )?;
            found_or(found, "no file is longer than 1,024 characters")
        },
    },
    Measure {
        name: "swaps",
        about: "openers swapped",
        take: |subject| {
            subject.inside(|weights, text, amounts| {
                let found = causes::swaps(weights, text, amounts);
                found_or(
                    found,
                    "the vocabulary or the files have no pairs of brackets",
                )
            })
        },
    },
    Measure {
        name: "far-context",
        about: "far context changed",
        take: |subject| {
            subject.inside(|weights, text, amounts| {
                let found = causes::contexts(weights, text, amounts);
                found_or(found, "no file is longer than 1,040 characters")
            })
        },
    },
    Measure {
        name: "units",
        about: "single units",
        take: |subject| {
            subject.inside(|weights, text, amounts| {
                let found = causes::units(weights, text, amounts);
                found_or(
                    found,
                    "units are chosen on some files and reported on others: give more",
                )
            })
        },
    },
    Measure {
        name: "writing",
        about: "functions written",
        take: |subject| {
            subject.inside(|weights, text, amounts| {
                if text.vocab.encode(PROMPT).is_err() {
                    return blank("the vocabulary lacks a character of the prompt");
                }
                to_value(causes::written(weights, text, amounts)?)
            })
        },
    },
    Measure {
        name: "dyck",
        about: "a language of brackets, learnt from scratch",
        take: |subject| subject.inside(|_, _, amounts| to_value(causes::language(amounts)?)),
    },
];

fn found_or<T: Serialize>(found: Option<T>, reason: &str) -> Result<Value> {
    match found {
        Some(found) => to_value(found),
        None => blank(reason),
    }
}

fn to_value<T: Serialize>(found: T) -> Result<Value> {
    serde_json::to_value(found).map_err(|e| Error::Data(format!("a figure is no number: {e}")))
}

fn blank(reason: &str) -> Result<Value> {
    let blank = reason.to_owned();
    Ok(json!(Blank { blank }))
}
