// Scaled dot-product attention of several heads and its gradients (Vaswani et al. 2017, section 3.2).
// Of query i of a sequence and key j of it, in the columns of a head:
//
//   s_ij = q_i . k_j / sqrt(depth)      p_ij = exp(s_ij) / sum over the visible keys of exp(s_ij)
//   c_i = sum_j p_ij v_j                alpha_ij = mean over the heads of p_ij
//
// and with dp_ij = dc_i . v_j + dalpha_ij / heads, ds_ij = p_ij (dp_ij - sum_j p_ij dp_ij):
//
//   dq_i = sum_j ds_ij k_j / sqrt(depth)    dk_j = sum_i ds_ij q_i / sqrt(depth)    dv_j = sum_i p_ij dc_i
//
// Sequences have no padding. A causal query sees the keys up to its own place, where the last query of
// a sequence stands at its last key.
//
// Launch shape: per row. A block has query (or key) x % longest of sequence x / longest, none of one
// that is shorter; its warps take the heads in turn. A lane has keys (queries) lane, lane + 32, ..,
// whose weights meet in dynamic shared memory; then it has columns of the head.
#include "device.cuh"

// Where the rows of each sequence stand in a matrix.
struct Sequences {
    ptr<const u32> offsets;  // [B + 1], or null: element after element, of all sequences
    ptr<const u32> rows;     // [M], or null: sequence after sequence
    u32 longest, batch;

    DEVICE u32 length(u32 b) const { return offsets ? offsets[b + 1] - offsets[b] : longest; }
    DEVICE u64 row(u32 b, u32 i) const {
        if (!offsets) return u64(i) * batch + b;
        return rows ? rows[offsets[b] + i] : offsets[b] + i;
    }
};

template <class T>
struct Attention {
    ptr<const T> q, k, v;
    Sequences queries, keys;
    u32 q_width, k_width;  // of a row of the matrix of queries; of keys and values
    u32 heads, depth, causal;
    float scale;

    // Keys that query i of a sequence sees.
    DEVICE u32 seen(u32 b, u32 i) const {
        u32 n = keys.length(b);
        return causal ? i + 1 + n - queries.length(b) : n;
    }
    DEVICE u64 query(u32 b, u32 i, u32 head) const {
        return queries.row(b, i) * q_width + head * depth;
    }
    DEVICE u64 key(u32 b, u32 j, u32 head) const {
        return keys.row(b, j) * k_width + head * depth;
    }
    // Of columns of a head of two matrices.
    DEVICE float dot(ptr<const T> a, u64 at_a, ptr<const T> b, u64 at_b) const {
        float sum = 0.0f, x[GROUP], y[GROUP];
        for (u32 c = 0; c < depth; c += GROUP) {
            load8(a, at_a + c, at_a + depth, x);
            load8(b, at_b + c, at_b + depth, y);
            for (u32 j = 0; j < GROUP; j++) sum += x[j] * y[j];
        }
        return sum;
    }
};

DEVICE float warp_max(float x) {
    for (u32 lanes = 16; lanes > 0; lanes /= 2) {
        float other = shfl_xor(x, lanes);
        x = other > x ? other : x;
    }
    return x;
}

// ---- forward -------------------------------------------------------------------------------

template <class T>
DEVICE void dot_attention_fwd(Attention<T> a, ptr<T> context, ptr<float> sums, ptr<float> alpha) {
    u32 b = block_x() / a.queries.longest, i = block_x() % a.queries.longest;
    u32 lane = thread_x() % 32, warp = thread_x() / 32, positions = a.keys.longest;
    if (i >= a.queries.length(b)) return;  // the whole block
    u64 row = a.queries.row(b, i);
    u32 seen = a.seen(b, i);
    ptr<float> p = dynamic_shared<float>() + warp * positions;
    for (u32 head = warp; head < a.heads; head += threads() / 32) {
        u64 q = a.query(b, i, head);
        float largest = -float_of(0x7F800000), sum = 0.0f;
        for (u32 j = lane; j < seen; j += 32) {
            p[j] = a.dot(a.q, q, a.k, a.key(b, j, head)) * a.scale;
            largest = p[j] > largest ? p[j] : largest;
        }
        largest = warp_max(largest);
        for (u32 j = lane; j < seen; j += 32) {
            p[j] = exponential(p[j] - largest);
            sum += p[j];
        }
        sum = warp_sum(sum);
        for (u32 j = lane; j < seen; j += 32) p[j] /= sum;
        if (lane == 0) sums[row * a.heads + head] = largest + ln(sum);
        if (alpha)
            for (u32 j = lane; j < positions; j += 32) {
                float before = head == 0 ? 0.0f : alpha[row * positions + j];
                float share = j < seen ? p[j] / float(a.heads) : 0.0f;
                alpha[row * positions + j] = before + share;
            }
        syncwarp();
        for (u32 c = lane; c < a.depth; c += 32) {
            float x = 0.0f;
            for (u32 j = 0; j < seen; j++) x += p[j] * to_f32(a.v[a.key(b, j, head) + c]);
            context[(row * a.heads + head) * a.depth + c] = from_f32<T>(x);
        }
        syncwarp();
    }
}

// ---- backward ------------------------------------------------------------------------------

// What arrives from above, either may be null; and of each query's head the log of the sum of the
// exponentials, and the sum of p dp.
template <class T>
struct Above {
    ptr<const T> dcontext;
    ptr<const float> dalpha;
    ptr<const float> sums;
    ptr<float> dots;

    // dp of query i and key j.
    DEVICE float gradient(const Attention<T>& a, u32 b, u32 i, u32 j, u32 head) const {
        u64 row = a.queries.row(b, i);
        float d = 0.0f;
        if (dcontext)
            d = a.dot(dcontext, (row * a.heads + head) * a.depth, a.v, a.key(b, j, head));
        if (dalpha) d += dalpha[row * a.keys.longest + j] / float(a.heads);
        return d;
    }
    DEVICE float weight(const Attention<T>& a, u32 b, u32 i, u32 j, u32 head) const {
        float s = a.dot(a.q, a.query(b, i, head), a.k, a.key(b, j, head)) * a.scale;
        return exponential(s - sums[a.queries.row(b, i) * a.heads + head]);
    }
};

template <class T>
DEVICE void dot_attention_bwd_queries(Attention<T> a, Above<T> above, ptr<T> dq) {
    u32 b = block_x() / a.queries.longest, i = block_x() % a.queries.longest;
    u32 lane = thread_x() % 32, warp = thread_x() / 32, positions = a.keys.longest;
    if (i >= a.queries.length(b)) return;  // the whole block
    u64 row = a.queries.row(b, i);
    u32 seen = a.seen(b, i);
    ptr<float> p = dynamic_shared<float>() + 2 * warp * positions, d = p + positions;
    for (u32 head = warp; head < a.heads; head += threads() / 32) {
        float dot = 0.0f;
        for (u32 j = lane; j < seen; j += 32) {
            p[j] = above.weight(a, b, i, j, head);
            d[j] = above.gradient(a, b, i, j, head);
            dot += p[j] * d[j];
        }
        dot = warp_sum(dot);
        if (lane == 0) above.dots[row * a.heads + head] = dot;
        for (u32 j = lane; j < seen; j += 32) d[j] = p[j] * (d[j] - dot);
        syncwarp();
        for (u32 c = lane; c < a.depth; c += 32) {
            float x = 0.0f;
            for (u32 j = 0; j < seen; j++) x += d[j] * to_f32(a.k[a.key(b, j, head) + c]);
            dq[a.query(b, i, head) + c] = from_f32<T>(x * a.scale);
        }
        syncwarp();
    }
}

template <class T>
DEVICE void dot_attention_bwd_keys(Attention<T> a, Above<T> above, ptr<T> dk, ptr<T> dv) {
    u32 b = block_x() / a.keys.longest, j = block_x() % a.keys.longest;
    u32 lane = thread_x() % 32, warp = thread_x() / 32;
    if (j >= a.keys.length(b)) return;  // the whole block
    u32 last = a.queries.length(b), first = 0;
    // The first query that sees key j.
    if (a.causal && j + last > a.keys.length(b)) first = j + last - a.keys.length(b);
    ptr<float> p = dynamic_shared<float>() + 2 * warp * a.queries.longest;
    ptr<float> d = p + a.queries.longest;
    for (u32 head = warp; head < a.heads; head += threads() / 32) {
        for (u32 i = first + lane; i < last; i += 32) {
            float dot = above.dots[a.queries.row(b, i) * a.heads + head];
            p[i] = above.weight(a, b, i, j, head);
            d[i] = p[i] * (above.gradient(a, b, i, j, head) - dot);
        }
        syncwarp();
        for (u32 c = lane; c < a.depth; c += 32) {
            float of_key = 0.0f, of_value = 0.0f;
            for (u32 i = first; i < last; i++) {
                u64 row = a.queries.row(b, i);
                of_key += d[i] * to_f32(a.q[a.query(b, i, head) + c]);
                if (above.dcontext)
                    of_value +=
                        p[i] * to_f32(above.dcontext[(row * a.heads + head) * a.depth + c]);
            }
            dk[a.key(b, j, head) + c] = from_f32<T>(of_key * a.scale);
            dv[a.key(b, j, head) + c] = from_f32<T>(of_value);
        }
        syncwarp();
    }
}

// ---- kernels -------------------------------------------------------------------------------

// q are columns of rows of q_width elements, k and v of rows of k_width; the sequences of both as
// above, q_longest and k_longest their longest; heads * depth = D.
//   context [N, D]; sums [N, heads] f32: the log of the sum of the exponentials of s; alpha [N,
//   k_longest] f32 or null: then a block has one warp.
// Backward, with the sums of the same pass:
//   dcontext [N, D] and dalpha [N, k_longest] f32: either may be null: zero. dots [N, heads] f32: the
//   sums of p dp, which bwd_queries writes and bwd_keys reads. dq as q, dk and dv as k: overwritten.
// Dynamic shared memory of a warp: k_longest floats forward, twice as many in bwd_queries, and twice
// q_longest in bwd_keys.
#define READ(T)                                                                                    \
    ptr<const T> q, ptr<const T> k, ptr<const T> v, ptr<const u32> q_offsets,                      \
        ptr<const u32> q_rows, u32 q_longest, ptr<const u32> k_offsets, ptr<const u32> k_rows,     \
        u32 k_longest
#define SIZES                                                                                      \
    u32 q_width, u32 k_width, u32 batch, u32 heads, u32 depth, u32 causal, float scale
#define ATTENTION(T)                                                                               \
    Attention<T> a{q, k, v, Sequences{q_offsets, q_rows, q_longest, batch},                        \
                   Sequences{k_offsets, k_rows, k_longest, batch}, q_width, k_width, heads, depth, \
                   causal, scale}

#define DOT_ATTENTION(T, suffix)                                                                   \
    KERNEL(dot_attention_fwd_##suffix, READ(T), ptr<T> context, ptr<float> sums,                   \
           ptr<float> alpha, SIZES) {                                                              \
        ATTENTION(T);                                                                              \
        dot_attention_fwd(a, context, sums, alpha);                                                \
    }                                                                                              \
    KERNEL(dot_attention_bwd_queries_##suffix, READ(T), ptr<const T> dcontext,                     \
           ptr<const float> dalpha, ptr<const float> sums, ptr<float> dots, ptr<T> dq, SIZES) {    \
        ATTENTION(T);                                                                              \
        dot_attention_bwd_queries(a, Above<T>{dcontext, dalpha, sums, dots}, dq);                  \
    }                                                                                              \
    KERNEL(dot_attention_bwd_keys_##suffix, READ(T), ptr<const T> dcontext,                        \
           ptr<const float> dalpha, ptr<const float> sums, ptr<float> dots, ptr<T> dk, ptr<T> dv,  \
           SIZES) {                                                                                \
        ATTENTION(T);                                                                              \
        dot_attention_bwd_keys(a, Above<T>{dcontext, dalpha, sums, dots}, dk, dv);                 \
    }

DOT_ATTENTION(float, f32)
DOT_ATTENTION(half, f16)
