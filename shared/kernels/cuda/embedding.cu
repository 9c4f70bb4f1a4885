// The embedding: rows of a table, of which only some may be held here.
#include "spans.h"

// Rows that are under way at once.
#define AHEAD 8

typedef struct {
    const u32 *tokens; // [n]
    const T *table;    // [held, width]: the rows from `first` on
    T *y;              // [n, width]: of tokens whose rows are held elsewhere, zeros
    u32 first, held;
    u32 width;
} Embedding;

KERNEL(embedding, Embedding) {
    Span s = span_of_block(a.width);
    // Of a token before the first, the difference wraps around: it is not held either.
    u32 row = a.tokens[s.row] - a.first;
    int held = row < a.held;
    const T *x = a.table + (held ? (u64)row * a.width : 0);
    T *y = a.y + (u64)s.row * a.width;
    if (a.width % PACK == 0 && packs(a.table) && packs(a.y)) {
        u32 i = s.start + threadIdx.x * PACK;
        if (i >= s.end) return;
        Pack p;
        for (int k = 0; k < PACK; k++) p.at[k] = narrow(0.0f);
        if (held) p = *(const Pack *)(x + i);
        *(Pack *)(y + i) = p;
        return;
    }
    for (u32 i = s.start + threadIdx.x; i < s.end; i += blockDim.x)
        y[i] = held ? x[i] : narrow(0.0f);
}

typedef struct {
    const T *dy;       // [n, width]
    const u32 *rows;   // [count]: the table's rows that occur, each once
    const u32 *starts; // [count + 1]: where in `places` those of each row begin
    const u32 *places; // [n]: rows of dy, by the table's rows
    float *grad;       // [held, width], to which is added
    u32 width;
} EmbeddingBackward;

// A block has a span of one row of the table, and adds to it all that belongs there, in
// the order of the tokens: nobody else writes it, so nothing need be atomic.
KERNEL(embedding_backward, EmbeddingBackward) {
    Span s = span_of_block(a.width);
    u32 start = a.starts[s.row], end = a.starts[s.row + 1];
    float *grad = a.grad + (u64)a.rows[s.row] * a.width;
    if (a.width % PACK == 0 && packs(a.dy) && packs(a.grad)) {
        u32 i = s.start + threadIdx.x * PACK;
        if (i >= s.end) return;
        Wide sum = *(const Wide *)(grad + i);
        u32 j = start;
        for (; end - j >= AHEAD; j += AHEAD) {
            Pack dy[AHEAD];
            UNROLL for (int r = 0; r < AHEAD; r++)
                dy[r] = *(const Pack *)(a.dy + (u64)a.places[j + r] * a.width + i);
            UNROLL for (int r = 0; r < AHEAD; r++)
                UNROLL for (int k = 0; k < PACK; k++) sum.at[k] += widen(dy[r].at[k]);
        }
        for (; j < end; j++) {
            Pack dy = *(const Pack *)(a.dy + (u64)a.places[j] * a.width + i);
            for (int k = 0; k < PACK; k++) sum.at[k] += widen(dy.at[k]);
        }
        *(Wide *)(grad + i) = sum;
        return;
    }
    for (u32 i = s.start + threadIdx.x; i < s.end; i += blockDim.x) {
        float sum = grad[i];
        for (u32 j = start; j < end; j++)
            sum += widen(a.dy[(u64)a.places[j] * a.width + i]);
        grad[i] = sum;
    }
}
