// What both kinds of attention share, attention.cu and flash.cu. They are compiled for
// heads of DIM elements.
//
// A token's row of `qkv` is heads of queries, then of keys, then of values. Query head
// h uses key/value head h / (heads / kv_heads). Query i of a row sees the keys from
// first_keys[i] (zero, without documents) to i. First keys never fall along a row, so
// the queries that see a key follow one another, too.
#ifndef ATTENTION_H
#define ATTENTION_H
#include "common.h"

typedef struct {
    u32 batch, seq, heads, kv_heads;
    float scale; // of scores
} Sizes;

typedef struct {
    const T *qkv;          // [batch, seq, (heads + 2 kv_heads) * DIM]
    const u32 *first_keys; // [batch, seq], or none
    T *out;                // [batch, seq, heads * DIM]
    float *log_sums;       // [batch, heads, seq]: log of Σ exp(score)
    Sizes s;
} Attention;

typedef struct {
    const T *qkv;
    const u32 *first_keys;
    const T *dy;                    // [batch, seq, heads * DIM]
    const float *log_sums, *deltas; // [batch, heads, seq]
    T *dqkv;                        // as qkv
    Sizes s;
} AttentionBackward;

// Elements from a token to the next.
DEVICE u64 width_of(Sizes s) { return (u64)(s.heads + 2 * s.kv_heads) * DIM; }
// Where the queries, keys and values of a head begin, in qkv.
DEVICE u64 queries_at(Sizes s, u32 b, u32 head) {
    return (u64)b * s.seq * width_of(s) + (u64)head * DIM;
}
DEVICE u64 keys_at(Sizes s, u32 b, u32 kv) { return queries_at(s, b, s.heads + kv); }
DEVICE u64 values_at(Sizes s, u32 b, u32 kv) {
    return queries_at(s, b, s.heads + s.kv_heads + kv);
}
// Where a head's part of the result begins, and its log-sums.
DEVICE u64 out_at(Sizes s, u32 b, u32 head) {
    return ((u64)b * s.seq * s.heads + head) * DIM;
}
DEVICE u64 sums_at(Sizes s, u32 b, u32 head) {
    return ((u64)b * s.heads + head) * s.seq;
}

// The first keys of row `b`, or none.
DEVICE const u32 *firsts_of(const u32 *first_keys, Sizes s, u32 b) {
    return first_keys ? first_keys + (u64)b * s.seq : 0;
}
// That of query `i`, or past the end, of the last.
DEVICE int first_of(const u32 *firsts, int i, int seq) {
    return firsts ? (int)firsts[i < seq ? i : seq - 1] : 0;
}

// Of the tiles of `size` queries from `start` on, how many see a key before `end`:
// those up to the first that sees none. The lanes of a warp look at them together.
DEVICE int tiles_that_see(const u32 *firsts, int start, int end, int size, int seq) {
    int tiles = (seq - start + size - 1) / size, seen = 0;
    if (!firsts) return tiles;
    for (int i = (int)threadIdx.x % WARP; i < tiles; i += WARP)
        seen += (int)firsts[start + i * size] < end;
    return (int)warp_sum((float)seen); // Below 2^24, as floats have it.
}

#endif
