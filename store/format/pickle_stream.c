#include "common/bytes.h"
#include "pickle_stream.h"
#include <string.h>

static enum ckpt_err fill(struct ckpt_pickle_stream *stream)
{
    uint64_t rest = stream->end - stream->next;
    size_t n = rest < CKPT_PICKLE_BUFFER ? (size_t)rest : CKPT_PICKLE_BUFFER;
    if (n == 0 || stream->read > CKPT_PICKLE_READ_MAX) {
        return CKPT_ERR_CORRUPT;
    }
    if (stream->source->pread(stream->source->arg, stream->buffer, n, stream->next) != 0) {
        return CKPT_ERR_IO;
    }
    stream->next += n;
    stream->read += n;
    stream->at = 0;
    stream->size = n;
    return CKPT_OK;
}

static enum ckpt_err get(struct ckpt_pickle_stream *stream, void *buf, size_t n)
{
    uint8_t *out = buf;
    while (n > 0) {
        enum ckpt_err err = stream->at == stream->size ? fill(stream) : CKPT_OK;
        if (err != CKPT_OK) {
            return err;
        }
        size_t some = stream->size - stream->at < n ? stream->size - stream->at : n;
        memcpy(out, stream->buffer + stream->at, some);
        stream->at += some;
        out += some;
        n -= some;
    }
    return CKPT_OK;
}

static enum ckpt_err skip(struct ckpt_pickle_stream *stream, uint64_t n)
{
    size_t here = stream->size - stream->at;
    if (n <= here) {
        stream->at += (size_t)n;
        return CKPT_OK;
    }
    n -= here;
    if (n > stream->end - stream->next) {
        return CKPT_ERR_CORRUPT;
    }
    stream->at = stream->size;
    stream->next += n;
    return CKPT_OK;
}

static enum ckpt_err get_number(struct ckpt_pickle_stream *stream, size_t n)
{
    uint8_t bytes[8] = {0};
    enum ckpt_err err = get(stream, bytes, n);
    if (err == CKPT_OK) {
        stream->number = ckpt_get_le64(bytes);
    }
    return err;
}

static enum ckpt_err get_text(struct ckpt_pickle_stream *stream, size_t length_size)
{
    enum ckpt_err err = get_number(stream, length_size);
    if (err != CKPT_OK) {
        return err;
    }
    stream->too_long = stream->number > CKPT_PICKLE_TEXT_MAX;
    stream->text_size = stream->too_long ? 0 : (size_t)stream->number;
    return stream->too_long ? skip(stream, stream->number) : get(stream, stream->text, stream->text_size);
}

static enum ckpt_err get_line(struct ckpt_pickle_stream *stream, char *line, size_t *size)
{
    size_t n = 0;
    const uint8_t *newline = NULL;
    while (newline == NULL) {
        enum ckpt_err err = stream->at == stream->size ? fill(stream) : CKPT_OK;
        if (err != CKPT_OK) {
            return err;
        }
        const uint8_t *from = stream->buffer + stream->at;
        newline = memchr(from, '\n', stream->size - stream->at);
        size_t some = newline != NULL ? (size_t)(newline - from) : stream->size - stream->at;
        if (n + some <= CKPT_PICKLE_TEXT_MAX) {
            memcpy(line + n, from, some);
        }
        n += some;
        stream->at += some + (newline != NULL ? 1 : 0);
    }
    stream->too_long = stream->too_long || n > CKPT_PICKLE_TEXT_MAX;
    *size = n > CKPT_PICKLE_TEXT_MAX ? 0 : n;
    return CKPT_OK;
}

enum ckpt_err ckpt_pickle_opcode(struct ckpt_pickle_stream *stream, uint8_t *code)
{
    return get(stream, code, 1);
}

enum ckpt_err ckpt_pickle_operand(struct ckpt_pickle_stream *stream, enum ckpt_operand operand)
{
    enum ckpt_err err = CKPT_OK;
    stream->number = 0;
    stream->text_size = 0;
    stream->second_size = 0;
    stream->too_long = false;
    switch (operand) {
    case CKPT_OPERAND_NONE:
        break;
    case CKPT_OPERAND_U8:
        err = get_number(stream, 1);
        break;
    case CKPT_OPERAND_U16:
        err = get_number(stream, 2);
        break;
    case CKPT_OPERAND_U32:
        err = get_number(stream, 4);
        break;
    case CKPT_OPERAND_U64:
        err = get_number(stream, 8);
        break;
    case CKPT_OPERAND_TEXT8:
        err = get_text(stream, 1);
        break;
    case CKPT_OPERAND_TEXT32:
        err = get_text(stream, 4);
        break;
    case CKPT_OPERAND_TEXT64:
        err = get_text(stream, 8);
        break;
    case CKPT_OPERAND_LINE:
        err = get_line(stream, stream->text, &stream->text_size);
        break;
    case CKPT_OPERAND_LINES:
        err = get_line(stream, stream->text, &stream->text_size);
        if (err == CKPT_OK) {
            err = get_line(stream, stream->second, &stream->second_size);
        }
        break;
    }
    return err;
}
