// The Gaussian error linear unit in its tanh form (Hendrycks & Gimpel 2016) and its gradient. As
// (1 + tanh(z)) / 2 = sigmoid(2 z):
//
//   s = sigmoid(2 z)      2 z = sqrt(8 / pi) (x + 0.044715 x^3)
//   y = x s               dx = dy (s + x s (1 - s) (2 z)')
//
// Launch shape: per element (eight a thread).
#include "device.cuh"

constexpr float ROOT = 1.5957691216057308f, CUBE = 0.044715f;

template <class T>
DEVICE void gelu_fwd(ptr<const T> x, ptr<T> y, u64 n) {
    u64 i = first_element();
    if (i >= n) return;
    float v[GROUP];
    load8(x, i, n, v);
    for (u32 j = 0; j < GROUP; j++)
        v[j] = v[j] * sigmoid(ROOT * v[j] * (1.0f + CUBE * v[j] * v[j]));
    store8(y, i, n, v);
}

template <class T>
DEVICE void gelu_bwd(ptr<const T> dy, ptr<const T> x, ptr<T> dx, u64 n) {
    u64 i = first_element();
    if (i >= n) return;
    float d[GROUP], v[GROUP];
    load8(dy, i, n, d);
    load8(x, i, n, v);
    for (u32 j = 0; j < GROUP; j++) {
        float square = CUBE * v[j] * v[j], s = sigmoid(ROOT * v[j] * (1.0f + square));
        // Where s (1 - s) is zero the slope may be anything, infinite too.
        float slope = s * (1.0f - s);
        if (slope > 0.0f) slope *= v[j] * ROOT * (1.0f + 3.0f * square);
        d[j] *= s + slope;
    }
    store8(dx, i, n, d);
}

// ---- kernels -------------------------------------------------------------------------------

// x, y, dy, dx [n]
#define GELU(T, suffix)                                                                            \
    KERNEL(gelu_fwd_##suffix, ptr<const T> x, ptr<T> y, u64 n) { gelu_fwd(x, y, n); }              \
    KERNEL(gelu_bwd_##suffix, ptr<const T> dy, ptr<const T> x, ptr<T> dx, u64 n) {                 \
        gelu_bwd(dy, x, dx, n);                                                                    \
    }

GELU(float, f32)
GELU(half, f16)
