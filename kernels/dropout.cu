// Inverted dropout: y = x * keep / (1 - p) (Srivastava et al. 2014).
//
// Element i is kept if word i of the Philox stream is at least p * 2^32: the mask of
// src/ops/dropout.rs, bit for bit. It is saved as bits: bit i % 8 of byte i / 8, which is bit
// i % 64 of 64-bit word i / 64.
//
// Launch shape: per element (eight a thread, which are one byte of the mask).
#include "device.cuh"

// ---- forward -------------------------------------------------------------------------------

// A thread's byte of the mask. The stream is (key, step, domain) of src/rng.rs.
DEVICE u32 draw(u64 first, u32 key0, u32 key1, u32 step, u32 domain, u32 threshold) {
    u32 bits = 0;
    for (u32 b = 0; b < 2; b++) {
        u64 block = first / 4 + b;
        u32 c[4] = {u32(block), u32(block >> 32), step, domain};
        philox4x32_10(c, key0, key1);
        for (u32 w = 0; w < 4; w++) bits |= u32(c[w] >= threshold) << (4 * b + w);
    }
    return bits;
}

template <class T>
DEVICE void apply(ptr<const T> x, ptr<T> y, u64 i, u64 n, u32 bits, float scale) {
    float v[GROUP];
    load8(x, i, n, v);
    for (u32 j = 0; j < GROUP; j++) v[j] = bits >> j & 1 ? v[j] * scale : 0.0f;
    store8(y, i, n, v);
}

template <class T>
DEVICE void dropout_fwd(ptr<const T> x, ptr<T> y, ptr<u8> mask, ptr<const u32> step, u64 n,
                        u32 key0, u32 key1, u32 domain, u32 threshold, float scale) {
    u64 i = first_element();
    // The mask is written to the end of its last 64-bit word.
    if (i >= (n + 63) / 64 * 64) return;
    u32 bits = draw(i, key0, key1, step[0], domain, threshold);
    mask[i / GROUP] = u8(bits);
    if (i < n) apply(x, y, i, n, bits, scale);
}

// ---- by a mask that is there ---------------------------------------------------------------

// The backward pass, dx = dy * keep / (1 - p); and the forward pass of a mask that repeats itself after
// `period` elements, the same at every step of a sequence (Gal & Ghahramani 2016).
template <class T>
DEVICE void dropout_keep(ptr<const T> x, ptr<const u8> mask, ptr<T> y, u64 n, u64 period,
                         float scale) {
    u64 i = first_element();
    if (i >= n) return;
    u64 at = i % period;
    u32 bits = 0;
    if (at % GROUP == 0 && at + GROUP <= period) {
        bits = mask[at / GROUP];
    } else {
        for (u32 j = 0; j < GROUP; j++) {
            u64 k = (at + j) % period;
            bits |= u32(mask[k / GROUP] >> (k % GROUP) & 1) << j;
        }
    }
    apply(x, y, i, n, bits, scale);
}

// ---- kernels -------------------------------------------------------------------------------

// x, y [n], of dropout_keep perhaps dy and dx; mask [ceil(n / 64) * 8] bytes, of dropout_keep of the
// period in place of n; step [1]: the stream's step, in memory so that a captured graph can count;
// threshold = p * 2^32, scale = 1 / (1 - p).
#define DROPOUT(T, suffix)                                                                         \
    KERNEL(dropout_fwd_##suffix, ptr<const T> x, ptr<T> y, ptr<u8> mask, ptr<const u32> step,      \
           u64 n, u32 key0, u32 key1, u32 domain, u32 threshold, float scale) {                    \
        dropout_fwd(x, y, mask, step, n, key0, key1, domain, threshold, scale);                    \
    }                                                                                              \
    KERNEL(dropout_keep_##suffix, ptr<const T> x, ptr<const u8> mask, ptr<T> y, u64 n, u64 period, \
           float scale) {                                                                          \
        dropout_keep(x, mask, y, n, period, scale);                                                \
    }

DROPOUT(float, f32)
DROPOUT(half, f16)
