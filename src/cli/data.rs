//! `rnnx data`: what a corpus holds.

use super::args::DataStatsArgs;
use super::data_pairs;
use super::data_stats::TextStats;
use super::process::emit;
use crate::Result;
use crate::programs::charlm::config::CharLmConfig;
use crate::programs::charlm::train::load;
use crate::train::settings::Config;

/// Runs `rnnx data stats`.
///
/// # Errors
/// As [`stats`] and [`data_pairs::run`].
pub fn command(args: &DataStatsArgs) -> Result<()> {
    let given = &args.text.0;
    if args.pairs.are_meant(!given.is_empty())? {
        return data_pairs::run(&args.pairs, args.json);
    }
    stats(&CharLmConfig::from_table(given.clone())?, args.json)
}

/// Prints what a corpus holds and what the character LM would make of it: a table, or one JSON
/// object with `json`.
///
/// # Errors
/// As [`load`]. A corpus too short to train on is no error, nor is one
/// of which more is dropped than training takes.
pub fn stats(config: &CharLmConfig, json: bool) -> Result<()> {
    config.division().validate()?; // a wrong flag is told before the text is read
    let source = load(config)?;
    let stats = TextStats::new(&source.corpus, config.min_char_count)?;
    let text = match json {
        true => stats.json(&source)?,
        false => stats.table(&source),
    };
    emit(&text)
}
