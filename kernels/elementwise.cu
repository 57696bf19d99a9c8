// c = a + b, c = a - b, c = a * b, y = factor * x, y = sigmoid(x), y = tanh(x); their gradients.
//
// Launch shape: per element (eight a thread).
#include "device.cuh"

// ---- forward -------------------------------------------------------------------------------

template <class T, class F>
DEVICE void map2(ptr<const T> a, ptr<const T> b, ptr<T> c, u64 n, F f) {
    u64 i = first_element();
    if (i >= n) return;
    float x[GROUP], y[GROUP];
    load8(a, i, n, x);
    load8(b, i, n, y);
    for (u32 j = 0; j < GROUP; j++) x[j] = f(x[j], y[j]);
    store8(c, i, n, x);
}

struct Add {
    DEVICE float operator()(float a, float b) const { return a + b; }
};
struct Sub {
    DEVICE float operator()(float a, float b) const { return a - b; }
};
struct Mul {
    DEVICE float operator()(float a, float b) const { return a * b; }
};

template <class T, class F>
DEVICE void map1(ptr<const T> x, ptr<T> y, u64 n, F f) {
    u64 i = first_element();
    if (i >= n) return;
    float v[GROUP];
    load8(x, i, n, v);
    for (u32 j = 0; j < GROUP; j++) v[j] = f(v[j]);
    store8(y, i, n, v);
}

struct Scale {
    float factor;
    DEVICE float operator()(float x) const { return factor * x; }
};
struct Sigmoid {
    DEVICE float operator()(float x) const { return sigmoid(x); }
};
struct Tanh {
    DEVICE float operator()(float x) const { return tanh_exact(x); }
};

// ---- backward ------------------------------------------------------------------------------

// dx = dy y (1 - y), in terms of the output
struct SigmoidBwd {
    DEVICE float operator()(float dy, float y) const { return dy * y * (1.0f - y); }
};
// dx = dy (1 - y^2)
struct TanhBwd {
    DEVICE float operator()(float dy, float y) const { return dy * (1.0f - y * y); }
};

// ---- kernels -------------------------------------------------------------------------------
// The gradients of products are mul again, those of differences and of scale are scale.

#define ELEMENTWISE(T, suffix)                                                                    \
    /* a, b, c [n] */                                                                             \
    KERNEL(add_##suffix, ptr<const T> a, ptr<const T> b, ptr<T> c, u64 n) {                       \
        map2(a, b, c, n, Add());                                                                  \
    }                                                                                             \
    KERNEL(sub_##suffix, ptr<const T> a, ptr<const T> b, ptr<T> c, u64 n) {                       \
        map2(a, b, c, n, Sub());                                                                  \
    }                                                                                             \
    KERNEL(mul_##suffix, ptr<const T> a, ptr<const T> b, ptr<T> c, u64 n) {                       \
        map2(a, b, c, n, Mul());                                                                  \
    }                                                                                             \
    /* x, y [n] */                                                                                \
    KERNEL(scale_##suffix, ptr<const T> x, ptr<T> y, float factor, u64 n) {                       \
        map1(x, y, n, Scale{factor});                                                             \
    }                                                                                             \
    KERNEL(sigmoid_fwd_##suffix, ptr<const T> x, ptr<T> y, u64 n) { map1(x, y, n, Sigmoid()); }   \
    KERNEL(tanh_fwd_##suffix, ptr<const T> x, ptr<T> y, u64 n) { map1(x, y, n, Tanh()); }         \
    /* dy, y, dx [n] */                                                                           \
    KERNEL(sigmoid_bwd_##suffix, ptr<const T> dy, ptr<const T> y, ptr<T> dx, u64 n) {             \
        map2(dy, y, dx, n, SigmoidBwd());                                                         \
    }                                                                                             \
    KERNEL(tanh_bwd_##suffix, ptr<const T> dy, ptr<const T> y, ptr<T> dx, u64 n) {                \
        map2(dy, y, dx, n, TanhBwd());                                                            \
    }

ELEMENTWISE(float, f32)
ELEMENTWISE(half, f16)
