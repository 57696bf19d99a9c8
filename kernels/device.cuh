// What a kernel needs from the hardware. Every kernel includes this header, itself or through one of its family
// (whole.cuh, lstm_whole.cuh).
//
// Compiled by NVRTC it is inline PTX and needs no CUDA header. Compiled as C++17 it is the
// emulated device (emu/device.h), with the same names. common.cuh, at the end, is written in those names
// and serves both.
//
//   KERNEL(name, args...) { }   declares a kernel; arguments are ptr<T>, u32, i32, u64, float
//   KERNEL_OF(threads, name, args...) { }  one of at most so many threads a block
//   SHARED(type, name, count);  an array in shared memory
//   ptr<T>                      a pointer; checked under emulation
//
// Compute capability 7.5 is enough for all but HAS_MMA (8.0) and HAS_CLUSTERS (9.0).
#pragma once

#ifdef __CUDACC_RTC__

using u8 = unsigned char;
using u16 = unsigned short;
using u32 = unsigned int;
using i32 = int;
using u64 = unsigned long long;

template <class T>
using ptr = T*;

#define KERNEL(name, ...) extern "C" __global__ void name(__VA_ARGS__)
#define KERNEL_OF(threads, name, ...) \
    extern "C" __global__ void __launch_bounds__(threads) name(__VA_ARGS__)
#define DEVICE __device__ __forceinline__
#define SHARED(type, name, count) __shared__ alignas(16) type name[count]
// Before a loop: its arrays stay in registers, or its registers are few.
#define UNROLL _Pragma("unroll")
#define ROLLED _Pragma("unroll 1")

// ---- who am I ------------------------------------------------------------------------------

DEVICE u32 thread_x() { return threadIdx.x; }
DEVICE u32 threads() { return blockDim.x; }
DEVICE u32 block_x() { return blockIdx.x; }
DEVICE u32 block_y() { return blockIdx.y; }
DEVICE u32 block_z() { return blockIdx.z; }
DEVICE u32 grid_x() { return gridDim.x; }
DEVICE u32 grid_y() { return gridDim.y; }

// ---- bits and half precision ---------------------------------------------------------------

DEVICE u32 bits_of(float x) { return __float_as_uint(x); }
DEVICE float float_of(u32 bits) { return __uint_as_float(bits); }

// IEEE 754 binary16, a storage type.
struct half {
    u16 bits;
};
DEVICE float to_f32(half h) {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(h.bits));
    return x;
}
DEVICE half to_half(float x) {
    half h;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h.bits) : "f"(x));
    return h;
}

// ---- arithmetic of the special function unit ---------------------------------------------------

DEVICE float ex2(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
DEVICE float rcp(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
DEVICE float tanh_fast(float x) {
    float y;
    asm("tanh.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
DEVICE float ln(float x) { return logf(x); }
DEVICE float square_root(float x) { return sqrtf(x); }
DEVICE float exp_minus_1(float x) { return expm1f(x); }

// ---- memory --------------------------------------------------------------------------------

// A load of memory that nobody writes while the kernel runs.
template <class T>
DEVICE T ld_nc(const T* p) {
    T value;
    if constexpr (sizeof(T) == 2) {
        u16 bits;
        asm("ld.global.nc.u16 %0, [%1];" : "=h"(bits) : "l"(p));
        value = T{bits};
    } else {
        u32 bits;
        asm("ld.global.nc.u32 %0, [%1];" : "=r"(bits) : "l"(p));
        value = *reinterpret_cast<T*>(&bits);
    }
    return value;
}
// The same of a half, as bits: a register that nothing looks at before it is used.
DEVICE u32 ld_nc_bits(const half* p) {
    u32 bits;
    asm("ld.global.nc.u16 %0, [%1];" : "=r"(bits) : "l"(p));
    return bits;
}
// A store of memory that is not read again soon.
template <class T>
DEVICE void st_cs(T* p, T value) {
    if constexpr (sizeof(T) == 2) {
        u16 bits = *reinterpret_cast<u16*>(&value);
        asm volatile("st.global.cs.u16 [%0], %1;" ::"l"(p), "h"(bits) : "memory");
    } else {
        u32 bits = *reinterpret_cast<u32*>(&value);
        asm volatile("st.global.cs.u32 [%0], %1;" ::"l"(p), "r"(bits) : "memory");
    }
}

// 16 bytes that move as one.
struct alignas(16) u32x4 {
    u32 word[4];
};
template <class T>
DEVICE u32x4 ld16(T* p) {
    return *reinterpret_cast<const u32x4*>(p);
}
template <class T>
DEVICE void st16(T* p, u32x4 v) {
    *reinterpret_cast<u32x4*>(p) = v;
}
template <class T>
DEVICE bool aligned16(T* p) {
    return reinterpret_cast<u64>(p) % 16 == 0;
}
// The same memory as elements of another type.
template <class U, class T>
DEVICE U* view(T* p) {
    return reinterpret_cast<U*>(p);
}

// Adds and returns the value before. For integers only: their sums do not depend on the order.
DEVICE u32 atomic_add(u32* p, u32 value) {
    u32 before;
    asm volatile("atom.add.u32 %0, [%1], %2;" : "=r"(before) : "l"(p), "r"(value) : "memory");
    return before;
}
// Orders this thread's memory operations before its later ones for all threads of the device.
DEVICE void fence() { asm volatile("fence.acq_rel.gpu;" ::: "memory"); }

// ---- shared memory -------------------------------------------------------------------------

template <class T>
DEVICE T* dynamic_shared() {
    extern __shared__ u32x4 dynamic_shared_memory[];
    return reinterpret_cast<T*>(dynamic_shared_memory);
}
DEVICE u32 shared_address(const void* p) { return u32(__cvta_generic_to_shared(p)); }

// ---- barriers and warp collectives ---------------------------------------------------------

constexpr u32 FULL = 0xFFFFFFFF;

DEVICE void block_sync() { asm volatile("barrier.sync 0;" ::: "memory"); }
// A barrier of `count` threads, whole warps; the block's own is number 0.
DEVICE void bar_sync(u32 number, u32 count) {
    asm volatile("barrier.sync %0, %1;" ::"r"(number), "r"(count) : "memory");
}
DEVICE void syncwarp(u32 mask = FULL) { asm volatile("bar.warp.sync %0;" ::"r"(mask) : "memory"); }
DEVICE u32 shfl_xor(u32 value, u32 lanes, u32 mask = FULL) {
    u32 y;
    asm volatile("shfl.sync.bfly.b32 %0, %1, %2, 31, %3;"
                 : "=r"(y) : "r"(value), "r"(lanes), "r"(mask));
    return y;
}
DEVICE float shfl_xor(float value, u32 lanes, u32 mask = FULL) {
    return float_of(shfl_xor(bits_of(value), lanes, mask));
}
DEVICE u32 shfl_idx(u32 value, u32 lane, u32 mask = FULL) {
    u32 y;
    asm volatile("shfl.sync.idx.b32 %0, %1, %2, 31, %3;"
                 : "=r"(y) : "r"(value), "r"(lane), "r"(mask));
    return y;
}
DEVICE float shfl_idx(float value, u32 lane, u32 mask = FULL) {
    return float_of(shfl_idx(bits_of(value), lane, mask));
}
DEVICE u32 vote_ballot(bool predicate, u32 mask = FULL) {
    u32 votes;
    asm volatile("{ .reg .pred p; setp.ne.u32 p, %1, 0; vote.sync.ballot.b32 %0, p, %2; }"
                 : "=r"(votes) : "r"(u32(predicate)), "r"(mask));
    return votes;
}
DEVICE u32 count_bits(u32 x) {
    u32 n;
    asm("popc.b32 %0, %1;" : "=r"(n) : "r"(x));
    return n;
}

// ---- matrices ------------------------------------------------------------------------------

#if __CUDA_ARCH__ >= 800
// D = A B + C of 16 x 16 times 16 x 8 halves, summed in f32. emu/device.h spells the fragments out.
DEVICE void mma_m16n8k16(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2], const float (&c)[4]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, "
                 "{%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
                 : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]),
                   "f"(c[1]), "f"(c[2]), "f"(c[3]));
}
#define HAS_MMA 1
#endif
// Four 8 x 8 matrices of halves from shared memory; lane l names row l % 8 of matrix l / 8.
DEVICE void ldmatrix_x4(u32 (&r)[4], const half* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row)) : "memory");
}
DEVICE void ldmatrix_x4_trans(u32 (&r)[4], const half* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row)) : "memory");
}

// ---- clusters (compute capability 9.0 and later) ---------------------------------------------

#if __CUDA_ARCH__ >= 900
// A place in the shared memory of a block of the cluster.
template <class T>
struct remote {
    u32 address;
    DEVICE remote operator+(u32 n) const { return {address + n * u32(sizeof(T))}; }
};
DEVICE u32 cluster_rank() {
    u32 rank;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}
DEVICE void cluster_arrive() { asm volatile("barrier.cluster.arrive.aligned;" ::: "memory"); }
DEVICE void cluster_wait() { asm volatile("barrier.cluster.wait.aligned;" ::: "memory"); }
// Where `p` of this block's shared memory lies in block `rank` of the cluster.
template <class T>
DEVICE remote<T> map_remote(T* p, u32 rank) {
    remote<T> to;
    asm("mapa.shared::cluster.u32 %0, %1, %2;"
        : "=r"(to.address) : "r"(shared_address(p)), "r"(rank));
    return to;
}
// A store that the other block sees after the next cluster barrier.
template <class T>
DEVICE void st_cluster(remote<T> to, T value) {
    static_assert(sizeof(T) == 4, "remote stores move 32 bits");
    u32 bits = *reinterpret_cast<u32*>(&value);
    asm volatile("st.shared::cluster.u32 [%0], %1;" ::"r"(to.address), "r"(bits) : "memory");
}

// A mbarrier: eight bytes of shared memory whose phase is over when all arrivals and all bytes that
// were expected are there. Its first phase has parity 0, the next one 1, and so on in turn.
DEVICE void mbar_init(u64* mbar, u32 arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n\tfence.mbarrier_init.release.cluster;"
                 ::"r"(shared_address(mbar)), "r"(arrivals) : "memory");
}
// Arrives, and expects so many bytes before the phase is over.
DEVICE void mbar_arrive_expect_tx(u64* mbar, u32 bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;"
                 ::"r"(shared_address(mbar)), "r"(bytes) : "memory");
}
// Waits, all lanes of a warp, until the phase of this parity is over and what it counted is seen.
// False where it was not over after PATIENCE.
constexpr u64 PATIENCE = 4000000000;  // nanoseconds
// What it has to see came by st_async, into shared memory: a fence for that alone (PTX ISA 8.6) leaves the
// L1 cache as it is, which an acquire of the cluster's scope would empty.
#if __CUDACC_VER_MAJOR__ > 12 || (__CUDACC_VER_MAJOR__ == 12 && __CUDACC_VER_MINOR__ >= 8)
#define MBAR_ACQUIRE ".relaxed.cluster"
#define MBAR_FENCE "fence.acquire.sync_restrict::shared::cluster.cluster;"
#else
#define MBAR_ACQUIRE ".acquire.cluster"
#define MBAR_FENCE ""
#endif
DEVICE bool mbar_wait(u64* mbar, u32 parity) {
    for (u64 begin = 0;;) {
        u32 over;
        asm volatile("{ .reg .pred p; mbarrier.try_wait.parity" MBAR_ACQUIRE ".shared::cta.b64 p, [%1], %2; "
                     "selp.u32 %0, 1, 0, p; }"
                     : "=r"(over) : "r"(shared_address(mbar)), "r"(parity) : "memory");
        if (vote_ballot(over) == FULL) break;
        u64 now;
        asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
        if (begin == 0) begin = now;
        if (vote_ballot(now - begin > PATIENCE)) return false;
    }
    asm volatile(MBAR_FENCE ::: "memory");
    return true;
}
// A store that completes its four bytes at an mbarrier of the same block, when it arrives there.
DEVICE void st_async(remote<u32> to, u32 value, remote<u64> mbar) {
    asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.u32 [%0], %1, [%2];"
                 ::"r"(to.address), "r"(value), "r"(mbar.address) : "memory");
}
#define HAS_CLUSTERS 1
#endif

#else
#include "emu/device.h"
#define HAS_MMA 1
#define HAS_CLUSTERS 1
#endif

#include "common.cuh"
