// Cross-entropy of logits, and their gradient. A rank may have some words of the
// vocabulary, and so some columns of the logits: what these come to is told apart from
// what whole rows do.
#include "common.h"

// A target that does not count.
#define IGNORE 0xffffffffu
// No float is less but -inf, less which -inf would not be a number.
#define LOWEST (-3.402823466e38f)

typedef struct {
    float max;    // the largest logit; -inf of none
    float sum;    // of the exponentials of the logits less `max`
    float target; // the target's logit; zero if it is not among these columns
} RowSum;

typedef struct {
    const float *logits; // [rows, width]
    const u32 *targets;  // [rows]
    RowSum *sums;        // [rows]
    u32 width, held;     // columns; of words, before padding
    u32 first;           // word
} RowSums;

// In which of `held` columns the target is; -1 if in none.
DEVICE int column_of(u32 target, u32 first, u32 held) {
    return target - first < held ? (int)(target - first) : -1;
}

// A block for each row, which it reads once: a thread that meets a larger logit makes
// what it has summed smaller (Milakov and Gimelshein 2018, "Online normalizer
// calculation for softmax").
//
// Rows may begin anywhere, so fours are counted from where the array begins. The first
// and the last of a row may be in it in part. Who sums what depends on sizes alone.
KERNEL(row_sums, RowSums) {
    SHARED(float, scratch); // a float for each warp
    u64 i = blockIdx.x;
    u32 target = a.targets[i];
    RowSum own = {0.0f, 0.0f, 0.0f};
    if (target == IGNORE) {
        if (threadIdx.x == 0) a.sums[i] = own;
        return;
    }
    u64 start = i * a.width;
    const float *row = a.logits + start;
    const Floats *xs = (const Floats *)a.logits + start / 4;
    int aligned = packs(a.logits), skipped = (int)(start % 4);
    int held = (int)a.held, fours = (skipped + held + 3) / 4;
    float max = LOWEST, sum = 0.0f;
    for (int n = threadIdx.x; n < fours; n += blockDim.x) {
        int j = 4 * n - skipped;
        Floats x;
        if (aligned && j >= 0 && j + 4 <= held)
            x = xs[n];
        else
            for (int k = 0; k < 4; k++)
                x.at[k] = j + k >= 0 && j + k < held ? row[j + k] : -INFINITY;
        float top = fmaxf(fmaxf(x.at[0], x.at[1]), fmaxf(x.at[2], x.at[3]));
        if (top > max) {
            sum *= expf(max - top);
            max = top;
        }
        for (int k = 0; k < 4; k++) sum += expf(x.at[k] - max);
    }
    float largest = block_max(max, scratch);
    own.max = held ? largest : -INFINITY;
    own.sum = block_sum(sum * expf(max - largest), scratch);
    int at = column_of(target, a.first, a.held);
    own.target = at >= 0 ? row[at] : 0.0f;
    if (threadIdx.x == 0) a.sums[i] = own;
}

typedef struct {
    const float *logits; // [rows, width]
    const u32 *targets;  // [rows]
    const RowSum *whole; // [rows]: of whole rows, other ranks' columns included
    T *gradient;         // [rows, width]
    u32 width, held, first;
    u32 blocks; // of each row
    float scale;
} LogitGradient;

// scale · (softmax - onehot(target)). Zero in padding, and in rows without a target.
KERNEL(logit_gradient, LogitGradient) {
    u64 i = blockIdx.x / a.blocks;
    u32 target = a.targets[i];
    RowSum whole = a.whole[i];
    int at = column_of(target, a.first, a.held);
    float factor = a.scale / whole.sum;
    u64 start = i * a.width;
    const float *row = a.logits + start;
    T *gradient = a.gradient + start;
    const Floats *xs = (const Floats *)a.logits + start / 4;
    Four *ys = (Four *)a.gradient + start / 4;
    int aligned = packs(a.logits) && (u64)a.gradient % sizeof(Four) == 0;
    int skipped = (int)(start % 4);
    int width = (int)a.width, held = target == IGNORE ? 0 : (int)a.held;
    int fours = (skipped + width + 3) / 4, step = (int)(a.blocks * blockDim.x);
    int n = (int)(blockIdx.x % a.blocks * blockDim.x + threadIdx.x);
    for (; n < fours; n += step) {
        int j = 4 * n - skipped;
        if (aligned && j >= 0 && j + 4 <= width) {
            Floats x = xs[n];
            Four y;
            for (int k = 0; k < 4; k++) {
                float softmax = expf(x.at[k] - whole.max) * factor;
                float less = j + k == at ? a.scale : 0.0f;
                y.at[k] = narrow(j + k < held ? softmax - less : 0.0f);
            }
            ys[n] = y;
            continue;
        }
        for (int k = 0; k < 4; k++, j++) {
            if (j < 0 || j >= width) continue;
            float y = 0.0f;
            if (j < held) y = expf(row[j] - whole.max) * factor;
            gradient[j] = narrow(j == at ? y - a.scale : y);
        }
    }
}

typedef struct {
    const u32 *targets;  // [rows]
    const RowSum *whole; // [rows]
    double *loss;        // [1]
    u64 rows;
    double scale;
} AddLosses;

// Adds scale times -ln softmax[target] of all rows to what is there. One block.
KERNEL(add_losses, AddLosses) {
    SHARED(double, losses); // [blockDim]
    double loss = 0.0;
    for (u64 i = threadIdx.x; i < a.rows; i += blockDim.x) {
        RowSum row = a.whole[i];
        if (a.targets[i] != IGNORE) loss += logf(row.sum) - (row.target - row.max);
    }
    loss = block_sum_wide(loss, losses);
    if (threadIdx.x == 0) *a.loss += a.scale * loss;
}
