/*
 * The bytes of a pickle in order: opcodes and what stands behind them. Reads ahead in pieces; skips long
 * strings unread. For pickle.c.
 */
#ifndef CKPT_STORE_PICKLE_STREAM_H
#define CKPT_STORE_PICKLE_STREAM_H

#include "container.h"
#include <stdbool.h>

enum {
    CKPT_PICKLE_BUFFER = 64 << 10,
    CKPT_PICKLE_READ_MAX = 256 << 20, /* of a pickle, without what is skipped */
    CKPT_PICKLE_TEXT_MAX = 1024,      /* a longer one is no name */
};

/* What stands behind an opcode. */
enum ckpt_operand {
    CKPT_OPERAND_NONE,
    CKPT_OPERAND_U8, /* little-endian, of that many bits */
    CKPT_OPERAND_U16,
    CKPT_OPERAND_U32,
    CKPT_OPERAND_U64,
    CKPT_OPERAND_TEXT8, /* that many bits of length, then text or bytes */
    CKPT_OPERAND_TEXT32,
    CKPT_OPERAND_TEXT64,
    CKPT_OPERAND_LINE, /* up to a line end */
    CKPT_OPERAND_LINES /* two */
};

struct ckpt_pickle_stream {
    const struct ckpt_source *source;
    uint64_t next;      /* what comes after the buffer, in the source */
    uint64_t end;       /* of the pickle */
    uint64_t read;      /* bytes so far */
    size_t at;          /* in the buffer */
    size_t size;        /* of what is in the buffer */
    uint64_t number;    /* the operand, or its length */
    size_t text_size;   /* of the text; nothing of one that is TOO_LONG */
    size_t second_size; /* of the second line */
    bool too_long;
    char text[CKPT_PICKLE_TEXT_MAX];
    char second[CKPT_PICKLE_TEXT_MAX];
    uint8_t buffer[CKPT_PICKLE_BUFFER];
};

/* Read one opcode, then its operand into NUMBER, TEXT and SECOND. CORRUPT: the pickle ends, or is too big; IO. */
CKPT_MUST_USE enum ckpt_err ckpt_pickle_opcode(struct ckpt_pickle_stream *stream, uint8_t *code);
CKPT_MUST_USE enum ckpt_err ckpt_pickle_operand(struct ckpt_pickle_stream *stream, enum ckpt_operand operand);

#endif
