// A bias, added to every row; and its gradient, the sum over the rows.
#include "spans.h"

typedef struct {
    const T *x;    // [rows, width]
    const T *bias; // [width]
    T *y;          // [rows, width]; it may be x
    u32 rows, width;
    u32 each; // rows of a block
} Bias;

// A block has a span of some rows, and reads the bias once for all of them.
KERNEL(bias, Bias) {
    Span s = span_of_block(a.width);
    u32 row = s.row * a.each, rows = a.rows - row < a.each ? a.rows - row : a.each;
    const T *x = a.x + (u64)row * a.width;
    T *y = a.y + (u64)row * a.width;
    if (a.width % PACK == 0 && packs(a.x) && packs(a.bias) && packs(a.y)) {
        u32 i = s.start + threadIdx.x * PACK;
        if (i >= s.end) return;
        Pack b = *(const Pack *)(a.bias + i);
        for (u64 at = i; rows > 0; rows--, at += a.width) {
            Pack p = *(const Pack *)(x + at);
            for (int k = 0; k < PACK; k++)
                p.at[k] = narrow(widen(p.at[k]) + widen(b.at[k]));
            *(Pack *)(y + at) = p;
        }
        return;
    }
    for (u32 i = s.start + threadIdx.x; i < s.end; i += blockDim.x) {
        float b = widen(a.bias[i]);
        u64 at = i;
        for (u32 r = 0; r < rows; r++, at += a.width) y[at] = narrow(widen(x[at]) + b);
    }
}

typedef struct {
    const T *dy;  // [rows, width]
    float *parts; // [parts, width]: sums of `each` rows
    u32 rows, width;
    u32 each;
} BiasBackward;

// Columns of a block: one pack for each lane of a warp.
#define COLUMNS (WARP * PACK)

// A block sums some columns of a part's rows, its warps in turns: of w warps, the first
// has rows 0, w, 2w.. of them. The sums of the warps are added in their order.
KERNEL(bias_backward, BiasBackward) {
    SHARED(float, sums); // [warps, COLUMNS]
    u32 spans = (a.width + COLUMNS - 1) / COLUMNS, part = blockIdx.x / spans;
    u32 column = blockIdx.x % spans * COLUMNS;
    u32 columns = a.width - column < COLUMNS ? a.width - column : COLUMNS;
    u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    u32 start = part * a.each;
    u32 end = a.rows - start < a.each ? a.rows : start + a.each;
    float *own = sums + warp * COLUMNS;
    if (a.width % PACK == 0 && packs(a.dy)) {
        Wide sum;
        for (int k = 0; k < PACK; k++) sum.at[k] = 0.0f;
        const T *dy = a.dy + column + lane * PACK;
        if (lane * PACK >= columns) end = start;
        for (u32 r = start + warp; r < end; r += warps) {
            Pack p = *(const Pack *)(dy + (u64)r * a.width);
            for (int k = 0; k < PACK; k++) sum.at[k] += widen(p.at[k]);
        }
        ((Wide *)own)[lane] = sum;
    } else {
        for (u32 i = lane; i < columns; i += WARP) {
            float sum = 0.0f;
            for (u32 r = start + warp; r < end; r += warps)
                sum += widen(a.dy[(u64)r * a.width + column + i]);
            own[i] = sum;
        }
    }
    __syncthreads();
    for (u32 i = threadIdx.x; i < columns; i += blockDim.x) {
        float sum = 0.0f;
        for (u32 w = 0; w < warps; w++) sum += sums[w * COLUMNS + i];
        a.parts[(u64)part * a.width + column + i] = sum;
    }
}
