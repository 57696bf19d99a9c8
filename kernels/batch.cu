// Batches of a text that stays in device memory, and the record of what each step scored: with them
// a captured training step needs nothing from the host.
//
// counter [2]: step in the epoch, step of the run.
#include "device.cuh"

// x[t, b] = text[start_b + t] and y[t, b] = text[start_b + t + 1], where row b reads window
// order[counter[0] * B + b] and window w starts at w * (T + 1).
// text [characters]: ids; order [windows]; inputs, targets [T, B].
//
// Launch shape: per element of [T, B], one thread each.
KERNEL(batch_char, ptr<const u16> text, ptr<const u32> order, ptr<const u32> counter,
       ptr<u32> inputs, ptr<u32> targets, u32 steps, u32 batch) {
    u64 at = u64(block_x()) * threads() + thread_x();
    if (at >= u64(steps) * batch) return;
    u32 t = u32(at / batch), b = u32(at % batch);
    u64 from = u64(order[u64(counter[0]) * batch + b]) * (steps + 1) + t;
    inputs[at] = text[from];
    targets[at] = text[from + 1];
}

// Writes a step's figures to its place in the ring and moves the counters on.
// ce, correct [1] f32; penalty [1] f32 or null: 0; adam [8]: the state of adam.cu, which is copied;
// ring [slots, 16]: ce, penalty, correct, then from word 8 on the optimizer's state.
//
// Launch shape: one warp.
KERNEL(batch_record, ptr<const float> ce, ptr<const float> penalty, ptr<const float> correct,
       ptr<const u32> adam, ptr<u32> ring, ptr<u32> counter, u32 slots) {
    u32 lane = thread_x(), to = counter[1] % slots * 16;
    if (lane < 8) ring[to + 8 + lane] = adam[lane];
    if (lane == 0) {
        ring[to] = bits_of(ce[0]);
        ring[to + 1] = bits_of(penalty ? penalty[0] : 0.0f);
        ring[to + 2] = bits_of(correct[0]);
    }
    syncwarp();  // all lanes have read the counter
    if (lane < 2) counter[lane] += 1;
}
