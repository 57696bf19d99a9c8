// The emulation of what device.cuh offers a kernel: the same names, in C++17.
#pragma once
#include <cmath>

#include "emu.h"

using emu::ptr;

#define KERNEL(name, ...)                                    \
    static void name(__VA_ARGS__);                           \
    static const emu::Kernel kernel_##name(#name, name);     \
    static void name(__VA_ARGS__)
// At most so many threads a block.
#define KERNEL_OF(limit, name, ...)                                                                \
    static void name(__VA_ARGS__);                                                                 \
    static const emu::Kernel kernel_##name(#name, name, limit);                                    \
    static void name(__VA_ARGS__)
#define DEVICE inline
#define UNROLL
#define ROLLED
// Last parameters of what is told with its place in the sources.
#define EMU_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

// ---- who am I ------------------------------------------------------------------------------

DEVICE u32 thread_x() { return emu::current->tid; }
DEVICE u32 threads() { return emu::launch.threads; }
DEVICE u32 block_x() { return emu::current->block->index[0]; }
DEVICE u32 block_y() { return emu::current->block->index[1]; }
DEVICE u32 block_z() { return emu::current->block->index[2]; }
DEVICE u32 grid_x() { return emu::launch.grid[0]; }
DEVICE u32 grid_y() { return emu::launch.grid[1]; }

// ---- bits and half precision ---------------------------------------------------------------

DEVICE u32 bits_of(float x) {
    u32 bits;
    std::memcpy(&bits, &x, 4);
    return bits;
}
DEVICE float float_of(u32 bits) {
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
}

// IEEE 754 binary16, a storage type.
struct half {
    u16 bits;
};

DEVICE float to_f32(half h) {
    u32 sign = u32(h.bits & 0x8000) << 16, exponent = h.bits >> 10 & 31, fraction = h.bits & 0x3FF;
    if (exponent == 31) return float_of(sign | 0x7F800000 | fraction << 13);
    if (exponent != 0) return float_of(sign | (exponent + 112) << 23 | fraction << 13);
    float tiny = float(fraction) * 5.9604644775390625e-8f;  // 2^-24
    return sign ? -tiny : tiny;
}

// Rounds to nearest, ties to even, as cvt.rn.f16.f32.
DEVICE half to_half(float x) {
    u32 bits = bits_of(x), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7FFFFFFF;
    u32 half_bits;
    if (magnitude > 0x7F800000) {
        half_bits = 0x7FFF;  // NaN; the hardware's canonical one, without the sign
        sign = 0;
    } else if (magnitude >= 0x477FF000) {
        half_bits = 0x7C00;  // 65520 and more round to infinity
    } else if (magnitude >= 0x38800000) {
        u32 odd = magnitude >> 13 & 1;
        half_bits = (magnitude - 0x38000000 + 0xFFF + odd) >> 13;
    } else {
        // Subnormal: adding 0.5 lines the fraction's last bit up with 2^-24.
        half_bits = bits_of(float_of(magnitude) + 0.5f) - 0x3F000000;
    }
    return half{u16(sign | half_bits)};
}

// ---- arithmetic of the special function unit ---------------------------------------------------

DEVICE float ex2(float x) { return std::exp2f(x); }
DEVICE float rcp(float x) { return 1.0f / x; }
DEVICE float tanh_fast(float x) { return std::tanh(x); }
DEVICE float ln(float x) { return std::log(x); }
DEVICE float square_root(float x) { return std::sqrt(x); }
DEVICE float exp_minus_1(float x) { return std::expm1(x); }

// ---- memory --------------------------------------------------------------------------------

template <class T>
DEVICE T ld_nc(ptr<const T> p) {
    return *p.check(1);
}
DEVICE u32 ld_nc_bits(ptr<const half> p) { return p.check(1)->bits; }
template <class T>
DEVICE void st_cs(ptr<T> p, T value) {
    *p.check(1) = value;
}

// 16 bytes that move as one.
struct alignas(16) u32x4 {
    u32 word[4];
};

template <class T>
DEVICE u32x4 ld16(ptr<T> p, EMU_HERE) {
    u32x4 v;
    auto from = p.check16("16-byte load");
    emu::touch(from, 16, emu::Access::Read, {"ld16", file, line});
    std::memcpy(&v, from, 16);
    return v;
}
template <class T>
DEVICE void st16(ptr<T> p, u32x4 v, EMU_HERE) {
    auto to = p.check16("16-byte store");
    emu::touch(to, 16, emu::Access::Write, {"st16", file, line});
    std::memcpy(to, &v, 16);
}
template <class T>
DEVICE bool aligned16(ptr<T> p) {
    return reinterpret_cast<uintptr_t>(p.at) % 16 == 0;
}
// The same memory as elements of another type.
template <class U, class T>
DEVICE ptr<U> view(ptr<T> p) {
    return ptr<U>(reinterpret_cast<U*>(p.at), reinterpret_cast<U*>(p.begin),
                  reinterpret_cast<U*>(p.end));
}

DEVICE u32 atomic_add(ptr<u32> p, u32 value, EMU_HERE) {
    u32* at = p.check(1);
    emu::touch(at, sizeof(u32), emu::Access::Atomic, {"atomic_add", file, line});
    u32 before = *at;
    *at = before + value;
    return before;
}
DEVICE void fence() {}

// ---- shared memory -------------------------------------------------------------------------

template <class T>
DEVICE ptr<T> emu_shared(const void* key, size_t count) {
    auto at = reinterpret_cast<T*>(emu::shared_array(key, count * sizeof(T), 16));
    return ptr<T>(at, at, at + count);
}
#define SHARED(type, name, count)           \
    static const char name##_key = 0;       \
    ptr<type> name = emu_shared<type>(&name##_key, count)

template <class T>
DEVICE ptr<T> dynamic_shared() {
    auto at = reinterpret_cast<T*>(emu::current->block->shared);
    return ptr<T>(at, at, at + emu::launch.dynamic_shared / sizeof(T));
}

// ---- barriers and warp collectives ---------------------------------------------------------

DEVICE void block_sync(EMU_HERE) { emu::block_barrier({"block_sync", file, line}); }

DEVICE void bar_sync(u32 number, u32 count, EMU_HERE) {
    emu::named_barrier(number, count, {"bar_sync", file, line});
}

constexpr u32 FULL = 0xFFFFFFFF;

DEVICE void syncwarp(u32 mask = FULL, EMU_HERE) {
    emu::collective(mask, emu::share_warp, {"syncwarp", file, line});
}

DEVICE u32 emu_shuffle(u32 value, u32 source, u32 mask, emu::Site site) {
    emu::Exchange& x = emu::current->exchange;
    x.in[0] = value;
    x.in[1] = source;
    emu::collective(mask, [](emu::Thread* lanes, u32 mask) {
        for (u32 i = 0; i < 32; i++) {
            if (!(mask >> i & 1)) continue;
            u32 from = lanes[i].exchange.in[1];
            // A lane outside the mask gives an undefined value on hardware: NaN here.
            lanes[i].exchange.out[0] = mask >> from & 1 ? lanes[from].exchange.in[0] : 0xFFFFFFFF;
        }
    }, site);
    return emu::current->exchange.out[0];
}

DEVICE u32 shfl_xor(u32 value, u32 lanes, u32 mask = FULL, EMU_HERE) {
    return emu_shuffle(value, ((thread_x() ^ lanes) & 31), mask, {"shfl_xor", file, line});
}
DEVICE float shfl_xor(float value, u32 lanes, u32 mask = FULL, EMU_HERE) {
    return float_of(shfl_xor(bits_of(value), lanes, mask, file, line));
}
DEVICE u32 shfl_idx(u32 value, u32 lane, u32 mask = FULL, EMU_HERE) {
    return emu_shuffle(value, lane & 31, mask, {"shfl_idx", file, line});
}
DEVICE float shfl_idx(float value, u32 lane, u32 mask = FULL, EMU_HERE) {
    return float_of(shfl_idx(bits_of(value), lane, mask, file, line));
}
DEVICE u32 vote_ballot(bool predicate, u32 mask = FULL, EMU_HERE) {
    emu::current->exchange.in[0] = predicate;
    emu::collective(mask, [](emu::Thread* lanes, u32 mask) {
        u32 votes = 0;
        for (u32 i = 0; i < 32; i++)
            if (mask >> i & 1) votes |= lanes[i].exchange.in[0] << i;
        for (u32 i = 0; i < 32; i++)
            if (mask >> i & 1) lanes[i].exchange.out[0] = votes;
    }, {"vote_ballot", file, line});
    return emu::current->exchange.out[0];
}
DEVICE u32 count_bits(u32 x) { return u32(__builtin_popcount(x)); }

// ---- matrices ------------------------------------------------------------------------------

// PTX ISA, "Matrix fragments for mma.m16n8k16": with g = lane / 4 and t = lane % 4,
// A's register r holds row g + 8 (r % 2), columns 2t + 8 (r / 2) and the next;
// B's register r holds column g, rows 2t + 8 r and the next; C's and D's value v holds row
// g + 8 (v / 2), column 2t + v % 2.
DEVICE void mma_m16n8k16(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2], const float (&c)[4],
                         EMU_HERE) {
    emu::Exchange& x = emu::current->exchange;
    for (int i = 0; i < 4; i++) x.in[i] = a[i];
    for (int i = 0; i < 2; i++) x.in[4 + i] = b[i];
    for (int i = 0; i < 4; i++) x.in[6 + i] = bits_of(c[i]);
    emu::collective(FULL, [](emu::Thread* lanes, u32) {
        float a[16][16], b[16][8];
        for (u32 lane = 0; lane < 32; lane++) {
            const u32* in = lanes[lane].exchange.in;
            u32 g = lane / 4, t = lane % 4;
            for (u32 e = 0; e < 2; e++) {
                for (u32 r = 0; r < 4; r++)
                    a[g + 8 * (r % 2)][2 * t + 8 * (r / 2) + e] =
                        to_f32(half{u16(in[r] >> (16 * e))});
                for (u32 r = 0; r < 2; r++)
                    b[2 * t + 8 * r + e][g] = to_f32(half{u16(in[4 + r] >> (16 * e))});
            }
        }
        for (u32 lane = 0; lane < 32; lane++)
            for (u32 v = 0; v < 4; v++) {
                u32 row = lane / 4 + 8 * (v / 2), column = 2 * (lane % 4) + v % 2;
                float sum = float_of(lanes[lane].exchange.in[6 + v]);
                for (u32 k = 0; k < 16; k++) sum += a[row][k] * b[k][column];
                lanes[lane].exchange.out[v] = bits_of(sum);
            }
    }, {"mma_m16n8k16", file, line});
    for (int i = 0; i < 4; i++) d[i] = float_of(emu::current->exchange.out[i]);
}

// Four 8 x 8 matrices of 16-bit elements. Lane l gives the address of row l % 8 of matrix l / 8
// and receives of each matrix elements 2 (l % 4) and the next of row l / 4 (of its transpose).
template <bool TRANSPOSED>
DEVICE void emu_ldmatrix(u32 (&r)[4], ptr<const half> row, emu::Site site) {
    auto address = reinterpret_cast<u64>(row.check16(site.what));
    auto offset = address - reinterpret_cast<u64>(emu::current->block->shared);
    if (offset >= emu::current->block->shared_used) emu::fail("%s: not shared memory", site.what);
    emu::touch(row.at, 16, emu::Access::Read, site);
    emu::Exchange& x = emu::current->exchange;
    std::memcpy(x.in, &address, 8);
    emu::collective(FULL, [](emu::Thread* lanes, u32) {
        for (u32 matrix = 0; matrix < 4; matrix++) {
            u16 m[8][8];
            for (u32 i = 0; i < 8; i++) {
                const void* from;
                std::memcpy(&from, lanes[8 * matrix + i].exchange.in, 8);
                std::memcpy(m[i], from, 16);
            }
            for (u32 lane = 0; lane < 32; lane++) {
                u32 g = lane / 4, t = 2 * (lane % 4);
                u16 low = TRANSPOSED ? m[t][g] : m[g][t];
                u16 high = TRANSPOSED ? m[t + 1][g] : m[g][t + 1];
                lanes[lane].exchange.out[matrix] = low | u32(high) << 16;
            }
        }
    }, site);
    for (int i = 0; i < 4; i++) r[i] = emu::current->exchange.out[i];
}
DEVICE void ldmatrix_x4(u32 (&r)[4], ptr<const half> row, EMU_HERE) {
    emu_ldmatrix<false>(r, row, {"ldmatrix_x4", file, line});
}
DEVICE void ldmatrix_x4_trans(u32 (&r)[4], ptr<const half> row, EMU_HERE) {
    emu_ldmatrix<true>(r, row, {"ldmatrix_x4_trans", file, line});
}

// ---- clusters ------------------------------------------------------------------------------

// A place in the shared memory of a block of the cluster.
template <class T>
struct remote {
    ptr<T> at;
    remote operator+(u32 n) const { return {at + n}; }
};

DEVICE u32 cluster_rank() { return emu::current->block->rank; }
DEVICE void cluster_arrive(EMU_HERE) { emu::cluster_arrive({"cluster_arrive", file, line}); }
DEVICE void cluster_wait(EMU_HERE) { emu::cluster_wait({"cluster_wait", file, line}); }

// Where `p` of this block's shared memory lies in block `rank` of the cluster.
template <class T>
DEVICE remote<T> map_remote(ptr<T> p, u32 rank) {
    u32 blocks = emu::launch.cluster;
    if (rank >= blocks) emu::fail("map_remote: rank %u of a cluster of %u", rank, blocks);
    auto from = reinterpret_cast<uintptr_t>(emu::current->block->shared);
    auto to = reinterpret_cast<uintptr_t>(emu::launch.blocks[rank].shared);
    auto moved = [&](T* x) {
        return reinterpret_cast<T*>(reinterpret_cast<uintptr_t>(x) - from + to);
    };
    return {ptr<T>(moved(p.at), moved(p.begin), moved(p.end))};
}
template <class T>
DEVICE void st_cluster(remote<T> to, T value, EMU_HERE) {
    emu::RemoteStore store{reinterpret_cast<unsigned char*>(to.at.check(1)), {}, sizeof(T)};
    emu::touch(store.to, sizeof(T), emu::Access::Write, {"st_cluster", file, line});
    std::memcpy(store.bytes, &value, sizeof(T));
    emu::current->stores.push_back(store);
}

// ---- mbarriers -----------------------------------------------------------------------------

DEVICE unsigned char* emu_bytes(ptr<u64> mbar) {
    return reinterpret_cast<unsigned char*>(mbar.check(1));
}
DEVICE void mbar_init(ptr<u64> mbar, u32 arrivals, EMU_HERE) {
    emu::mbar_init(emu_bytes(mbar), arrivals, {"mbar_init", file, line});
}
DEVICE void mbar_arrive_expect_tx(ptr<u64> mbar, u32 bytes, EMU_HERE) {
    emu::mbar_arrive_expect_tx(emu_bytes(mbar), bytes, {"mbar_arrive_expect_tx", file, line});
}
DEVICE bool mbar_wait(ptr<u64> mbar, u32 parity, EMU_HERE) {
    bool over = emu::mbar_wait(emu_bytes(mbar), parity, {"mbar_wait", file, line});
    return vote_ballot(over, FULL, file, line) == FULL;
}
DEVICE void st_async(remote<u32> to, u32 value, remote<u64> mbar, EMU_HERE) {
    emu::store_async(reinterpret_cast<unsigned char*>(to.at.check(1)), &value, sizeof(u32),
                     emu_bytes(mbar.at), {"st_async", file, line});
}
