// Rotary position embedding (Su et al. 2021), in the half-split form of Hugging Face's
// models: element i of a head is paired with element i + dim / 2.
#include "spans.h"

typedef struct {
    const T *x;             // [rows, width]
    T *y;                   // [rows, width]; it may be x
    const float *cos, *sin; // [positions, half]: of row r, those of position r % seq
    u32 seq, width;
    u32 heads, half; // of a row, how many heads turn, and half of a head's elements
    float sign;      // of the angles: -1 on the way back
} Rope;

// A block for each row, so that the heads of a row share its angles in the cache. What
// follows the heads that turn is copied, or stays where it is.
KERNEL(rope, Rope) {
    u64 at = (u64)blockIdx.x * a.width;
    u64 angles = (u64)(blockIdx.x % a.seq) * a.half;
    u32 pairs = a.heads * a.half, rest = a.x == a.y ? 0 : a.width - 2 * pairs;
    if (a.half % PACK == 0 && a.width % PACK == 0 && packs(a.x) && packs(a.y) &&
        packs(a.cos) && packs(a.sin)) {
        const Pack *x = (const Pack *)(a.x + at);
        const Wide *cos = (const Wide *)(a.cos + angles);
        const Wide *sin = (const Wide *)(a.sin + angles);
        Pack *y = (Pack *)(a.y + at);
        u32 half = a.half / PACK;
        pairs /= PACK;
        for (u32 i = threadIdx.x; i < pairs + rest / PACK; i += blockDim.x) {
            if (i >= pairs) {
                y[pairs + i] = x[pairs + i];
                continue;
            }
            // Of head i / half, which begins at 2 half · (i / half).
            u32 j = i % half, first = 2 * (i - j) + j;
            Pack p = x[first], q = x[first + half];
            Wide c = cos[j], s = sin[j];
            for (int k = 0; k < PACK; k++) {
                float u = widen(p.at[k]), v = widen(q.at[k]), turn = s.at[k] * a.sign;
                p.at[k] = narrow(fmaf(u, c.at[k], -(v * turn)));
                q.at[k] = narrow(fmaf(v, c.at[k], u * turn));
            }
            y[first] = p;
            y[first + half] = q;
        }
        return;
    }
    const T *x = a.x + at;
    T *y = a.y + at;
    for (u32 i = threadIdx.x; i < pairs + rest; i += blockDim.x) {
        if (i >= pairs) {
            y[pairs + i] = x[pairs + i];
            continue;
        }
        u32 j = i % a.half, first = 2 * (i - j) + j;
        float u = widen(x[first]), v = widen(x[first + a.half]);
        float c = a.cos[angles + j], turn = a.sin[angles + j] * a.sign;
        y[first] = narrow(fmaf(u, c, -(v * turn)));
        y[first + a.half] = narrow(fmaf(v, c, u * turn));
    }
}
