//! What a training step of the seq2seq models costs: memory and FLOP.

use super::data::SeqBatch;
use super::model::{ModelKind, Seq2SeqSizes};

/// Bytes of a training step of a seq2seq model in f32.
///
/// A target position keeps the logits and their gradient, the decoder's gates and states, and what
/// the logits come from; a source position the encoder's, in both directions. An attended position keeps
/// its weight and, where the model copies, the gradient of that; a Transformer shows its last layer's alone.
/// Of a Transformer each layer keeps what its parts read and give. Parameters come five times: values,
/// gradient, two moments, and the packed copies.
pub fn step_bytes(kind: ModelKind, sizes: Seq2SeqSizes, work: Work) -> u128 {
    let [s, t, attended] = [work.source, work.target, work.attended].map(|n| n as u128);
    let [vt, e, h] = [sizes.target_vocab, sizes.embedding, sizes.hidden].map(|n| n as u128);
    let features = features(kind, sizes) as u128;
    // What is copied is known by its id, and a tied output layer has a hidden layer.
    let (ids, copied) = if sizes.copy { (1, 1) } else { (0, 0) };
    let hidden = if sizes.tied { 4 * e } else { 0 };
    let weights = match kind.plain() {
        Some(_) => 0,
        None => attended * (1 + copied),
    };
    if kind == ModelKind::Transformer {
        let (layers, inner) = (sizes.layers as u128, 4 * h);
        let (of_target, of_source) = (20 * e + 3 * inner, 14 * e + 3 * inner);
        let kept = t * (2 * vt + hidden + layers * of_target) + s * (ids + layers * of_source);
        return 4 * (kept + weights + 5 * parameters(kind, sizes));
    }
    // A layer above the first keeps besides what it reads, and the sum that goes on.
    let upper = sizes.layers as u128 - 1;
    let of_target = t * (2 * vt + 12 * h + 2 * features + hidden + upper * 14 * h);
    let of_source = s * (16 * h + 2 * e + ids + upper * 24 * h);
    4 * (of_target + of_source + weights + 5 * parameters(kind, sizes))
}

/// The numbers that logits are computed from.
fn features(kind: ModelKind, sizes: Seq2SeqSizes) -> usize {
    match kind.plain() {
        Some(_) => sizes.hidden,
        None if kind == ModelKind::Transformer => sizes.embedding,
        None => 3 * sizes.hidden + sizes.embedding,
    }
}

/// Weights of all matrices; biases are few.
fn parameters(kind: ModelKind, sizes: Seq2SeqSizes) -> u128 {
    let [vs, vt, e, h] = [
        sizes.source_vocab,
        sizes.target_vocab,
        sizes.embedding,
        sizes.hidden,
    ]
    .map(|n| n as u128);
    let features = features(kind, sizes) as u128;
    let (first, of_upper) = match kind.plain() {
        Some((cell, context)) => {
            let (read, g) = (e + u128::from(context) * h, cell.gates() as u128);
            (g * h * (e + h + read + h), 2 * g * h * 2 * h)
        }
        None if kind == ModelKind::Transformer => {
            let of_layer = 12 * e * e + 4 * e * 4 * h;
            (of_layer, of_layer)
        }
        // Encoder, bridges and decoder.
        None => (12 * h * (e + h) + 15 * h * h + h, (24 + 4 + 8) * h * h),
    };
    let layers = first + (sizes.layers as u128 - 1) * of_upper;
    let output = match sizes.tied {
        true => e * features,
        false => vt * features,
    };
    let gate = if sizes.copy { features } else { 0 };
    (vs + vt) * e + layers + output + gate
}

/// How often the weights of a step are used.
#[derive(Clone, Copy, Debug, Default)]
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
/// to; to copy costs the gate's layer, as the mixture is no product. Those of each layer of a Transformer cost
/// as much as 2E for each position that a token sees.
pub fn step_flop(kind: ModelKind, sizes: Seq2SeqSizes, work: Work) -> f64 {
    let [e, h, v] = [sizes.embedding, sizes.hidden, sizes.target_vocab].map(|n| n as f64);
    let [pairs, source, target, attended] =
        [work.pairs, work.source, work.target, work.attended].map(|n| n as f64);
    let features = features(kind, sizes) as f64;
    let output = match sizes.tied {
        true => features * e + e * v,
        false => features * v,
    };
    let output = output + if sizes.copy { features } else { 0.0 };
    if kind == ModelKind::Transformer {
        let (layers, inner) = (sizes.layers as f64, 4.0 * h);
        let row = 6.0 * e * e + 2.0 * e * inner;
        let seen = attended + work.own as f64;
        let of_layers = layers * ((source + target) * row + seen * 2.0 * e);
        return 6.0 * (of_layers + target * output);
    }
    let upper = (sizes.layers - 1) as f64;
    let products = match kind.plain() {
        Some((cell, context)) => {
            let (g, read) = (cell.gates() as f64, e + f64::from(u8::from(context)) * h);
            source * g * h * (e + h)
                + target * (g * h * (read + h) + output)
                + upper * (source + target) * g * h * 2.0 * h
        }
        None => {
            let (encoder, keys, bridges) = (8.0 * h * (e + h), 2.0 * h * h, 4.0 * h * h);
            let (query, decoder) = (h * h, 4.0 * h * (e + 3.0 * h));
            source * (encoder + keys)
                + pairs * bridges
                + target * (query + decoder + output)
                + attended * 3.0 * h
                + upper * (source * 24.0 + pairs * 4.0 + target * 8.0) * h * h
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
        layers: 1,
        heads: 1,
        copy: false,
        tied: false,
    };

    /// The weights of the model's matrices: all, and those of products with each row.
    fn weights(kind: ModelKind, sizes: Seq2SeqSizes) -> [usize; 2] {
        let model = Seq2Seq::new::<f32>(kind, sizes, 1);
        let segments = model.params().layout().segments().iter();
        let matrices: Vec<_> = segments.filter(|s| s.shape.dims().len() == 2).collect();
        let is_looked_up = |name: &str| match sizes.tied {
            true => name.starts_with("encoder.embedding"),
            false => name.contains("embedding"),
        };
        let all = matrices.iter().map(|s| s.shape.numel()).sum();
        let products = matrices.iter().filter(|s| !is_looked_up(&s.name));
        [all, products.map(|s| s.shape.numel()).sum()]
    }

    /// Each kind of model, tied or not, and with attention that copies or not.
    fn for_each_model(check: impl Fn(ModelKind, Seq2SeqSizes)) {
        for (kind, bits) in ModelKind::ALL
            .into_iter()
            .flat_map(|k| (0..8).map(move |b| (k, b)))
        {
            let [copy, tied, deep] = [1, 2, 4].map(|bit| bits & bit != 0);
            if !copy || kind.plain().is_none() {
                let layers = if deep { 3 } else { 1 };
                let sizes = Seq2SeqSizes {
                    layers,
                    copy,
                    tied,
                    ..SIZES
                };
                check(kind, sizes);
            }
        }
    }

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
        for_each_model(|kind, sizes| {
            let [_, weights] = weights(kind, sizes);
            // The context multiplies activations: 2H of them for a position; scores and contexts of a
            // Transformer's three attentions 2E.
            let context = match kind {
                ModelKind::Attention => 2 * SIZES.hidden,
                ModelKind::Transformer => 3 * sizes.layers * 2 * sizes.embedding,
                _ => 0,
            };
            let flop = step_flop(kind, sizes, once);
            assert_eq!(flop, 6.0 * (weights + context) as f64, "{kind} {sizes:?}");
        });
    }

    #[test]
    fn bytes_without_rows_are_those_of_all_weights() {
        for_each_model(|kind, sizes| {
            let [all, _] = weights(kind, sizes);
            let bytes = step_bytes(kind, sizes, Work::default());
            assert_eq!(bytes, 4 * 5 * all as u128, "{kind} {sizes:?}");
        });
    }

    /// A batch of 64 pairs of 30 and 50 tokens, with the sizes of the preset for pseudo-code.
    #[test]
    fn to_copy_costs_little_memory() {
        let sizes = Seq2SeqSizes {
            source_vocab: 3000,
            target_vocab: 2000,
            embedding: 256,
            hidden: 256,
            ..SIZES
        };
        let work = Work {
            pairs: 64,
            source: 64 * 30,
            target: 64 * 50,
            attended: 64 * 50 * 30,
            own: 0,
        };
        let bytes = |copy| step_bytes(ModelKind::Attention, Seq2SeqSizes { copy, ..sizes }, work);
        // The gradient of each weight, an id for each source position, and the gate five times.
        let more = 4 * (64 * 50 * 30 + 64 * 30 + 5 * (3 * 256 + 256));
        assert_eq!(bytes(true) - bytes(false), more);
        assert!(bytes(true) < bytes(false) + bytes(false) / 100);
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
