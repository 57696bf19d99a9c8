// What both passes of the LSTM decoder with additive attention over whole packed targets have in common:
// attention_whole_fwd.cu and attention_whole_bwd.cu; see lstm_whole.cuh. Formulas are those of attention.cu and
// lstm.cu, and one more. A context goes into the gates alone, through W_c, its columns of W_ih:
//
//   W_c c_t = W_c sum_j alpha_tj m_j = sum_j alpha_tj p_j        p_j = W_c m_j
//
// So the values m are multiplied by W_c once, before the first step, and neither W_c nor a context is in the
// loop: all contexts are made after it (attention_steps.cu).
//
// A cluster of H / 32 blocks takes one group of eight rows through all their steps. A block owns 32 units of the
// decoder and as many of the queries, a warp eight of them, a lane one unit of two rows. W_hh is in registers (in
// the backward pass a part in shared memory); in shared memory are W_q and, of all positions of the group, the
// block's units of keys and projected values. A step has two exchanges: the states (back: dz and dq), and of each
// position the energy (back: the gradient of its weight), of which every block sends its part to all. The
// energies lack the sum of v, which is the same of all positions: softmax does not see it.
//
// Nobody overwrites what is still read. States take turns in two buffers, as in lstm_whole.cuh. The energies have
// one: who sends a part in step t has all states of t, which each warp sent after it had read the energies
// before.
//
// Launch shape: clusters of H / 32 blocks of 128 threads. Clusters are independent: any number may run at once.
#pragma once
#include "lstm_whole.cuh"

#ifdef HAS_CLUSTERS

// Its names would meet those of attention.cu in the emulated device, which links all kernels.
namespace decoder {

using namespace lstm;  // its step

constexpr u32 OWN = 32, WARPS = OWN / 8, THREADS = WARPS * 32;  // of a block: units, warps, threads
constexpr u32 PAIRS = OWN / 2;  // words of a position's keys: two units each
// Words from position to position, and numbers from row to row of the queries: none of a warp meet in a bank.
constexpr u32 KEY_PITCH = PAIRS + 1, QUERY_PITCH = OWN + 4;
constexpr u32 KERNEL_NUMBER = 1 << 16;  // of a fault; 2 H more in the forward and 2 H + 1 in the backward pass

template <u32 H>
using Blocks = Peers<H / OWN>;

// Two words that move as one.
struct alignas(8) u32x2 {
    u32 word[2];
};
DEVICE float low(u32 halves) { return to_f32(half{u16(halves)}); }
DEVICE float high(u32 halves) { return to_f32(half{u16(halves >> 16)}); }

// tanh x = 1 - 2 r with r = 1 / (1 + exp(2 x)), and 1 - tanh(x)^2 = 4 (r - r^2). Queries are kept times EXPONENT:
// then the argument, of a unit's query and key, is one operation. r has an absolute error of a few units of
// 2^-24, which is what matters in a sum over units.
constexpr float EXPONENT = 2.885390081777927f;  // 2 / ln 2
DEVICE float r_of(float query, float key) { return rcp(1.0f + ex2(query + EXPONENT * key)); }

// Rows of the cluster's group that a step has: the first ones.
DEVICE u32 live_of(const Rows& all, Step step) {
    u32 first = all.row(0, 0), left = step.rows > first ? step.rows - first : 0;
    return left < ROWS ? left : ROWS;
}

// What is attended to.
struct Source {
    ptr<const half> w_q, b_q, v, keys, projected;
    ptr<const u32> spans;
};

// The positions of the group's rows, one row's behind those of the one before, in shared memory.
struct Positions {
    ptr<u32x2> gates;  // [WARPS][most][8] the four gates of a unit
    ptr<u32> keys;     // [most][KEY_PITCH]
    ptr<u32> row;      // [most] whose it is
    ptr<u32> first;    // [ROWS + 1] positions before each row's
    u32 most;          // of any group

    // Where a unit's gates are: those of a position lie together, in another order from pair to pair of positions,
    // so that lanes with the same unit of 16 positions meet in no bank.
    DEVICE u32 place(u32 unit, u32 p) const {
        return (unit / 8 * most + p) * 8 + (unit % 8 ^ p / 2 % 8);
    }
};

// Copies the block's part of the positions.
template <u32 H>
DEVICE void begin_positions(const Positions& own, const Source& source, const Rows& all) {
    u32 row = all.row(0, 0), unit = Blocks<H>::rank() * OWN, begin = source.spans[row];
    if (thread_x() <= ROWS) {
        u32 end = row + thread_x();
        own.first[thread_x()] = source.spans[end < all.rows ? end : all.rows] - begin;
    }
    block_sync();
    u32 count = own.first[ROWS];
    for (u32 p = thread_x(); p < count; p += THREADS) {
        u32 r = 0;
        while (p >= own.first[r + 1]) r++;
        own.row[p] = r;
    }
    for (u32 i = thread_x(); i < count * PAIRS; i += THREADS) {
        u32 p = i / PAIRS, a = i % PAIRS;
        auto from = view<const u32>(source.keys + (u64(begin + p) * H + unit));
        own.keys[p * KEY_PITCH + a] = from[a];
    }
    for (u32 i = thread_x(); i < count * OWN; i += THREADS) {
        u32 p = i / OWN, at = i % OWN;
        auto from = source.projected + (u64(begin + p) * (4 * H) + unit + at);
        own.gates[own.place(at, p)] = u32x2{packed(from[0], from[H]), packed(from[2 * H], from[3 * H])};
    }
}

// Whether all warps of the block have what they waited for. Each says so before a barrier of the block.
DEVICE bool all_came(ptr<const u32> came) {
    u32 count = 0;
    for (u32 w = 0; w < WARPS; w++) count += came[w];
    return count == WARPS;
}

// A number of each position, the sum of the blocks' parts in their order.
template <u32 H>
DEVICE float sum_of_parts(ptr<const float> parts, u32 most, u32 p) {
    float sum = 0.0f;
    for (u32 block = 0; block < H / OWN; block++) sum += parts[block * most + p];
    return sum;
}

}  // namespace decoder

#endif
