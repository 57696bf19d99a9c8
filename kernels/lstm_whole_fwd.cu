// The forward pass of an LSTM over whole sequences in one launch: see lstm_whole.cuh. The product is
// (4 gates of 8 units) x (8 rows), so a lane's results are all four gates of its unit.
#include "lstm_whole.cuh"

#ifdef HAS_MMA

namespace lstm::fwd {

// The block's dynamic shared memory.
template <u32 H>
struct Shared {
    ptr<u32x4> weights;  // [slice][warp][tile][lane] those that are not in registers
    ptr<half> h;         // [2][groups][H][8]
    ptr<float> c;        // [groups][2][threads] each lane's own
    ptr<u64> full;       // [2][groups] all of an h is there
    u32 groups;

    static constexpr u32 BYTES = H * ROWS * 2;  // of an h
    DEVICE ptr<half> state(u32 t, u32 j) const { return h + (t % 2 * groups + j) * (H * ROWS); }
    DEVICE ptr<u64> barrier(u32 t, u32 j) const { return full + (t % 2 * groups + j); }
    DEVICE ptr<float> cells(u32 j) const { return c + (j * 2 * threads_of(H) + thread_x()); }
};
template <u32 H>
DEVICE Shared<H> shared_of(u32 groups) {
    auto weights = dynamic_shared<u32x4>();
    auto h = view<half>(weights + (H / 16 - held(H)) * warps_of(H) * 2 * 32);
    auto c = view<float>(h + 2 * groups * H * ROWS);
    return Shared<H>{weights, h, c, view<u64>(c + groups * 2 * threads_of(H)), groups};
}

// The states before step 0, and what the mbarriers of the first two steps wait for.
template <u32 H>
DEVICE void begin(const Shared<H>& own, ptr<const half> h_0, ptr<const float> c_0, const Rows& all,
                  const Lane& me) {
    begin_states<H>(own.h, h_0, all);
    for (u32 j = 0; j < all.groups; j++)
        for (u32 e = 0; e < 2; e++) {
            u32 row = all.row(j, 2 * me.pair + e);
            bool given = c_0 && row < all.rows;
            own.cells(j)[e * threads_of(H)] = given ? c_0[u64(row) * H + me.unit] : 0.0f;
        }
    if (thread_x() > 0) return;
    for (u32 t = 1; t <= 2; t++) {
        u32 live = all.live(all.step(t));
        for (u32 j = 0; j < all.groups; j++) {
            Peers<blocks_of(H)>::prepare(own.barrier(t, j));
            if (j < live) Peers<blocks_of(H)>::expect(own.barrier(t, j), own.BYTES);
        }
    }
}

template <u32 H>
DEVICE void whole_fwd(ptr<const half> w_hh, ptr<const half> x, ptr<const u32> ids,
                      ptr<const half> bias, ptr<const half> h_0, ptr<const float> c_0,
                      const Results& out, ptr<u32> fault, const Rows& all) {
    using To = Peers<blocks_of(H)>;
    Lane me = lane_of(To::rank(), own_of(H));
    Shared<H> own = shared_of<H>(all.groups);
    u32 w[held(H)][2][4];
    auto own_w_hh = w_hh + u64(all.way) * 4 * H * H;
    auto part = [&](u32 tile, u32 k) { return gates_of(own_w_hh, H, me, tile, k); };
    hold<H / 16, held(H), warps_of(H), 2>(w, own.weights, me, part);
    begin<H>(own, h_0, c_0, all, me);
    u32 b[2] = {};  // of gates i, f and of g, o
    for (u32 tile = 0; tile < 2 && bias; tile++) {
        auto of = bias + ((all.way * 4 + 2 * tile) * H + me.unit);
        b[tile] = packed(of[0], of[H]);
    }
    To::meet();

    Step now = all.step(0), next = all.step(1);
    u32 live = all.live(now), goes_on = all.live(next);
    Inputs in;
    load<4 * H, H>(in, x, me, places_of(ids, all, me, now, 0));
    for (u32 t = 0; live > 0; t++) {
        Step later = all.step(t + 2);
        u32 goes_further = later.rows == next.rows ? goes_on : all.live(later);
        for (u32 j = 0; j < live; j++) {
            // Where the next input is, is asked for before the wait; it comes during the products.
            bool more = j + 1 < live;
            Step of = more || next.rows == 0 ? now : next;
            Places places = places_of(ids, all, me, of, more ? j + 1 : 0);
            if (t > 0 && !To::wait(own.barrier(t, j), (t - 1) / 2 % 2)) {
                give_up(fault, t, block_x() / blocks_of(H), 2 * H, me);
                spoil<H>(out, all, me, now);
                goes_on = goes_further = 0;
                break;
            }
            if (t > 0 && j < goes_further && thread_x() == 0)
                To::expect(own.barrier(t, j), own.BYTES);
            Sums sums = sums_of(b, in);
            load<4 * H, H>(in, x, me, places);
            float z[4][2];
            multiply<H / 16, held(H), warps_of(H)>(z, sums, w, own.weights, own.state(t, j), me);
            ptr<float> c = own.cells(j);
            Unit first = step_of(z, 0, c[0]), second = step_of(z, 1, c[threads_of(H)]);
            auto to = view<u32>(own.state(t + 1, j) + me.unit * ROWS) + me.pair;
            if (j < goes_on) To::send(to, packed(first.h, second.h), own.barrier(t + 1, j));
            c[0] = first.c;
            c[threads_of(H)] = second.c;
            u32 row = all.row(j, 2 * me.pair);
            write<H>(out, first, now, next.rows, row, me);
            write<H>(out, second, now, next.rows, row + all.ways, me);
        }
        To::step_is_over();
        now = next;
        next = all.step(t + 2);
        live = goes_on;
        goes_on = goes_further;
    }
    To::meet();
}

}  // namespace lstm::fwd

// ---- kernels -----------------------------------------------------------------------------------

// N rows of all steps, B of the first one, of `ways` layers that take turns in them.
// w_hh [ways, 4H, H]; x [N, 4H], or with ids [N] the gate table [V, 4H] whose rows they name;
// bias [ways, 4H]; h_0 [B, H]; c_0 [B, H] f32; offsets [steps + 1], in rows of one layer: all of these but
// w_hh and x may be null, and count as zero, offsets as sequences of one length. y [N, H]; gates [N, 4H]
// activated and cells [N, H] f32: both null where no backward pass wants them; h_n [B, H]; c_n [B, H] f32;
// fault [4]: zero, or the number of warps that gave up, and of the first one the step, the cluster, and 2 H,
// or 2 H + 1 in the backward pass. A pass that gives up leaves at least one result that is not a number.
// `groups`: eight rows each, the most that a cluster takes; `rows` is B.
#define LSTM_WHOLE_FWD(H)                                                                          \
    KERNEL_OF(lstm::threads_of(H), lstm_whole_fwd_##H, ptr<const half> w_hh, ptr<const half> x,    \
              ptr<const u32> ids, ptr<const half> bias, ptr<const half> h_0, ptr<const float> c_0, \
              ptr<const u32> offsets, ptr<half> y, ptr<half> gates, ptr<float> cells,              \
              ptr<half> h_n, ptr<float> c_n, ptr<u32> fault, u32 steps, u32 rows, u32 ways,        \
              u32 groups) {                                                                        \
        Rows all = rows_of(offsets, steps, rows, ways, groups, lstm::blocks_of(H));                \
        lstm::Results out{y, gates, cells, h_n, c_n};                                              \
        lstm::fwd::whole_fwd<H>(w_hh, x, ids, bias, h_0, c_0, out, fault, all);                    \
    }

LSTM_WHOLE_FWD(64)
LSTM_WHOLE_FWD(128)
#ifdef HAS_CLUSTERS
LSTM_WHOLE_FWD(192)
LSTM_WHOLE_FWD(256)
LSTM_WHOLE_FWD(320)
LSTM_WHOLE_FWD(384)
LSTM_WHOLE_FWD(448)
LSTM_WHOLE_FWD(512)
#endif

#endif
