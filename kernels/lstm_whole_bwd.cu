// The backward pass of an LSTM over whole sequences in one launch: see lstm_whole.cuh. From the last step
// to the first, a block's product is dh of its own units, W_hh^T dz, over the gates of all units: so dz is
// what is handed on, [4H, 8] a group. A warp takes 16 units and two of the gates; its neighbour has the
// other two, and each adds up half of the units.
#include "lstm_whole.cuh"

#ifdef HAS_MMA

namespace lstm::bwd {

// Slices of 16 gate rows of its weights that a warp holds: with more it spills.
DEVICE constexpr u32 held_back(u32 hidden) { return hidden == 128 ? 8 : hidden < 256 ? hidden / 8 : 28; }

// The block's dynamic shared memory.
template <u32 H>
struct Shared {
    ptr<u32x4> weights;  // [slice][warp][lane] those that are not in registers
    ptr<half> dz;        // [2][groups][4H][8]
    ptr<float> dc;       // [groups][2][threads] each lane's own
    ptr<u64> full;       // [2][groups] all of a dz is there
    ptr<u32> lengths;    // [groups] steps
    u32 groups;

    static constexpr u32 BYTES = 4 * H * ROWS * 2;  // of a dz
    DEVICE ptr<half> delta(u32 t, u32 j) const { return dz + (t % 2 * groups + j) * (4 * H * ROWS); }
    DEVICE ptr<u64> barrier(u32 t, u32 j) const { return full + (t % 2 * groups + j); }
    DEVICE ptr<float> cells(u32 j) const { return dc + (j * 2 * threads_of(H) + thread_x()); }
};
template <u32 H>
DEVICE Shared<H> shared_of(u32 groups) {
    auto weights = dynamic_shared<u32x4>();
    auto dz = view<half>(weights + (H / 8 - held_back(H)) * warps_of(H) * 32);
    auto dc = view<float>(dz + 2 * groups * 4 * H * ROWS);
    auto full = view<u64>(dc + groups * 2 * threads_of(H));
    return Shared<H>{weights, dz, dc, full, view<u32>(full + 2 * groups), groups};
}

// A lane's part of slice k of the weights: 16 of its warp's gate rows, transposed.
DEVICE u32x4 weights_of(ptr<const half> w, u32 hidden, const Lane& me, u32 k) {
    u32x4 a;
    for (u32 r = 0; r < 4; r++) {
        u32 unit = me.unit - me.own + me.warp / 2 * 16 + me.lane / 4 + r % 2 * 8;
        u64 row = me.warp % 2 * 2 * hidden + 16 * k + 2 * me.pair + r / 2 * 8;
        a.word[r] = packed(w[row * hidden + unit], w[(row + 1) * hidden + unit]);
    }
    return a;
}

// How many steps each group has, and what the mbarriers of its last two wait for. The dz of steps down to
// `last` are sent.
template <u32 H>
DEVICE void begin(const Shared<H>& own, const Rows& all, u32 last) {
    if (thread_x() > 0) return;
    for (u32 j = 0; j < all.groups; j++) {
        u32 length = all.length(j);
        own.lengths[j] = length;
        for (u32 back = 1; back <= 2; back++) {
            u32 parity = length + back;  // of step length - back, which may be none
            Peers<blocks_of(H)>::prepare(own.barrier(parity, j));
            if (length >= back + last)
                Peers<blocks_of(H)>::expect(own.barrier(parity, j), own.BYTES);
        }
    }
}

// The same of a lane's two rows of step t. A row that ends with this step takes the gradients of its
// final state.
template <u32 H>
DEVICE void back(half (&dz)[2][4], const Layer& layer, ptr<float> dc, const Saved& s, float (&dh)[2],
                 Step now, Step after, u32 t, const Rows& all, const Lane& me, u32 j) {
    for (u32 e = 0; e < 2; e++) {
        u32 row = all.row(j, 2 * me.pair + e);
        u64 of = u64(row) * H + me.unit;
        float dc_next = dc[e * threads_of(H)];
        if (row >= after.rows) {
            dh[e] = row < now.rows ? layer.dh[of] : 0.0f;
            dc_next = row < now.rows ? layer.dc[of] : 0.0f;
        }
        float dc_before = step_back(dz[e], s, e, dh[e], dc_next);
        dc[e * threads_of(H)] = dc_before;
        if (t == 0 && row < now.rows) layer.dc[of] = dc_before;
    }
}
template <u32 H>
DEVICE void write(const Layer& layer, const half (&dz)[2][4], const Saved& s, Step now,
                  const Rows& all, const Lane& me, u32 j) {
    for (u32 e = 0; e < 2; e++) {
        u32 row = all.row(j, 2 * me.pair + e);
        if (row >= now.rows) continue;
        u64 at = now.first + row;
        auto out = layer.dz + me.unit + at * (4 * H);
        for (u32 k = 0; k < 4; k++) out[k * H] = dz[e][k];
        if (layer.before) (layer.before + me.unit + at * H)[0] = half{u16(s.h_before[e])};
    }
}

// With a `state` before step 0 its gradient is wanted.
template <u32 H>
DEVICE void whole_bwd(ptr<const half> w_hh, const Layer& layer, ptr<u32> fault, const Rows& all,
                      bool state) {
    using To = Peers<blocks_of(H)>;
    constexpr u32 THREADS = threads_of(H), WARPS = warps_of(H);
    SHARED(float, halves, 4 * threads_of(H));  // two in turn: one may still be read
    SHARED(u32, there, 2 * warps_of(H));       // whether they are of a dz that came
    Lane me = lane_of(To::rank(), own_of(H));
    Shared<H> own = shared_of<H>(all.groups);
    u32 w[held_back(H)][1][4];
    auto own_w_hh = w_hh + u64(all.way) * 4 * H * H;
    auto part = [&](u32, u32 k) { return weights_of(own_w_hh, H, me, k); };
    hold<H / 8, held_back(H), warps_of(H), 1>(w, own.weights, me, part);
    u32 last = state ? 0 : 1, turn = 0;
    begin<H>(own, all, last);
    To::meet();

    auto product = [&](float (&mine)[2], float (&other)[2], ptr<const half> dz) {
        constexpr u32 CHAINS = H == 128 ? 2 : 4;
        multiply_back<H / 8, held_back(H), warps_of(H), CHAINS>(mine, other, w, own.weights, dz, me);
    };
    // dh of a group's rows from the dz of step t, once all of it is there. Neighbours give up together.
    auto back_from = [&](float (&dh)[2], u32 t, u32 j) {
        u32 which = turn++ % 2, neighbour = thread_x() ^ 32;
        bool came = To::wait(own.barrier(t, j), (own.lengths[j] - 1 - t) / 2 % 2);
        float mine[2] = {}, other[2] = {};
        if (came) product(mine, other, own.delta(t, j));
        for (u32 e = 0; e < 2; e++) halves[(2 * which + e) * THREADS + thread_x()] = other[e];
        if (me.lane == 0) there[which * WARPS + me.warp] = came;
        bar_sync(1 + me.warp / 2, 64);
        for (u32 e = 0; e < 2; e++) dh[e] = mine[e] + halves[(2 * which + e) * THREADS + neighbour];
        if (came && there[which * WARPS + (me.warp ^ 1)]) {
            if (thread_x() == 0 && t >= 2 + last) To::expect(own.barrier(t, j), own.BYTES);
            return true;
        }
        // What was given up must not pass for a result.
        give_up(fault, t, block_x() / blocks_of(H), 2 * H + 1, me);
        u64 at = all.step(t).first + all.row(j, 0);
        layer.dz[at * 4 * H + me.unit] = NOT_A_NUMBER;
        return false;
    };
    auto all_steps = [&] {
        u32 longest = own.lengths[0], later = 0;
        Step after = {0, 0}, now = all.step(longest - 1), before = all.step(longest - 2);
        u32 live = all.live(now);
        Saved saved;
        load_saved<H>(saved, layer, all, me, now, before, longest == 1, 0);
        for (u32 t = longest; t-- > 0;) {
            Step earlier = all.step(t - 2);
            for (u32 j = 0; j < live; j++) {
                float dh[2] = {};
                if (j < later && !back_from(dh, t + 1, j)) return;
                half dz[2][4];
                back<H>(dz, layer, own.cells(j), saved, dh, now, after, t, all, me, j);
                auto to = view<u32>(own.delta(t, j) + me.unit * ROWS) + me.pair;
                for (u32 k = 0; k < 4 && t >= last; k++)
                    To::send(to + k * (H * ROWS / 2), packed(dz[0][k], dz[1][k]), own.barrier(t, j));
                write<H>(layer, dz, saved, now, all, me, j);
                // What the next one reads is on its way while dz is waited for.
                if (j + 1 < live)
                    load_saved<H>(saved, layer, all, me, now, before, t == 0, j + 1);
                else if (t > 0)
                    load_saved<H>(saved, layer, all, me, before, earlier, t == 1, 0);
            }
            To::step_is_over();
            later = live;
            if (before.rows != now.rows && t > 0) live = all.live(before);
            after = now;
            now = before;
            before = earlier;
        }
        for (u32 j = 0; state && j < later; j++) {
            float dh_0[2];
            if (!back_from(dh_0, 0, j)) return;
            for (u32 e = 0; e < 2; e++) {
                u32 row = all.row(j, 2 * me.pair + e);
                if (row < all.rows) layer.dh[u64(row) * H + me.unit] = dh_0[e];
            }
        }
    };
    all_steps();
    To::meet();
}

}  // namespace lstm::bwd

// ---- kernels -----------------------------------------------------------------------------------

// Shapes and names as in lstm_whole_fwd.cu, whose y, gates and cells are read.
// dy [N, H], null for zero; dz [N, 4H]; before [N, H]: h_{t-1} of each row, null where that is not wanted;
// dh, dc [B, H] f32: gradients of h_n and c_n, and then, with a `state` before step 0, of that one's.
#define LSTM_WHOLE_BWD(H)                                                                          \
    KERNEL_OF(lstm::threads_of(H), lstm_whole_bwd_##H, ptr<const half> w_hh, ptr<const half> dy,   \
              ptr<const half> gates, ptr<const float> cells, ptr<const half> y,                    \
              ptr<const half> h_0, ptr<const float> c_0, ptr<const u32> offsets, ptr<half> dz,     \
              ptr<half> before, ptr<float> dh, ptr<float> dc, ptr<u32> fault, u32 steps, u32 rows, \
              u32 ways, u32 groups, u32 state) {                                                   \
        Rows all = rows_of(offsets, steps, rows, ways, groups, lstm::blocks_of(H));                \
        lstm::Layer layer{dy, gates, cells, y, h_0, c_0, dz, before, dh, dc};                      \
        lstm::bwd::whole_bwd<H>(w_hh, layer, fault, all, state != 0);                              \
    }

LSTM_WHOLE_BWD(64)
LSTM_WHOLE_BWD(128)
#ifdef HAS_CLUSTERS
LSTM_WHOLE_BWD(192)
LSTM_WHOLE_BWD(256)
LSTM_WHOLE_BWD(320)
LSTM_WHOLE_BWD(384)
LSTM_WHOLE_BWD(448)
LSTM_WHOLE_BWD(512)
#endif

#endif
