// What several kernels have in common, in terms of device.cuh, which includes it.
#pragma once

DEVICE float to_f32(float x) { return x; }
template <class T>
DEVICE T from_f32(float x);
template <>
DEVICE float from_f32<float>(float x) { return x; }
template <>
DEVICE half from_f32<half>(float x) { return to_half(x); }

DEVICE bool finite(float x) { return (bits_of(x) & 0x7F800000) != 0x7F800000; }
DEVICE float exponential(float x) { return ex2(x * 1.4426950408889634f); }
DEVICE float sigmoid(float x) { return rcp(1.0f + exponential(-x)); }

// tanh with a relative error of a few units in the last place: near 0 the odd Taylor polynomial,
// elsewhere 1 - 2 / (1 + exp(2|x|)). Both are computed, so that the lanes of a warp do not part.
DEVICE float tanh_exact(float x) {
    float a = x < 0.0f ? -x : x, s = x * x;
    float p = 62.0f / 2835.0f - s * (1382.0f / 155925.0f);
    p = 17.0f / 315.0f - s * p;
    p = 2.0f / 15.0f - s * p;
    p = 1.0f / 3.0f - s * p;
    float near = x - x * s * p;
    float far = 1.0f - 2.0f * rcp(1.0f + exponential(2.0f * a));
    return a < 0.25f ? near : x < 0.0f ? -far : far;
}

// The first thread-sized piece of a per-element kernel: eight elements a thread.
constexpr u32 GROUP = 8;
DEVICE u64 first_element() { return (u64(block_x()) * threads() + thread_x()) * GROUP; }

// Elements i .. i + 8 of p[0 .. n] as f32; 16 bytes at once where that is possible.
template <class T>
DEVICE void load8(ptr<T> p, u64 i, u64 n, float (&v)[GROUP]) {
    if (i + GROUP <= n && aligned16(p + i)) {
        constexpr u32 WORDS = sizeof(T) / 2;  // 16-byte words in eight elements: half 1, float 2
        for (u32 w = 0; w < WORDS; w++) {
            u32x4 x = ld16(p + (i + w * (GROUP / WORDS)));
            for (u32 j = 0; j < 4; j++) {
                if constexpr (sizeof(T) == 4) {
                    v[4 * w + j] = float_of(x.word[j]);
                } else {
                    v[2 * j] = to_f32(half{u16(x.word[j])});
                    v[2 * j + 1] = to_f32(half{u16(x.word[j] >> 16)});
                }
            }
        }
        return;
    }
    for (u32 j = 0; j < GROUP; j++) v[j] = i + j < n ? to_f32(p[i + j]) : 0.0f;
}
template <class T>
DEVICE void store8(ptr<T> p, u64 i, u64 n, const float (&v)[GROUP]) {
    if (i + GROUP <= n && aligned16(p + i)) {
        constexpr u32 WORDS = sizeof(T) / 2;
        for (u32 w = 0; w < WORDS; w++) {
            u32x4 x;
            for (u32 j = 0; j < 4; j++) {
                if constexpr (sizeof(T) == 4)
                    x.word[j] = bits_of(v[4 * w + j]);
                else
                    x.word[j] = to_half(v[2 * j]).bits | u32(to_half(v[2 * j + 1]).bits) << 16;
            }
            st16(p + (i + w * (GROUP / WORDS)), x);
        }
        return;
    }
    for (u32 j = 0; j < GROUP; j++)
        if (i + j < n) p[i + j] = from_f32<T>(v[j]);
}

// A number and where it stands. Of equals the first is better; b is not where it is not a number.
struct Best {
    float value;
    u32 index;
};
DEVICE Best better(Best a, Best b) {
    bool second = b.value > a.value || (b.value == a.value && b.index < a.index);
    return second ? b : a;
}

// A thread's part of a matrix whose rows it goes over: eight columns, in rows slot, slot + slots, ...
// `lanes` threads share a row; the threads of a block that are left over have no part (slot >= slots).
struct Part {
    u32 column, slot, slots;
};
DEVICE Part part_of(u32 block, u32 lanes) {
    u32 lane = thread_x() % lanes;
    return Part{(block * lanes + lane) * GROUP, thread_x() / lanes, threads() / lanes};
}
// Rows that such a thread reads before it uses the first: one alone would leave the memory idle.
constexpr u32 FLIGHT = 4;

// Columns c .. c + 8 of a row that starts at `row`, as f32; zero beyond the row.
template <class T>
DEVICE void load_columns(ptr<T> x, u64 row, u32 c, u32 columns, float (&v)[GROUP]) {
    load8(x, row + c, row + columns, v);
}
template <class T>
DEVICE void store_columns(ptr<T> x, u64 row, u32 c, u32 columns, const float (&v)[GROUP]) {
    store8(x, row + c, row + columns, v);
}

// Sum over the 32 lanes of a warp, in all of them; a fixed tree.
DEVICE float warp_sum(float x) {
    for (u32 lanes = 16; lanes > 0; lanes /= 2) x += shfl_xor(x, lanes);
    return x;
}
// Sum over the threads of a block (a multiple of 32), in all of them; a fixed order. `scratch`
// has 32 elements.
DEVICE float block_sum(float x, ptr<float> scratch) {
    x = warp_sum(x);
    block_sync();  // the scratch may still be read by an earlier sum
    if (thread_x() % 32 == 0) scratch[thread_x() / 32] = x;
    block_sync();
    float total = 0.0f;
    for (u32 w = 0; w < threads() / 32; w++) total += scratch[w];
    return total;
}

// Ten rounds of Philox4x32 in place (Salmon et al. 2011), the numbers of src/rng.rs.
DEVICE void philox4x32_10(u32 (&c)[4], u32 key0, u32 key1) {
    for (u32 round = 0; round < 10; round++) {
        u64 p0 = u64(0xD2511F53u) * c[0], p1 = u64(0xCD9E8D57u) * c[2];
        c[0] = u32(p1 >> 32) ^ c[1] ^ key0;
        c[1] = u32(p1);
        c[2] = u32(p0 >> 32) ^ c[3] ^ key1;
        c[3] = u32(p0);
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
}
