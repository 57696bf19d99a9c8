// One step of a tanh RNN after its matrix product (Elman 1990):
//
//   h = tanh(z + x + b)        dz = dh (1 - h^2)
//
// Launch shape: per unit, one thread each.
#include "device.cuh"

// ---- forward -------------------------------------------------------------------------------

template <class T>
DEVICE void rnn_fwd(ptr<const float> z, ptr<const T> x, ptr<const T> bias, ptr<T> h, u32 rows,
                    u32 hidden) {
    u64 at = u64(block_x()) * threads() + thread_x();
    if (at >= u64(rows) * hidden) return;
    float sum = 0.0f;
    if (z) sum += z[at];
    if (x) sum += to_f32(x[at]);
    if (bias) sum += to_f32(bias[at % hidden]);
    h[at] = from_f32<T>(tanh_exact(sum));
}

// ---- backward ------------------------------------------------------------------------------

template <class T>
DEVICE void rnn_bwd(ptr<const T> dy, ptr<const float> dh, ptr<const T> h, ptr<T> dz, u32 rows,
                    u32 hidden) {
    u64 at = u64(block_x()) * threads() + thread_x();
    if (at >= u64(rows) * hidden) return;
    float d = 0.0f;
    if (dy) d += to_f32(dy[at]);
    if (dh) d += dh[at];
    float y = to_f32(h[at]);
    dz[at] = from_f32<T>(d * (1.0f - y * y));
}

// ---- kernels -------------------------------------------------------------------------------

// z [B, H] f32: h_{t-1} W_hh^T; x [B, H]: x_t W_ih^T; bias [H]; h [B, H].
// dy [B, H]: gradient of this step's output; dh [B, H] f32: from the next step; dz [B, H].
// z, x, bias, dy and dh may be null: they count as zero.
#define RNN(T, suffix)                                                                             \
    KERNEL(rnn_fwd_##suffix, ptr<const float> z, ptr<const T> x, ptr<const T> bias, ptr<T> h,      \
           u32 rows, u32 hidden) {                                                                 \
        rnn_fwd(z, x, bias, h, rows, hidden);                                                      \
    }                                                                                              \
    KERNEL(rnn_bwd_##suffix, ptr<const T> dy, ptr<const float> dh, ptr<const T> h, ptr<T> dz,      \
           u32 rows, u32 hidden) {                                                                 \
        rnn_bwd(dy, dh, h, dz, rows, hidden);                                                      \
    }

RNN(float, f32)
RNN(half, f16)
