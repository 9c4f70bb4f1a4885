// The optimizer's pass, and the norm that gradients are clipped by. All is in float, or
// double; T is what the model computes with.
#include "common.h"

typedef struct {
    float *weights;        // [n]
    const float *grads;    // [n]
    float *first, *second; // [n]: moments
    T *values;             // [n]: the weights, rounded; or none
    const float *clip;     // [1]: multiplies `scale`; or none
    u64 n;
    float rate, root; // lr / (1 - beta1^t), 1 / sqrt(1 - beta2^t)
    float eps, keep;  // 1 - lr · weight_decay
    float beta1, rest1, beta2, rest2; // what adds up to one
    float scale;      // of the gradient
} AdamW;

DEVICE void update(const AdamW *a, float scale, float *weight, float grad, float *first,
                   float *second) {
    grad *= scale;
    *first = a->beta1 * *first + a->rest1 * grad;
    *second = a->beta2 * *second + a->rest2 * grad * grad;
    float step = a->rate * *first / (sqrtf(*second) * a->root + a->eps);
    *weight = a->keep * *weight - step;
}

// Whether four elements can be taken at once from where `p` is, less `skipped`.
DEVICE int fours(const void *p, u32 size, u32 skipped) {
    return ((u64)p - skipped * size) % (4 * size) == 0;
}

// A thread for four elements. A parameter may begin anywhere in buffers that begin as
// they should, so fours are counted from where the weights' bytes are aligned.
KERNEL(adamw, AdamW) {
    float scale = a.clip ? a.scale * *a.clip : a.scale;
    if (scale != scale) return; // The norm was no number: nothing is changed.
    u32 skipped = (u32)((u64)a.weights / 4 % 4);
    u64 n = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    u64 from = n ? 4 * n - skipped : 0, to = 4 * (n + 1) - skipped;
    int together = fours(a.weights, 4, skipped) && fours(a.grads, 4, skipped) &&
                   fours(a.first, 4, skipped) && fours(a.second, 4, skipped) &&
                   (!a.values || fours(a.values, sizeof(T), skipped));
    if (together && to - from == 4 && to <= a.n) {
        Floats weights = *(const Floats *)(a.weights + from);
        Floats grads = *(const Floats *)(a.grads + from);
        Floats first = *(const Floats *)(a.first + from);
        Floats second = *(const Floats *)(a.second + from);
        for (int k = 0; k < 4; k++)
            update(&a, scale, &weights.at[k], grads.at[k], &first.at[k], &second.at[k]);
        *(Floats *)(a.weights + from) = weights;
        *(Floats *)(a.first + from) = first;
        *(Floats *)(a.second + from) = second;
        if (!a.values) return;
        Four values;
        for (int k = 0; k < 4; k++) values.at[k] = narrow(weights.at[k]);
        *(Four *)(a.values + from) = values;
        return;
    }
    for (u64 i = from; i < to && i < a.n; i++) {
        update(&a, scale, &a.weights[i], a.grads[i], &a.first[i], &a.second[i]);
        if (a.values) a.values[i] = narrow(a.weights[i]);
    }
}

typedef struct {
    const float *x; // [n]
    double *parts;  // [gridDim]
    u64 n;
} Squares;

// Four squares are summed in float, and these sums in double: that is one sum in double
// for 16 bytes, which memory takes longer for. Which thread sums what depends on `n`
// alone, and not on where `x` is.
KERNEL(squares, Squares) {
    SHARED(double, sums); // [blockDim]
    double sum = 0.0;
    u64 fours = (a.n + 3) / 4, step = (u64)gridDim.x * blockDim.x;
    int aligned = packs(a.x);
    for (u64 n = (u64)blockIdx.x * blockDim.x + threadIdx.x; n < fours; n += step) {
        Floats x;
        if (aligned && 4 * n + 4 <= a.n)
            x = *(const Floats *)(a.x + 4 * n);
        else
            for (int k = 0; k < 4; k++) x.at[k] = 4 * n + k < a.n ? a.x[4 * n + k] : 0;
        sum += x.at[0] * x.at[0] + x.at[1] * x.at[1] +
               (x.at[2] * x.at[2] + x.at[3] * x.at[3]);
    }
    sum = block_sum_wide(sum, sums);
    if (threadIdx.x == 0) a.parts[blockIdx.x] = sum;
}

typedef struct {
    const double *parts; // [n]
    double *sum;         // [1]
    u64 n;
} SumParts;

// One block.
KERNEL(sum_parts, SumParts) {
    SHARED(double, sums); // [blockDim]
    double sum = 0.0;
    for (u64 i = threadIdx.x; i < a.n; i += blockDim.x) sum += a.parts[i];
    sum = block_sum_wide(sum, sums);
    if (threadIdx.x == 0) *a.sum = sum;
}

typedef struct {
    const double *squares; // [1]: the sum of those of the gradient
    float *clip;           // [1]
    double max_norm;       // zero: no limit
    double scale;          // of the gradient
} Clip;

// As PyTorch's clip_grad_norm_ has it; of a norm that is not finite, no number.
KERNEL(clip, Clip) {
    if (threadIdx.x) return;
    double norm = sqrt(*a.squares) * a.scale, clip = a.max_norm / (norm + 1e-6);
    if (norm - norm != 0.0)
        *a.clip = (float)(norm - norm);
    else
        *a.clip = a.max_norm > 0.0 && clip < 1.0 ? (float)clip : 1.0f;
}
