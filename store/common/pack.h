/*
 * Rows of variable length: numbers and strings one after the other, written into a buffer that grows, and taken apart with
 * every bound checked. The first thing that fails is remembered, so who packs looks once, at the end.
 *
 * Strings are u16 length and bytes; an absent one has length 0xffff. Thread rules: one thread each.
 */
#ifndef CKPT_STORE_PACK_H
#define CKPT_STORE_PACK_H

#include <ckpt/err.h>
#include <ckpt/id.h>
#include <stddef.h>
#include <stdint.h>

struct ckpt_pack {
    uint8_t *bytes; /* to be freed by the caller */
    size_t size;
    size_t room;
    enum ckpt_err err; /* NOMEM; INVALID: a string is too long */
};

void ckpt_pack_bytes(struct ckpt_pack *pack, const void *bytes, size_t n);
void ckpt_pack_u8(struct ckpt_pack *pack, uint8_t v);
void ckpt_pack_u16(struct ckpt_pack *pack, uint16_t v);
void ckpt_pack_u32(struct ckpt_pack *pack, uint32_t v);
void ckpt_pack_u64(struct ckpt_pack *pack, uint64_t v);
void ckpt_pack_f64(struct ckpt_pack *pack, double v);
void ckpt_pack_text(struct ckpt_pack *pack, const char *text); /* may be NULL */

struct ckpt_unpack {
    const uint8_t *bytes;
    size_t size; /* that are left */
    enum ckpt_err err; /* CORRUPT; NOMEM */
};

/* Zeros after an error. */
void ckpt_unpack_bytes(struct ckpt_unpack *unpack, void *bytes, size_t n);
uint8_t ckpt_unpack_u8(struct ckpt_unpack *unpack);
uint16_t ckpt_unpack_u16(struct ckpt_unpack *unpack);
uint32_t ckpt_unpack_u32(struct ckpt_unpack *unpack);
uint64_t ckpt_unpack_u64(struct ckpt_unpack *unpack);
double ckpt_unpack_f64(struct ckpt_unpack *unpack);
/* A string to be freed by the caller, without a NUL in it; NULL: absent, or an error. */
char *ckpt_unpack_text(struct ckpt_unpack *unpack);
/* The same of one that must be there. */
char *ckpt_unpack_some_text(struct ckpt_unpack *unpack);
/* The number of things that follow, each of at least LEAST bytes: never more than there can be. */
size_t ckpt_unpack_count(struct ckpt_unpack *unpack, size_t least);

#endif
