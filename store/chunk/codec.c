/*
 * Payloads: which coding, and what they look like.
 */
#include "codec.h"
#include "common/bytes.h"
#include "frame.h"
#include "groups.h"
#include "attempt.h"
#include "planes.h"
#include "probe.h"
#include <stdlib.h>
#include <string.h>

/*
 * A payload of planes, differences, or grouped differences, for words of WIDTH bytes:
 *
 * offset  size       field
 *      0     1       head: bytes before the first word, less than WIDTH
 *      1     3       reserved, zero
 *      4     4 each  WIDTH planes, lowest bytes first: bits 31..24 mode, bits 23..0 stored size
 *            head    the bytes before the first word
 *            tail    the bytes after the last one, fewer than WIDTH
 *                    the planes, in order
 *
 * A plane has a byte of each word. Mode 0: these bytes; 1: one zstd frame; 2: one byte that all are
 * equal to. There is at least one word, and nothing after the last plane.
 */
enum {
    AT_HEAD = 0,
    AT_RESERVED = 1,
    AT_PLANES = 4,
    PLANE_ENTRY = 4,
    LAYOUT_MAX = AT_PLANES + PLANE_ENTRY * CKPT_PLANES + 2 * CKPT_PLANES,
};

enum mode { MODE_RAW = 0, MODE_FRAME = 1, MODE_CONSTANT = 2 };

enum { WORDS_MIN = 64 }; /* fewer words aren't worth a table */

enum room { ROOM_PLANES, ROOM_SORTED, ROOM_SAMPLE, ROOM_FRAME, ROOM_PAYLOAD, ROOMS };
enum { BUFFERS = 4 };

struct buffer {
    void *bytes;
    size_t size;
};

struct ckpt_codec {
    struct ckpt_frames *frames;
    bool avx2;
    struct buffer rooms[ROOMS];
    struct buffer buffers[BUFFERS];
    struct ckpt_groups groups;
    struct ckpt_attempt plans[CKPT_CODECS][CKPT_PLANES]; /* of the codings that are considered */
};

/* The words of a chunk, and those of its base. */
struct chunk {
    struct ckpt_words words;
    const uint8_t *raw;
    size_t n;
    size_t head;
    size_t tail;
    float enough; /* a difference may take this share of what the words take without a base */
};

/* Every difference that decoding goes through costs about as much time as decoding the whole: the Nth is to save N times so
   much, up to ten times. */
#define SAVED_BY_EACH 0.03F
enum { SAVING_LINKS = 10 };

enum ckpt_err ckpt_codec_create(struct ckpt_codec **codec)
{
    struct ckpt_codec *c = calloc(1, sizeof *c);
    if (c == NULL) {
        return CKPT_ERR_NOMEM;
    }
    enum ckpt_err err = ckpt_frames_create(&c->frames);
    if (err != CKPT_OK) {
        free(c);
        return err;
    }
    c->avx2 = ckpt_planes_avx2();
    *codec = c;
    return CKPT_OK;
}

void ckpt_codec_free(struct ckpt_codec *codec)
{
    if (codec == NULL) {
        return;
    }
    ckpt_frames_free(codec->frames);
    for (size_t i = 0; i < ROOMS; i++) {
        free(codec->rooms[i].bytes);
    }
    for (size_t i = 0; i < BUFFERS; i++) {
        free(codec->buffers[i].bytes);
    }
    free(codec);
}

/* A frame that turns out longer than its plane is taken back, but it must fit first. */
size_t ckpt_codec_bound(size_t n)
{
    return ckpt_frame_bound(n) + LAYOUT_MAX;
}

bool ckpt_codec_needs_base(enum ckpt_codec_id id)
{
    return id == CKPT_CODEC_DELTA || id == CKPT_CODEC_GROUPED;
}

static void *grow(struct buffer *buffer, size_t size)
{
    if (buffer->size < size) {
        free(buffer->bytes);
        buffer->bytes = malloc(size);
        buffer->size = buffer->bytes != NULL ? size : 0;
    }
    return buffer->bytes;
}

void *ckpt_codec_buffer(struct ckpt_codec *codec, unsigned which, size_t size)
{
    return which < BUFFERS ? grow(&codec->buffers[which], size > 0 ? size : 1) : NULL;
}

/* Takes the bytes apart; false when they have no word. */
static bool chunk_of(const struct ckpt_codec *codec, const uint8_t *raw, const uint8_t *base,
                     size_t n, unsigned width, size_t head, struct chunk *chunk)
{
    if (n < head + width) {
        return false;
    }
    *chunk = (struct chunk){
        .words =
            {
                .shape = {.count = (n - head) / width, .width = width, .avx2 = codec->avx2},
                .words = raw + head,
                .base = base != NULL ? base + head : NULL,
            },
        .raw = raw,
        .n = n,
        .head = head,
        .tail = (n - head) % width,
    };
    return true;
}

static bool constant(const uint8_t *bytes, size_t n)
{
    return memcmp(bytes, bytes + 1, n - 1) == 0;
}

/* Writes a plane of COUNT bytes to OUT. */
static enum ckpt_err put_plane(struct ckpt_codec *codec, const uint8_t *plane, size_t count,
                               const struct ckpt_attempt *plan, uint8_t *out, size_t *size,
                               enum mode *mode)
{
    enum ckpt_err err = CKPT_OK;
    size_t best = count;
    size_t got = 0;
    *mode = MODE_RAW;
    if (constant(plane, count)) {
        *mode = MODE_CONSTANT;
        *out = *plane;
        *size = 1;
        return CKPT_OK;
    }
    if (plan->huffman) {
        err =
            ckpt_frame_huffman(codec->frames, plane, count, plan->cuts, plan->cut_count, out, &got);
        if (err == CKPT_OK && got < best) {
            best = got;
            *mode = MODE_FRAME;
        }
    }
    if (err == CKPT_OK && plan->zstd) {
        uint8_t *frame = grow(&codec->rooms[ROOM_FRAME], ckpt_frame_bound(count));
        err = frame == NULL ? CKPT_ERR_NOMEM
                            : ckpt_frame_zstd(codec->frames, plane, count, frame, &got);
        if (err == CKPT_OK && got < best) {
            best = got;
            *mode = MODE_FRAME;
            memcpy(out, frame, got);
        }
    }
    if (err == CKPT_OK && *mode == MODE_RAW) {
        memcpy(out, plane, count);
    }
    *size = best;
    return err;
}

/* Writes the payload whose PLANES these are, by the PLANS. */
static enum ckpt_err put_planes(struct ckpt_codec *codec, const struct chunk *chunk,
                                const uint8_t *planes, const struct ckpt_attempt *plans, uint8_t *out,
                                size_t *size)
{
    unsigned width = chunk->words.shape.width;
    size_t at = AT_PLANES + (size_t)PLANE_ENTRY * width;
    memset(out, 0, at);
    out[AT_HEAD] = (uint8_t)chunk->head;
    memcpy(out + at, chunk->raw, chunk->head);
    at += chunk->head;
    memcpy(out + at, chunk->raw + chunk->n - chunk->tail, chunk->tail);
    at += chunk->tail;
    for (unsigned j = 0; j < width; j++) {
        size_t stored = 0;
        enum mode mode = MODE_RAW;
        enum ckpt_err err =
            put_plane(codec, planes + j * chunk->words.shape.count, chunk->words.shape.count,
                      &plans[j], out + at, &stored, &mode);
        if (err != CKPT_OK) {
            return err;
        }
        ckpt_put_le32(out + AT_PLANES + (size_t)PLANE_ENTRY * j,
                      (uint32_t)mode << 24 | (uint32_t)stored);
        at += stored;
    }
    *size = at;
    return CKPT_OK;
}

static enum ckpt_err make_plans(struct ckpt_codec *codec, const struct chunk *chunk,
                                enum ckpt_codec_id id, float *size)
{
    uint8_t *scratch = grow(&codec->rooms[ROOM_SAMPLE], ckpt_attempt_scratch());
    return scratch == NULL ? CKPT_ERR_NOMEM
                           : ckpt_attempt_planes(codec->frames, &chunk->words, id == CKPT_CODEC_DELTA,
                                              scratch, codec->plans[id], size);
}

/* The grouped planes, and plans for them. *CUT_COUNT is how many groups there are. */
static enum ckpt_err group(struct ckpt_codec *codec, const struct chunk *chunk, uint8_t *planes,
                           size_t *cut_count, float *plain, float *grouped)
{
    const struct ckpt_words *words = &chunk->words;
    uint32_t cuts[CKPT_HUFFMAN_CUTS];
    uint8_t *sorted = grow(&codec->rooms[ROOM_SORTED], chunk->n);
    if (sorted == NULL) {
        return CKPT_ERR_NOMEM;
    }
    ckpt_groups_count(&codec->groups, &words->shape, words->base);
    *cut_count = ckpt_attempt_cuts(&codec->groups, cuts);
    ckpt_groups_split(&codec->groups, &words->shape, words->words, words->base, sorted, planes,
                      words->shape.count);
    ckpt_attempt_groups(words, planes, cuts, *cut_count, codec->plans[CKPT_CODEC_DELTA],
                     codec->plans[CKPT_CODEC_GROUPED], plain, grouped);
    return CKPT_OK;
}

/*
 * Which of planes, differences and grouped differences, by the sizes to be expected: samples tell
 * whether differences could win; then the grouped planes are made, whose counts tell the sizes
 * nearly exactly, with groups and without. *PLANES receives them when they are wanted.
 */
static enum ckpt_err choose(struct ckpt_codec *codec, const struct chunk *chunk, uint8_t *planes,
                            enum ckpt_codec_id *id)
{
    const float enough = 0.995F; /* groups are one more thing to undo */
    const float promising = 1.03F;
    float size = 0;
    float plain = 0;
    float grouped = 0;
    size_t cut_count = 0;
    *id = CKPT_CODEC_PLANES;
    enum ckpt_err err = make_plans(codec, chunk, CKPT_CODEC_PLANES, &size);
    if (err == CKPT_OK && chunk->words.base != NULL) {
        err = make_plans(codec, chunk, CKPT_CODEC_DELTA, &plain);
    }
    if (err != CKPT_OK || chunk->words.base == NULL || plain > size * promising) {
        return err;
    }
    err = group(codec, chunk, planes, &cut_count, &plain, &grouped);
    if (err == CKPT_OK && cut_count > 1 && grouped < plain * enough && grouped < size * chunk->enough) {
        *id = CKPT_CODEC_GROUPED;
    } else if (err == CKPT_OK && plain < size * chunk->enough) {
        *id = CKPT_CODEC_DELTA;
    }
    return err;
}

/* As *ID, or as what is best when that is CKPT_CODECS. */
static enum ckpt_err encode_words(struct ckpt_codec *codec, const struct chunk *chunk, uint8_t *out,
                                  size_t *size, enum ckpt_codec_id *id)
{
    float expected = 0;
    float grouped = 0;
    size_t cut_count = 0;
    enum ckpt_err err = CKPT_OK;
    uint8_t *planes = grow(&codec->rooms[ROOM_PLANES], chunk->n);
    if (planes == NULL) {
        return CKPT_ERR_NOMEM;
    }
    if (*id == CKPT_CODECS) {
        err = choose(codec, chunk, planes, id);
    } else {
        err =
            make_plans(codec, chunk,
                       *id == CKPT_CODEC_PLANES ? CKPT_CODEC_PLANES : CKPT_CODEC_DELTA, &expected);
        if (err == CKPT_OK && *id == CKPT_CODEC_GROUPED) {
            err = group(codec, chunk, planes, &cut_count, &expected, &grouped);
        }
    }
    if (err != CKPT_OK) {
        return err;
    }
    if (*id != CKPT_CODEC_GROUPED) {
        ckpt_planes_split(&chunk->words.shape, chunk->words.words,
                          *id == CKPT_CODEC_DELTA ? chunk->words.base : NULL, planes,
                          chunk->words.shape.count);
    }
    return put_planes(codec, chunk, planes, codec->plans[*id], out, size);
}

/* One zstd frame, into OUT, when that is less than *SIZE, which OUT has already unless this is the
 * first attempt. */
static enum ckpt_err encode_zstd(struct ckpt_codec *codec, const uint8_t *raw, size_t n,
                                 uint8_t *out, size_t *size, struct ckpt_coding *coding)
{
    bool first = coding->id == CKPT_CODEC_RAW;
    size_t got = 0;
    uint8_t *frame = first ? out : grow(&codec->rooms[ROOM_PAYLOAD], ckpt_frame_bound(n));
    if (frame == NULL) {
        return CKPT_ERR_NOMEM;
    }
    enum ckpt_err err = ckpt_frame_zstd(codec->frames, raw, n, frame, &got);
    if (err == CKPT_OK && got < *size) {
        if (!first) {
            memcpy(out, frame, got);
        }
        *size = got;
        *coding = (struct ckpt_coding){.id = CKPT_CODEC_ZSTD};
    }
    return err;
}

/* The share of the whole that a difference may take which is number CHAIN of its chain. */
static float enough_after(unsigned chain)
{
    unsigned links = chain == 0 ? 1 : chain < SAVING_LINKS ? chain : SAVING_LINKS;
    return 1 - SAVED_BY_EACH * (float)links;
}

enum ckpt_err ckpt_codec_encode(struct ckpt_codec *codec, const void *raw, size_t n,
                                const struct ckpt_hint *hint, void *out, size_t *out_size,
                                struct ckpt_coding *coding)
{
    static const struct ckpt_hint none;
    struct chunk chunk;
    struct ckpt_coding best = {.id = CKPT_CODEC_RAW};
    size_t size = n;
    bool try_zstd = true;
    enum ckpt_err err = CKPT_OK;
    hint = hint != NULL ? hint : &none;
    struct ckpt_numbers numbers = {.width = hint->width};
    if (numbers.width == 0 && n <= CKPT_HUFFMAN_MAX) {
        numbers = ckpt_probe_numbers(raw, n);
    }
    if (numbers.width > 1 && n <= CKPT_HUFFMAN_MAX &&
        chunk_of(codec, raw, hint->base, n, numbers.width, numbers.head, &chunk) &&
        chunk.words.shape.count >= WORDS_MIN) {
        enum ckpt_codec_id id = CKPT_CODECS;
        size_t got = 0;
        chunk.enough = enough_after(hint->chain);
        err = encode_words(codec, &chunk, out, &got, &id);
        if (err == CKPT_OK && got < size) {
            size = got;
            best = (struct ckpt_coding){.id = id, .width = numbers.width};
        }
        try_zstd =
            err == CKPT_OK && ckpt_attempt_repeats(&chunk.words, codec->rooms[ROOM_SAMPLE].bytes);
    }
    if (try_zstd && n > 0) {
        err = encode_zstd(codec, raw, n, out, &size, &best);
    }
    if (err != CKPT_OK) {
        return err;
    }
    if (best.id == CKPT_CODEC_RAW && n > 0) {
        memcpy(out, raw, n);
    }
    *out_size = size;
    *coding = best;
    return CKPT_OK;
}

enum ckpt_err ckpt_codec_encode_as(struct ckpt_codec *codec, const void *raw, size_t n,
                                   const struct ckpt_hint *hint, enum ckpt_codec_id id, void *out,
                                   size_t *out_size, struct ckpt_coding *coding)
{
    struct chunk chunk;
    bool wide = hint->width == 2 || hint->width == 4 || hint->width == 8;
    if (id == CKPT_CODEC_RAW) {
        memcpy(out, raw, n);
        *out_size = n;
        *coding = (struct ckpt_coding){.id = id};
        return CKPT_OK;
    }
    if (id == CKPT_CODEC_ZSTD) {
        *coding = (struct ckpt_coding){.id = id};
        return ckpt_frame_zstd(codec->frames, raw, n, out, out_size);
    }
    if (id >= CKPT_CODECS || !wide || n > CKPT_HUFFMAN_MAX ||
        (ckpt_codec_needs_base(id) && hint->base == NULL) ||
        !chunk_of(codec, raw, hint->base, n, hint->width, 0, &chunk)) {
        return CKPT_ERR_INVALID;
    }
    *coding = (struct ckpt_coding){.id = id, .width = hint->width};
    return encode_words(codec, &chunk, out, out_size, &id);
}

/* One plane of COUNT bytes: where it stands in the payload, or decoded into ROOM. */
static enum ckpt_err get_plane(struct ckpt_codec *codec, const uint8_t *stored, size_t size,
                               unsigned mode, size_t count, uint8_t *room, const uint8_t **plane)
{
    *plane = room;
    switch (mode) {
    case MODE_RAW:
        *plane = stored;
        return size == count ? CKPT_OK : CKPT_ERR_CORRUPT;
    case MODE_FRAME:
        return ckpt_frame_decode(codec->frames, stored, size, room, count);
    case MODE_CONSTANT:
        if (size != 1) {
            return CKPT_ERR_CORRUPT;
        }
        memset(room, *stored, count);
        return CKPT_OK;
    default:
        return CKPT_ERR_CORRUPT;
    }
}

static enum ckpt_err decode_words(struct ckpt_codec *codec, const struct ckpt_coding *coding,
                                  const uint8_t *payload, size_t size, const uint8_t *base,
                                  uint8_t *raw, size_t n)
{
    static const uint8_t reserved[AT_PLANES - AT_RESERVED];
    const uint8_t *planes[CKPT_PLANES] = {NULL};
    struct chunk chunk;
    unsigned width = coding->width;
    size_t at = AT_PLANES + (size_t)PLANE_ENTRY * width;
    if (n > CKPT_HUFFMAN_MAX || (width != 2 && width != 4 && width != 8) || size < at ||
        payload[AT_HEAD] >= width ||
        memcmp(payload + AT_RESERVED, reserved, sizeof reserved) != 0 ||
        (base == NULL && ckpt_codec_needs_base(coding->id)) ||
        !chunk_of(codec, raw, ckpt_codec_needs_base(coding->id) ? base : NULL, n, width,
                  payload[AT_HEAD], &chunk) ||
        size - at < chunk.head + chunk.tail) {
        return CKPT_ERR_CORRUPT;
    }
    memcpy(raw, payload + at, chunk.head);
    at += chunk.head;
    memcpy(raw + n - chunk.tail, payload + at, chunk.tail);
    at += chunk.tail;
    uint8_t *room = grow(&codec->rooms[ROOM_PLANES], n);
    uint8_t *sorted = coding->id == CKPT_CODEC_GROUPED ? grow(&codec->rooms[ROOM_SORTED], n) : NULL;
    if (room == NULL || (coding->id == CKPT_CODEC_GROUPED && sorted == NULL)) {
        return CKPT_ERR_NOMEM;
    }
    for (unsigned j = 0; j < width; j++) {
        uint32_t entry = ckpt_get_le32(payload + AT_PLANES + (size_t)PLANE_ENTRY * j);
        size_t stored = entry & 0xffffff;
        if (stored > size - at) {
            return CKPT_ERR_CORRUPT;
        }
        enum ckpt_err err =
            get_plane(codec, payload + at, stored, entry >> 24, chunk.words.shape.count,
                      room + j * chunk.words.shape.count, &planes[j]);
        if (err != CKPT_OK) {
            return err;
        }
        at += stored;
    }
    if (at != size) {
        return CKPT_ERR_CORRUPT;
    }
    if (coding->id == CKPT_CODEC_GROUPED) {
        ckpt_groups_count(&codec->groups, &chunk.words.shape, chunk.words.base);
        ckpt_groups_merge(&codec->groups, &chunk.words.shape, planes, chunk.words.base, sorted,
                          raw + chunk.head);
    } else {
        ckpt_planes_merge(&chunk.words.shape, planes, chunk.words.base, raw + chunk.head);
    }
    return CKPT_OK;
}

enum ckpt_err ckpt_codec_decode(struct ckpt_codec *codec, const struct ckpt_coding *coding,
                                const void *payload, size_t size, const void *base, void *raw,
                                size_t n)
{
    switch (coding->id) {
    case CKPT_CODEC_RAW:
        if (size != n || coding->width != 0) {
            return CKPT_ERR_CORRUPT;
        }
        if (n > 0) {
            memcpy(raw, payload, n);
        }
        return CKPT_OK;
    case CKPT_CODEC_ZSTD:
        return coding->width != 0 ? CKPT_ERR_CORRUPT
                                  : ckpt_frame_decode(codec->frames, payload, size, raw, n);
    case CKPT_CODEC_PLANES:
    case CKPT_CODEC_DELTA:
    case CKPT_CODEC_GROUPED:
        return decode_words(codec, coding, payload, size, base, raw, n);
    case CKPT_CODECS:
        break;
    }
    return CKPT_ERR_CORRUPT;
}
