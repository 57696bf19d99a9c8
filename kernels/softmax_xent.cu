// Softmax and negative log-likelihood of rows of logits with their gradient, in one pass:
//
//   loss = log sum_j exp(l_j) - l_target                  [nats]
//   dl_j = (softmax(l)_j - [j = target]) * scale
//
// A row whose target is IGNORED has loss 0, no gradient, and is not correct. The scale holds the
// loss scale alone: a mean's 1 / N belongs into the unscaling, where it cannot underflow a half.
//
// Launch shape: per row. A warp takes a row where V is small, a block where it is large, by the
// same code over 32 or more lanes.
#include "device.cuh"

constexpr u32 IGNORED = 0xFFFFFFFF;

// The largest value and its lowest index.
struct Best {
    float value;
    u32 index;
};
DEVICE Best better(Best a, Best b) {
    bool second = b.value > a.value || (b.value == a.value && b.index < a.index);
    return second ? b : a;
}

// Reductions over the lanes that share a row: a warp.
struct Warp {
    DEVICE u32 lane() const { return thread_x() % 32; }
    DEVICE u32 lanes() const { return 32; }
    DEVICE void sync() const { syncwarp(); }
    DEVICE float sum(float x) const { return warp_sum(x); }
    DEVICE Best best(Best b) const {
        for (u32 lanes = 16; lanes > 0; lanes /= 2)
            b = better(b, Best{shfl_xor(b.value, lanes), shfl_xor(b.index, lanes)});
        return b;
    }
};
// A block, with 32 elements of scratch for each.
struct Wide {
    ptr<float> values;
    ptr<u32> indices;
    DEVICE u32 lane() const { return thread_x(); }
    DEVICE u32 lanes() const { return threads(); }
    DEVICE void sync() const { block_sync(); }
    DEVICE float sum(float x) const { return block_sum(x, values); }
    DEVICE Best best(Best b) const {
        b = Warp().best(b);
        block_sync();  // the scratch may still be read by an earlier reduction
        if (thread_x() % 32 == 0) {
            values[thread_x() / 32] = b.value;
            indices[thread_x() / 32] = b.index;
        }
        block_sync();
        b = Best{values[0], indices[0]};
        for (u32 w = 1; w < threads() / 32; w++) b = better(b, Best{values[w], indices[w]});
        return b;
    }
};

// One row. All lanes come here, whatever the target: the reductions need them.
template <class T, class Lanes>
DEVICE void score(Lanes group, ptr<const T> logits, u32 target, ptr<T> dlogits, ptr<float> loss,
                  ptr<float> correct, u32 row, u32 vocab, float scale) {
    u64 first = u64(row) * vocab;
    Best best{-float_of(0x7F800000), vocab};
    for (u32 j = group.lane(); j < vocab; j += group.lanes())
        best = better(best, Best{to_f32(logits[first + j]), j});
    best = group.best(best);
    float sum = 0.0f;
    for (u32 j = group.lane(); j < vocab; j += group.lanes())
        sum += exponential(to_f32(logits[first + j]) - best.value);
    sum = group.sum(sum);
    float log_sum = ln(sum), factor = scale / sum;
    bool counts = target != IGNORED;
    if (group.lane() == 0) {
        loss[row] = counts ? best.value + log_sum - to_f32(logits[first + target]) : 0.0f;
        correct[row] = counts && best.index == target ? 1.0f : 0.0f;
    }
    if (!dlogits) return;
    group.sync();  // dlogits may be logits: lane 0 has read the target's logit
    for (u32 j = group.lane(); j < vocab; j += group.lanes()) {
        float p = exponential(to_f32(logits[first + j]) - best.value) * factor;
        float d = j == target ? p - scale : p;
        dlogits[first + j] = from_f32<T>(counts ? d : 0.0f);
    }
}

template <class T>
DEVICE void softmax_xent_warp(ptr<const T> logits, ptr<const u32> targets, ptr<T> dlogits,
                              ptr<float> loss, ptr<float> correct, ptr<const float> scale, u32 rows,
                              u32 vocab) {
    u32 warps = threads() / 32, row = block_x() * warps + thread_x() / 32;
    if (row >= rows) return;  // whole warps leave; no block barrier follows
    score(Warp(), logits, targets[row], dlogits, loss, correct, row, vocab,
          scale ? scale[0] : 1.0f);
}

template <class T>
DEVICE void softmax_xent_block(ptr<const T> logits, ptr<const u32> targets, ptr<T> dlogits,
                               ptr<float> loss, ptr<float> correct, ptr<const float> scale,
                               u32 vocab) {
    SHARED(float, values, 32);
    SHARED(u32, indices, 32);
    u32 row = block_x();
    score(Wide{values + 0, indices + 0}, logits, targets[row], dlogits, loss, correct, row, vocab,
          scale ? scale[0] : 1.0f);
}

// ---- kernels -------------------------------------------------------------------------------

// logits, dlogits [N, V] (they may be the same; dlogits may be null: no gradient); targets [N],
// below V or IGNORED; loss [N] f32; correct [N] f32, 1 where the largest logit (lowest index of a
// tie) is the target's; scale [1] f32 or null: 1.
#define SOFTMAX_XENT(T, suffix)                                                                    \
    KERNEL(softmax_xent_warp_##suffix, ptr<const T> logits, ptr<const u32> targets,                \
           ptr<T> dlogits, ptr<float> loss, ptr<float> correct, ptr<const float> scale, u32 rows,  \
           u32 vocab) {                                                                            \
        softmax_xent_warp(logits, targets, dlogits, loss, correct, scale, rows, vocab);            \
    }                                                                                              \
    KERNEL(softmax_xent_block_##suffix, ptr<const T> logits, ptr<const u32> targets,               \
           ptr<T> dlogits, ptr<float> loss, ptr<float> correct, ptr<const float> scale,            \
           u32 vocab) {                                                                            \
        softmax_xent_block(logits, targets, dlogits, loss, correct, scale, vocab);                 \
    }

SOFTMAX_XENT(float, f32)
SOFTMAX_XENT(half, f16)
