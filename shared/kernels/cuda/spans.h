// How kernels that go element by element share out rows: a block has a span of one row,
// of as many packs as it has threads.
#ifndef SPANS_H
#define SPANS_H
#include "common.h"

typedef struct {
    u32 row;
    u32 start, end; // elements of it
} Span;

DEVICE Span span_of_block(u32 width) {
    u32 length = blockDim.x * PACK, spans = (width + length - 1) / length;
    Span s;
    s.row = blockIdx.x / spans;
    s.start = blockIdx.x % spans * length;
    s.end = width - s.start < length ? width : s.start + length;
    return s;
}

// A pack in float: of bf16, twice as wide.
typedef struct ALIGNED { float at[PACK]; } Wide;

#endif
