// The likeliest column of each row of logits that may be chosen, and its log-probability:
//
//   c = argmax_j l_j over the allowed j, the lowest of a tie      gain = l_c - log sum_j exp(l_j)
//
// The sum is over all columns, allowed or not.
//
// Launch shape: per row, a block of a multiple of 32 threads each.
#include "device.cuh"

// The likeliest over the threads of a block, in all of them. The scratches have 32 elements.
DEVICE Best block_likeliest(Best best, ptr<float> values, ptr<u32> columns) {
    for (u32 lanes = 16; lanes > 0; lanes /= 2)
        best = better(best, Best{shfl_xor(best.value, lanes), shfl_xor(best.index, lanes)});
    block_sync();  // the scratch may still be read by an earlier reduction
    if (thread_x() % 32 == 0) {
        values[thread_x() / 32] = best.value;
        columns[thread_x() / 32] = best.index;
    }
    block_sync();
    best = Best{values[0], columns[0]};
    for (u32 w = 1; w < threads() / 32; w++) best = better(best, Best{values[w], columns[w]});
    return best;
}

// Bit j of `never` forbids column j; those from 32 on are allowed.
DEVICE bool allowed(u32 column, u32 never) { return column >= 32 || !(never >> column & 1); }

template <class T>
DEVICE void likeliest(ptr<const T> logits, ptr<u32> columns, ptr<float> gains, u32 width,
                      u32 never) {
    SHARED(float, values, 32);
    SHARED(u32, places, 32);
    u64 first = u64(block_x()) * width;
    Best none{-float_of(0x7F800000), width}, best = none, largest = none;
    for (u32 j = thread_x(); j < width; j += threads()) {
        Best pick{to_f32(logits[first + j]), j};
        largest = better(largest, pick);
        if (allowed(j, never)) best = better(best, pick);
    }
    largest = block_likeliest(largest, values + 0, places + 0);
    best = block_likeliest(best, values + 0, places + 0);
    float sum = 0.0f;
    for (u32 j = thread_x(); j < width; j += threads())
        sum += exponential(to_f32(logits[first + j]) - largest.value);
    sum = block_sum(sum, values + 0);
    if (thread_x() > 0) return;  // no barrier follows
    // Where no logit is a number: the first column that is allowed.
    u32 column = best.index;
    if (column == width) column = 0;
    while (!allowed(column, never)) column++;
    columns[block_x()] = column;
    gains[block_x()] = best.value - largest.value - ln(sum);
}

// ---- kernels -------------------------------------------------------------------------------

// logits [B, V], of which at least one column is allowed; columns [B]; gains [B] f32.
#define LIKELIEST(T, suffix)                                                                       \
    KERNEL(likeliest_##suffix, ptr<const T> logits, ptr<u32> columns, ptr<float> gains, u32 width, \
           u32 never) {                                                                            \
        likeliest(logits, columns, gains, width, never);                                           \
    }

LIKELIEST(float, f32)
LIKELIEST(half, f16)
