// One step of a tanh RNN over packed sequences, after its matrix product (Elman 1990):
//
//   h = tanh(z + x + b)        dz = dh (1 - h^2)
//
// Launch shape: per unit, one thread each; rows * H is below 2^32.
#include "device.cuh"

// ---- forward -------------------------------------------------------------------------------

template <class T>
DEVICE void gates_fwd(ptr<const float> z, ptr<const T> x, ptr<const u32> ids, ptr<const T> bias,
                      ptr<T> h, ptr<T> h_n, u32 rows, u32 hidden, u32 next, u32 ways) {
    u32 at = block_x() * threads() + thread_x();
    if (at >= rows * hidden) return;
    u32 row = at / hidden, unit = at % hidden;
    float sum = 0.0f;
    if (z) sum += z[at];
    if (x) sum += to_f32(x[u64(ids ? ids[row] : row) * hidden + unit]);
    if (bias) sum += to_f32(bias[row % ways * hidden + unit]);
    T y = from_f32<T>(tanh_exact(sum));
    h[at] = y;
    if (row >= next) h_n[at] = y;
}

// ---- backward ------------------------------------------------------------------------------

template <class T>
DEVICE void gates_bwd(ptr<const T> dy, ptr<const float> dh, ptr<const T> h, ptr<const T> h_prev,
                      ptr<T> dz, ptr<T> h_before, u32 rows, u32 hidden) {
    u32 at = block_x() * threads() + thread_x();
    if (at >= rows * hidden) return;
    float d = 0.0f;
    if (dy) d += to_f32(dy[at]);
    d += dh[at];
    float y = to_f32(h[at]);
    dz[at] = from_f32<T>(d * (1.0f - y * y));
    if (h_before) h_before[at] = h_prev ? h_prev[at] : from_f32<T>(0.0f);
}

// ---- kernels -------------------------------------------------------------------------------

// All matrices are those of the n sequences that are longer than t, the first n of the batch.
// z [n, H] f32: h_{t-1} W_hh^T; x [n, H]: x_t W_ih^T, or with ids [n] the gate table [V, H] whose
// rows they name; bias [ways, H]: row r's is number r mod ways, where several layers of one shape take
// turns in the rows; h [n, H]; h_n [B, H]: its rows from `next` to n end with this step.
// dy [n, H]: gradient of h; dh [n, H] f32: from the next step, or from h_n; h_prev [n, H];
// dz [n, H]; h_before [n, H]: a copy of h_prev, which stands beside those of the other steps.
// z, x, ids, bias, dy and h_prev may be null: they count as zero. h_before may be null where it is
// not wanted.
#define RNN(T, suffix)                                                                             \
    KERNEL(rnn_gates_fwd_##suffix, ptr<const float> z, ptr<const T> x, ptr<const u32> ids,         \
           ptr<const T> bias, ptr<T> h, ptr<T> h_n, u32 rows, u32 hidden, u32 next, u32 ways) {    \
        gates_fwd(z, x, ids, bias, h, h_n, rows, hidden, next, ways);                              \
    }                                                                                              \
    KERNEL(rnn_gates_bwd_##suffix, ptr<const T> dy, ptr<const float> dh, ptr<const T> h,           \
           ptr<const T> h_prev, ptr<T> dz, ptr<T> h_before, u32 rows, u32 hidden) {                \
        gates_bwd(dy, dh, h, h_prev, dz, h_before, rows, hidden);                                  \
    }

RNN(float, f32)
RNN(half, f16)
