// A tanh RNN over whole packed sequences in one launch, forward and backward: see whole.cuh.
//
//   h_t = tanh(W_hh h_{t-1} + x_t + b)
//   dz_t = dh_t (1 - h_t^2)    dh_{t-1} = dy_{t-1} + W_hh^T dz_t
//
// A block holds all of W_hh, or its transpose, in registers and shared memory. A warp has 32 units, a lane four
// of two rows, eight from one another: in the product they stand where an LSTM has the four gates of a unit. h
// and dz go from step to step through shared memory, and a barrier of the block is all that keeps the steps
// apart.
//
// Launch shape: blocks of H threads. Blocks are independent: any number may run at once.
#include "whole.cuh"

#ifdef HAS_MMA

// A namespace for the kernels of each file: the emulated device links them all.
namespace rnn {

constexpr u32 UNITS = 4, APART = 8;  // of a lane, and from one of them to the next

DEVICE Lane own_lane() {
    u32 warp = thread_x() / 32, lane = thread_x() % 32, unit = warp * UNITS * APART + lane / 4;
    return Lane{warp, lane, lane % 4, unit, unit};
}

enum Pass { FORWARD, BACKWARD };
// Slices of 16 columns of its weights that a warp holds in registers: with more it spills.
DEVICE constexpr u32 held(u32 hidden, Pass pass) {
    return hidden < 256 ? hidden / 16 : pass == FORWARD ? 14 : 12;
}

// The block's dynamic shared memory.
template <u32 H, Pass P>
struct Shared {
    static constexpr u32 HELD = held(H, P), WARPS = H / (UNITS * APART);
    ptr<u32x4> weights;  // [slice][warp][tile][lane] those that are not in registers
    ptr<half> states;    // [2][groups][H][8] what the steps hand on, h or dz
    u32 groups;
    DEVICE ptr<half> state(u32 t, u32 j) const { return states + (t % 2 * groups + j) * (H * ROWS); }
};
template <u32 H, Pass P>
DEVICE Shared<H, P> shared_of(u32 groups) {
    auto weights = dynamic_shared<u32x4>();
    using Own = Shared<H, P>;
    return Own{weights, view<half>(weights + (H / 16 - Own::HELD) * Own::WARPS * 2 * 32), groups};
}

// A lane's part of slice k of W_hh [H, H], or of its transpose.
template <u32 H, Pass P>
DEVICE u32x4 weights_of(ptr<const half> w_hh, const Lane& me, u32 tile, u32 k) {
    u32x4 a;
    for (u32 r = 0; r < 4; r++) {
        u32 row = me.unit + (2 * tile + r % 2) * APART, column = 16 * k + 2 * me.pair + r / 2 * 8;
        auto at = P == FORWARD ? w_hh + (row * H + column) : w_hh + (column * H + row);
        a.word[r] = packed(at[0], at[P == FORWARD ? 1 : H]);
    }
    return a;
}
template <u32 H, Pass P>
DEVICE void hold_own(u32 (&w)[held(H, P)][2][4], const Shared<H, P>& own, ptr<const half> w_hh,
                     const Lane& me) {
    auto part = [&](u32 tile, u32 k) { return weights_of<H, P>(w_hh, me, tile, k); };
    hold<H / 16, held(H, P), Shared<H, P>::WARPS, 2>(w, own.weights, me, part);
}
DEVICE void hand_on(ptr<half> state, const half (&values)[UNITS][2], const Lane& me) {
    for (u32 k = 0; k < UNITS; k++) {
        auto unit = view<u32>(state + (me.unit + k * APART) * ROWS);
        unit[me.pair] = packed(values[k][0], values[k][1]);
    }
}

// W h + what the sums begin with, of the lane's units and rows.
template <u32 H, Pass P>
DEVICE void product(float (&z)[UNITS][2], Sums& sums, const u32 (&w)[held(H, P)][2][4],
                    const Shared<H, P>& own, ptr<half> state, const Lane& me) {
    multiply<H / 16, held(H, P), Shared<H, P>::WARPS>(z, sums, w, own.weights, state, me);
}

// ---- forward -------------------------------------------------------------------------------

template <u32 H>
DEVICE void whole_fwd(ptr<const half> w_hh, ptr<const half> x, ptr<const u32> ids,
                      ptr<const half> bias, ptr<const half> h_0, ptr<half> y, ptr<half> h_n,
                      const Rows& all) {
    Lane me = own_lane();
    auto own = shared_of<H, FORWARD>(all.groups);
    u32 w[held(H, FORWARD)][2][4];
    hold_own<H, FORWARD>(w, own, w_hh + u64(all.way) * H * H, me);
    begin_states<H>(own.states, h_0, all);
    u32 b[2] = {};
    for (u32 tile = 0; tile < 2 && bias; tile++) {
        auto of = bias + (all.way * H + me.unit + 2 * tile * APART);
        b[tile] = packed(of[0], of[APART]);
    }
    block_sync();

    Step now = all.step(0), next = all.step(1);
    u32 live = all.live(now);
    Inputs in;
    load<H, APART>(in, x, me, places_of(ids, all, me, now, 0));
    for (u32 t = 0; live > 0; t++) {
        u32 goes_on = next.rows == now.rows ? live : all.live(next);
        for (u32 j = 0; j < live; j++) {
            // The next input is asked for here, and comes during the products.
            bool more = j + 1 < live;
            Step of = more || next.rows == 0 ? now : next;
            Places places = places_of(ids, all, me, of, more ? j + 1 : 0);
            Sums sums = sums_of(b, in);
            load<H, APART>(in, x, me, places);
            float z[UNITS][2];
            product<H, FORWARD>(z, sums, w, own, own.state(t, j), me);
            half h[UNITS][2];
            for (u32 k = 0; k < UNITS; k++)
                for (u32 e = 0; e < 2; e++) h[k][e] = to_half(tanh_exact(z[k][e]));
            if (j < goes_on) hand_on(own.state(t + 1, j), h, me);
            for (u32 e = 0; e < 2; e++) {
                u32 row = all.row(j, 2 * me.pair + e);
                if (row >= now.rows) continue;
                auto to = y + me.unit + u64(now.first + row) * H, last = h_n + me.unit + u64(row) * H;
                for (u32 k = 0; k < UNITS; k++) {
                    to[k * APART] = h[k][e];
                    if (row >= next.rows) last[k * APART] = h[k][e];
                }
            }
        }
        block_sync();
        now = next;
        next = all.step(t + 2);
        live = goes_on;
    }
}

// ---- backward ------------------------------------------------------------------------------

// What the pass reads and writes besides the weights.
struct Layer {
    ptr<const half> dy, y, h_0;
    ptr<half> dz, before;
    ptr<float> dh;
};

// Of a lane's units and rows, as bits: the gradient of y, the states after a step, and those before it.
struct Saved {
    u32 dy[UNITS][2], h[UNITS][2], h_before[UNITS][2];
};
// `before` is the step before, with t > 0.
template <u32 H>
DEVICE void load(Saved& s, const Layer& of, const Rows& all, const Lane& me, Step step, Step before,
                 bool first, u32 j) {
    for (u32 e = 0; e < 2; e++) {
        u32 row = all.row(j, 2 * me.pair + e), given = row < all.rows ? row : all.rows - 1;
        u64 at = u64(step.at(row)) * H + me.unit;
        u64 last = u64(first ? given : before.at(row)) * H + me.unit;
        auto h = first ? of.h_0 : of.y;
        for (u32 k = 0; k < UNITS; k++) {
            s.dy[k][e] = of.dy ? ld_nc_bits(of.dy + (at + k * APART)) : 0;
            s.h[k][e] = ld_nc_bits(of.y + (at + k * APART));
            s.h_before[k][e] = of.before && h ? ld_nc_bits(h + (last + k * APART)) : 0;
        }
    }
}

// One step back of the lane's units and rows, where z is W_hh^T dz of the step after it. A row that ends with
// this step takes the gradient of its final state.
template <u32 H>
DEVICE void back(half (&dz)[UNITS][2], const Layer& layer, const Saved& s, const float (&z)[UNITS][2],
                 Step now, Step after, const Rows& all, const Lane& me, u32 j) {
    for (u32 e = 0; e < 2; e++) {
        u32 row = all.row(j, 2 * me.pair + e);
        bool ends = row >= after.rows && row < now.rows, has_no = row >= now.rows;
        auto last = layer.dh + me.unit + u64(row) * H;
        for (u32 k = 0; k < UNITS; k++) {
            float dh = has_no ? 0.0f : ends ? last[k * APART] : z[k][e];
            dh += to_f32(half{u16(s.dy[k][e])});
            float h = to_f32(half{u16(s.h[k][e])});
            dz[k][e] = to_half(dh * (1.0f - h * h));
        }
        if (has_no) continue;
        u64 at = u64(now.first + row) * H + me.unit;
        for (u32 k = 0; k < UNITS; k++) {
            (layer.dz + at)[k * APART] = dz[k][e];
            if (layer.before) (layer.before + at)[k * APART] = half{u16(s.h_before[k][e])};
        }
    }
}

// With a `state` before step 0 its gradient is wanted.
template <u32 H>
DEVICE void whole_bwd(ptr<const half> w_hh, const Layer& layer, const Rows& all, bool state) {
    Lane me = own_lane();
    auto own = shared_of<H, BACKWARD>(all.groups);
    u32 w[held(H, BACKWARD)][2][4];
    hold_own<H, BACKWARD>(w, own, w_hh + u64(all.way) * H * H, me);
    u32 longest = all.length(0), later = 0;
    Step after = {0, 0}, now = all.step(longest - 1), before = all.step(longest - 2);
    u32 live = all.live(now);
    Saved saved;
    load<H>(saved, layer, all, me, now, before, longest == 1, 0);
    for (u32 t = longest; t-- > 0;) {
        Step earlier = all.step(t - 2);
        for (u32 j = 0; j < live; j++) {
            float z[UNITS][2] = {};
            Sums sums = {};
            if (j < later) product<H, BACKWARD>(z, sums, w, own, own.state(t + 1, j), me);
            half dz[UNITS][2];
            back<H>(dz, layer, saved, z, now, after, all, me, j);
            hand_on(own.state(t, j), dz, me);
            if (j + 1 < live)
                load<H>(saved, layer, all, me, now, before, t == 0, j + 1);
            else if (t > 0)
                load<H>(saved, layer, all, me, before, earlier, t == 1, 0);
        }
        block_sync();
        later = live;
        if (before.rows != now.rows && t > 0) live = all.live(before);
        after = now;
        now = before;
        before = earlier;
    }
    for (u32 j = 0; state && j < later; j++) {
        float z[UNITS][2];
        Sums sums = {};
        product<H, BACKWARD>(z, sums, w, own, own.state(0, j), me);
        for (u32 e = 0; e < 2; e++) {
            u32 row = all.row(j, 2 * me.pair + e);
            if (row >= all.rows) continue;
            auto to = layer.dh + me.unit + u64(row) * H;
            for (u32 k = 0; k < UNITS; k++) to[k * APART] = z[k][e];
        }
    }
}

}  // namespace rnn

// ---- kernels -------------------------------------------------------------------------------

// N rows of all steps, B of the first one, of `ways` layers that take turns in them.
// w_hh [ways, H, H]; x [N, H], or with ids [N] the gate table [V, H] whose rows they name; bias [ways, H];
// h_0 [B, H]; offsets [steps + 1], in rows of one layer: all of these but w_hh and x may be null, and count as
// zero, offsets as sequences of one length. y [N, H]; h_n [B, H].
// dy [N, H], null for zero; dz [N, H]; before [N, H]: h_{t-1} of each row, null where that is not wanted;
// dh [B, H] f32: the gradient of h_n, and then, with a `state` before step 0, of that one.
// `groups`: eight rows each, the most that a block takes; `rows` is B.
#define RNN_WHOLE(H)                                                                               \
    KERNEL_OF(H, rnn_whole_fwd_##H, ptr<const half> w_hh, ptr<const half> x, ptr<const u32> ids,   \
              ptr<const half> bias, ptr<const half> h_0, ptr<const u32> offsets, ptr<half> y,      \
              ptr<half> h_n, u32 steps, u32 rows, u32 ways, u32 groups) {                          \
        Rows all = rows_of(offsets, steps, rows, ways, groups, 1);                                 \
        rnn::whole_fwd<H>(w_hh, x, ids, bias, h_0, y, h_n, all);                                   \
    }                                                                                              \
    KERNEL_OF(H, rnn_whole_bwd_##H, ptr<const half> w_hh, ptr<const half> dy, ptr<const half> y,   \
              ptr<const half> h_0, ptr<const u32> offsets, ptr<half> dz, ptr<half> before,         \
              ptr<float> dh, u32 steps, u32 rows, u32 ways, u32 groups, u32 state) {               \
        Rows all = rows_of(offsets, steps, rows, ways, groups, 1);                                 \
        rnn::whole_bwd<H>(w_hh, rnn::Layer{dy, y, h_0, dz, before, dh}, all, state != 0);          \
    }

RNN_WHOLE(64)
RNN_WHOLE(128)
RNN_WHOLE(192)
RNN_WHOLE(256)

#endif
