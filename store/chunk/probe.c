/*
 * Estimates of what the encoders would make of bytes.
 */
#include "probe.h"
#include "planes.h"
#include <string.h>

enum {
    TABLES = 4, /* of counts: the same counter twice in a row would wait for itself */
    FLOATS = 8, /* sums at a time, in an order that doesn't depend on the compiler */
};

static void count_all(const uint8_t *bytes, size_t n, uint32_t tables[TABLES][CKPT_BYTES])
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t v;
        memcpy(&v, bytes + i, 8);
        for (unsigned k = 0; k < 8; k++) {
            tables[k % TABLES][v >> (8 * k) & 0xff]++;
        }
    }
    for (; i < n; i++) {
        tables[0][bytes[i]]++;
    }
}

void ckpt_probe_count(const uint8_t *bytes, size_t n, unsigned every, uint32_t counts[CKPT_BYTES])
{
    enum { PIECE = 64 };
    if (every > 1) {
        /* In the middle of its neighbours, or the ends of short runs would count for too much. */
        for (size_t i = (size_t)(every - 1) * PIECE / 2; i < n; i += (size_t)every * PIECE) {
            size_t end = n - i < PIECE ? n : i + PIECE;
            for (size_t k = i; k < end; k++) {
                counts[bytes[k]]++;
            }
        }
        return;
    }
    uint32_t tables[TABLES][CKPT_BYTES];
    memset(tables, 0, sizeof tables);
    count_all(bytes, n, tables);
    for (size_t b = 0; b < CKPT_BYTES; b++) {
        counts[b] += tables[0][b] + tables[1][b] + tables[2][b] + tables[3][b];
    }
}

/* log2 of 1 to 2^31 within 0.0001, from an integer's bits; a polynomial for the fraction (a fit at
 * Chebyshev's points). */
static inline float log2_of(uint32_t n)
{
    float f = (float)(int32_t)n; /* signed: that is one instruction */
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    float exponent = (float)((int32_t)(bits >> 23) - 127);
    bits = (bits & 0x7fffff) | 0x3f800000;
    memcpy(&f, &bits, sizeof f);
    float t = f - 1;
    return exponent +
           t * (1.4426157F +
                t * (-0.7170639F + t * (0.4422742F + t * (-0.2277126F + t * 0.0599456F))));
}

struct summary {
    uint32_t total;
    uint32_t most; /* of the commonest byte */
    unsigned kinds;
    float bits; /* the entropy of all */
};

static struct summary summarise(const uint32_t counts[CKPT_BYTES])
{
    struct summary s = {0};
    float sums[FLOATS] = {0};
    int32_t totals[FLOATS] = {0};
    int32_t most[FLOATS] = {0};
    int32_t kinds[FLOATS] = {0};
    for (size_t b = 0; b < CKPT_BYTES; b += FLOATS) {
        for (size_t k = 0; k < FLOATS; k++) {
            int32_t n = (int32_t)counts[b + k];
            int32_t some = n > 0;
            totals[k] += n;
            kinds[k] += some;
            most[k] = n > most[k] ? n : most[k];
            sums[k] += (float)n * log2_of((uint32_t)(n + 1 - some)); /* 0 has no logarithm */
        }
    }
    float sum = 0;
    for (size_t k = 0; k < FLOATS; k++) {
        s.total += (uint32_t)totals[k];
        s.kinds += (uint32_t)kinds[k];
        s.most = (uint32_t)most[k] > s.most ? (uint32_t)most[k] : s.most;
        sum += sums[k];
    }
    if (s.total > 0) {
        s.bits = (float)s.total * log2_of(s.total) - sum;
    }
    return s;
}

/* A Huffman code has whole bits: a byte that is more than half of all costs one, the others that
 * and what tells them apart. */
static float code_bits(const struct summary *s)
{
    if (s->kinds < 2) {
        return 0;
    }
    uint32_t others = s->total - s->most;
    if (s->most <= others) {
        return s->bits;
    }
    float apart = s->bits - ((float)s->total * log2_of(s->total) -
                             (float)s->most * log2_of(s->most) - (float)others * log2_of(others));
    return (float)s->total + apart;
}

struct ckpt_estimate ckpt_probe_estimate(const uint32_t counts[CKPT_BYTES], float scale)
{
    /* Measured on planes of weights: the code is about 1 % longer than the entropy; a table takes 4
       bits for each kind of byte, and less when they are many; headers and the four streams'
       lengths. A block of one kind is 4 bytes. */
    enum { FIXED = 16, TABLE_MAX = 96, HEADER = 3 };
    const float longer = 1.008F;
    const float half_nat = 0.7213475F; /* in bits */
    struct summary s = summarise(counts);
    struct ckpt_estimate e = {.block = HEADER + 1};
    if (s.kinds < 2) {
        return e;
    }
    /* Miller and Madow: the entropy of a sample is low by half a nat for each kind but one, in
     * total. */
    float low = (scale - 1) * half_nat * (float)(s.kinds - 1);
    float total = (float)s.total * scale;
    float table = (float)(s.kinds / 2 < TABLE_MAX ? s.kinds / 2 : TABLE_MAX);
    e.entropy = (s.bits * scale + low) / 8;
    e.code = (code_bits(&s) * scale + low) / 8;
    e.entropy = e.entropy < total ? e.entropy : total;
    e.code = e.code < total ? e.code : total;
    e.block = FIXED + table + e.code * longer;
    e.block = e.block < total + HEADER ? e.block : total + HEADER;
    return e;
}

bool ckpt_probe_repeats(const uint8_t *bytes, size_t n, const struct ckpt_glances *glances)
{
    enum { LIMIT = 64 << 10, BITS = 12, ONE_IN = 20 };
    uint16_t table[1 << BITS];
    size_t seen = 0;
    size_t looked = 0;
    memset(table, 0, sizeof table);
    n = n < LIMIT ? n : LIMIT;
    for (size_t at = 0; at < n; at += glances->piece) {
        for (size_t i = at; i + 8 <= n && i < at + glances->look; i += glances->step) {
            uint64_t v;
            uint64_t old;
            memcpy(&v, bytes + i, 8);
            uint16_t *slot = &table[v * 0x9e3779b97f4a7c15 >> (64 - BITS)];
            memcpy(&old, bytes + *slot, 8); /* an empty slot is the beginning */
            seen += old == v && i > 0;
            *slot = (uint16_t)i;
            looked++;
        }
    }
    return seen * ONE_IN > looked;
}

enum {
    SPOTS = 8,
    SPOT = 2 << 10, /* bytes */
    SCALE = 2,      /* sizes are compared only; but not as if there were no more bytes */
};

/* Every 8th byte of the samples from each phase, which the columns of the narrower words are sums
 * of. */
static void count_columns(const uint8_t *bytes, size_t n, uint32_t columns[8][CKPT_BYTES])
{
    size_t spot = n / SPOTS < SPOT ? n / SPOTS : SPOT;
    spot -= spot % 8;
    for (size_t k = 0; k < SPOTS; k++) {
        size_t at = n / SPOTS * k;
        at -= at % 8; /* phases are those of the first byte */
        for (size_t i = 0; i < spot; i++) {
            columns[i % 8][bytes[at + i]]++;
        }
    }
}

static float columns_size(const uint32_t columns[8][CKPT_BYTES], unsigned width)
{
    float size = 0;
    for (unsigned j = 0; j < width; j++) {
        uint32_t sum[CKPT_BYTES] = {0};
        for (unsigned k = j; k < 8; k += width) {
            for (size_t b = 0; b < CKPT_BYTES; b++) {
                sum[b] += columns[k][b];
            }
        }
        size += ckpt_probe_estimate(sum, SCALE).code;
    }
    return size;
}

/* What the planes of words would take that begin at HEAD; *TOP is the share of the highest. */
static float planes_size(const uint8_t *bytes, size_t n, unsigned width, size_t head, float *top)
{
    struct ckpt_shape shape = {.width = width, .count = SPOT / width};
    float size = 0;
    uint8_t planes[SPOT];
    uint32_t counts[CKPT_PLANES][CKPT_BYTES] = {{0}};
    if ((n - head) / SPOTS < SPOT) {
        shape.count = (n - head) / SPOTS / width;
    }
    for (size_t k = 0; k < SPOTS; k++) {
        size_t at = n / SPOTS * k;
        at -= at % 8;
        if (at + head + shape.count * width > n) {
            break;
        }
        ckpt_planes_split(&shape, bytes + at + head, NULL, planes, shape.count);
        for (unsigned j = 0; j < width; j++) {
            ckpt_probe_count(planes + j * shape.count, shape.count, 1, counts[j]);
        }
    }
    for (unsigned j = 0; j < width; j++) {
        *top = ckpt_probe_estimate(counts[j], SCALE).code;
        size += *top;
    }
    return size;
}

/* Where words begin: most exponents are much alike, so their plane is the shortest; it may be whole
   at another phase too (the rotation takes the sign out of any byte), but on top it stands at one
   only. */
static size_t find_head(const uint8_t *bytes, size_t n, unsigned width)
{
    const float as_good = 1.02F;
    float sizes[CKPT_PLANES];
    float tops[CKPT_PLANES];
    float best = 0;
    size_t found = 0;
    for (size_t head = 0; head < width; head++) {
        sizes[head] = planes_size(bytes, n, width, head, &tops[head]);
        best = head == 0 || sizes[head] < best ? sizes[head] : best;
    }
    bool any = false;
    for (size_t head = 0; head < width; head++) {
        if (sizes[head] <= best * as_good && (!any || tops[head] < tops[found])) {
            found = head;
            any = true;
        }
    }
    return found;
}

struct ckpt_numbers ckpt_probe_numbers(const uint8_t *bytes, size_t n)
{
    enum { LEAST = 1000 }; /* words: of fewer a column of noise looks as if it told something */
    uint32_t columns[8][CKPT_BYTES] = {{0}};
    struct ckpt_numbers numbers = {0};
    count_columns(bytes, n, columns);
    /* Wider words must be worth it, or noise would decide; and columns must tell something that the
     * bytes alone don't. */
    float best = columns_size(columns, 1) * 0.97F;
    for (unsigned width = 2; width <= 8 && n >= (size_t)LEAST * width; width *= 2) {
        float size = columns_size(columns, width);
        if (size < best) {
            best = size * 0.98F;
            numbers.width = (uint8_t)width;
        }
    }
    if (numbers.width > 0) {
        numbers.head = (uint8_t)find_head(bytes, n, numbers.width);
    }
    return numbers;
}
