// c = a + b, c = a * b, y = sigmoid(x), y = tanh(x), and y = x + bias in each row; their gradients.
//
// Launch shape: per element (eight a thread), but for the bias: per row.
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

struct Sigmoid {
    DEVICE float operator()(float x) const { return sigmoid(x); }
};
struct Tanh {
    DEVICE float operator()(float x) const { return tanh_exact(x); }
};

// A block takes rows block_x, block_x + grid_x, ...; its threads go over the columns.
template <class T>
DEVICE void add_bias(ptr<const T> x, ptr<const T> bias, ptr<T> y, u32 rows, u32 columns) {
    for (u32 r = block_x(); r < rows; r += grid_x())
        for (u32 j = thread_x(); j < columns; j += threads()) {
            u64 at = u64(r) * columns + j;
            y[at] = from_f32<T>(to_f32(x[at]) + to_f32(bias[j]));
        }
}

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
// The sums behind db are reduce.cu's column_sum; products' gradients are mul again.

#define ELEMENTWISE(T, suffix)                                                                    \
    /* a, b, c [n] */                                                                             \
    KERNEL(add_##suffix, ptr<const T> a, ptr<const T> b, ptr<T> c, u64 n) {                       \
        map2(a, b, c, n, Add());                                                                  \
    }                                                                                             \
    KERNEL(mul_##suffix, ptr<const T> a, ptr<const T> b, ptr<T> c, u64 n) {                       \
        map2(a, b, c, n, Mul());                                                                  \
    }                                                                                             \
    /* x, y [n] */                                                                                \
    KERNEL(sigmoid_fwd_##suffix, ptr<const T> x, ptr<T> y, u64 n) { map1(x, y, n, Sigmoid()); }   \
    KERNEL(tanh_fwd_##suffix, ptr<const T> x, ptr<T> y, u64 n) { map1(x, y, n, Tanh()); }         \
    /* dy, y, dx [n] */                                                                           \
    KERNEL(sigmoid_bwd_##suffix, ptr<const T> dy, ptr<const T> y, ptr<T> dx, u64 n) {             \
        map2(dy, y, dx, n, SigmoidBwd());                                                         \
    }                                                                                             \
    KERNEL(tanh_bwd_##suffix, ptr<const T> dy, ptr<const T> y, ptr<T> dx, u64 n) {                \
        map2(dy, y, dx, n, TanhBwd());                                                            \
    }                                                                                             \
    /* x [rows, columns], bias [columns], y [rows, columns] */                                    \
    KERNEL(add_bias_##suffix, ptr<const T> x, ptr<const T> bias, ptr<T> y, u32 rows,              \
           u32 columns) {                                                                         \
        add_bias(x, bias, y, rows, columns);                                                      \
    }

ELEMENTWISE(float, f32)
ELEMENTWISE(half, f16)
