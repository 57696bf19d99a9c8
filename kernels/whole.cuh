// What the kernels that take whole packed sequences in one launch have in common (Diamos et al., "Persistent
// RNNs", 2016): lstm_whole.cuh, attention_whole.cuh and rnn_whole.cu. Blocks hold W_hh on the chip and take
// groups of eight rows through all their steps, one launch for a pass.
//
// Weights are the matrix instruction's A: they stay in registers, of a large LSTM a part in shared memory
// (docs/gpu.md). What the steps hand on is its B, [K, 8] in shared memory.
#pragma once
#include "device.cuh"

#ifdef HAS_MMA

constexpr u32 ROWS = 8;  // of a group

// ---- who computes what -----------------------------------------------------------------------

// A step: its first row among those of all steps, and its number of rows.
struct Step {
    u32 first, rows;
    // Of a row's elements; where it has not so many rows, its last one stands for them.
    DEVICE u32 at(u32 row) const { return first + (row < rows ? row : rows - 1); }
};

// Rows of a step: sequences are sorted by length, so those that have a step are the first ones. Where
// several layers take turns in the rows, a cluster works for one of them.
// All rows of all steps have less than 2^32 elements.
struct Rows {
    // [steps + 1] rows of one layer before each step; null if all sequences have all steps.
    ptr<const u32> offsets;
    u32 steps, rows, ways;
    u32 cluster, clusters;  // of a layer's
    u32 way, groups;

    // No rows where there is no such step.
    DEVICE Step step(u32 t) const {
        if (t >= steps) return Step{0, 0};
        if (!offsets) return Step{t * rows, rows};
        u32 first = ld_nc(offsets + t);
        return Step{first * ways, (ld_nc(offsets + (t + 1)) - first) * ways};
    }
    // Row `r` of the cluster's group j among all of a step.
    DEVICE u32 row(u32 j, u32 r) const { return ((cluster + j * clusters) * ROWS + r) * ways + way; }
    // Groups of the cluster that have some of a step's rows.
    DEVICE u32 live(Step step) const {
        u32 j = 0;
        while (j < groups && row(j, 0) < step.rows) j++;
        return j;
    }
    // Steps of the cluster's group j, which are those of its first row.
    DEVICE u32 length(u32 j) const {
        u32 t = 0;
        while (row(j, 0) < step(t).rows) t++;
        return t;
    }
};

DEVICE Rows rows_of(ptr<const u32> offsets, u32 steps, u32 rows, u32 ways, u32 groups, u32 blocks) {
    u32 cluster = block_x() / blocks, clusters = grid_x() / blocks / ways;
    return Rows{offsets, steps, rows, ways, cluster % clusters, clusters, cluster / clusters, groups};
}

// A lane's place: unit `own` of its block, `unit` of the layer (where it has several, the first of them), rows
// 2 pair and the next of a group.
struct Lane {
    u32 warp, lane, pair, own, unit;
};

// A lane's two rows in a register.
DEVICE u32 packed(half first, half second) { return u32(first.bits) | u32(second.bits) << 16; }

// ---- before the first step ---------------------------------------------------------------------

// A warp's weights, in slices of 16 columns: in registers the first HELD of them, the others in shared memory,
// beside those of the block's other warps. `part(tile, k)` is a lane's part of slice k of one of the tiles of 16
// rows.
template <u32 SLICES, u32 HELD, u32 WARPS, u32 TILES, class Part>
DEVICE void hold(u32 (&w)[HELD][TILES][4], ptr<u32x4> rest, const Lane& me, Part part) {
    UNROLL
    for (u32 k = 0; k < HELD; k++)
        for (u32 tile = 0; tile < TILES; tile++) {
            u32x4 a = part(tile, k);
            for (u32 r = 0; r < 4; r++) w[k][tile][r] = a.word[r];
        }
    ROLLED
    for (u32 k = HELD; k < SLICES; k++)
        for (u32 tile = 0; tile < TILES; tile++) {
            u32 at = ((k - HELD) * WARPS + me.warp) * TILES + tile;
            st16(rest + (at * 32 + me.lane), part(tile, k));
        }
}

// h before step 0 of the cluster's groups, [groups][H][8]; zeros where none is given.
template <u32 H>
DEVICE void begin_states(ptr<half> h, ptr<const half> h_0, const Rows& all) {
    for (u32 i = thread_x(); i < all.groups * ROWS * H; i += threads()) {
        u32 j = i / (ROWS * H), r = i / H % ROWS, unit = i % H, row = all.row(j, r);
        bool given = h_0 && row < all.rows;
        h[(j * H + unit) * ROWS + r] = given ? h_0[u64(row) * H + unit] : half{0};
    }
}

// ---- the product -----------------------------------------------------------------------------

// What a lane adds to the product: the input side of its four rows of W_hh (the gates of a unit, or four units)
// for its two rows of a group, as bits.
struct Inputs {
    u32 gate[4][2];
};
// Where it is: rows of x for a group's rows of a step.
struct Places {
    u32 row[2];
};
DEVICE Places places_of(ptr<const u32> ids, const Rows& all, const Lane& me, Step step, u32 j) {
    Places places;
    for (u32 e = 0; e < 2; e++) {
        u32 at = step.at(all.row(j, 2 * me.pair + e));
        places.row[e] = ids ? ld_nc(ids + at) : at;
    }
    return places;
}
// They are `apart` elements from one another in rows of x of `width` elements.
template <u32 width, u32 apart>
DEVICE void load(Inputs& in, ptr<const half> x, const Lane& me, const Places& places) {
    for (u32 e = 0; e < 2; e++) {
        auto from = x + me.unit + u64(places.row[e]) * width;
        for (u32 k = 0; k < 4; k++) in.gate[k][e] = ld_nc_bits(from + k * apart);
    }
}

// Sums of a lane's two tiles over even and over odd slices: four chains. They begin with bias and input.
struct Sums {
    float of[2][2][4];
};
DEVICE Sums sums_of(const u32 (&b)[2], const Inputs& in) {
    Sums sums;
    for (u32 tile = 0; tile < 2; tile++)
        for (u32 v = 0; v < 4; v++) {
            u32 gate = 2 * tile + v / 2;
            sums.of[tile][0][v] = to_f32(half{u16(b[tile] >> (16 * (v / 2)))});
            sums.of[tile][1][v] = to_f32(half{u16(in.gate[gate][v % 2])});
        }
    return sums;
}

// z = W h + what the sums begin with: of a warp's 32 rows of W and a group's rows, of which the lane gets four
// of two. W has so many slices of 16 columns, of which the first HELD are in registers, and the rest in shared
// memory beside those of the block's other warps.
template <u32 SLICES, u32 HELD, u32 WARPS>
DEVICE void multiply(float (&z)[4][2], Sums& sums, const u32 (&w)[HELD][2][4],
                     ptr<const u32x4> rest, ptr<const half> h, const Lane& me) {
    auto& sum = sums.of;
    auto mine = h + me.lane * ROWS;
    UNROLL
    for (u32 k = 0; k < HELD; k += 2) {
        u32 b[4];
        ldmatrix_x4_trans(b, mine + 16 * k * ROWS);
        for (u32 odd = 0; odd < 2; odd++) {
            u32 b2[2] = {b[2 * odd], b[2 * odd + 1]};
            for (u32 tile = 0; tile < 2; tile++)
                mma_m16n8k16(sum[tile][odd], w[k + odd][tile], b2, sum[tile][odd]);
        }
    }
    auto beside = rest + (me.warp * 2 * 32 + me.lane);
    ROLLED
    for (u32 k = HELD; k < SLICES; k += 2) {
        u32 b[4];
        ldmatrix_x4_trans(b, mine + 16 * k * ROWS);
        for (u32 odd = 0; odd < 2; odd++) {
            u32 b2[2] = {b[2 * odd], b[2 * odd + 1]};
            for (u32 tile = 0; tile < 2; tile++) {
                u32 at = ((k + odd - HELD) * WARPS * 2 + tile) * 32;
                u32x4 a = ld16(beside + at);
                mma_m16n8k16(sum[tile][odd], a.word, b2, sum[tile][odd]);
            }
        }
    }
    for (u32 tile = 0; tile < 2; tile++)
        for (u32 v = 0; v < 4; v++)
            z[2 * tile + v / 2][v % 2] = sum[tile][0][v] + sum[tile][1][v];
}

#endif
