// Attention, plainly, in T: for fp32, and for bf16 where flash.cu does not fit. It goes
// about things as flash.cu does, and is the one to read first. No score is stored
// either: they are made tile by tile, in registers.
//
// A block is 16 × 16 threads, and has TILE rows (queries, or in attention_keys, keys),
// which all see the same tiles of the other kind as these come by. Thread (y, x) has
// rows y + 16 i of each product, and columns x + 16 j.
#include "attention.h"

#define THREADS 256
// Of a tile's scores, a thread has EACH rows and columns.
#define EACH (DIM <= 128 ? 4 : 2)
#define TILE (16 * EACH)
// Columns of [TILE, DIM] that a thread has: up to so many.
#define COLUMNS ((DIM + 15) / 16)
// From a row in shared memory to the next: odd, so that 16 rows' are in 16 banks.
#define STRIDE (DIM | 1)
#define SCORES (TILE + 1)

DEVICE int y_of(void) { return (int)(threadIdx.x / 16); }
DEVICE int x_of(void) { return (int)(threadIdx.x % 16); }

// Over the sixteen lanes that have a row.
DEVICE float row_sum(float x) {
    for (int other = 8; other > 0; other /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, other);
    return x;
}
DEVICE float row_max(float x) {
    for (int other = 8; other > 0; other /= 2)
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, other));
    return x;
}

// Copies a tile, of which `there` rows are there: behind them, zeros.
DEVICE void copy_tile(float *tile, const T *from, u64 width, int there) {
    for (int i = (int)threadIdx.x; i < TILE * DIM; i += THREADS) {
        int row = i / DIM, column = i % DIM;
        tile[row * STRIDE + column] =
            row < there ? widen(from[row * width + column]) : 0.0f;
    }
}
// D = A · Bᵀ of two tiles.
DEVICE void multiply(float d[EACH][EACH], const float *a, const float *b) {
    UNROLL for (int i = 0; i < EACH; i++)
        UNROLL for (int j = 0; j < EACH; j++) d[i][j] = 0.0f;
    for (int k = 0; k < DIM; k++) {
        float x[EACH], y[EACH];
        UNROLL for (int i = 0; i < EACH; i++) {
            x[i] = a[(y_of() + 16 * i) * STRIDE + k];
            y[i] = b[(x_of() + 16 * i) * STRIDE + k];
        }
        UNROLL for (int i = 0; i < EACH; i++)
            UNROLL for (int j = 0; j < EACH; j++) d[i][j] += x[i] * y[j];
    }
}
// D += A · B, where A is [TILE, TILE], of which each thread has its own. They meet in
// `scores`, where a warp finds the rows that it wrote itself.
DEVICE void add_product(float d[EACH][COLUMNS], float a[EACH][EACH], const float *b,
                        float *scores) {
    __syncwarp();
    UNROLL for (int i = 0; i < EACH; i++)
        UNROLL for (int j = 0; j < EACH; j++)
            scores[(y_of() + 16 * i) * SCORES + x_of() + 16 * j] = a[i][j];
    __syncwarp();
    for (int k = 0; k < TILE; k++)
        UNROLL for (int j = 0; j < COLUMNS; j++) {
            int column = x_of() + 16 * j;
            float y = column < DIM ? b[k * STRIDE + column] : 0.0f;
            UNROLL for (int i = 0; i < EACH; i++)
                d[i][j] += scores[(y_of() + 16 * i) * SCORES + k] * y;
        }
}
DEVICE void clear(float d[EACH][COLUMNS]) {
    UNROLL for (int i = 0; i < EACH; i++)
        UNROLL for (int j = 0; j < COLUMNS; j++) d[i][j] = 0.0f;
}
// Writes D · by, of which `there` rows are there.
DEVICE void write_tile(T *to, u64 width, int there, float d[EACH][COLUMNS], float by) {
    UNROLL for (int i = 0; i < EACH; i++)
        UNROLL for (int j = 0; j < COLUMNS; j++) {
            int row = y_of() + 16 * i, column = x_of() + 16 * j;
            if (row < there && column < DIM)
                to[row * width + column] = narrow(d[i][j] * by);
        }
}

// A block for each tile of a head's queries, those that see the most keys first.
KERNEL(attention, Attention) {
    SHARED(float, shared);
    float *q = shared, *k = q + TILE * STRIDE, *v = k + TILE * STRIDE;
    float *scores = v + TILE * STRIDE; // [TILE, SCORES]

    int seq = (int)a.s.seq, tiles = (seq + TILE - 1) / TILE;
    u32 head = blockIdx.x / tiles % a.s.heads, b = blockIdx.x / tiles / a.s.heads;
    u32 kv = head / (a.s.heads / a.s.kv_heads);
    int start = (tiles - 1 - (int)blockIdx.x % tiles) * TILE;
    const u32 *firsts = firsts_of(a.first_keys, a.s, b);
    u64 width = width_of(a.s), out_width = (u64)a.s.heads * DIM;
    const T *qs = a.qkv + queries_at(a.s, b, head) + start * width;
    copy_tile(q, qs, width, seq - start);

    // Of each row: the result so far, times its sum; the sum, in this thread's columns;
    // and the largest score, which both are relative to.
    float out[EACH][COLUMNS], sum[EACH], largest[EACH];
    clear(out);
    UNROLL for (int i = 0; i < EACH; i++) sum[i] = 0.0f, largest[i] = -INFINITY;
    int key = first_of(firsts, start, seq) / TILE * TILE;
    for (; key <= start; key += TILE) {
        __syncthreads();
        const T *ks = a.qkv + keys_at(a.s, b, kv) + key * width;
        const T *vs = a.qkv + values_at(a.s, b, kv) + key * width;
        copy_tile(k, ks, width, seq - key);
        copy_tile(v, vs, width, seq - key);
        __syncthreads();
        float p[EACH][EACH];
        multiply(p, q, k);
        UNROLL for (int i = 0; i < EACH; i++) {
            int own = start + y_of() + 16 * i, first = first_of(firsts, own, seq);
            float max = largest[i];
            UNROLL for (int j = 0; j < EACH; j++) {
                int other = key + x_of() + 16 * j;
                if (other > own || other < first) p[i][j] = -INFINITY;
                p[i][j] *= a.s.scale;
                max = fmaxf(max, p[i][j]);
            }
            max = row_max(max);
            // A row that has seen no key yet stays at zero.
            float base = max == -INFINITY ? 0.0f : max;
            float shrink = expf(largest[i] - base);
            largest[i] = max;
            sum[i] *= shrink;
            UNROLL for (int j = 0; j < EACH; j++) {
                p[i][j] = expf(p[i][j] - base);
                sum[i] += p[i][j];
            }
            UNROLL for (int j = 0; j < COLUMNS; j++) out[i][j] *= shrink;
        }
        add_product(out, p, v, scores);
    }
    UNROLL for (int i = 0; i < EACH; i++) {
        float all = row_sum(sum[i]);
        UNROLL for (int j = 0; j < COLUMNS; j++) out[i][j] /= all;
        int own = start + y_of() + 16 * i;
        if (x_of() == 0 && own < seq)
            a.log_sums[sums_at(a.s, b, head) + own] = largest[i] + logf(all);
    }
    T *to = a.out + out_at(a.s, b, head) + start * out_width;
    write_tile(to, out_width, seq - start, out, 1.0f);
}

typedef struct {
    const T *out, *dy; // [batch, seq, heads * DIM]
    float *deltas;     // [batch, heads, seq]
    Sizes s;
} Deltas;

// Σ out · dy of each query, of which it is all that its scores' gradients need to know.
// As many lanes as its elements take, so that a warp often has several.
KERNEL(attention_deltas, Deltas) {
    enum { PACKS = (DIM + PACK - 1) / PACK };
    enum {
        LANES = PACKS > 16 ? 32 : PACKS > 8 ? 16 : PACKS > 4 ? 8 : PACKS > 2 ? 4 : 2
    };
    u64 i = ((u64)blockIdx.x * blockDim.x + threadIdx.x) / LANES;
    int lane = (int)(threadIdx.x % LANES);
    // Lanes without a query do as the last one's.
    u64 count = (u64)a.s.batch * a.s.seq * a.s.heads, own = i < count ? i : count - 1;
    const T *out = a.out + own * DIM, *dy = a.dy + own * DIM;
    float delta = 0.0f;
    if (DIM % PACK == 0 && packs(a.out) && packs(a.dy)) {
        for (int j = lane; j < PACKS; j += LANES) {
            Pack x = ((const Pack *)out)[j], y = ((const Pack *)dy)[j];
            UNROLL for (int k = 0; k < PACK; k++)
                delta += widen(x.at[k]) * widen(y.at[k]);
        }
    } else {
        for (int j = lane; j < DIM; j += LANES) delta += widen(out[j]) * widen(dy[j]);
    }
    for (int other = LANES / 2; other > 0; other /= 2)
        delta += __shfl_xor_sync(0xffffffffu, delta, other);
    if (lane != 0 || i >= count) return;
    u64 token = i / a.s.heads;
    u32 head = (u32)(i % a.s.heads), b = (u32)(token / a.s.seq);
    a.deltas[sums_at(a.s, b, head) + token % a.s.seq] = delta;
}

// Backward: with P the probabilities, of which forward kept the logarithm of each row's
// sum, dV = Pᵀ·dY, dP = dY·Vᵀ, dS = P · (dP - delta), dK = dSᵀ·Q, dQ = dS·K. Why that
// makes two kernels, flash.cu says.

// Gradients of keys and values: a block for each tile of a key/value head, those that
// the most queries see first. It goes over the heads of its group, one after the other,
// and their tiles of queries. Scores are transposed: a row is a key's.
KERNEL(attention_keys, AttentionBackward) {
    SHARED(float, shared);
    float *k = shared, *v = k + TILE * STRIDE;
    float *q = v + TILE * STRIDE, *dy = q + TILE * STRIDE;
    float *scores = dy + TILE * STRIDE; // [TILE, SCORES]

    int seq = (int)a.s.seq, tiles = (seq + TILE - 1) / TILE;
    u32 kv = blockIdx.x / tiles % a.s.kv_heads, b = blockIdx.x / tiles / a.s.kv_heads;
    u32 group = a.s.heads / a.s.kv_heads;
    int start = (int)(blockIdx.x % tiles) * TILE;
    const u32 *firsts = firsts_of(a.first_keys, a.s, b);
    int steps = tiles_that_see(firsts, start, start + TILE, TILE, seq);
    u64 width = width_of(a.s), out_width = (u64)a.s.heads * DIM;
    u64 keys = keys_at(a.s, b, kv) + start * width;
    u64 values = values_at(a.s, b, kv) + start * width;
    copy_tile(k, a.qkv + keys, width, seq - start);
    copy_tile(v, a.qkv + values, width, seq - start);

    float dk[EACH][COLUMNS], dv[EACH][COLUMNS];
    clear(dk);
    clear(dv);
    for (u32 head = kv * group; head < (kv + 1) * group; head++)
        for (int step = 0; step < steps; step++) {
            int query = start + step * TILE;
            u64 sums = sums_at(a.s, b, head);
            const T *qs = a.qkv + queries_at(a.s, b, head) + query * width;
            const T *dys = a.dy + out_at(a.s, b, head) + query * out_width;
            __syncthreads();
            copy_tile(q, qs, width, seq - query);
            copy_tile(dy, dys, out_width, seq - query);
            __syncthreads();
            float p[EACH][EACH], ds[EACH][EACH];
            multiply(p, k, q);
            multiply(ds, v, dy);
            UNROLL for (int j = 0; j < EACH; j++) {
                int other = query + x_of() + 16 * j;
                int first = first_of(firsts, other, seq);
                // Behind the end, dy is zero, and so is all that comes of it.
                float log_sum = other < seq ? a.log_sums[sums + other] : 0.0f;
                float delta = other < seq ? a.deltas[sums + other] : 0.0f;
                UNROLL for (int i = 0; i < EACH; i++) {
                    int own = start + y_of() + 16 * i;
                    int seen = own <= other && first <= own;
                    p[i][j] = seen ? expf(p[i][j] * a.s.scale - log_sum) : 0.0f;
                    ds[i][j] = p[i][j] * (ds[i][j] - delta);
                }
            }
            add_product(dv, p, dy, scores);
            add_product(dk, ds, q, scores);
        }
    write_tile(a.dqkv + keys, width, seq - start, dk, a.s.scale);
    write_tile(a.dqkv + values, width, seq - start, dv, 1.0f);
}

// Gradients of queries: a block for each tile of a head's, as forward.
KERNEL(attention_queries, AttentionBackward) {
    SHARED(float, shared);
    float *q = shared, *dy = q + TILE * STRIDE;
    float *k = dy + TILE * STRIDE, *v = k + TILE * STRIDE;
    float *scores = v + TILE * STRIDE; // [TILE, SCORES]

    int seq = (int)a.s.seq, tiles = (seq + TILE - 1) / TILE;
    u32 head = blockIdx.x / tiles % a.s.heads, b = blockIdx.x / tiles / a.s.heads;
    u32 kv = head / (a.s.heads / a.s.kv_heads);
    int start = (tiles - 1 - (int)(blockIdx.x % tiles)) * TILE;
    const u32 *firsts = firsts_of(a.first_keys, a.s, b);
    u64 width = width_of(a.s), out_width = (u64)a.s.heads * DIM;
    u64 queries = queries_at(a.s, b, head) + start * width;
    const T *dys = a.dy + out_at(a.s, b, head) + start * out_width;
    copy_tile(q, a.qkv + queries, width, seq - start);
    copy_tile(dy, dys, out_width, seq - start);

    float dq[EACH][COLUMNS];
    clear(dq);
    int key = first_of(firsts, start, seq) / TILE * TILE;
    for (; key <= start; key += TILE) {
        __syncthreads();
        const T *ks = a.qkv + keys_at(a.s, b, kv) + key * width;
        const T *vs = a.qkv + values_at(a.s, b, kv) + key * width;
        copy_tile(k, ks, width, seq - key);
        copy_tile(v, vs, width, seq - key);
        __syncthreads();
        float p[EACH][EACH], ds[EACH][EACH];
        multiply(p, q, k);
        multiply(ds, dy, v);
        UNROLL for (int i = 0; i < EACH; i++) {
            int own = start + y_of() + 16 * i, first = first_of(firsts, own, seq);
            u64 at = sums_at(a.s, b, head) + own;
            float log_sum = own < seq ? a.log_sums[at] : 0.0f;
            float delta = own < seq ? a.deltas[at] : 0.0f;
            UNROLL for (int j = 0; j < EACH; j++) {
                int other = key + x_of() + 16 * j;
                int seen = other <= own && first <= other;
                p[i][j] = seen ? expf(p[i][j] * a.s.scale - log_sum) : 0.0f;
                ds[i][j] = p[i][j] * (ds[i][j] - delta);
            }
        }
        add_product(dq, ds, k, scores);
    }
    write_tile(a.dqkv + queries, width, seq - start, dq, a.s.scale);
}
