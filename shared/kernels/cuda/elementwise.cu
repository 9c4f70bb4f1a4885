// Sums, and the gated activation (Shazeer 2020, GLU Variants Improve Transformer).
#include "spans.h"

typedef struct {
    const T *x, *y; // [n]
    T *sum;         // [n]; it may be x or y
    u64 n;
} Add;

KERNEL(add, Add) {
    u64 length = (u64)blockDim.x * PACK, start = blockIdx.x * length;
    if (packs(a.x) && packs(a.y) && packs(a.sum)) {
        u64 i = start + threadIdx.x * PACK;
        if (i + PACK <= a.n) {
            Pack p = *(const Pack *)(a.x + i), q = *(const Pack *)(a.y + i);
            for (int k = 0; k < PACK; k++)
                p.at[k] = narrow(widen(p.at[k]) + widen(q.at[k]));
            *(Pack *)(a.sum + i) = p;
        } else {
            for (; i < a.n; i++) a.sum[i] = narrow(widen(a.x[i]) + widen(a.y[i]));
        }
        return;
    }
    u64 end = start + length < a.n ? start + length : a.n;
    for (u64 i = start + threadIdx.x; i < end; i += blockDim.x)
        a.sum[i] = narrow(widen(a.x[i]) + widen(a.y[i]));
}

#ifdef BF16
// By the hardware's exponential and reciprocal, good to 20 bits, of which bf16 keeps 8.
// With exact ones, instructions would take as long as memory does.
DEVICE float sigmoid(float x) { return __fdividef(1.0f, 1.0f + __expf(-x)); }
#else
DEVICE float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
#endif

typedef struct {
    const T *x; // [rows, 2 · width]: gates, then what passes through them
    T *y;       // [rows, width]
    u32 width;
} Swiglu;

// y = silu(gate) · up, where silu(g) = g · sigmoid(g).
KERNEL(swiglu, Swiglu) {
    Span s = span_of_block(a.width);
    const T *gate = a.x + 2 * (u64)s.row * a.width, *up = gate + a.width;
    T *y = a.y + (u64)s.row * a.width;
    if (a.width % PACK == 0 && packs(a.x) && packs(a.y)) {
        u32 i = s.start + threadIdx.x * PACK;
        if (i >= s.end) return;
        Pack g = *(const Pack *)(gate + i), u = *(const Pack *)(up + i);
        for (int k = 0; k < PACK; k++) {
            float x = widen(g.at[k]);
            u.at[k] = narrow(x * sigmoid(x) * widen(u.at[k]));
        }
        *(Pack *)(y + i) = u;
        return;
    }
    for (u32 i = s.start + threadIdx.x; i < s.end; i += blockDim.x) {
        float x = widen(gate[i]);
        y[i] = narrow(x * sigmoid(x) * widen(up[i]));
    }
}

typedef struct {
    const T *x;  // [rows, 2 · width]
    const T *dy; // [rows, width]
    T *dx;       // [rows, 2 · width]; it may be x
    u32 width;
} SwigluBackward;

// The gradients of one gate and of what passes through it, in their place. With s the
// sigmoid of the gate: dgate = dy · up · (s + gate · s · (1 - s)), dup = dy · gate · s.
DEVICE void swiglu_gradients(T *gate, T *up, T dy) {
    float g = widen(*gate), d = widen(dy), s = sigmoid(g), silu = g * s;
    *gate = narrow(d * widen(*up) * (s + silu * (1.0f - s)));
    *up = narrow(d * silu);
}

KERNEL(swiglu_backward, SwigluBackward) {
    Span s = span_of_block(a.width);
    u64 at = (u64)s.row * a.width;
    const T *gate = a.x + 2 * at, *up = gate + a.width, *dy = a.dy + at;
    T *dgate = a.dx + 2 * at, *dup = dgate + a.width;
    if (a.width % PACK == 0 && packs(a.x) && packs(a.dy) && packs(a.dx)) {
        u32 i = s.start + threadIdx.x * PACK;
        if (i >= s.end) return;
        Pack g = *(const Pack *)(gate + i), u = *(const Pack *)(up + i);
        Pack d = *(const Pack *)(dy + i);
        for (int k = 0; k < PACK; k++) swiglu_gradients(&g.at[k], &u.at[k], d.at[k]);
        *(Pack *)(dgate + i) = g;
        *(Pack *)(dup + i) = u;
        return;
    }
    for (u32 i = s.start + threadIdx.x; i < s.end; i += blockDim.x) {
        T g = gate[i], u = up[i];
        swiglu_gradients(&g, &u, dy[i]);
        dgate[i] = g;
        dup[i] = u;
    }
}

typedef struct {
    const float *x; // [n]
    T *y;           // [n]
    u64 n;
} Narrow;

// Four a thread, as in adamw.cu, if both begin where fours do.
KERNEL(narrow_all, Narrow) {
    u64 i = ((u64)blockIdx.x * blockDim.x + threadIdx.x) * 4;
    if (i + 4 <= a.n && packs(a.x) && (u64)a.y % sizeof(Four) == 0) {
        Floats x = *(const Floats *)(a.x + i);
        Four y;
        for (int k = 0; k < 4; k++) y.at[k] = narrow(x.at[k]);
        *(Four *)(a.y + i) = y;
        return;
    }
    for (int k = 0; k < 4 && i < a.n; k++, i++) a.y[i] = narrow(a.x[i]);
}

typedef struct {
    const T *x; // [n]
    float *y;   // [n]
    u64 n;
} Widen;

KERNEL(widen_all, Widen) {
    u64 i = ((u64)blockIdx.x * blockDim.x + threadIdx.x) * 4;
    if (i + 4 <= a.n && packs(a.y) && (u64)a.x % sizeof(Four) == 0) {
        Four x = *(const Four *)(a.x + i);
        Floats y;
        for (int k = 0; k < 4; k++) y.at[k] = widen(x.at[k]);
        *(Floats *)(a.y + i) = y;
        return;
    }
    for (int k = 0; k < 4 && i < a.n; k++, i++) a.y[i] = widen(a.x[i]);
}
