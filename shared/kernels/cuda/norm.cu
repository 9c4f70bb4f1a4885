// Root-mean-square normalization of stretches of rows: y = x · r · w, where
// r = 1 / sqrt(mean(x²) + eps). A stretch is a whole row of hidden states, or one head
// of it (QK-norm). Beside it lie stretches that are left as they are.
#include "common.h"

typedef struct {
    const T *x;      // [rows, width]
    const T *weight; // [dim]; of none, stretches are copied
    T *y;            // [rows, width]
    u64 rows;
    u32 width, start; // of a row, and where in it the first stretch begins
    u32 count, dim;   // stretches, and their length
    float eps;
} Norm;

// A warp for each stretch.
KERNEL(norm_forward, Norm) {
    u64 i = (u64)blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    if (i >= a.rows * a.count) return;
    u64 at = i / a.count * a.width + a.start + i % a.count * a.dim;
    const T *x = a.x + at;
    T *y = a.y + at;
    int lane = threadIdx.x % WARP;
    if (a.dim % PACK == 0 && packs(x) && packs(y) && packs(a.weight)) {
        const Pack *xs = (const Pack *)x, *ws = (const Pack *)a.weight;
        Pack *ys = (Pack *)y;
        int n = a.dim / PACK;
        float sum = 0.0f;
        for (int j = lane; a.weight && j < n; j += WARP) {
            Pack p = xs[j];
            for (int k = 0; k < PACK; k++) sum += widen(p.at[k]) * widen(p.at[k]);
        }
        float r = rsqrtf(warp_sum(sum) / a.dim + a.eps);
        for (int j = lane; j < n; j += WARP) {
            Pack p = xs[j];
            if (a.weight) {
                Pack w = ws[j];
                for (int k = 0; k < PACK; k++)
                    p.at[k] = narrow(widen(p.at[k]) * r * widen(w.at[k]));
            }
            ys[j] = p;
        }
        return;
    }
    float sum = 0.0f;
    for (int j = lane; a.weight && j < (int)a.dim; j += WARP)
        sum += widen(x[j]) * widen(x[j]);
    float r = rsqrtf(warp_sum(sum) / a.dim + a.eps);
    for (int j = lane; j < (int)a.dim; j += WARP)
        y[j] = a.weight ? narrow(widen(x[j]) * r * widen(a.weight[j])) : x[j];
}

typedef struct {
    const T *x, *dy; // [rows, width]
    const T *weight; // [dim]; of none, gradients are copied
    T *dx;           // [rows, width]
    float *parts;    // [blocks, dim]: of each block's stretches, the weight's gradient
    u64 rows;
    u32 width, start, count, dim;
    u32 team; // threads of a stretch: a warp, or the block
    float eps;
} NormBackward;

// A pack, of which `n` elements are there, or all of a `whole` one; then zeros.
DEVICE Pack load(const T *from, u32 n, int whole) {
    if (whole) return *(const Pack *)from;
    Pack p;
    for (int k = 0; k < PACK; k++) p.at[k] = k < (int)n ? from[k] : narrow(0.0f);
    return p;
}
DEVICE void store(T *to, u32 n, int whole, Pack p) {
    if (whole) *(Pack *)to = p;
    else
        for (int k = 0; k < PACK && k < (int)n; k++) to[k] = p.at[k];
}

// With n = x · r: dw = Σ dy · n, and dx = r · (dy · w - n · mean(dy · w · n)). Teams of
// threads, a warp each if stretches are short, take stretches in turn. Each sums the
// weight's gradient in shared memory, a thread the packs that it always has; there,
// element 0 of all packs comes first, then element 1.
KERNEL(norm_backward, NormBackward) {
    SHARED(float, shared); // [teams, PACK, n], and two floats for each warp
    u32 n = (a.dim + PACK - 1) / PACK, teams = blockDim.x / a.team;
    u32 team = threadIdx.x / a.team, own = threadIdx.x % a.team;
    float *dw = shared + team * PACK * n, *scratch = shared + teams * PACK * n;
    int whole = (a.dim | a.width | a.start) % PACK == 0 && packs(a.x) && packs(a.dy) &&
                packs(a.weight) && packs(a.dx);
    for (u32 j = own; j < n; j += a.team)
        for (int k = 0; k < PACK; k++) dw[k * n + j] = 0.0f;
    u64 step = (u64)gridDim.x * teams;
    for (u64 i = (u64)blockIdx.x * teams + team; i < a.rows * a.count; i += step) {
        u64 at = i / a.count * a.width + a.start + i % a.count * a.dim;
        if (!a.weight) {
            for (u32 j = own; j < n; j += a.team) {
                u32 c = j * PACK, left = a.dim - c;
                store(a.dx + at + c, left, whole, load(a.dy + at + c, left, whole));
            }
            continue;
        }
        float squares = 0.0f, product = 0.0f;
        for (u32 j = own; j < n; j += a.team) {
            u32 c = j * PACK, left = a.dim - c;
            Pack x = load(a.x + at + c, left, whole);
            Pack dy = load(a.dy + at + c, left, whole);
            Pack w = load(a.weight + c, left, whole);
            for (int k = 0; k < PACK; k++) {
                float v = widen(x.at[k]);
                squares += v * v;
                product += widen(dy.at[k]) * widen(w.at[k]) * v;
            }
        }
        squares = warp_sum(squares);
        product = warp_sum(product);
        if (a.team > WARP) { // Then all of the block are here.
            u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
            u32 warps = blockDim.x / WARP;
            if (lane == 0) scratch[warp] = squares, scratch[warps + warp] = product;
            __syncthreads();
            squares = warp_sum(lane < warps ? scratch[lane] : 0.0f);
            product = warp_sum(lane < warps ? scratch[warps + lane] : 0.0f);
            __syncthreads();
        }
        float r = rsqrtf(squares / a.dim + a.eps), mean = product * r * r / a.dim;
        for (u32 j = own; j < n; j += a.team) {
            u32 c = j * PACK, left = a.dim - c;
            Pack x = load(a.x + at + c, left, whole);
            Pack dy = load(a.dy + at + c, left, whole);
            Pack w = load(a.weight + c, left, whole);
            for (int k = 0; k < PACK; k++) {
                float v = widen(x.at[k]), d = widen(dy.at[k]);
                x.at[k] = narrow(r * (d * widen(w.at[k]) - v * mean));
                dw[k * n + j] += d * v * r;
            }
            store(a.dx + at + c, left, whole, x);
        }
    }
    if (!a.weight) return;
    __syncthreads();
    for (u32 j = threadIdx.x; j < a.dim; j += blockDim.x) {
        float sum = 0.0f;
        for (u32 t = 0; t < teams; t++)
            sum += shared[(t * PACK + j % PACK) * n + j / PACK];
        a.parts[(u64)blockIdx.x * a.dim + j] = sum;
    }
}
