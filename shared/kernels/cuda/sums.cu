// Sums of rows, each column in the order of its rows: they do not depend on how many
// threads there are.
#include "common.h"

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
    for (u64 i = 0; i < a.rows; i++) sum += a.parts[i * a.width + j];
    a.sum[j] = sum;
}
