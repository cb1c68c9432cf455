/*
 * Plans from samples and counts.
 */
#include "attempt.h"
#include "probe.h"
#include <string.h>

enum {
    GROUP_MIN = 4096, /* words that are worth a Huffman table of their own */
    SPOTS = 16,       /* samples of a chunk */
    SPOT = 128,       /* words in each */
    SAMPLE = SPOTS * SPOT,
};

/* The sample's place K of SPOTS, in words: at uneven distances, or rows of a length that fits would
 * be missed or seen only. */
static size_t spot_of(const struct ckpt_words *words, size_t k)
{
    enum { FINE = 64, PRIME = 37 };
    size_t place = k * FINE + k * PRIME % FINE;
    return (words->shape.count - SPOT) * place / ((size_t)SPOTS * FINE);
}

/* The planes of a sample of the words, or of their differences, a stride of SAMPLE apart. Returns
 * how many words. */
static size_t sample_planes(const struct ckpt_words *words, bool differences, uint8_t *planes)
{
    const uint8_t *base = differences ? words->base : NULL;
    if (words->shape.count <= SAMPLE) {
        ckpt_planes_split(&words->shape, words->words, base, planes, SAMPLE);
        return words->shape.count;
    }
    struct ckpt_shape shape = words->shape;
    shape.count = SPOT;
    for (size_t k = 0; k < SPOTS; k++) {
        size_t at = spot_of(words, k) * shape.width;
        ckpt_planes_split(&shape, words->words + at, base != NULL ? base + at : NULL,
                          planes + k * SPOT, SAMPLE);
    }
    return SAMPLE;
}

bool ckpt_attempt_repeats(const struct ckpt_words *words, uint8_t *scratch)
{
    size_t width = words->shape.width;
    const struct ckpt_glances glances = {
        .step = width, .look = SPOT * width, .piece = SPOT * width};
    if (words->shape.count <= SAMPLE) {
        return ckpt_probe_repeats(words->words, words->shape.count * width, &glances);
    }
    for (size_t k = 0; k < SPOTS; k++) {
        memcpy(scratch + k * SPOT * width, words->words + spot_of(words, k) * width, SPOT * width);
    }
    return ckpt_probe_repeats(scratch, SAMPLE * width, &glances);
}

/* Tells what to try with a plane of COUNT bytes nearly all of which are equal; false for others. A
   Huffman code takes a bit for each of them; with an entropy so far below that zstd does better,
   surely or perhaps. */
static bool plan_rare(const struct ckpt_estimate *estimate, size_t count, struct ckpt_attempt *plan)
{
    enum { HEADERS = 64 };
    const float sure = 0.04F;
    const float perhaps = 0.1F;
    const float longer = 1.3F; /* than the entropy */
    if (estimate->entropy >= perhaps * (float)count) {
        return false;
    }
    float size = estimate->entropy * longer + HEADERS;
    plan->zstd = true;
    plan->huffman = estimate->entropy > sure * (float)count;
    plan->size = plan->huffman && plan->size < size ? plan->size : size;
    return true;
}

/* What to try with a plane of COUNT bytes, from the N of its sample. */
static enum ckpt_err plan_plane(struct ckpt_frames *frames, const uint8_t *sample, size_t n,
                                size_t count, uint8_t *scratch, struct ckpt_attempt *plan)
{
    enum { ONE_IN = 64 };
    static const struct ckpt_glances glances = {.step = 1, .look = SPOT / 4, .piece = SPOT};
    uint32_t counts[CKPT_BYTES] = {0};
    float scale = (float)count / (float)n;
    ckpt_probe_count(sample, n, 1, counts);
    struct ckpt_estimate estimate = ckpt_probe_estimate(counts, scale);
    plan->huffman = estimate.block < (float)count - (float)count / ONE_IN;
    plan->size = plan->huffman ? estimate.block : (float)count;
    plan->cut_count = 1;
    plan->cuts[0] = (uint32_t)count;
    plan->zstd = false;
    if (!plan_rare(&estimate, count, plan) && ckpt_probe_repeats(sample, n, &glances)) {
        /* All of it will have more to repeat than the sample. */
        const float margin = 0.8F;
        size_t got = 0;
        enum ckpt_err err = ckpt_frame_zstd(frames, sample, n, scratch, &got);
        if (err != CKPT_OK) {
            return err;
        }
        float other = (float)got * scale;
        plan->zstd = other * margin < plan->size;
        plan->huffman = plan->huffman && estimate.code < 2 * other;
        plan->size = other < plan->size ? other : plan->size;
    }
    return CKPT_OK;
}

size_t ckpt_attempt_scratch(void)
{
    return (size_t)CKPT_PLANES * SAMPLE + ckpt_frame_bound(SAMPLE);
}

enum ckpt_err ckpt_attempt_planes(struct ckpt_frames *frames, const struct ckpt_words *words,
                               bool differences, uint8_t *scratch,
                               struct ckpt_attempt plans[CKPT_PLANES], float *size)
{
    size_t n = sample_planes(words, differences, scratch);
    float sum = 0;
    for (unsigned j = 0; j < words->shape.width; j++) {
        enum ckpt_err err = plan_plane(frames, scratch + (size_t)j * SAMPLE, n, words->shape.count,
                                       scratch + (size_t)CKPT_PLANES * SAMPLE, &plans[j]);
        if (err != CKPT_OK) {
            return err;
        }
        sum += plans[j].size;
    }
    *size = sum;
    return CKPT_OK;
}

size_t ckpt_attempt_cuts(const struct ckpt_groups *groups, uint32_t cuts[CKPT_HUFFMAN_CUTS])
{
    size_t n = 0;
    uint32_t last = 0;
    uint32_t count = groups->start[CKPT_GROUPS];
    for (size_t group = 0; group < CKPT_GROUPS; group++) {
        uint32_t end = groups->start[group + 1];
        if (end - last >= GROUP_MIN && count - end >= GROUP_MIN) {
            cuts[n++] = end;
            last = end;
        }
    }
    cuts[n++] = count;
    return n;
}

/* Plans one plane of grouped differences: a group joins the block before it unless a table of its
 *own makes up for itself. PLAIN is what the plane would take with one table for all. */
static void plan_group_plane(const uint8_t *plane, const uint32_t *cuts, size_t cut_count,
                             struct ckpt_attempt *plan, float *plain)
{
    enum { EXACT = 16 << 10, EVERY = 4 };
    uint32_t count = cuts[cut_count - 1];
    unsigned every = count <= EXACT ? 1 : EVERY;
    uint32_t all[CKPT_BYTES] = {0};
    uint32_t block[CKPT_BYTES] = {0};
    float block_size = 0;
    float sum = 0;
    uint32_t at = 0;
    plan->cut_count = 0;
    for (size_t i = 0; i < cut_count; i++) {
        uint32_t own[CKPT_BYTES] = {0};
        uint32_t both[CKPT_BYTES];
        ckpt_probe_count(plane + at, cuts[i] - at, every, own);
        for (size_t b = 0; b < CKPT_BYTES; b++) {
            all[b] += own[b];
            both[b] = block[b] + own[b];
        }
        float own_size = ckpt_probe_estimate(own, (float)every).block;
        float both_size = ckpt_probe_estimate(both, (float)every).block;
        if (i > 0 && both_size > block_size + own_size) {
            plan->cuts[plan->cut_count++] = at;
            sum += block_size;
            memcpy(block, own, sizeof block);
            block_size = own_size;
        } else {
            memcpy(block, both, sizeof block);
            block_size = both_size;
        }
        at = cuts[i];
    }
    plan->cuts[plan->cut_count++] = at;
    plan->size = sum + block_size;
    plan->huffman = plan->size < (float)count;
    plan->zstd = false;
    struct ckpt_estimate estimate = ckpt_probe_estimate(all, (float)every);
    struct ckpt_attempt plainly = {.size = estimate.block};
    (void)plan_rare(&estimate, count, plan);
    (void)plan_rare(&estimate, count, &plainly);
    *plain = plainly.size;
}

void ckpt_attempt_groups(const struct ckpt_words *words, const uint8_t *planes, const uint32_t *cuts,
                      size_t cut_count, const struct ckpt_attempt without[CKPT_PLANES],
                      struct ckpt_attempt with[CKPT_PLANES], float *plain, float *grouped)
{
    size_t count = words->shape.count;
    *plain = 0;
    *grouped = 0;
    for (unsigned j = 0; j < words->shape.width; j++) {
        if (!without[j].huffman && !without[j].zstd) {
            with[j] = without[j];
            *plain += without[j].size;
        } else {
            float size = 0;
            plan_group_plane(planes + j * count, cuts, cut_count, &with[j], &size);
            *plain += without[j].zstd && without[j].size < size ? without[j].size : size;
        }
        *grouped += with[j].size;
    }
}
