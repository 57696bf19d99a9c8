//! What a training step of the seq2seq models costs: memory and FLOP.

use super::data::SeqBatch;
use super::model::{ModelKind, Seq2SeqSizes};

/// Bytes of a training step of a seq2seq model in f32, for batches of so many source and target
/// positions.
///
/// A target position keeps the logits and their gradient, the decoder's gates and states, and what
/// the logits come from; a source position the encoder's, in both directions. Parameters come five
/// times: values, gradient, two moments, and the packed copies. Of a Transformer each layer keeps what its
/// parts read and give.
pub fn step_bytes(kind: ModelKind, sizes: Seq2SeqSizes, source: usize, target: usize) -> u128 {
    let [s, t] = [source, target].map(|n| n as u128);
    let [vs, vt, e, h] = [
        sizes.source_vocab,
        sizes.target_vocab,
        sizes.embedding,
        sizes.hidden,
    ]
    .map(|n| n as u128);
    if kind == ModelKind::Transformer {
        let (layers, inner) = (sizes.layers as u128, 4 * h);
        let parameters = (vs + 2 * vt) * e + layers * (12 * e * e + 4 * e * inner);
        let (of_target, of_source) = (20 * e + 3 * inner, 14 * e + 3 * inner);
        let kept = t * (2 * vt + layers * of_target) + s * layers * of_source;
        return 4 * (kept + 5 * parameters);
    }
    let (features, gates) = match kind.plain() {
        Some((cell, context)) => {
            let read = e + u128::from(context) * h;
            (h, cell.gates() as u128 * h * (e + h + read + h))
        }
        None => (3 * h + e, 12 * h * (e + h) + 15 * h * h),
    };
    let parameters = (vs + vt) * e + vt * features + gates;
    4 * (t * (2 * vt + 12 * h + 2 * features) + s * (16 * h + 2 * e) + 5 * parameters)
}

/// How often the weights of a step are used.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// Pairs.
    pub pairs: usize,
    /// Tokens of the sources.
    pub source: usize,
    /// Tokens of the targets, `<EOS>` included.
    pub target: usize,
    /// Source positions that the targets' tokens attend to.
    pub attended: usize,
    /// Positions of their own sequence that tokens see, in a model where they do.
    pub own: usize,
}

impl Work {
    /// The work of a batch.
    pub fn of(batch: &SeqBatch) -> Self {
        let pairs = batch.packing.batch();
        let lengths = batch.packing.lengths();
        let spans = &batch.source.spans;
        let lengths = || (0..pairs).map(|b| (lengths[b], spans.len(b)));
        Work {
            pairs,
            source: batch.source.packing.rows(),
            target: batch.packing.rows(),
            attended: lengths().map(|(target, source)| target * source).sum(),
            own: lengths()
                .map(|(target, source)| target * (target + 1) / 2 + source * source)
                .sum(),
        }
    }
}

/// FLOP of a training step: 6 for each weight of a matrix product and row that it is multiplied
/// with, 2 forward and 4 backward. Embeddings are looked up and cost none. Scores and context of the
/// attention cost as much as H and 2H weights for each source position that a target token attends
/// to; those of each layer of a Transformer as much as 2E for each position that a token sees.
pub fn step_flop(kind: ModelKind, sizes: Seq2SeqSizes, work: Work) -> f64 {
    let [e, h, v] = [sizes.embedding, sizes.hidden, sizes.target_vocab].map(|n| n as f64);
    let [pairs, source, target, attended] =
        [work.pairs, work.source, work.target, work.attended].map(|n| n as f64);
    if kind == ModelKind::Transformer {
        let (layers, inner) = (sizes.layers as f64, 4.0 * h);
        let row = 6.0 * e * e + 2.0 * e * inner;
        let seen = attended + work.own as f64;
        let of_layers = layers * ((source + target) * row + seen * 2.0 * e);
        return 6.0 * (of_layers + target * e * v);
    }
    let products = match kind.plain() {
        Some((cell, context)) => {
            let (g, read) = (cell.gates() as f64, e + f64::from(u8::from(context)) * h);
            source * g * h * (e + h) + target * (g * h * (read + h) + h * v)
        }
        None => {
            let (encoder, keys, bridges) = (8.0 * h * (e + h), 2.0 * h * h, 4.0 * h * h);
            let (query, decoder) = (h * h, 4.0 * h * (e + 3.0 * h));
            source * (encoder + keys)
                + pairs * bridges
                + target * (query + decoder + (3.0 * h + e) * v)
                + attended * 3.0 * h
        }
    };
    6.0 * products
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::programs::seq2seq::model::Seq2Seq;
    use crate::train::model::Model;

    const SIZES: Seq2SeqSizes = Seq2SeqSizes {
        source_vocab: 7,
        target_vocab: 11,
        embedding: 3,
        hidden: 5,
        layers: 2,
        heads: 1,
        copy: false,
        tied: false,
    };

    /// Where every weight meets one row, the formula counts the weights of the model's matrices.
    #[test]
    fn flop_of_one_row_is_six_for_each_weight_of_a_product() {
        let once = Work {
            pairs: 1,
            source: 1,
            target: 1,
            attended: 1,
            own: 2,
        };
        for kind in ModelKind::ALL {
            let model = Seq2Seq::new::<f32>(kind, SIZES, 1);
            let segments = model.params().layout().segments().iter();
            let matrices =
                segments.filter(|s| s.shape.dims().len() == 2 && !s.name.contains("embedding"));
            let weights: usize = matrices.map(|s| s.shape.numel()).sum();
            // The context multiplies activations: 2H of them for a position; scores and contexts of a
            // Transformer's three attentions 2E.
            let context = match kind {
                ModelKind::Attention => 2 * SIZES.hidden,
                ModelKind::Transformer => 3 * SIZES.layers * 2 * SIZES.embedding,
                _ => 0,
            };
            let flop = step_flop(kind, SIZES, once);
            assert_eq!(flop, 6.0 * (weights + context) as f64, "{kind}");
        }
    }

    #[test]
    fn work_counts_tokens_and_attended_positions() {
        let pairs: [(&[u32], &[u32]); 2] = [(&[4, 5], &[4]), (&[6], &[5, 6, 7])];
        let work = Work::of(&SeqBatch::new(&pairs).unwrap());
        assert_eq!((work.pairs, work.source, work.target), (2, 3, 6));
        // Two target tokens look at two positions each, four at one.
        assert_eq!(work.attended, 2 * 2 + 4);
        // Of their own 1 and 2, and 1 to 4; the sources' 4 and 1.
        assert_eq!(work.own, 3 + 10 + 4 + 1);
        // 6 FLOP for each of 3H weights.
        let with = |attended| step_flop(ModelKind::Attention, SIZES, Work { attended, ..work });
        assert_eq!(with(8) - with(7), 6.0 * 3.0 * 5.0);
    }
}
