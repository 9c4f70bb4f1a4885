// Attention in bf16 on tensor cores, which never stores a score: FlashAttention-2 (Dao
// 2023, §3). Heads have DIM elements, a multiple of 8; arrays begin at multiples of 16
// bytes.
//
// A block is four warps. Each has some rows of a tile (queries, or in flash_keys,
// keys), which all see the same tiles of the other kind as these come by, one at a
// time: while products are made of one, the next is copied to a buffer's other half.
#include "attention.h"
#include "tensor_cores.h"
#ifdef BF16 // Of fp32, there is nothing here.

#define WARPS 4
#define THREADS (WARPS * WARP)
// Elements of a row that products take: behind DIM are zeros.
#define WIDE ((DIM + 15) / 16 * 16)
// From a row in shared memory to the next: rows begin at multiples of 128 bytes, what
// shared memory delivers at once. Of the 8 chunks of 16 bytes in as much, chunk c is
// where c ^ row says, so that the same chunk of 8 rows is in 8 different places.
#define STRIDE (DIM <= 64 ? 64 : DIM <= 128 ? 128 : 256)

// Chosen so that sums stay in registers, of which a thread has 255. (Beyond heads of
// 128, those of flash_keys do not.)
#define FLASH_ROWS (DIM <= 128 ? 32 : 16)
#define FLASH_KEYS 64
#define DQ_ROWS (DIM <= 128 ? 32 : 16)
#define DQ_KEYS 32
#define DKV_ROWS (DIM <= 64 ? 32 : 16)
#define DKV_QUERIES (64 < DIM && DIM <= 128 ? 64 : 32)

#define LOG2_E 1.4426950408889634f

// 2^x: one instruction, where CUDA's own takes care of numbers that hardly are any.
#ifdef __CUDACC__
DEVICE float exp_2(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
#else
DEVICE float exp_2(float x) { return exp2f(x); }
#endif

DEVICE int lane_of(void) { return (int)(threadIdx.x % WARP); }
DEVICE int warp_of(void) { return (int)(threadIdx.x / WARP); }

// Over the four lanes that have a row of a product.
DEVICE float row_sum(float x) {
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
}
DEVICE float row_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

// Where in a tile's memory an element is.
DEVICE int place(int row, int column) {
    return row * STRIDE + (column ^ (row % 8 * 8));
}
// The address a lane gives for [16, 16] at (row, column), as its four quarters: the two
// at the left first, or the two at the top. Both are multiples of 16. Only few bits of
// an address depend on `column`: what is left out of ^ is known to the compiler.
DEVICE const bf16 *quarters(const bf16 *tile, int row, int column, int r, int c) {
    int own = r * STRIDE + ((c ^ (r % 8)) * 8);
    return tile + row * STRIDE + column / 64 * 64 + (own ^ (column % 64));
}
DEVICE const bf16 *left_first(const bf16 *tile, int row, int column) {
    int lane = lane_of();
    return quarters(tile, row, column, lane % 16, lane / 16);
}
DEVICE const bf16 *top_first(const bf16 *tile, int row, int column) {
    int lane = lane_of();
    return quarters(tile, row, column, lane / 16 * 8 + lane % 8, lane / 8 % 2);
}

// Starts to copy `rows` rows to a tile; of those from `there` on, and of elements from
// DIM on, zeros. All threads of the block take part.
DEVICE void copy_tile(bf16 *tile, const bf16 *from, u64 width, int rows, int there) {
    enum { AT_ONCE = THREADS / (STRIDE / 8) };
    int row = (int)threadIdx.x / (STRIDE / 8);
    int column = (int)threadIdx.x % (STRIDE / 8) * 8;
    if (column >= WIDE) return;
    from += row * width + column;
    UNROLL for (int i = 0; i < rows; i += AT_ONCE) {
        int is = row + i < there && column < DIM;
        copy_16(tile + place(row + i, column), from, is);
        from += AT_ONCE * width;
    }
}

// D = A · Bᵀ, of `tiles` times 16 rows of A, from `row` on, and `n` of B. A lane with
// g = lane / 4 and t = lane % 4 has of row 16 i + 8 h + g, column 8 j + 2 t + c, in
// d[i * n / 8 + j][2 h + c].
DEVICE void multiply(float d[][4], int tiles, int n, const bf16 *a, int row,
                     const bf16 *b) {
    UNROLL for (int i = 0; i < tiles * n / 8; i++)
        UNROLL for (int c = 0; c < 4; c++) d[i][c] = 0.0f;
    UNROLL for (int k = 0; k < WIDE; k += 16) {
        u32 x[2][4], y[4];
        UNROLL for (int i = 0; i < tiles; i++)
            load_matrices(x[i], left_first(a, row + 16 * i, k));
        UNROLL for (int j = 0; j < n; j += 16) {
            load_matrices(y, top_first(b, j, k));
            UNROLL for (int i = 0; i < tiles; i++) {
                mma(d[(i * n + j) / 8], x[i], y);
                mma(d[(i * n + j) / 8 + 1], x[i], y + 2);
            }
        }
    }
}
// D += A · B: A, of `n` columns, is what `multiply` left. Which lane has what of it is
// just as the next product wants it (Dao 2023, §3.3), but for rounding to bf16.
DEVICE void add_product(float d[][4], int tiles, int n, float a[][4], const bf16 *b) {
    UNROLL for (int k = 0; k < n; k += 16) {
        u32 x[2][4], y[4];
        UNROLL for (int i = 0; i < tiles; i++) {
            float *left = a[(i * n + k) / 8], *right = a[(i * n + k) / 8 + 1];
            x[i][0] = pair(left[0], left[1]);
            x[i][1] = pair(left[2], left[3]);
            x[i][2] = pair(right[0], right[1]);
            x[i][3] = pair(right[2], right[3]);
        }
        UNROLL for (int j = 0; j < WIDE; j += 16) {
            load_transposed(y, left_first(b, k, j));
            UNROLL for (int i = 0; i < tiles; i++) {
                mma(d[(i * WIDE + j) / 8], x[i], y);
                mma(d[(i * WIDE + j) / 8 + 1], x[i], y + 2);
            }
        }
    }
}
// Of scores as `multiply` left them, those of keys that the query does not see become
// `unseen`. Rows are queries, from `query` on, and columns are keys, from `key` on.
DEVICE void mask(float d[][4], int tiles, int n, int query, int key, const u32 *firsts,
                 int seq, float unseen) {
    int lane = lane_of();
    UNROLL for (int i = 0; i < tiles; i++)
        UNROLL for (int h = 0; h < 2; h++) {
            int own = query + 16 * i + 8 * h + lane / 4;
            int first = first_of(firsts, own, seq);
            UNROLL for (int j = 0; j < n; j += 8)
                UNROLL for (int c = 0; c < 2; c++) {
                    int other = key + j + lane % 4 * 2 + c;
                    if (other > own || other < first)
                        d[(i * n + j) / 8][2 * h + c] = unseen;
                }
        }
}
// Writes D · by, of `tiles` times 16 rows, of which `there` are there. They go through
// a place in shared memory that no other warp uses, to leave it 16 bytes at a time.
DEVICE void write_rows(bf16 *to, u64 width, int there, float d[][4], int tiles,
                       float by, bf16 *through) {
    int lane = lane_of();
    __syncwarp();
    UNROLL for (int i = 0; i < tiles; i++)
        UNROLL for (int j = 0; j < WIDE / 8; j++)
            UNROLL for (int h = 0; h < 2; h++) {
                float *two = d[i * (WIDE / 8) + j] + 2 * h;
                int at = place(16 * i + 8 * h + lane / 4, 8 * j + lane % 4 * 2);
                *(u32 *)(through + at) = pair(two[0] * by, two[1] * by);
            }
    __syncwarp();
    for (int i = lane; i < 16 * tiles * (DIM / 8); i += WARP) {
        int row = i / (DIM / 8), column = i % (DIM / 8) * 8;
        if (row >= there) break;
        *(Pack *)(to + row * width + column) =
            *(const Pack *)(through + place(row, column));
    }
}

// A block for each tile of a head's queries, those that see the most keys first.
KERNEL(flash, Attention) {
    enum { TILES = FLASH_ROWS / 16, QUERIES = FLASH_ROWS * WARPS, KEYS = FLASH_KEYS };
    SHARED(Pack, shared);
    bf16 *q = (bf16 *)shared;        // [QUERIES, STRIDE]
    bf16 *k = q + QUERIES * STRIDE;  // [2][KEYS, STRIDE]
    bf16 *v = k + 2 * KEYS * STRIDE; // the same

    int seq = (int)a.s.seq, tiles = (seq + QUERIES - 1) / QUERIES;
    u32 head = blockIdx.x / tiles % a.s.heads, b = blockIdx.x / tiles / a.s.heads;
    u32 kv = head / (a.s.heads / a.s.kv_heads);
    int start = (tiles - 1 - (int)blockIdx.x % tiles) * QUERIES;
    int end = start + QUERIES < seq ? start + QUERIES : seq;
    const u32 *firsts = firsts_of(a.first_keys, a.s, b);
    int from = first_of(firsts, start, seq) / KEYS * KEYS;
    int steps = (end - from + KEYS - 1) / KEYS;

    u64 width = width_of(a.s);
    const bf16 *ks = a.qkv + keys_at(a.s, b, kv) + from * width;
    const bf16 *vs = a.qkv + values_at(a.s, b, kv) + from * width;
    const bf16 *qs = a.qkv + queries_at(a.s, b, head) + start * width;
    copy_tile(q, qs, width, QUERIES, end - start);
    copy_tile(k, ks, width, KEYS, end - from);
    copy_tile(v, vs, width, KEYS, end - from);
    copies_end();

    // This warp's queries, and the first keys of its first and last.
    int lane = lane_of(), row = warp_of() * FLASH_ROWS, query = start + row;
    int lowest = first_of(firsts, query, seq);
    int highest = first_of(firsts, query + FLASH_ROWS - 1, seq);
    // Of each row: the result so far, times its sum; the sum, in this thread's columns;
    // and the largest score, which both are relative to.
    float out[TILES * WIDE / 8][4], sum[TILES][2], largest[TILES][2];
    UNROLL for (int i = 0; i < TILES; i++)
        UNROLL for (int h = 0; h < 2; h++) {
            sum[i][h] = 0.0f;
            largest[i][h] = -INFINITY;
        }
    UNROLL for (int j = 0; j < TILES * WIDE / 8; j++)
        UNROLL for (int c = 0; c < 4; c++) out[j][c] = 0.0f;
    float scale = a.s.scale * LOG2_E;

    for (int step = 0; step < steps; step++) {
        // This step's tiles are there, and no warp reads those of the last any more.
        wait_for_all();
        __syncthreads();
        if (step + 1 < steps) {
            int next = (step + 1) * KEYS, to = (step + 1) % 2 * KEYS * STRIDE;
            copy_tile(k + to, ks + next * width, width, KEYS, end - from - next);
            copy_tile(v + to, vs + next * width, width, KEYS, end - from - next);
        }
        copies_end();
        int key = from + step * KEYS, at = step % 2 * KEYS * STRIDE;
        if (key >= query + FLASH_ROWS || key + KEYS <= lowest) continue;

        float p[TILES * KEYS / 8][4];
        multiply(p, TILES, KEYS, q, row, k + at);
        if (key + KEYS - 1 > query || key < highest)
            mask(p, TILES, KEYS, query, key, firsts, seq, -INFINITY);
        UNROLL for (int i = 0; i < TILES; i++)
            UNROLL for (int h = 0; h < 2; h++) {
                float max = largest[i][h];
                UNROLL for (int j = 0; j < KEYS / 8; j++)
                    UNROLL for (int c = 0; c < 2; c++)
                        max = fmaxf(max, p[i * (KEYS / 8) + j][2 * h + c]);
                max = row_max(max);
                // A row that has seen no key yet stays at zero.
                float base = max == -INFINITY ? 0.0f : max * scale;
                float shrink = exp_2(largest[i][h] * scale - base);
                largest[i][h] = max;
                sum[i][h] *= shrink;
                UNROLL for (int j = 0; j < KEYS / 8; j++)
                    UNROLL for (int c = 0; c < 2; c++) {
                        float *score = &p[i * (KEYS / 8) + j][2 * h + c];
                        *score = exp_2(*score * scale - base);
                        sum[i][h] += *score;
                    }
                UNROLL for (int j = 0; j < WIDE / 8; j++)
                    UNROLL for (int c = 0; c < 2; c++)
                        out[i * (WIDE / 8) + j][2 * h + c] *= shrink;
            }
        add_product(out, TILES, KEYS, p, v + at);
    }

    float *log_sums = a.log_sums + sums_at(a.s, b, head);
    UNROLL for (int i = 0; i < TILES; i++)
        UNROLL for (int h = 0; h < 2; h++) {
            float all = row_sum(sum[i][h]), inverse = 1.0f / all;
            UNROLL for (int j = 0; j < WIDE / 8; j++)
                UNROLL for (int c = 0; c < 2; c++)
                    out[i * (WIDE / 8) + j][2 * h + c] *= inverse;
            int own = query + 16 * i + 8 * h + lane / 4;
            if (lane % 4 == 0 && own < seq)
                log_sums[own] = largest[i][h] * a.s.scale + logf(all);
        }
    u64 out_width = (u64)a.s.heads * DIM;
    bf16 *to = a.out + out_at(a.s, b, head) + query * out_width;
    write_rows(to, out_width, seq - query, out, TILES, 1.0f, q + row * STRIDE);
}

// Backward: with P the probabilities, of which forward kept the logarithm of each row's
// sum, dV = Pᵀ·dY, dP = dY·Vᵀ, dS = P · (dP - delta), dK = dSᵀ·Q and dQ = dS·K. The
// gradients of keys are sums over queries, and those of queries sums over keys. One
// kernel for both must add one of them up in memory, as blocks happen to come by. Here
// are two, so that every sum has its order. Both make P and dP: 7 products, not 5.

// Gradients of keys and values: a block for each tile of a key/value head, those that
// the most queries see first. It goes over the heads of its group, one after the other,
// and their tiles of queries. Scores are transposed: a row is a key's.
KERNEL(flash_keys, AttentionBackward) {
    enum { TILES = DKV_ROWS / 16, KEYS = DKV_ROWS * WARPS, QUERIES = DKV_QUERIES };
    SHARED(Pack, shared);
    bf16 *k = (bf16 *)shared;            // [KEYS, STRIDE]
    bf16 *v = k + KEYS * STRIDE;         // the same
    bf16 *q = v + KEYS * STRIDE;         // [2][QUERIES, STRIDE]
    bf16 *dy = q + 2 * QUERIES * STRIDE; // the same
    // Of each query the logarithm of its sum, to base 2, and delta: [2][2][QUERIES].
    float *sums = (float *)(dy + 2 * QUERIES * STRIDE);
    int *first = (int *)(sums + 4 * QUERIES); // [2][QUERIES]

    int seq = (int)a.s.seq, tiles = (seq + KEYS - 1) / KEYS;
    u32 kv = blockIdx.x / tiles % a.s.kv_heads, b = blockIdx.x / tiles / a.s.kv_heads;
    u32 group = a.s.heads / a.s.kv_heads;
    int start = (int)blockIdx.x % tiles * KEYS;
    const u32 *firsts = firsts_of(a.first_keys, a.s, b);
    // Steps of one head, and of all.
    int each = tiles_that_see(firsts, start, start + KEYS, QUERIES, seq);
    int steps = each * (int)group;

    u64 width = width_of(a.s), out_width = (u64)a.s.heads * DIM;
    u64 keys = keys_at(a.s, b, kv) + start * width;
    u64 values = values_at(a.s, b, kv) + start * width;
    copy_tile(k, a.qkv + keys, width, KEYS, seq - start);
    copy_tile(v, a.qkv + values, width, KEYS, seq - start);

    int lane = lane_of(), row = warp_of() * DKV_ROWS, key = start + row;
    float dk[TILES * WIDE / 8][4], dv[TILES * WIDE / 8][4];
    UNROLL for (int j = 0; j < TILES * WIDE / 8; j++)
        UNROLL for (int c = 0; c < 4; c++) dk[j][c] = dv[j][c] = 0.0f;
    float scale = a.s.scale * LOG2_E;

    // Step -1 only starts the copies for step 0.
    for (int step = -1; step < steps; step++) {
        wait_for_all();
        __syncthreads();
        int next = step + 1, half = next % 2;
        float next_sum = 0.0f;
        int next_first = 0, mine = (int)threadIdx.x;
        if (next < steps) {
            u32 head = kv * group + (u32)(next / each);
            int from = start + next % each * QUERIES, to = half * QUERIES * STRIDE;
            const bf16 *qs = a.qkv + queries_at(a.s, b, head) + from * width;
            const bf16 *dys = a.dy + out_at(a.s, b, head) + from * out_width;
            copy_tile(q + to, qs, width, QUERIES, seq - from);
            copy_tile(dy + to, dys, out_width, QUERIES, seq - from);
            // Not waited for until products have been made. Behind the end, dy and
            // delta are zero, and so is all that comes of them.
            int query = from + mine % QUERIES;
            const float *of = mine < QUERIES ? a.log_sums : a.deltas;
            if (mine < 2 * QUERIES && query < seq)
                next_sum = of[sums_at(a.s, b, head) + query];
            if (mine < QUERIES) next_sum *= LOG2_E;
            if (mine < QUERIES) next_first = first_of(firsts, query, seq);
        }
        copies_end();

        int at = step % 2 * QUERIES * STRIDE, query = start;
        const float *log_sums = sums + step % 2 * 2 * QUERIES;
        const float *deltas = log_sums + QUERIES;
        const int *seen = first + step % 2 * QUERIES;
        int any = step >= 0;
        if (any) {
            query += step % each * QUERIES;
            any = query + QUERIES > key && seen[0] < key + DKV_ROWS;
        }
        if (any) {
            float p[TILES * QUERIES / 8][4], ds[TILES * QUERIES / 8][4];
            multiply(p, TILES, QUERIES, k, row, q + at);
            UNROLL for (int i = 0; i < TILES * QUERIES / 8; i++)
                UNROLL for (int c = 0; c < 4; c++) {
                    int other = i % (QUERIES / 8) * 8 + lane % 4 * 2 + c % 2;
                    p[i][c] = exp_2(p[i][c] * scale - log_sums[other]);
                }
            if (query < key + DKV_ROWS - 1 || seen[QUERIES - 1] > key)
                UNROLL for (int i = 0; i < TILES * QUERIES / 8; i++)
                    UNROLL for (int c = 0; c < 4; c++) {
                        int own = key + i / (QUERIES / 8) * 16 + c / 2 * 8 + lane / 4;
                        int other = i % (QUERIES / 8) * 8 + lane % 4 * 2 + c % 2;
                        int its_first = seen[other];
                        if (query + other < own || its_first > own) p[i][c] = 0.0f;
                    }
            multiply(ds, TILES, QUERIES, v, row, dy + at);
            UNROLL for (int i = 0; i < TILES * QUERIES / 8; i++)
                UNROLL for (int c = 0; c < 4; c++) {
                    int other = i % (QUERIES / 8) * 8 + lane % 4 * 2 + c % 2;
                    ds[i][c] = p[i][c] * (ds[i][c] - deltas[other]);
                }
            add_product(dv, TILES, QUERIES, p, dy + at);
            add_product(dk, TILES, QUERIES, ds, q + at);
        }
        if (mine < 2 * QUERIES) sums[half * 2 * QUERIES + mine] = next_sum;
        if (mine < QUERIES) first[half * QUERIES + mine] = next_first;
    }
    bf16 *to = a.dqkv + row * width;
    write_rows(to + keys, width, seq - key, dk, TILES, a.s.scale, k + row * STRIDE);
    write_rows(to + values, width, seq - key, dv, TILES, 1.0f, v + row * STRIDE);
}

// Gradients of queries: a block for each tile of a head's, as forward.
KERNEL(flash_queries, AttentionBackward) {
    enum { TILES = DQ_ROWS / 16, QUERIES = DQ_ROWS * WARPS, KEYS = DQ_KEYS };
    SHARED(Pack, shared);
    bf16 *q = (bf16 *)shared;         // [QUERIES, STRIDE]
    bf16 *dy = q + QUERIES * STRIDE;  // the same
    bf16 *k = dy + QUERIES * STRIDE;  // [2][KEYS, STRIDE]
    bf16 *v = k + 2 * KEYS * STRIDE;  // the same

    int seq = (int)a.s.seq, tiles = (seq + QUERIES - 1) / QUERIES;
    u32 head = blockIdx.x / tiles % a.s.heads, b = blockIdx.x / tiles / a.s.heads;
    u32 kv = head / (a.s.heads / a.s.kv_heads);
    int start = (tiles - 1 - (int)blockIdx.x % tiles) * QUERIES;
    int end = start + QUERIES < seq ? start + QUERIES : seq;
    const u32 *firsts = firsts_of(a.first_keys, a.s, b);
    int from = first_of(firsts, start, seq) / KEYS * KEYS;
    int steps = (end - from + KEYS - 1) / KEYS;

    u64 width = width_of(a.s), out_width = (u64)a.s.heads * DIM;
    u64 queries = queries_at(a.s, b, head) + start * width;
    const bf16 *ks = a.qkv + keys_at(a.s, b, kv) + from * width;
    const bf16 *vs = a.qkv + values_at(a.s, b, kv) + from * width;
    const bf16 *dys = a.dy + out_at(a.s, b, head) + start * out_width;
    copy_tile(q, a.qkv + queries, width, QUERIES, end - start);
    copy_tile(dy, dys, out_width, QUERIES, end - start);
    copy_tile(k, ks, width, KEYS, end - from);
    copy_tile(v, vs, width, KEYS, end - from);
    copies_end();

    int lane = lane_of(), row = warp_of() * DQ_ROWS, query = start + row;
    int lowest = first_of(firsts, query, seq);
    int highest = first_of(firsts, query + DQ_ROWS - 1, seq);
    float dq[TILES * WIDE / 8][4], log_sum[TILES][2], delta[TILES][2];
    UNROLL for (int i = 0; i < TILES; i++)
        UNROLL for (int h = 0; h < 2; h++) {
            int own = query + 16 * i + 8 * h + lane / 4;
            u64 at = sums_at(a.s, b, head) + own;
            log_sum[i][h] = own < seq ? a.log_sums[at] * LOG2_E : 0.0f;
            delta[i][h] = own < seq ? a.deltas[at] : 0.0f;
        }
    UNROLL for (int j = 0; j < TILES * WIDE / 8; j++)
        UNROLL for (int c = 0; c < 4; c++) dq[j][c] = 0.0f;
    float scale = a.s.scale * LOG2_E;

    for (int step = 0; step < steps; step++) {
        wait_for_all();
        __syncthreads();
        if (step + 1 < steps) {
            int next = (step + 1) * KEYS, to = (step + 1) % 2 * KEYS * STRIDE;
            copy_tile(k + to, ks + next * width, width, KEYS, end - from - next);
            copy_tile(v + to, vs + next * width, width, KEYS, end - from - next);
        }
        copies_end();
        int key = from + step * KEYS, at = step % 2 * KEYS * STRIDE;
        if (key >= query + DQ_ROWS || key + KEYS <= lowest) continue;

        float p[TILES * KEYS / 8][4], ds[TILES * KEYS / 8][4];
        multiply(p, TILES, KEYS, q, row, k + at);
        UNROLL for (int i = 0; i < TILES * KEYS / 8; i++)
            UNROLL for (int c = 0; c < 4; c++) {
                float own = log_sum[i / (KEYS / 8)][c / 2];
                p[i][c] = exp_2(p[i][c] * scale - own);
            }
        if (key + KEYS - 1 > query || key < highest)
            mask(p, TILES, KEYS, query, key, firsts, seq, 0.0f);
        multiply(ds, TILES, KEYS, dy, row, v + at);
        UNROLL for (int i = 0; i < TILES * KEYS / 8; i++)
            UNROLL for (int c = 0; c < 4; c++) {
                float own = delta[i / (KEYS / 8)][c / 2];
                ds[i][c] = p[i][c] * (ds[i][c] - own);
            }
        add_product(dq, TILES, KEYS, ds, k + at);
    }
    bf16 *to = a.dqkv + queries + row * width;
    write_rows(to, width, seq - query, dq, TILES, a.s.scale, q + row * STRIDE);
}
#endif
