// What several arrays come to, element by element, in the order in which they are
// given: of ranks that share a GPU.
#include "common.h"

#define MOST 16
#define SUM 0u
#define MAX 1u
#define AVERAGE 2u

typedef struct {
    const T *from[MOST]; // [n] each
    T *to;               // [n]; it may be one of them
    u64 n;
    u32 count;
    u32 how;
} Reduce;

// What is not a number is larger than all others: it must not be lost.
DEVICE float larger(float a, float b) { return b > a || b != b ? b : a; }

KERNEL(reduce, Reduce) {
    u64 i = ((u64)blockIdx.x * blockDim.x + threadIdx.x) * PACK;
    if (i >= a.n) return;
    int whole = i + PACK <= a.n && packs(a.to);
    for (u32 r = 0; r < a.count; r++) whole = whole && packs(a.from[r]);
    int many = i + PACK <= a.n ? PACK : (int)(a.n - i);
    float x[PACK];
    for (u32 r = 0; r < a.count; r++) {
        Pack p;
        if (whole)
            p = *(const Pack *)(a.from[r] + i);
        else
            for (int k = 0; k < PACK; k++) p.at[k] = a.from[r][k < many ? i + k : i];
        for (int k = 0; k < PACK; k++) {
            float y = widen(p.at[k]);
            x[k] = r == 0 ? y : a.how == MAX ? larger(x[k], y) : x[k] + y;
        }
    }
    Pack p;
    float n = (float)a.count;
    for (int k = 0; k < PACK; k++) p.at[k] = narrow(a.how == AVERAGE ? x[k] / n : x[k]);
    if (whole) {
        *(Pack *)(a.to + i) = p;
        return;
    }
    for (int k = 0; k < PACK; k++)
        if (k < many) a.to[i + k] = p.at[k];
}
