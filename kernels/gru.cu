// The gates of one GRU step over packed sequences after its matrix product, forward and backward
// (Cho et al. 2014, in PyTorch's form). Gate order r, z, n.
//
//   x = x_t W_ih^T + b_ih, or a row of the gate table      s = h_{t-1} W_hh^T + b_hh
//   r, z = sigmoid(x + s)    q = s_n    n = tanh(x_n + r q)
//   h = (1 - z) n + z h_{t-1}
//
// Launch shape: per unit, one thread each; rows * H is below 2^32.
#include "device.cuh"

// ---- forward -------------------------------------------------------------------------------

template <class T>
DEVICE void gates_fwd(ptr<const float> product, ptr<const T> x, ptr<const u32> ids,
                      ptr<const T> b_ih, ptr<const T> b_hh, ptr<const T> h_prev, ptr<T> gates,
                      ptr<T> h, ptr<T> h_n, u32 rows, u32 hidden, u32 next, u32 ways) {
    u32 at = block_x() * threads() + thread_x();
    if (at >= rows * hidden) return;
    u32 row = at / hidden, unit = at % hidden;
    u64 from = u64(ids ? ids[row] : row) * 3 * hidden + unit;
    u32 biases = row % ways * 3 * hidden + unit;
    float a[3], s[3];
    for (u32 k = 0; k < 3; k++) {
        a[k] = to_f32(x[from + k * hidden]);
        if (b_ih) a[k] += to_f32(b_ih[biases + k * hidden]);
        s[k] = to_f32(b_hh[biases + k * hidden]);
        if (product) s[k] += product[u64(row) * 3 * hidden + k * hidden + unit];
    }
    float r = sigmoid(a[0] + s[0]), z = sigmoid(a[1] + s[1]), q = s[2];
    float n = tanh_exact(a[2] + r * q);
    float before = h_prev ? to_f32(h_prev[at]) : 0.0f;
    T y = from_f32<T>((1.0f - z) * n + z * before);
    if (gates) {
        u64 to = u64(row) * 4 * hidden + unit;
        gates[to] = from_f32<T>(r);
        gates[to + hidden] = from_f32<T>(z);
        gates[to + 2 * hidden] = from_f32<T>(n);
        gates[to + 3 * hidden] = from_f32<T>(q);
    }
    h[at] = y;
    if (row >= next) h_n[at] = y;
}

// ---- backward ------------------------------------------------------------------------------

// dh = dy + what the next step sends back
// dn_x = dh (1 - z) (1 - n^2)           dn_s = dn_x r
// dr = dn_x q r (1 - r)                 dz = dh (h_{t-1} - n) z (1 - z)
// dh_{t-1} = dh z, to which the product of the hidden side's gradient with W_hh is added
template <class T>
DEVICE void gates_bwd(ptr<const T> dy, ptr<float> dh, ptr<const T> gates, ptr<const T> h_prev,
                      ptr<T> dx, ptr<T> ds, ptr<T> h_before, u32 rows, u32 hidden) {
    u32 at = block_x() * threads() + thread_x();
    if (at >= rows * hidden) return;
    u64 row = at / hidden;
    u32 unit = at % hidden;
    u64 from = row * 4 * hidden + unit, to = row * 3 * hidden + unit;
    float r = to_f32(gates[from]), z = to_f32(gates[from + hidden]);
    float n = to_f32(gates[from + 2 * hidden]), q = to_f32(gates[from + 3 * hidden]);
    float d = dh[at];
    if (dy) d += to_f32(dy[at]);
    float before = h_prev ? to_f32(h_prev[at]) : 0.0f;
    float dn = d * (1.0f - z) * (1.0f - n * n);
    T dr = from_f32<T>(dn * q * r * (1.0f - r));
    T dz = from_f32<T>(d * (before - n) * z * (1.0f - z));
    dx[to] = dr;
    dx[to + hidden] = dz;
    dx[to + 2 * hidden] = from_f32<T>(dn);
    ds[to] = dr;
    ds[to + hidden] = dz;
    ds[to + 2 * hidden] = from_f32<T>(dn * r);
    dh[at] = d * z;
    if (h_before) h_before[at] = from_f32<T>(before);
}

// ---- kernels -------------------------------------------------------------------------------

// All matrices are those of the n sequences that are longer than t, the first n of the batch.
// product [n, 3H] f32: h_{t-1} W_hh^T; x [n, 3H], or with ids [n] the gate table [V, 3H] whose rows
// they name; b_ih, b_hh [ways, 3H]: row r's are number r mod ways, where several layers of one shape
// take turns in the rows; h_prev, h [n, H]; gates [n, 4H]: r, z, n and q; h_n [B, H]: the sequences
// from `next` to n end with this step, and theirs are written.
// dy [n, H]; dh [n, H] f32: from the next step, or from h_n, and then dh z; dx, ds [n, 3H]: gradients
// of x and s; h_before [n, H]: a copy of h_prev, to stand beside those of the other steps.
// product, ids, b_ih, dy and h_prev may be null: no product, dy or h_prev counts as zero. gates and
// h_before may be null where they are not wanted.
#define GRU(T, suffix)                                                                             \
    KERNEL(gru_gates_fwd_##suffix, ptr<const float> product, ptr<const T> x, ptr<const u32> ids,   \
           ptr<const T> b_ih, ptr<const T> b_hh, ptr<const T> h_prev, ptr<T> gates, ptr<T> h,      \
           ptr<T> h_n, u32 rows, u32 hidden, u32 next, u32 ways) {                                 \
        gates_fwd(product, x, ids, b_ih, b_hh, h_prev, gates, h, h_n, rows, hidden, next, ways);   \
    }                                                                                              \
    KERNEL(gru_gates_bwd_##suffix, ptr<const T> dy, ptr<float> dh, ptr<const T> gates,             \
           ptr<const T> h_prev, ptr<T> dx, ptr<T> ds, ptr<T> h_before, u32 rows, u32 hidden) {     \
        gates_bwd(dy, dh, gates, h_prev, dx, ds, h_before, rows, hidden);                          \
    }

GRU(float, f32)
GRU(half, f16)
