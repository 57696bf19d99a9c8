// The gates of one LSTM step over packed sequences after its matrix product, forward and backward
// (Hochreiter & Schmidhuber 1997 with the forget gate of Gers et al. 2000). Gate order i, f, g, o.
//
//   z = h_{t-1} W_hh^T + (x_t W_ih^T, or a row of the gate table) + b
//   i, f, o = sigmoid(z_i, z_f, z_o)    g = tanh(z_g)
//   c = f c_{t-1} + i g                 h = o tanh(c)
//
// Launch shape: per unit, one thread each; rows * H is below 2^32.
#include "device.cuh"

// ---- forward -------------------------------------------------------------------------------

template <class T>
DEVICE void gates_fwd(ptr<const float> z, ptr<const T> x, ptr<const u32> ids, ptr<const T> bias,
                      ptr<const float> c_prev, ptr<T> gates, ptr<float> c, ptr<T> h,
                      ptr<float> c_n, ptr<T> h_n, u32 rows, u32 hidden, u32 next, u32 ways,
                      u32 pitch) {
    u32 at = block_x() * threads() + thread_x();
    if (at >= rows * hidden) return;
    u32 row = at / hidden, unit = at % hidden;
    // First what no other kernel has just written: it is on its way while the product is waited for.
    float before = c_prev ? c_prev[at] : 0.0f;
    u64 to = u64(row) * 4 * hidden + unit, sum = u64(row) * pitch + unit;
    u64 from = u64(ids ? ids[row] : row) * 4 * hidden + unit;
    u32 biases = row % ways * 4 * hidden + unit;
    float a[4];
    for (u32 k = 0; k < 4; k++) {
        a[k] = 0.0f;
        if (z) a[k] += z[sum + k * hidden];
        if (x) a[k] += to_f32(x[from + k * hidden]);
        if (bias) a[k] += to_f32(bias[biases + k * hidden]);
    }
    float i = sigmoid(a[0]), f = sigmoid(a[1]), g = tanh_exact(a[2]), o = sigmoid(a[3]);
    float cell = i * g + f * before;
    T y = from_f32<T>(o * tanh_exact(cell));
    if (gates) {
        gates[to] = from_f32<T>(i);
        gates[to + hidden] = from_f32<T>(f);
        gates[to + 2 * hidden] = from_f32<T>(g);
        gates[to + 3 * hidden] = from_f32<T>(o);
    }
    c[at] = cell;
    h[at] = y;
    if (row >= next) {
        c_n[at] = cell;
        h_n[at] = y;
    }
}

// ---- backward ------------------------------------------------------------------------------

// dh = dy + what the next step sends back
// do = dh tanh(c)                       dz_o = do o (1 - o)
// dc = dc_next + dh o (1 - tanh(c)^2)
// di = dc g, df = dc c_{t-1}, dg = dc i
// dz_i = di i (1 - i), dz_f = df f (1 - f), dz_g = dg (1 - g^2)
// dc_{t-1} = dc f
template <class T>
DEVICE void gates_bwd(ptr<const T> dy, ptr<const float> dh_next, ptr<const float> dc_next,
                      ptr<const T> gates, ptr<const float> c, ptr<const float> c_prev,
                      ptr<const T> h_prev, ptr<T> dz, ptr<float> dc_prev, ptr<T> h_before, u32 rows,
                      u32 hidden, u32 pitch) {
    u32 at = block_x() * threads() + thread_x();
    if (at >= rows * hidden) return;
    float before = c_prev ? c_prev[at] : 0.0f;
    u64 from = u64(at / hidden) * 4 * hidden + at % hidden;
    u64 to = u64(at / hidden) * pitch + at % hidden;
    float i = to_f32(gates[from]), f = to_f32(gates[from + hidden]);
    float g = to_f32(gates[from + 2 * hidden]), o = to_f32(gates[from + 3 * hidden]);
    float dh = 0.0f, dc = 0.0f;
    if (dy) dh += to_f32(dy[at]);
    dh += dh_next[at];
    dc += dc_next[at];
    float tanh_c = tanh_exact(c[at]);
    dc += dh * o * (1.0f - tanh_c * tanh_c);
    dz[to] = from_f32<T>(dc * g * i * (1.0f - i));
    dz[to + hidden] = from_f32<T>(dc * before * f * (1.0f - f));
    dz[to + 2 * hidden] = from_f32<T>(dc * i * (1.0f - g * g));
    dz[to + 3 * hidden] = from_f32<T>(dh * tanh_c * o * (1.0f - o));
    dc_prev[at] = dc * f;
    if (h_before) h_before[at] = h_prev ? h_prev[at] : from_f32<T>(0.0f);
}

// ---- kernels -------------------------------------------------------------------------------

// All matrices are those of the n sequences that are longer than t, the first n of the batch.
// z [n, 4H] f32; x [n, 4H], or with ids [n] the gate table [V, 4H] whose rows they name;
// bias [ways, 4H]: row r's is number r mod ways, where several layers of one shape take turns in the
// rows; c_prev, c [n, H] f32; gates [n, 4H] activated; h [n, H]; c_n [B, H] f32 and h_n [B, H]: the
// sequences from `next` to n end with this step, and theirs are written.
// dy [n, H]; dh_next, dc_next, dc_prev [n, H] f32: from the next step, or from h_n and c_n;
// dz [n, 4H]; h_before [n, H]: a copy of h_prev [n, H], to stand beside those of the other steps.
// z, x, ids, bias, c_prev, dy and h_prev may be null and count as zero; gates and h_before may be
// null where they are not wanted. dc_prev may be dc_next, and c may be c_prev.
// lstm_beside_*: the same of one layer, where z and dz are columns of rows of `pitch` elements.
#define LSTM(T, suffix)                                                                            \
    KERNEL(lstm_gates_fwd_##suffix, ptr<const float> z, ptr<const T> x, ptr<const u32> ids,        \
           ptr<const T> bias, ptr<const float> c_prev, ptr<T> gates, ptr<float> c, ptr<T> h,       \
           ptr<float> c_n, ptr<T> h_n, u32 rows, u32 hidden, u32 next, u32 ways) {                 \
        gates_fwd(z, x, ids, bias, c_prev, gates, c, h, c_n, h_n, rows, hidden, next, ways,        \
                  4 * hidden);                                                                     \
    }                                                                                              \
    KERNEL(lstm_gates_bwd_##suffix, ptr<const T> dy, ptr<const float> dh_next,                     \
           ptr<const float> dc_next, ptr<const T> gates, ptr<const float> c,                       \
           ptr<const float> c_prev, ptr<const T> h_prev, ptr<T> dz, ptr<float> dc_prev,            \
           ptr<T> h_before, u32 rows, u32 hidden) {                                                \
        gates_bwd(dy, dh_next, dc_next, gates, c, c_prev, h_prev, dz, dc_prev, h_before, rows,     \
                  hidden, 4 * hidden);                                                             \
    }                                                                                              \
    KERNEL(lstm_beside_fwd_##suffix, ptr<const float> z, ptr<const T> x, ptr<const u32> ids,       \
           ptr<const T> bias, ptr<const float> c_prev, ptr<T> gates, ptr<float> c, ptr<T> h,       \
           ptr<float> c_n, ptr<T> h_n, u32 rows, u32 hidden, u32 next, u32 pitch) {                \
        gates_fwd(z, x, ids, bias, c_prev, gates, c, h, c_n, h_n, rows, hidden, next, 1, pitch);   \
    }                                                                                              \
    KERNEL(lstm_beside_bwd_##suffix, ptr<const T> dy, ptr<const float> dh_next,                    \
           ptr<const float> dc_next, ptr<const T> gates, ptr<const float> c,                       \
           ptr<const float> c_prev, ptr<const T> h_prev, ptr<T> dz, ptr<float> dc_prev,            \
           ptr<T> h_before, u32 rows, u32 hidden, u32 pitch) {                                     \
        gates_bwd(dy, dh_next, dc_next, gates, c, c_prev, h_prev, dz, dc_prev, h_before, rows,     \
                  hidden, pitch);                                                                  \
    }

LSTM(float, f32)
LSTM(half, f16)
