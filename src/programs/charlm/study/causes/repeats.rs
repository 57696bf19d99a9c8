//! Whether a text holds a long stretch of the training text.

use std::collections::HashMap;

use crate::programs::charlm::study::held_out::TrainingPart;

/// Characters of a stretch that count as remembered.
pub const LONG: usize = 50;
/// Characters of the blocks that are looked up. A stretch of [`LONG`] holds a whole one, wherever it
/// starts: LONG >= 2 BLOCK - 1.
const BLOCK: usize = 25;

/// The training text, with the places of its blocks.
pub struct Trained<'a> {
    /// Of each block, the parts and places that it stands at.
    blocks: HashMap<&'a [u32], Vec<(&'a [u32], usize)>>,
}

impl<'a> Trained<'a> {
    /// Takes down the blocks of a training text.
    pub fn new(parts: &'a [TrainingPart]) -> Self {
        let mut blocks: HashMap<&[u32], Vec<_>> = HashMap::new();
        for part in parts {
            for (n, block) in part.ids.chunks_exact(BLOCK).enumerate() {
                blocks
                    .entry(block)
                    .or_default()
                    .push((&part.ids[..], n * BLOCK));
            }
        }
        Trained { blocks }
    }

    /// Whether [`LONG`] characters in a row of a text stand in the training text, too.
    pub fn holds_part_of(&self, text: &[u32]) -> bool {
        let mut blocks = text.windows(BLOCK).enumerate();
        blocks.any(|(at, block)| {
            let places = self.blocks.get(block).into_iter().flatten();
            let mut stretches = places.map(|&(part, place)| {
                let before = part[..place].iter().rev().zip(text[..at].iter().rev());
                let behind = part[place..].iter().zip(&text[at..]);
                common(before) + common(behind)
            });
            stretches.any(|length| length >= LONG)
        })
    }
}

/// Pairs up to the first that differ.
fn common<'a>(pairs: impl Iterator<Item = (&'a u32, &'a u32)>) -> usize {
    pairs.take_while(|(a, b)| a == b).count()
}
