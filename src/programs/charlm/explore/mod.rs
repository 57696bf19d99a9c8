//! The page that runs a character LM in the browser: text is coloured by what the model makes of it,
//! every unit can be looked at, and the model writes.
//!
//! `page/` holds the frame and, a file for each subject, the script; [`weights`] what the script
//! reads the model from.

pub mod found;
pub mod weights;

use serde_json::json;

use super::generate::weights::CharLmWeights;
use super::model::{CharLm, CharLmSizes};
use crate::data::chars::{CharVocab, name};
use crate::data::vocab::Vocab;
use crate::log::thousands;
use crate::report::shell::{CHARTS, STYLE};
use crate::report::text::escape;
use crate::{Error, Result};
use found::HeldOut;
use weights::{encode, encoded_bytes, tensors};

const FRAME: &str = include_str!("page/page.html");
const OWN_STYLE: &str = include_str!("page/page.css");
/// The script's parts; each uses only those before it, but for functions.
const SCRIPTS: [&str; 14] = [
    include_str!("page/kernel.js"),
    include_str!("page/weights.js"),
    include_str!("page/model.js"),
    include_str!("page/track.js"),
    include_str!("page/text.js"),
    include_str!("page/lexer.js"),
    include_str!("page/found.js"),
    include_str!("page/colour.js"),
    include_str!("page/view.js"),
    include_str!("page/draw.js"),
    include_str!("page/detail.js"),
    include_str!("page/heat.js"),
    include_str!("page/panels.js"),
    include_str!("page/main.js"),
];

/// The largest page, in bytes: a browser holds it whole, and its weights once more in f32.
pub const MAX_PAGE: usize = 64 << 20;
/// Bytes of states that the page keeps for the characters of its text.
const STATE_BYTES: usize = 128 << 20;
/// Characters of the text that the model writes where no other is given.
pub const SAMPLE_LENGTH: usize = 1200;

/// What a page is made of.
pub struct Explored<'a> {
    /// The run's name.
    pub name: String,
    /// The model.
    pub weights: &'a CharLmWeights,
    /// Its vocabulary.
    pub vocab: &'a CharVocab,
    /// What the page shows at first.
    pub text: String,
    /// Optimizer steps behind the weights, where that is known.
    pub step: Option<u64>,
    /// Validation loss of these weights in nats a character, where that is known.
    pub valid_loss: Option<f64>,
    /// What a study found in these weights.
    pub found: Option<HeldOut>,
}

/// The page, which needs nothing but itself.
///
/// # Errors
/// [`Error::Data`] for a vocabulary that is not the model's, a page of more than [`MAX_PAGE`] bytes,
/// or a weight that does not fit in f16.
pub fn render(explored: &Explored) -> Result<String> {
    let Explored { weights, vocab, .. } = explored;
    weights.check_vocab(vocab.len())?;
    check_size(&explored.name, weights)?;
    let tensors = tensors(weights);
    let sizes = weights.sizes();
    let tokens = match vocab.to_file() {
        Vocab::Char { tokens, .. } => tokens,
        Vocab::Words { .. } => Vec::new(),
    };
    let facts = json!({
        "cell": sizes.cell.name(),
        "hidden": sizes.hidden,
        "layers": sizes.layers,
        "embedding": sizes.embedding,
        "tokens": tokens,
        "bytes": vocab.is_of_bytes(),
        "unknown": vocab.unknown(),
        "start": vocab.start(),
        "limit": most_characters(sizes),
        "text": explored.text,
        "tensors": tensors,
        "found": explored.found,
    });
    // `<` would let a name or a text end the script element.
    let facts = facts.to_string().replace('<', "\\u003c");
    let script = SCRIPTS.concat();
    // What is put in first holds no mark of what comes later: it has no `<`.
    let page = FRAME
        .replace("<!--name-->", &escape(&explored.name))
        .replace("<!--subtitle-->", &escape(&subtitle(explored, sizes)))
        .replace("<!--made-->", &escape(&made(explored)))
        .replace("<!--facts-->", &facts)
        .replace("<!--weights-->", &encode(weights, &tensors)?)
        .replace("<!--style-->", &format!("{CHARTS}{STYLE}{OWN_STYLE}"))
        .replace(
            "<!--script-->",
            &format!("(() => {{\n\"use strict\";\n{script}}})();"),
        );
    Ok(page)
}

/// Checks that the page of the run `name` would not be too large.
///
/// # Errors
/// [`Error::Data`] for one of more than [`MAX_PAGE`] bytes.
pub fn check_size(name: &str, weights: &CharLmWeights) -> Result<()> {
    let bytes = encoded_bytes(&tensors(weights));
    if bytes <= MAX_PAGE {
        return Ok(());
    }
    Err(Error::Data(format!(
        "{name}: its {} parameters would make a page of {} MB, more than the {} MB that a browser \
         should be given; explore a model with fewer units or layers, or see `rnnx generate`",
        thousands(CharLm::layout(weights.sizes()).parameters() as u64),
        bytes >> 20,
        MAX_PAGE >> 20
    )))
}

/// The most characters whose states the page keeps.
pub fn most_characters(sizes: CharLmSizes) -> usize {
    let states = 1 + usize::from(sizes.cell.has_c());
    let of_one = 4 * states * sizes.layers * sizes.hidden;
    (STATE_BYTES / of_one).clamp(1_000, 100_000)
}

fn subtitle(explored: &Explored, sizes: CharLmSizes) -> String {
    let mut parts = vec![
        "character language model".to_owned(),
        format!(
            "{}, {} × {} units, embedding {}",
            sizes.cell.name().to_uppercase(),
            sizes.layers,
            sizes.hidden,
            sizes.embedding
        ),
        format!(
            "{} parameters",
            thousands(CharLm::layout(sizes).parameters() as u64)
        ),
        format!(
            "vocabulary of {} {}",
            thousands(sizes.vocab as u64),
            match explored.vocab.is_of_bytes() {
                true => "bytes",
                false => "characters",
            }
        ),
    ];
    parts.push(match explored.valid_loss {
        Some(nats) => format!(
            "validation loss {nats:.4} nats ({:.4} bits)",
            nats / std::f64::consts::LN_2
        ),
        None => "no validation loss recorded for these weights".into(),
    });
    parts.join(" · ")
}

fn made(explored: &Explored) -> String {
    let step = explored
        .step
        .map_or(String::new(), |n| format!(", step {}", thousands(n)));
    let unknown = match (explored.vocab.unknown(), explored.vocab.is_of_bytes()) {
        (Some(_), _) => "with the unknown token in their place",
        (None, true) => "without the bytes that it lacks",
        (None, false) => "without them",
    };
    let start = explored.vocab.tokens().nth(explored.vocab.start().into());
    format!(
        "{}{step}. Made by rnnx explore {}. The state is zero before the first character, which is scored \
         as if it followed {}. Characters outside the vocabulary are underlined; the model reads the text \
         {unknown}. Matrices are in f16, as in rnnx generate.",
        explored.name,
        env!("CARGO_PKG_VERSION"),
        start.map(name).unwrap_or_default(),
    )
}
