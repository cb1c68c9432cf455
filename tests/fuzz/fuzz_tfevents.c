/*
 * TensorBoard's event files. A fuzzer doesn't find a checksum, so the first byte says whether the rest is the
 * file as it is, or events, cut at 0xff 0xff, that are put into records with right checksums. It says how the
 * file grows, too.
 */
#include "common/bytes.h"
#include "common/crc32c.h"
#include "metrics_feed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t put_masked(uint8_t *to, const uint8_t *bytes, size_t n)
{
    uint32_t crc = ckpt_crc32c(bytes, n);
    ckpt_put_le32(to, (crc >> 15 | crc << 17) + 0xa282ead8);
    return 4;
}

static size_t put_record(uint8_t *to, const uint8_t *event, size_t n)
{
    ckpt_put_le64(to, n);
    size_t size = 8 + put_masked(to + 8, to, 8);
    if (n > 0) {
        memcpy(to + size, event, n);
    }
    size += n;
    return size + put_masked(to + size, to + size - n, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    size_t step = 1 + data[0] / 2;
    const uint8_t *at = data + 1;
    const uint8_t *end = data + size;
    if (data[0] % 2 == 0) {
        feed_both_ways(CKPT_METRICS_TFEVENTS, at, size - 1, step);
        return 0;
    }
    /* A record takes 16 bytes more than its event, and there is one for two bytes at most, and the last. */
    uint8_t *file = malloc(9 * size + 32);
    size_t n = 0;
    if (file == NULL) {
        return 0;
    }
    for (;;) {
        const uint8_t *cut = memmem(at, (size_t)(end - at), "\xff\xff", 2);
        n += put_record(file + n, at, (size_t)((cut == NULL ? end : cut) - at));
        if (cut == NULL) {
            break;
        }
        at = cut + 2;
    }
    feed_both_ways(CKPT_METRICS_TFEVENTS, file, n, step);
    free(file);
    return 0;
}
