// Softmax and negative log-likelihood of rows of logits with their gradient, in one pass:
//
//   l = logits + bias
//   loss = log sum_j exp(l_j) - l_target                  [nats]
//   dl_j = (softmax(l)_j - [j = target]) * scale
//
// and with a share e of label smoothing (Szegedy et al. 2016, section 7), spread over all V columns:
//
//   smoothed = loss + e (l_target - mean_j l_j)
//   dl_j = (softmax(l)_j - (1 - e) [j = target] - e / V) * scale
//
// A row whose target is IGNORED has loss 0, no gradient, and is not correct. The scale holds no
// mean's 1 / N: that belongs into the unscaling, where it cannot underflow a half.
//
// Launch shape: per row. Up to 256 columns, a row is eight columns in the registers of each of some
// lanes of a warp: read once, written once. Beyond, a block reads it twice (the second time from the
// cache), with the maximum and the sum of the first pass kept online (Milakov & Gimelshein 2018).
#include "device.cuh"

constexpr u32 IGNORED = 0xFFFFFFFF;
constexpr u32 MINUS_INFINITY = 0xFF800000;

// A softmax so far: the largest logit, and the sum of exp(l - largest).
struct Online {
    Best best;
    float sum;
};
DEVICE Online join(Online a, Online b) {
    if (b.sum == 0.0f) return a;
    if (a.sum == 0.0f) return b;
    Best best = better(a.best, b.best);
    return Online{best, a.sum * exponential(a.best.value - best.value) +
                            b.sum * exponential(b.best.value - best.value)};
}

// What all rows share.
template <class T>
struct Rows {
    ptr<const T> logits;   // [N, ld], of which V columns count
    ptr<const T> bias;     // [V] or null
    ptr<const u32> targets;
    ptr<T> dlogits;        // as logits, may be logits; or null
    ptr<float> loss, correct;
    float scale;
    ptr<float> smoothed;   // null where nothing is smoothed: then the share is 0
    float smoothing;
    u32 rows, vocab, ld;

    // l of columns c .. c + 8 of a row, minus infinity beyond the last.
    DEVICE void load(u64 row, u32 c, float (&v)[GROUP]) const {
        load8(logits, row * ld + c, (row + 1) * ld, v);
        float b[GROUP] = {};
        if (bias) load8(bias, c, vocab, b);
        for (u32 j = 0; j < GROUP; j++)
            v[j] = c + j < vocab ? v[j] + b[j] : float_of(MINUS_INFINITY);
    }
    // Turns v, the exp(l - largest) of those columns, into their gradient, and writes it.
    DEVICE void store(u64 row, u32 c, u32 target, float sum, float (&v)[GROUP]) const {
        float factor = scale / sum;
        float share = smoothing * scale / float(vocab);
        float of_target = scale * (1.0f - smoothing) + share;
        for (u32 j = 0; j < GROUP; j++) {
            float less = c + j == target ? of_target : c + j < vocab ? share : 0.0f;
            v[j] = target == IGNORED ? 0.0f : v[j] * factor - less;
        }
        store8(dlogits, row * ld + c, (row + 1) * ld, v);
    }
    // The figures of a row, by the thread that holds l of the target (of an ignored one, the first).
    // `total` is the sum of all l - base, where labels are smoothed.
    DEVICE void figures(u64 row, u32 target, Online all, float of_target, float base,
                        float total) const {
        bool counts = target != IGNORED;
        float nll = counts ? all.best.value - of_target + ln(all.sum) : 0.0f;
        loss[row] = nll;
        if (smoothed) {
            float spread = (of_target - base) - total / float(vocab);
            smoothed[row] = counts ? nll + smoothing * spread : 0.0f;
        }
        correct[row] = counts && all.best.index == target ? 1.0f : 0.0f;
    }
};

// Rows of at most 256 elements: `lanes` lanes of a warp, a power of two, take one. All lanes of a
// warp come here: the reductions need them.
template <class T>
DEVICE void softmax_xent_lanes(Rows<T> all, u32 lanes) {
    u64 row = (u64(block_x()) * threads() + thread_x()) / lanes;
    u32 c = thread_x() % lanes * GROUP;
    bool in = row < all.rows;
    float v[GROUP];
    for (u32 j = 0; j < GROUP; j++) v[j] = float_of(MINUS_INFINITY);
    if (in && c < all.vocab) all.load(row, c, v);
    Best best{v[0], c};
    for (u32 j = 1; j < GROUP; j++) best = better(best, Best{v[j], c + j});
    for (u32 l = lanes / 2; l > 0; l /= 2)
        best = better(best, Best{shfl_xor(best.value, l), shfl_xor(best.index, l)});
    u32 target = in ? all.targets[row] : IGNORED;
    float of_target = 0.0f, sum = 0.0f, total = 0.0f;
    for (u32 j = 0; j < GROUP; j++) {
        if (c + j == target) of_target = v[j];
        if (c + j < all.vocab) total += v[j] - best.value;
        v[j] = exponential(v[j] - best.value);
        sum += v[j];
    }
    for (u32 l = lanes / 2; l > 0; l /= 2) sum += shfl_xor(sum, l);
    if (all.smoothed)
        for (u32 l = lanes / 2; l > 0; l /= 2) total += shfl_xor(total, l);
    if (!in) return;  // no collective follows
    bool holds = target == IGNORED ? c == 0 : target - target % GROUP == c;
    if (holds) all.figures(row, target, Online{best, sum}, of_target, best.value, total);
    if (all.dlogits && c < all.ld) all.store(row, c, target, sum, v);
}

// A block takes a row of any width.
template <class T>
DEVICE void softmax_xent_block(Rows<T> all) {
    SHARED(float, values, 32);
    SHARED(u32, indices, 32);
    SHARED(float, sums, 32);
    SHARED(float, totals, 32);
    u64 row = block_x();
    u32 target = all.targets[row];
    Online mine{Best{float_of(MINUS_INFINITY), all.vocab}, 0.0f};
    float of_target = 0.0f, total = 0.0f, v[GROUP];
    // Any logit will do: sums of what is far from zero are coarse.
    float base = 0.0f;
    if (all.smoothed) {
        all.load(row, 0, v);
        base = v[0];
    }
    bool holds = target == IGNORED && thread_x() == 0;
    for (u32 c = thread_x() * GROUP; c < all.vocab; c += threads() * GROUP) {
        all.load(row, c, v);
        Best best{v[0], c};
        for (u32 j = 1; j < GROUP; j++) best = better(best, Best{v[j], c + j});
        Online part{best, 0.0f};
        for (u32 j = 0; j < GROUP; j++) {
            // Minus infinity is 0, also where it is the largest.
            if (v[j] != float_of(MINUS_INFINITY)) part.sum += exponential(v[j] - best.value);
            if (c + j < all.vocab) total += v[j] - base;
            if (c + j == target) {
                of_target = v[j];
                holds = true;
            }
        }
        mine = join(mine, part);
    }
    for (u32 l = 16; l > 0; l /= 2)
        mine = join(mine, Online{Best{shfl_xor(mine.best.value, l), shfl_xor(mine.best.index, l)},
                                 shfl_xor(mine.sum, l)});
    if (all.smoothed)
        for (u32 l = 16; l > 0; l /= 2) total += shfl_xor(total, l);
    if (thread_x() % 32 == 0) {
        totals[thread_x() / 32] = total;
        values[thread_x() / 32] = mine.best.value;
        indices[thread_x() / 32] = mine.best.index;
        sums[thread_x() / 32] = mine.sum;
    }
    block_sync();  // and every logit has been read once: dlogits may be logits
    Online whole{Best{values[0], indices[0]}, sums[0]};
    for (u32 w = 1; w < threads() / 32; w++)
        whole = join(whole, Online{Best{values[w], indices[w]}, sums[w]});
    total = totals[0];
    for (u32 w = 1; w < threads() / 32; w++) total += totals[w];
    if (holds) all.figures(row, target, whole, of_target, base, total);
    if (!all.dlogits) return;
    for (u32 c = thread_x() * GROUP; c < all.ld; c += threads() * GROUP) {
        for (u32 j = 0; j < GROUP; j++) v[j] = float_of(MINUS_INFINITY);
        if (c < all.vocab) all.load(row, c, v);
        for (u32 j = 0; j < GROUP; j++) v[j] = exponential(v[j] - whole.best.value);
        all.store(row, c, target, whole.sum, v);
    }
}

// ---- kernels -------------------------------------------------------------------------------

// logits, dlogits [N, ld], of which the first V columns count (they may be the same memory; dlogits
// may be null: no gradient; beyond V it gets zeros); bias [V] or null; targets [N], below V or
// IGNORED; loss [N] f32; correct [N] f32, 1 where the largest logit (lowest index of a tie) is the
// target's; the scale is factor times scale [1] f32, or factor alone if that is null; smoothed [N] f32,
// the loss with a share `smoothing` of each target smoothed, or null, and then that is 0. `lanes` is a
// power of two up to 32, and 8 lanes are at least ld.
#define SOFTMAX_XENT(T, suffix)                                                                    \
    KERNEL(softmax_xent_lanes_##suffix, ptr<const T> logits, ptr<const T> bias,                    \
           ptr<const u32> targets, ptr<T> dlogits, ptr<float> loss, ptr<float> correct,            \
           ptr<const float> scale, float factor, ptr<float> smoothed, float smoothing, u32 rows,   \
           u32 vocab, u32 ld, u32 lanes) {                                                         \
        factor = scale ? factor * scale[0] : factor;                                               \
        softmax_xent_lanes(Rows<T>{logits, bias, targets, dlogits, loss, correct, factor,          \
                                   smoothed, smoothing, rows, vocab, ld},                          \
                           lanes);                                                                 \
    }                                                                                              \
    KERNEL(softmax_xent_block_##suffix, ptr<const T> logits, ptr<const T> bias,                    \
           ptr<const u32> targets, ptr<T> dlogits, ptr<float> loss, ptr<float> correct,            \
           ptr<const float> scale, float factor, ptr<float> smoothed, float smoothing, u32 rows,   \
           u32 vocab, u32 ld) {                                                                    \
        factor = scale ? factor * scale[0] : factor;                                               \
        softmax_xent_block(Rows<T>{logits, bias, targets, dlogits, loss, correct, factor,          \
                                   smoothed, smoothing, rows, vocab, ld});                         \
    }

SOFTMAX_XENT(float, f32)
SOFTMAX_XENT(half, f16)
