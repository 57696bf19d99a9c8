// The mixture of a pointer-generator, its negative log-likelihood and its gradients (See, Liu,
// Manning 2017, equations 8, 9 and 6), of a row of logits l, a gate's logit z and attention weights:
//
//   g = sigmoid(z)      A_w = sum over the source positions j that hold w of alpha_j
//   p(w) = g softmax(l)_w + (1 - g) A_w      loss = -log p(target)      [nats]
//
// and with r = g softmax(l)_target / p(target):
//
//   dl_k = r (softmax(l)_k - [k = target]) * scale      dz = (g - r) * scale
//   dalpha_j = -[j holds target] (1 - r) / A_target * scale
//
// Ids below V are words of the vocabulary; of those from V on only A has a part. Below TINY log A
// goes on as its tangent: 1 / A stays a number.
//
// Launch shape: per row, a block of a multiple of 32 threads. The logits are read twice, and a third
// time where a gradient takes their place.
#include "device.cuh"

constexpr float TINY = 1e-30f;
constexpr u32 INFINITE = 0x7F800000;

DEVICE float log_sigmoid(float z) {
    float a = z < 0.0f ? -z : z;
    return (z < 0.0f ? z : 0.0f) - ln(1.0f + exponential(-a));
}
// log(exp(a) + exp(b)), not both minus infinity.
DEVICE float log_add(float a, float b) {
    float large = a > b ? a : b, small = a > b ? b : a;
    return large + ln(1.0f + exponential(small - large));
}

// Columns c .. c + 8 of a row, minus infinity beyond the last.
template <class T>
DEVICE void load_logits(ptr<const T> logits, u64 first, u32 c, u32 vocab, float (&v)[GROUP]) {
    load8(logits, first + c, first + vocab, v);
    for (u32 j = 0; j < GROUP; j++)
        if (c + j >= vocab) v[j] = -float_of(INFINITE);
}

// A row's two distributions.
template <class T>
struct Mixed {
    ptr<const T> logits;         // from the row's first on
    ptr<const u32> ids;          // of all positions
    ptr<const float> alpha;      // of all rows
    u64 row, first, start;       // the row, its first logit and its first position
    u32 length, positions, vocab;
    float log_gate, log_copy;    // log g, log (1 - g)
    Best best;                   // of the logits
    float sum;                   // of exp(l - best)

    // log of the vocabulary's part of an id.
    DEVICE float log_vocabulary(u32 id) const {
        if (id >= vocab) return -float_of(INFINITE);
        return log_gate + (to_f32(logits[first + id]) - best.value) - ln(sum);
    }
    // A of an id, negative where no position holds it.
    DEVICE float mass(u32 id) const {
        float total = 0.0f;
        bool held = false;
        for (u32 j = 0; j < length; j++)
            if (ids[start + j] == id) {
                total += alpha[row * positions + j];
                held = true;
            }
        return held ? total : -1.0f;
    }
    DEVICE float p(u32 id) const {
        float a = mass(id);
        return exponential(log_vocabulary(id)) + (a > 0.0f ? a * exponential(log_copy) : 0.0f);
    }
    // Whether p(other) beats p(id), of equals by the lower id.
    DEVICE bool beats(u32 other, u32 id, float p_id) const {
        float p_other = p(other);
        return p_other > p_id || (p_other == p_id && other < id);
    }
};

// Reads a row: all threads of the block get the same. Scratches of 32 elements.
template <class T>
DEVICE Mixed<T> mix(ptr<const T> logits, ptr<const T> gate, ptr<const float> alpha,
                    ptr<const u32> ids, ptr<const u32> offsets, ptr<const u32> rows, u32 vocab,
                    u32 positions, ptr<float> values, ptr<u32> columns) {
    u64 row = block_x();
    u32 b = rows[row];
    float z = to_f32(gate[row]), v[GROUP];
    Mixed<T> m{logits, ids, alpha, row, row * vocab, offsets[b],
               offsets[b + 1] - offsets[b], positions, vocab, log_sigmoid(z), log_sigmoid(-z),
               Best{-float_of(INFINITE), vocab}, 0.0f};
    for (u32 c = thread_x() * GROUP; c < vocab; c += threads() * GROUP) {
        load_logits(logits, m.first, c, vocab, v);
        for (u32 j = 0; j < GROUP; j++) m.best = better(m.best, Best{v[j], c + j});
    }
    for (u32 l = 16; l > 0; l /= 2)
        m.best = better(m.best, Best{shfl_xor(m.best.value, l), shfl_xor(m.best.index, l)});
    if (thread_x() % 32 == 0) {
        values[thread_x() / 32] = m.best.value;
        columns[thread_x() / 32] = m.best.index;
    }
    block_sync();
    m.best = Best{values[0], columns[0]};
    for (u32 w = 1; w < threads() / 32; w++) m.best = better(m.best, Best{values[w], columns[w]});
    for (u32 c = thread_x() * GROUP; c < vocab; c += threads() * GROUP) {
        load_logits(logits, m.first, c, vocab, v);
        for (u32 j = 0; j < GROUP; j++) m.sum += exponential(v[j] - m.best.value);
    }
    m.sum = block_sum(m.sum, values);
    return m;
}

// What a pass writes; gradients may be null.
template <class T>
struct Written {
    ptr<float> loss, correct;
    ptr<T> dlogits;  // may be the logits
    ptr<T> dgate;
    ptr<float> dalpha;
    float scale;
};

template <class T>
DEVICE void copy_xent(const Mixed<T>& m, u32 target, Written<T> to, ptr<float> scratch) {
    float log_vocabulary = m.log_vocabulary(target), mass = m.mass(target);
    // A target outside the vocabulary has no other part.
    if (mass < 0.0f && target >= m.vocab) mass = 0.0f;
    bool copied = mass >= 0.0f;
    float whole = mass > TINY ? mass : TINY;
    float log_mass = ln(whole) + (mass < TINY ? mass / TINY - 1.0f : 0.0f);
    float log_copied = copied ? m.log_copy + log_mass : -float_of(INFINITE);
    float log_p = log_add(log_vocabulary, log_copied);
    float r = exponential(log_vocabulary - log_p);

    // A word is right if no other is likelier: the likeliest logit, or what the source holds.
    float p = m.p(target), beaten = 0.0f;
    if (thread_x() == 0 && m.beats(m.best.index, target, p)) beaten = 1.0f;
    for (u32 j = thread_x(); j < m.length; j += threads())
        if (m.beats(m.ids[m.start + j], target, p)) beaten = 1.0f;
    beaten = block_sum(beaten, scratch);  // and every logit has been read: dlogits may be logits
    if (thread_x() == 0) {
        to.loss[m.row] = -log_p;
        to.correct[m.row] = beaten == 0.0f ? 1.0f : 0.0f;
        if (to.dgate) to.dgate[m.row] = from_f32<T>((exponential(m.log_gate) - r) * to.scale);
    }
    if (to.dalpha) {
        float share = copied ? exponential(log_copied - log_p) / whole * to.scale : 0.0f;
        for (u32 j = thread_x(); j < m.positions; j += threads()) {
            bool holds = j < m.length && m.ids[m.start + j] == target;
            to.dalpha[m.row * m.positions + j] = holds ? -share : 0.0f;
        }
    }
    if (!to.dlogits) return;
    float scale = r * to.scale, factor = scale / m.sum, v[GROUP];
    for (u32 c = thread_x() * GROUP; c < m.vocab; c += threads() * GROUP) {
        load_logits(m.logits, m.first, c, m.vocab, v);
        for (u32 j = 0; j < GROUP; j++) {
            v[j] = exponential(v[j] - m.best.value) * factor;
            if (c + j == target) v[j] -= scale;
        }
        store8(to.dlogits, m.first + c, m.first + m.vocab, v);
    }
}

// Log-probabilities of the extended vocabulary, minus infinity of what no position holds.
template <class T>
DEVICE void copy_mixture(const Mixed<T>& m, ptr<float> mixture) {
    u32 width = m.vocab + m.positions;
    u64 to = m.row * width;
    float shift = m.log_gate - m.best.value - ln(m.sum);
    for (u32 c = thread_x(); c < width; c += threads())
        mixture[to + c] =
            c < m.vocab ? to_f32(m.logits[m.first + c]) + shift : -float_of(INFINITE);
    block_sync();
    for (u32 j = thread_x(); j < m.length; j += threads()) {
        u32 id = m.ids[m.start + j];
        bool first = id < width;
        for (u32 k = 0; k < j; k++) first = first && m.ids[m.start + k] != id;
        float mass = first ? m.mass(id) : 0.0f;
        if (mass > 0.0f)
            mixture[to + id] = log_add(m.log_vocabulary(id), m.log_copy + ln(mass));
    }
}

// ---- kernels -------------------------------------------------------------------------------

// logits [N, V]; gate [N]: z; alpha [N, S] f32; ids [M], of which row b of the batch has
// offsets[b] .. offsets[b + 1], at most S; rows [N]: the row of the batch of each row; targets [N];
// dlogits as logits (may be logits), dgate [N] and dalpha [N, S] f32 may be null; loss [N] f32; correct
// [N] f32, 1 where no id of the extended vocabulary is likelier than the target (of equals the
// lowest); the scale is scale [1] f32, or 1 if that is null. mixture [N, V + S] f32.
#define COPY_XENT(T, suffix)                                                                       \
    KERNEL(copy_xent_##suffix, ptr<const T> logits, ptr<const T> gate, ptr<const float> alpha,     \
           ptr<const u32> ids, ptr<const u32> offsets, ptr<const u32> rows,                        \
           ptr<const u32> targets, ptr<T> dlogits, ptr<T> dgate, ptr<float> dalpha,                \
           ptr<float> loss, ptr<float> correct, ptr<const float> scale, u32 vocab,                 \
           u32 positions) {                                                                        \
        SHARED(float, values, 32);                                                                 \
        SHARED(u32, columns, 32);                                                                  \
        Mixed<T> m = mix<T>(logits, gate, alpha, ids, offsets, rows, vocab, positions, values + 0, \
                            columns + 0);                                                          \
        Written<T> to{loss, correct, dlogits, dgate, dalpha, scale ? scale[0] : 1.0f};             \
        copy_xent(m, targets[block_x()], to, values + 0);                                          \
    }                                                                                              \
    KERNEL(copy_mixture_##suffix, ptr<const T> logits, ptr<const T> gate, ptr<const float> alpha,  \
           ptr<const u32> ids, ptr<const u32> offsets, ptr<const u32> rows, ptr<float> mixture,    \
           u32 vocab, u32 positions) {                                                             \
        SHARED(float, values, 32);                                                                 \
        SHARED(u32, columns, 32);                                                                  \
        copy_mixture(mix<T>(logits, gate, alpha, ids, offsets, rows, vocab, positions, values + 0, \
                            columns + 0),                                                          \
                     mixture);                                                                     \
    }

COPY_XENT(float, f32)
COPY_XENT(half, f16)

// ids [n], with `unknown` for those from `vocab` on.
KERNEL(copy_known_u32, ptr<const u32> ids, ptr<u32> to, u32 vocab, u32 unknown, u64 n) {
    for (u64 i = first_element(); i < n && i < first_element() + GROUP; i++)
        to[i] = ids[i] < vocab ? ids[i] : unknown;
}
