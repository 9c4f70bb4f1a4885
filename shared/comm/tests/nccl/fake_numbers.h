/* Sums, maxima and averages of what all ranks have brought, in the order of the ranks:
 * of 16 bits in fp32, rounded once. */
static float of_half(uint16_t bits) {
    _Float16 x;
    memcpy(&x, &bits, 2);
    return (float)x;
}
static uint16_t half_of(float x) {
    _Float16 y = (_Float16)x;
    uint16_t bits;
    memcpy(&bits, &y, 2);
    return bits;
}
static float of_brain(uint16_t bits) {
    uint32_t wide = (uint32_t)bits << 16;
    float x;
    memcpy(&x, &wide, 4);
    return x;
}
static uint16_t brain_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    if (isnan(x)) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* Of `count` numbers that all ranks have, from number `first` on. */
#define REDUCE(T, SUM, WIDEN, NARROW, LARGER, AVERAGE)                              \
    for (size_t i = 0; i < op->count; i++) {                                        \
        SUM sum = WIDEN(((T *)area(c, 0))[first + i]);                              \
        for (int r = 1; r < c->n; r++) {                                            \
            SUM x = WIDEN(((T *)area(c, r))[first + i]);                            \
            if (op->how == 2) { if (LARGER) sum = x; } else sum = (SUM)(sum + x);   \
        }                                                                           \
        if (op->how == 4) sum = AVERAGE;                                            \
        ((T *)op->to)[i] = NARROW(sum);                                             \
    }                                                                               \
    break
#define FLOAT(T, SUM, WIDEN, NARROW)                                                \
    REDUCE(T, SUM, WIDEN, NARROW, x > sum || isnan(x), sum / (SUM)c->n)
#define INTEGER(T) REDUCE(T, T, , , x > sum, sum)

static void reduce(comm_t *c, op_t *op, size_t first) {
    switch (op->type) {
    case 1: INTEGER(uint8_t);
    case 3: INTEGER(uint32_t);
    case 4: INTEGER(int64_t);
    case 6: FLOAT(uint16_t, float, of_half, half_of);
    case 7: FLOAT(float, float, , );
    case 8: FLOAT(double, double, , );
    case 9: FLOAT(uint16_t, float, of_brain, brain_of);
    }
}
