/*
 * What the codings cost and gain, on flat files of numbers (extract_tensors.py makes some):
 *
 *     bench_codec WIDTH FILE [BASE [CHUNK [ROUNDS]]]
 *
 * One line for each coding that is possible and one for what encode chooses ("auto"): stored size,
 * speed in and out, on one thread. Sizes and speeds are of the same chunks, taken in turn in each
 * round; speeds are medians. Below: how often each coding was chosen, and how much more the choices
 * take than the smallest of all would.
 */
#include "chunk/codec.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    CHUNK = 256 << 10,
    ROUNDS = 7,
    ROUNDS_MAX = 99,
    MOST = 8 << 20,
    WAYS = CKPT_CODECS + 1,
    AUTO = CKPT_CODECS
};

static const char *const names[WAYS] = {"raw", "zstd -3", "planes", "delta", "grouped", "auto"};

struct file {
    uint8_t *bytes;
    size_t size;
};

struct payload {
    uint8_t *bytes;
    size_t size;
    struct ckpt_coding coding;
};

struct bench {
    struct ckpt_codec *codec;
    struct file file;
    struct file base;
    size_t chunk;
    size_t chunks;
    size_t step; /* the chunks are spread over the file */
    unsigned rounds;
    struct ckpt_hint hint;
    struct payload *payloads[WAYS];
    double in[WAYS][ROUNDS_MAX]; /* seconds */
    double out[WAYS][ROUNDS_MAX];
};

static void die(const char *what)
{
    fprintf(stderr, "bench_codec: %s\n", what);
    exit(1);
}

static void *need(void *p)
{
    if (p == NULL) {
        die("no memory");
    }
    return p;
}

/* This thread's own time: others on the machine cost it less than on the clock. */
static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static struct file read_file(const char *path)
{
    struct file f = {0};
    FILE *stream = fopen(path, "rb");
    if (stream == NULL || fseek(stream, 0, SEEK_END) != 0) {
        die(path);
    }
    f.size = (size_t)ftell(stream);
    f.bytes = need(malloc(f.size + 1));
    rewind(stream);
    if (fread(f.bytes, 1, f.size, stream) != f.size) {
        die(path);
    }
    (void)fclose(stream);
    return f;
}

static void encode(struct bench *b, size_t way, size_t i)
{
    struct payload *p = &b->payloads[way][i];
    const uint8_t *raw = b->file.bytes + i * b->step;
    struct ckpt_hint hint = b->hint;
    enum ckpt_err err;
    hint.base = b->base.bytes != NULL ? b->base.bytes + i * b->step : NULL;
    if (way == AUTO) {
        err = ckpt_codec_encode(b->codec, raw, b->chunk, &hint, p->bytes, &p->size, &p->coding);
    } else {
        err = ckpt_codec_encode_as(b->codec, raw, b->chunk, &hint, (enum ckpt_codec_id)way,
                                   p->bytes, &p->size, &p->coding);
    }
    if (err != CKPT_OK) {
        die(ckpt_err_text(err));
    }
}

static void decode(struct bench *b, size_t way, size_t i, uint8_t *raw)
{
    const struct payload *p = &b->payloads[way][i];
    const uint8_t *base = b->base.bytes != NULL ? b->base.bytes + i * b->step : NULL;
    enum ckpt_err err =
        ckpt_codec_decode(b->codec, &p->coding, p->bytes, p->size, base, raw, b->chunk);
    if (err != CKPT_OK) {
        die(ckpt_err_text(err));
    }
}

static bool possible(const struct bench *b, size_t way)
{
    return way == AUTO || b->base.bytes != NULL || !ckpt_codec_needs_base((enum ckpt_codec_id)way);
}

static void run(struct bench *b)
{
    uint8_t *raw = need(malloc(b->chunk));
    for (unsigned round = 0; round < b->rounds; round++) {
        for (size_t way = 0; way < WAYS; way++) {
            if (!possible(b, way)) {
                continue;
            }
            double start = now();
            for (size_t i = 0; i < b->chunks; i++) {
                encode(b, way, i);
            }
            double middle = now();
            for (size_t i = 0; i < b->chunks; i++) {
                decode(b, way, i, raw);
            }
            b->out[way][round] = now() - middle;
            b->in[way][round] = middle - start;
            if (memcmp(raw, b->file.bytes + (b->chunks - 1) * b->step, b->chunk) != 0) {
                die("other bytes came out");
            }
        }
    }
    free(raw);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *values, unsigned n)
{
    double sorted[ROUNDS_MAX];
    memcpy(sorted, values, n * sizeof *values);
    qsort(sorted, n, sizeof *sorted, by_value);
    return sorted[n / 2];
}

static void report(const struct bench *b)
{
    double bytes = (double)b->chunk * (double)b->chunks;
    double zstd_in = median(b->in[CKPT_CODEC_ZSTD], b->rounds);
    double zstd_out = median(b->out[CKPT_CODEC_ZSTD], b->rounds);
    size_t smallest = 0;
    size_t chosen[CKPT_CODECS] = {0};
    printf("%-8s %7s  %9s %6s  %9s %6s\n", "", "size", "in GB/s", "x zstd", "out GB/s", "x zstd");
    for (size_t way = 0; way < WAYS; way++) {
        size_t size = 0;
        if (!possible(b, way)) {
            continue;
        }
        for (size_t i = 0; i < b->chunks; i++) {
            size += b->payloads[way][i].size;
        }
        double in = median(b->in[way], b->rounds);
        double out = median(b->out[way], b->rounds);
        printf("%-8s %7.4f  %9.2f %6.2f  %9.2f %6.2f\n", names[way], (double)size / bytes,
               bytes / in / 1e9, zstd_in / in, bytes / out / 1e9, zstd_out / out);
    }
    size_t picked = 0;
    for (size_t i = 0; i < b->chunks; i++) {
        size_t least = SIZE_MAX;
        for (size_t way = 0; way < AUTO; way++) {
            if (possible(b, way) && b->payloads[way][i].size < least) {
                least = b->payloads[way][i].size;
            }
        }
        smallest += least;
        picked += b->payloads[AUTO][i].size;
        chosen[b->payloads[AUTO][i].coding.id]++;
    }
    printf("chosen ");
    for (size_t id = 0; id < CKPT_CODECS; id++) {
        if (chosen[id] > 0) {
            printf(" %s %zu", names[id], chosen[id]);
        }
    }
    printf("; smallest of all %.4f, chosen %+.2f %%\n", (double)smallest / bytes,
           100 * ((double)picked / (double)smallest - 1));
}

int main(int argc, char **argv)
{
    static struct bench b;
    if (argc < 3 || argc > 6) {
        die("usage: bench_codec WIDTH FILE [BASE [CHUNK [ROUNDS]]]");
    }
    b.hint.width = (uint8_t)strtoul(argv[1], NULL, 10);
    b.file = read_file(argv[2]);
    b.chunk = argc > 4 ? strtoul(argv[4], NULL, 10) : CHUNK;
    b.rounds = argc > 5 ? (unsigned)strtoul(argv[5], NULL, 10) : ROUNDS;
    if (argc > 3 && *argv[3] != '\0') {
        b.base = read_file(argv[3]);
    }
    if (b.rounds == 0 || b.rounds > ROUNDS_MAX || b.chunk == 0 || b.file.size < b.chunk ||
        (b.base.bytes != NULL && b.base.size != b.file.size)) {
        die("no chunk, no round, or a base of another size");
    }
    b.chunks = b.file.size / b.chunk;
    b.step = b.chunk;
    if (b.chunks > MOST / b.chunk) {
        size_t every = b.chunks / (MOST / b.chunk);
        b.step = every * b.chunk;
        b.chunks = b.chunks / every;
    }
    if (ckpt_codec_create(&b.codec) != CKPT_OK) {
        die("no memory");
    }
    for (size_t way = 0; way < WAYS; way++) {
        b.payloads[way] = need(calloc(b.chunks, sizeof **b.payloads));
        for (size_t i = 0; i < b.chunks; i++) {
            b.payloads[way][i].bytes = need(calloc(1, ckpt_codec_bound(b.chunk)));
        }
    }
    run(&b);
    report(&b);
    for (size_t way = 0; way < WAYS; way++) {
        for (size_t i = 0; i < b.chunks; i++) {
            free(b.payloads[way][i].bytes);
        }
        free(b.payloads[way]);
    }
    ckpt_codec_free(b.codec);
    free(b.base.bytes);
    free(b.file.bytes);
    return 0;
}
