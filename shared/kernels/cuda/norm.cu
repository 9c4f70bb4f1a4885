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
    float eps;
} NormBackward;

// With n = x · r: dw = Σ dy · n, and dx = r · (dy · w - n · mean(dy · w · n)). A block
// takes every gridDim-th stretch, and sums the weight's gradient in shared memory, each
// thread the columns that it always has.
KERNEL(norm_backward, NormBackward) {
    SHARED(float, dw); // [dim], and a float for each warp
    float *scratch = dw + a.dim;
    for (u32 j = threadIdx.x; j < a.dim; j += blockDim.x) dw[j] = 0.0f;
    for (u64 i = blockIdx.x; i < a.rows * a.count; i += gridDim.x) {
        u64 at = i / a.count * a.width + a.start + i % a.count * a.dim;
        if (!a.weight) {
            for (u32 j = threadIdx.x; j < a.dim; j += blockDim.x)
                a.dx[at + j] = a.dy[at + j];
            continue;
        }
        float squares = 0.0f, product = 0.0f;
        for (u32 j = threadIdx.x; j < a.dim; j += blockDim.x) {
            float x = widen(a.x[at + j]);
            squares += x * x;
            product += widen(a.dy[at + j]) * widen(a.weight[j]) * x;
        }
        float r = rsqrtf(block_sum(squares, scratch) / a.dim + a.eps);
        float mean = block_sum(product, scratch) * r * r / a.dim;
        for (u32 j = threadIdx.x; j < a.dim; j += blockDim.x) {
            float x = widen(a.x[at + j]), dy = widen(a.dy[at + j]);
            a.dx[at + j] = narrow(r * (dy * widen(a.weight[j]) - x * mean));
            dw[j] += dy * x * r;
        }
    }
    for (u32 j = threadIdx.x; a.weight && j < a.dim; j += blockDim.x)
        a.parts[(u64)blockIdx.x * a.dim + j] = dw[j];
}
