//! Batches of pairs, packed.

use crate::data::packing::Packing;
use crate::data::spans::Spans;
use crate::data::words::{EOS, SOS};
use crate::programs::seq2seq::copying::Extended;
use crate::{Error, Result};

/// Some pairs, packed. Encoder rows stand in the order of their sources' lengths, decoder rows in
/// that of their targets'; equal lengths keep the order of the pairs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeqBatch {
    /// The source side.
    pub source: SourceBatch,
    /// The pair of each decoder row: its place among those the batch was made from.
    pub order: Vec<usize>,
    /// Steps of the decoder.
    pub packing: Packing,
    /// Packed rows of the decoder's input: `<SOS>` and the target's tokens.
    pub inputs: Vec<u32>,
    /// Packed rows of what is asked for: the target's tokens and `<EOS>`.
    pub targets: Vec<u32>,
    /// The decoder row of each packed row.
    pub rows: Vec<u32>,
}

/// The source side of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceBatch {
    /// Steps of the encoder.
    pub packing: Packing,
    /// Packed rows of the source's tokens.
    pub ids: Vec<u32>,
    /// The packed rows when each source is read from its end.
    pub reversed: Vec<u32>,
    /// The encoder row of each decoder row.
    pub rows: Vec<u32>,
    /// The source positions of each decoder row.
    pub spans: Spans,
    /// The packed row of each position of the spans.
    pub positions: Vec<u32>,
    /// The same in the run that reads from the end.
    pub reversed_positions: Vec<u32>,
    /// The id of each position of the spans in the extended vocabulary of its source, for a model that
    /// copies.
    pub copies: Option<Vec<u32>>,
}

impl SeqBatch {
    /// The batch of pairs of source and target ids, none of them empty.
    ///
    /// # Errors
    /// [`Error::Op`] for no pairs, or an empty source.
    pub fn new(pairs: &[(&[u32], &[u32])]) -> Result<Self> {
        let targets: Vec<&[u32]> = pairs.iter().map(|p| p.1).collect();
        let order = by_length(&targets);
        let lengths: Vec<usize> = order.iter().map(|&i| targets[i].len() + 1).collect();
        let packing = Packing::new(&lengths)?;
        let (mut inputs, mut asked, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        for t in 0..packing.steps() {
            for (row, &i) in order[..packing.active(t)].iter().enumerate() {
                inputs.push(if t == 0 { SOS } else { targets[i][t - 1] });
                asked.push(targets[i].get(t).copied().unwrap_or(EOS));
                rows.push(row as u32);
            }
        }
        let sources: Vec<&[u32]> = order.iter().map(|&i| pairs[i].0).collect();
        Ok(SeqBatch {
            source: SourceBatch::new(&sources)?,
            order,
            packing,
            inputs,
            targets: asked,
            rows,
        })
    }

    /// The same with the ids of each pair in the extended vocabulary of its source: the targets are
    /// extended ids then.
    ///
    /// # Errors
    /// [`Error::Op`] if they are not as many as the ids of the pairs.
    pub fn with_copies(self, extended: &[&Extended]) -> Result<Self> {
        let packing = &self.packing;
        let pairs: Vec<&Extended> = match extended.len() == self.order.len() {
            true => self.order.iter().map(|&i| extended[i]).collect(),
            false => Vec::new(),
        };
        let lengths = pairs.iter().map(|pair| pair.target.len() + 1);
        if !lengths.eq((0..packing.batch()).map(|row| packing.length(row))) {
            let message = "the extended ids are not as many as the targets' tokens";
            return Err(Error::op("seq2seq", message));
        }
        let sources: Vec<&[u32]> = pairs.iter().map(|pair| &pair.source[..]).collect();
        let mut targets = Vec::with_capacity(self.targets.len());
        for t in 0..packing.steps() {
            let active = pairs[..packing.active(t)].iter();
            targets.extend(active.map(|pair| pair.target.get(t).copied().unwrap_or(EOS)));
        }
        Ok(SeqBatch {
            source: self.source.with_copies(&sources)?,
            targets,
            ..self
        })
    }
}

impl SourceBatch {
    /// The same with the extended id of each token of each source.
    ///
    /// # Errors
    /// [`Error::Op`] if they are not as many as the tokens.
    pub fn with_copies(self, sources: &[&[u32]]) -> Result<Self> {
        let lengths = sources.iter().map(|ids| ids.len());
        let spans = &self.spans;
        if !lengths.eq((0..spans.rows()).map(|b| spans.len(b))) {
            let message = "the extended ids are not as many as the source's tokens";
            return Err(Error::op("seq2seq", message));
        }
        Ok(SourceBatch {
            copies: Some(sources.concat()),
            ..self
        })
    }

    /// The source side of a batch whose decoder rows are these sources, none of them empty.
    ///
    /// # Errors
    /// [`Error::Op`] for no sources, or an empty one.
    pub fn new(sources: &[&[u32]]) -> Result<Self> {
        let order = by_length(sources);
        let lengths: Vec<usize> = order.iter().map(|&i| sources[i].len()).collect();
        let packing = Packing::new(&lengths)?;
        let (mut ids, mut reversed) = (Vec::new(), Vec::new());
        for t in 0..packing.steps() {
            for (row, &i) in order[..packing.active(t)].iter().enumerate() {
                ids.push(sources[i][t]);
                let mirror = sources[i].len() - 1 - t;
                reversed.push((packing.offset(mirror) + row) as u32);
            }
        }
        let mut rows = vec![0; sources.len()];
        for (row, &i) in order.iter().enumerate() {
            rows[i] = row as u32;
        }
        let (mut positions, mut reversed_positions) = (Vec::new(), Vec::new());
        for (source, &row) in sources.iter().zip(&rows) {
            for t in 0..source.len() {
                let at = |t: usize| packing.offset(t) as u32 + row;
                positions.push(at(t));
                reversed_positions.push(at(source.len() - 1 - t));
            }
        }
        let lengths: Vec<usize> = sources.iter().map(|s| s.len()).collect();
        Ok(SourceBatch {
            packing,
            ids,
            reversed,
            rows,
            spans: Spans::new(&lengths)?,
            positions,
            reversed_positions,
            copies: None,
        })
    }
}

/// The order of the longest first.
fn by_length(sequences: &[&[u32]]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..sequences.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(sequences[i].len()));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_of_three_pairs() {
        let pairs: [(&[u32], &[u32]); 3] = [
            (&[10, 11], &[20]),
            (&[12, 13, 14], &[21, 22, 23]),
            (&[15], &[24, 25]),
        ];
        let batch = SeqBatch::new(&pairs).unwrap();
        assert_eq!(batch.order, [1, 2, 0]);
        assert_eq!(batch.packing, Packing::new(&[4, 3, 2]).unwrap());
        assert_eq!(batch.inputs, [SOS, SOS, SOS, 21, 24, 20, 22, 25, 23]);
        assert_eq!(batch.targets, [21, 24, 20, 22, 25, EOS, 23, EOS, EOS]);
        assert_eq!(batch.rows, [0, 1, 2, 0, 1, 2, 0, 1, 0]);
        let source = &batch.source;
        // Encoder rows: pairs 1, 0, 2; decoder rows: pairs 1, 2, 0.
        assert_eq!(source.ids, [12, 10, 15, 13, 11, 14]);
        let read_backwards: Vec<u32> = source
            .reversed
            .iter()
            .map(|&r| source.ids[r as usize])
            .collect();
        assert_eq!(read_backwards, [14, 11, 15, 13, 10, 12]);
        assert_eq!(source.rows, [0, 2, 1]);
        assert_eq!(source.spans, Spans::new(&[3, 1, 2]).unwrap());
        let at_positions: Vec<u32> = source
            .positions
            .iter()
            .map(|&r| source.ids[r as usize])
            .collect();
        assert_eq!(at_positions, [12, 13, 14, 15, 10, 11]);
        let backwards: Vec<u32> = source
            .reversed_positions
            .iter()
            .map(|&r| read_backwards[r as usize])
            .collect();
        assert_eq!(backwards, at_positions);
    }
}
