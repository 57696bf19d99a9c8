// y = x in another storage type, rounded to nearest, ties to even.
//
// Launch shape: per element (eight a thread).
#include "device.cuh"

template <class From, class To>
DEVICE void cast(ptr<const From> x, ptr<To> y, u64 n) {
    u64 i = first_element();
    if (i >= n) return;
    float v[GROUP];
    load8(x, i, n, v);
    store8(y, i, n, v);
}

// x [n], y [n]; what is too large for a half becomes infinity
KERNEL(cast_f32_f16, ptr<const float> x, ptr<half> y, u64 n) { cast(x, y, n); }
KERNEL(cast_f16_f32, ptr<const half> x, ptr<float> y, u64 n) { cast(x, y, n); }
