// One decoder step of additive attention without its matrix products, forward and backward
// (Bahdanau, Cho, Bengio 2015, section 3.1 and appendix A.1.2). Step i, source positions j:
//
//   e_ij = v_a . tanh(W_a s_{i-1} + b + U_a h_j)       q = W_a s_{i-1}, keys k_j = U_a h_j
//   alpha_ij = exp(e_ij) / sum_k exp(e_ik)
//   c_i = sum_j alpha_ij h_j
//
// Sources have no padding: the positions of row b are the rows offsets[b] .. offsets[b + 1] of the
// keys and values. A row without positions has a context of zeros.
//
// Launch shape: per row of the batch. The grid has a block for each of the n rows whose target is
// longer than i, the first of the batch; block a multiple of 32 threads up to 512 (backward takes up
// to 86 registers a thread), 4 S bytes of dynamic shared memory.
#include "device.cuh"

// Largest over the threads of a block (a multiple of 32), in all of them. `scratch` has 32
// elements.
DEVICE float block_max(float x, ptr<float> scratch) {
    for (u32 lanes = 16; lanes > 0; lanes /= 2) {
        float other = shfl_xor(x, lanes);
        x = other > x ? other : x;
    }
    block_sync();  // the scratch may still be read by an earlier reduction
    if (thread_x() % 32 == 0) scratch[thread_x() / 32] = x;
    block_sync();
    for (u32 w = 0; w < threads() / 32; w++) x = scratch[w] > x ? scratch[w] : x;
    return x;
}

// Element a of W_a s_{i-1} + b.
template <class T>
DEVICE float query(ptr<const float> q, ptr<const T> bias, u64 row, u32 a, u32 pitch) {
    return q[row * pitch + a] + to_f32(bias[a]);
}

// ---- forward -------------------------------------------------------------------------------

// Warp w takes positions w, w + warps, ...; its lanes go over the A units of one position.
template <class T>
DEVICE void energies(ptr<const float> q, ptr<const T> bias, ptr<const T> keys, ptr<const T> v,
                     ptr<float> e, u64 start, u32 length, u32 units, u32 pitch) {
    u64 row = block_x();
    for (u32 j = thread_x() / 32; j < length; j += threads() / 32) {
        u64 at = (start + j) * units;
        float sum = 0.0f;
        for (u32 a = thread_x() % 32; a < units; a += 32)
            sum += to_f32(v[a]) *
                   tanh_exact(query(q, bias, row, a, pitch) + to_f32(keys[at + a]));
        sum = warp_sum(sum);
        if (thread_x() % 32 == 0) e[j] = sum;
    }
}

// e becomes alpha, in place. A thread touches positions thread, thread + threads, ... alone.
DEVICE void softmax(ptr<float> e, ptr<float> scratch, u32 length) {
    float largest = -float_of(0x7F800000), sum = 0.0f;
    for (u32 j = thread_x(); j < length; j += threads()) largest = e[j] > largest ? e[j] : largest;
    largest = block_max(largest, scratch);
    for (u32 j = thread_x(); j < length; j += threads()) {
        e[j] = exponential(e[j] - largest);
        sum += e[j];
    }
    sum = block_sum(sum, scratch);
    for (u32 j = thread_x(); j < length; j += threads()) e[j] /= sum;
}

template <class T>
DEVICE void attention_fwd(ptr<const float> q, ptr<const T> bias, ptr<const T> keys,
                          ptr<const T> values, ptr<const T> v, ptr<const u32> offsets,
                          ptr<float> alpha, ptr<T> context, u32 positions, u32 units, u32 depth,
                          u32 pitch) {
    SHARED(float, scratch, 32);
    ptr<float> e = dynamic_shared<float>();
    u64 row = block_x(), start = offsets[row];
    u32 length = offsets[row + 1] - u32(start);
    energies(q, bias, keys, v, e, start, length, units, pitch);
    block_sync();
    softmax(e, scratch, length);
    block_sync();
    for (u32 j = thread_x(); j < positions; j += threads())
        alpha[row * positions + j] = j < length ? e[j] : 0.0f;
    for (u32 d = thread_x(); d < depth; d += threads()) {
        float c = 0.0f;
        for (u32 j = 0; j < length; j++)
            c += e[j] * to_f32(values[(start + j) * depth + d]);
        context[row * depth + d] = from_f32<T>(c);
    }
}

// ---- backward ------------------------------------------------------------------------------

// Loads in flight a thread. An accumulated gradient is stored only after it has been loaded, and
// no later load may pass that store: so several are loaded before the first is stored.
constexpr u32 TILE = 8;

// dc_i = what the output layer sends back + what the decoder's cell sends back
// dalpha_ij = dc_i . h_j + what arrives from above, dh_j += alpha_ij dc_i
//
// Warps and lanes as in energies().
template <class T>
DEVICE void context_bwd(ptr<const T> dy, ptr<const float> above, ptr<const float> dcontext,
                        ptr<const float> alpha, ptr<const T> values, ptr<float> d_alpha,
                        ptr<float> dvalues, u64 start, u32 length, u32 positions, u32 depth) {
    u64 row = block_x();
    for (u32 j = thread_x() / 32; j < length; j += threads() / 32) {
        u64 at = (start + j) * depth;
        float weight = alpha[row * positions + j], dot = 0.0f;
        for (u32 first = thread_x() % 32; first < depth; first += 32 * TILE) {
            float dc[TILE], h[TILE], dh[TILE];
            for (u32 i = 0; i < TILE; i++) {
                u32 d = first + 32 * i;
                dc[i] = h[i] = dh[i] = 0.0f;
                if (d < depth) {
                    dc[i] = dcontext[row * depth + d];
                    if (dy) dc[i] += to_f32(dy[row * depth + d]);
                    h[i] = to_f32(values[at + d]);
                    dh[i] = dvalues[at + d];
                }
            }
            for (u32 i = 0; i < TILE; i++) {
                u32 d = first + 32 * i;
                dot += dc[i] * h[i];
                if (d < depth) dvalues[at + d] = dh[i] + weight * dc[i];
            }
        }
        dot = warp_sum(dot);
        if (thread_x() % 32 == 0)
            d_alpha[j] = above ? dot + above[row * positions + j] : dot;
    }
}

// de_ij = alpha_ij (dalpha_ij - sum_k alpha_ik dalpha_ik), in place.
DEVICE void softmax_bwd(ptr<const float> alpha, ptr<float> d, ptr<float> scratch, u32 length,
                        u32 positions) {
    u64 first = u64(block_x()) * positions;
    float dot = 0.0f;
    for (u32 j = thread_x(); j < length; j += threads()) dot += alpha[first + j] * d[j];
    dot = block_sum(dot, scratch);
    for (u32 j = thread_x(); j < length; j += threads()) d[j] = alpha[first + j] * (d[j] - dot);
}

// With t_j = tanh(q + b + k_j): dv_a += sum_j de_ij t_j, dk_j += de_ij v_a (1 - t_j^2), and dq is
// the sum of the latter over j. A thread takes units thread, thread + threads, ... and goes over
// the positions in their order.
template <class T>
DEVICE void energies_bwd(ptr<const float> q, ptr<const T> bias, ptr<const T> keys, ptr<const T> v,
                         ptr<const float> de, ptr<T> dq, ptr<float> dkeys, ptr<float> dv, u64 start,
                         u32 length, u32 units, u32 pitch) {
    u64 row = block_x();
    for (u32 a = thread_x(); a < units; a += threads()) {
        float x = query(q, bias, row, a, pitch), v_a = to_f32(v[a]), dq_a = 0.0f, dv_a = 0.0f;
        u64 at = start * units + a;
        for (u32 first = 0; first < length; first += TILE) {
            float k[TILE], dk[TILE];
            for (u32 i = 0; i < TILE; i++) {
                k[i] = dk[i] = 0.0f;
                if (first + i < length) {
                    k[i] = to_f32(keys[at + u64(first + i) * units]);
                    dk[i] = dkeys[at + u64(first + i) * units];
                }
            }
            for (u32 i = 0; i < TILE; i++)
                if (first + i < length) {
                    float t = tanh_exact(x + k[i]), d = de[first + i];
                    float du = d * v_a * (1.0f - t * t);
                    dv_a += d * t;
                    dq_a += du;
                    dkeys[at + u64(first + i) * units] = dk[i] + du;
                }
        }
        dq[row * pitch + a] = from_f32<T>(dq_a);
        dv[row * units + a] += dv_a;
    }
}

template <class T>
DEVICE void attention_bwd(ptr<const T> dy, ptr<const float> dalpha, ptr<const float> dcontext,
                          ptr<const float> q, ptr<const T> bias, ptr<const T> keys,
                          ptr<const T> values, ptr<const T> v, ptr<const u32> offsets,
                          ptr<const float> alpha, ptr<T> dq, ptr<float> dkeys, ptr<float> dvalues,
                          ptr<float> dv, u32 positions, u32 units, u32 depth, u32 pitch) {
    SHARED(float, scratch, 32);
    ptr<float> d = dynamic_shared<float>();
    u64 start = offsets[block_x()];
    u32 length = offsets[block_x() + 1] - u32(start);
    context_bwd(dy, dalpha, dcontext, alpha, values, d, dvalues, start, length, positions, depth);
    block_sync();
    softmax_bwd(alpha, d, scratch, length, positions);
    block_sync();
    energies_bwd<T>(q, bias, keys, v, d, dq, dkeys, dv, start, length, units, pitch);
}

// ---- kernels -------------------------------------------------------------------------------

// positions = S, the most of a row; units = A, depth = D. One step's tensors, and what all steps
// share, where M is the number of positions of all rows:
//   q [n, A] f32: W_a s_{i-1}, and dq, are the first columns of rows of `pitch` elements;
//   bias [A]; keys [M, A]: U_a h_j; values [M, D]: h_j; v [A]: v_a;
//   offsets [B + 1]; alpha [n, S] f32, exactly 0 past the row's positions; context [n, D]: c_i.
// Backward, with the alpha of the same step; tanh is computed again:
//   dy [n, D] and dcontext [n, D] f32, whose sum is dc_i: of the output layer over all steps at
//   once (it may be null: zero), and of this step's product.
//   dalpha [n, S] f32: what arrives at alpha from above; it may be null: zero.
//   dq [n, A]: overwritten; it is the gradient of the bias too, before the sum over rows.
//   dkeys [M, A] f32, dvalues [M, D] f32, dv [B, A] f32: added to what they hold, so they start at
//   zero and gather all steps. dv is a row's share: column_sum_f32 adds the rows up.
#define ATTENTION(T, suffix)                                                                       \
    KERNEL(attention_fwd_##suffix, ptr<const float> q, ptr<const T> bias, ptr<const T> keys,       \
           ptr<const T> values, ptr<const T> v, ptr<const u32> offsets, ptr<float> alpha,          \
           ptr<T> context, u32 positions, u32 units, u32 depth, u32 pitch) {                       \
        attention_fwd(q, bias, keys, values, v, offsets, alpha, context, positions, units, depth,  \
                      pitch);                                                                      \
    }                                                                                              \
    KERNEL(attention_bwd_##suffix, ptr<const T> dy, ptr<const float> dalpha,                       \
           ptr<const float> dcontext, ptr<const float> q, ptr<const T> bias, ptr<const T> keys,    \
           ptr<const T> values, ptr<const T> v, ptr<const u32> offsets, ptr<const float> alpha,    \
           ptr<T> dq, ptr<float> dkeys, ptr<float> dvalues, ptr<float> dv, u32 positions,          \
           u32 units, u32 depth, u32 pitch) {                                                      \
        attention_bwd(dy, dalpha, dcontext, q, bias, keys, values, v, offsets, alpha, dq, dkeys,   \
                      dvalues, dv, positions, units, depth, pitch);                                \
    }

ATTENTION(float, f32)
ATTENTION(half, f16)
