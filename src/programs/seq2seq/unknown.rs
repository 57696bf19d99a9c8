//! How much of the pairs the vocabularies do not know: what a model can neither read nor write.

use super::data::SeqData;
use super::tokens::Limits;
use crate::data::split::Split;
use crate::data::words::UNK;

/// Share of unknown tokens from which figures mislead: a model that writes nothing but `<UNK>` has
/// a good loss and accuracy then.
const MANY: f64 = 0.3;

/// The shares of unknown tokens of a split, source and target, from 0 to 1; NaN without pairs. A token
/// of a target that can be copied is not unknown.
pub fn shares(data: &SeqData, split: Split) -> [f64; 2] {
    let (mut unknown, mut all) = ([0u64; 2], [0u64; 2]);
    for example in data.examples(split) {
        let extended = example.extended.as_ref();
        let target = extended.map_or(&example.target_ids, |extended| &extended.target);
        for (side, ids) in [&example.source_ids, target].into_iter().enumerate() {
            unknown[side] += ids.iter().filter(|id| **id == UNK).count() as u64;
            all[side] += ids.len() as u64;
        }
    }
    [0, 1].map(|side| unknown[side] as f64 / all[side] as f64)
}

/// A line of the shares of every split that has pairs, of the sides that are read, and a warning where they
/// are large.
pub fn told(data: &SeqData, limits: Limits) -> String {
    let splits = Split::ALL
        .into_iter()
        .filter(|split| !data.examples(*split).is_empty());
    let shares: Vec<(Split, [f64; 2])> = splits.map(|split| (split, shares(data, split))).collect();
    let sides = ["source", "target"];
    let mut many = Vec::new();
    let read = sides.iter().enumerate().skip(usize::from(!limits.reads));
    let parts = read.map(|(side, name)| {
        let of = shares.iter().map(|(split, shares)| {
            if shares[side] > MANY {
                many.push(format!("{name} of {split}"));
            }
            format!("{:.1} % of {split}", 100.0 * shares[side])
        });
        format!("{name} {}", of.collect::<Vec<_>>().join(", "))
    });
    let line = format!("unknown tokens: {}", parts.collect::<Vec<_>>().join("; "));
    if many.is_empty() {
        return line;
    }
    let lower = match limits.min_frequency {
        1 => String::new(),
        now => format!("a lower min-frequency (now {now}), "),
    };
    let copy = match limits.copy {
        true => "",
        false => "copy where targets repeat words of their sources (of a model that attends), ",
    };
    format!(
        "{line}\nwarning: more than {:.0} % of the tokens are unknown ({}): to the model they are \
         all one token, <UNK>, so that its loss and accuracy may look good while it writes nothing \
         else. What helps: {lower}{copy}more training pairs, or other source-tokens and target-tokens: \
         to bpe only characters that it has never seen are unknown",
        100.0 * MANY,
        many.join(", ")
    )
}
