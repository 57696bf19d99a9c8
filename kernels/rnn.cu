// One step of a tanh RNN over packed sequences, after its matrix product (Elman 1990):
//
//   h = tanh(z + x + b)        dz = dh (1 - h^2)
//
// Launch shape: per unit, one thread each.
#include "device.cuh"

// ---- forward -------------------------------------------------------------------------------

template <class T>
DEVICE void rnn_fwd(ptr<const float> z, ptr<const T> x, ptr<const T> bias, ptr<T> h, ptr<T> h_n,
                    u32 rows, u32 hidden, u32 next) {
    u64 at = u64(block_x()) * threads() + thread_x();
    if (at >= u64(rows) * hidden) return;
    float sum = 0.0f;
    if (z) sum += z[at];
    if (x) sum += to_f32(x[at]);
    if (bias) sum += to_f32(bias[at % hidden]);
    T y = from_f32<T>(tanh_exact(sum));
    h[at] = y;
    if (at / hidden >= next) h_n[at] = y;
}

// ---- backward ------------------------------------------------------------------------------

template <class T>
DEVICE void rnn_bwd(ptr<const T> dy, ptr<const float> dh, ptr<const T> h, ptr<const T> h_prev,
                    ptr<T> dz, ptr<T> before, u32 rows, u32 hidden) {
    u64 at = u64(block_x()) * threads() + thread_x();
    if (at >= u64(rows) * hidden) return;
    float d = 0.0f;
    if (dy) d += to_f32(dy[at]);
    if (dh) d += dh[at];
    float y = to_f32(h[at]);
    dz[at] = from_f32<T>(d * (1.0f - y * y));
    before[at] = h_prev ? h_prev[at] : from_f32<T>(0.0f);
}

// ---- kernels -------------------------------------------------------------------------------

// All matrices are those of the n sequences that are longer than t, the first n of the batch.
// z [n, H] f32: h_{t-1} W_hh^T; x [n, H]: x_t W_ih^T; bias [H]; h [n, H], which may be x;
// h_n [B, H]: its rows from `next` to n end with this step.
// dy [n, H]: gradient of h; dh [n, H] f32: from the next step, or from h_n; h_prev [n, H];
// dz [n, H]; before [n, H]: a copy of h_prev, which stands beside those of the other steps.
// z, x, bias, dy, dh and h_prev may be null: they count as zero.
#define RNN(T, suffix)                                                                             \
    KERNEL(rnn_fwd_##suffix, ptr<const float> z, ptr<const T> x, ptr<const T> bias, ptr<T> h,      \
           ptr<T> h_n, u32 rows, u32 hidden, u32 next) {                                           \
        rnn_fwd(z, x, bias, h, h_n, rows, hidden, next);                                           \
    }                                                                                              \
    KERNEL(rnn_bwd_##suffix, ptr<const T> dy, ptr<const float> dh, ptr<const T> h,                 \
           ptr<const T> h_prev, ptr<T> dz, ptr<T> before, u32 rows, u32 hidden) {                  \
        rnn_bwd(dy, dh, h, h_prev, dz, before, rows, hidden);                                      \
    }

RNN(float, f32)
RNN(half, f16)
