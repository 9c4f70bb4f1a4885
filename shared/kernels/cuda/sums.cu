// Sums of rows, each column in the order of its rows: they do not depend on how many
// threads there are.
#include "common.h"

// Loads that are under way at once.
#define AHEAD 32

typedef struct {
    const float *parts; // [rows, width]
    float *sum;         // [width]
    u64 rows;
    u32 width;
    int add; // to what is there; or it is overwritten
} SumRows;

// A thread for each column.
KERNEL(sum_rows, SumRows) {
    u32 j = blockIdx.x * blockDim.x + threadIdx.x;
    if (j >= a.width) return;
    float sum = a.add ? a.sum[j] : 0.0f;
    const float *part = a.parts + j;
    u64 i = 0;
    for (; i + AHEAD <= a.rows; i += AHEAD) {
        float x[AHEAD];
        UNROLL for (int k = 0; k < AHEAD; k++) x[k] = part[(i + k) * a.width];
        UNROLL for (int k = 0; k < AHEAD; k++) sum += x[k];
    }
    for (; i < a.rows; i++) sum += part[i * a.width];
    a.sum[j] = sum;
}
