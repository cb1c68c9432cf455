/*
 * Containers: which tensors a closed file holds, and where. Pure readers: no I/O of their own, nothing is
 * executed, nothing in the bytes is trusted. What they say only steers where chunks are cut and how they are
 * coded: bytes that lie about themselves cost space and never content.
 *
 *     container.c     which format, nested ones, what is left when parts are sorted and checked
 *     zip.c           torch.save, npz, .keras, and several archives one after another (.distcp)
 *     pickle.c        data.pkl of torch.save: names and element types of its storages, and the outermost numbers; with
 *                     pickle_machine.c, pickle_value.c, pickle_number.c and pickle_stream.c
 *     dcp.c           .metadata of torch.distributed.checkpoint, by the machine of pickle.c
 *     safetensors.c   safetensors
 *     npy.c           npy
 *
 * HDF5 is read as bytes (DESIGN.md says why).
 *
 * Thread rules: any thread.
 */
#ifndef CKPT_STORE_CONTAINER_H
#define CKPT_STORE_CONTAINER_H

#include <ckpt/err.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The bytes of a file. PREAD reads N bytes at OFFSET into BUF: 0, or -1 when it can't give all of them. */
struct ckpt_source {
    int (*pread)(void *arg, void *buf, size_t n, uint64_t offset);
    void *arg;
    uint64_t size;
};

enum ckpt_part_kind {
    CKPT_PART_TENSOR, /* elements of one type, uncompressed */
    CKPT_PART_BLOB,   /* an entry of another kind: a file within the file */
};

/* A range of the file that belongs together. */
struct ckpt_part {
    uint64_t offset;
    uint64_t size; /* > 0 */
    uint64_t key;  /* hash of its name and, for a tensor, of type and size: equal for the same tensor in two saves,
                      whatever the file is called; never 0. Parts of a file that repeats a name have the same. */
    enum ckpt_part_kind kind;
    uint8_t width; /* of an element, of each half of a complex one: 1, 2, 4, 8; 0 when it isn't known */
};

/* In order of offset, without overlaps, within the file. */
struct ckpt_parts {
    struct ckpt_part *list;
    size_t count;
    size_t room;
};

/*
 * Finds the parts of a file. None at all when it is no known container or one that doesn't make sense: the caller
 * then treats all of it as bytes. Memory is bounded by CKPT_PARTS_MAX and by the limits of each reader, whatever the
 * file says. PARTS is all zeros before, or holds what an earlier call found.
 * Errors: NOMEM; IO (PREAD failed within SOURCE->size). PARTS is empty after an error; clear it afterwards in any case.
 */
enum { CKPT_PARTS_MAX = 1 << 20 };
CKPT_MUST_USE enum ckpt_err ckpt_container_read(const struct ckpt_source *source, struct ckpt_parts *parts);
void ckpt_parts_clear(struct ckpt_parts *parts);

struct ckpt_observer;

/* Reads the same, for what OBSERVER is told and not for the parts, and no byte more than is needed. CORRUPT: no known
   container, or one that doesn't make sense; forget what was told. NOMEM, IO. */
CKPT_MUST_USE enum ckpt_err ckpt_container_observe(const struct ckpt_source *source,
                                                   const struct ckpt_observer *observer);

/*
 * For the readers of the formats. Each takes a range, adds the parts that it finds in it, and returns CORRUPT
 * when the range doesn't make sense: what it added is dropped then.
 */

enum { CKPT_READING_DEPTH = 3, CKPT_READING_ARCHIVES = 1 << 16, CKPT_READING_WINDOW = 4096 };

/* One file that is being read. */
struct ckpt_reading {
    const struct ckpt_source *source;
    struct ckpt_parts *parts; /* in any order */
    const struct ckpt_observer *observer; /* NULL: nobody asks */
    unsigned depth;           /* containers around the range: an entry in an entry in ... */
    unsigned archives;        /* found so far */
    uint64_t window_at;       /* what the last small read took along */
    size_t window_size;
    uint8_t window[CKPT_READING_WINDOW];
};

/* Bytes in which a container stands: all of the file, or an entry of another container. */
struct ckpt_range {
    uint64_t offset; /* in the file */
    uint64_t size;
    uint64_t seed; /* of the keys in it: says which entry it is */
};

/* A name in some buffer, not terminated. */
struct ckpt_name {
    const char *bytes;
    size_t size;
};

bool ckpt_name_is(struct ckpt_name name, const char *text);

/*
 * Who wants to know what else stands in the outermost container: of a file that is one archive, safetensors, or
 * DCP's .metadata. All of it may be lies. Names die when the function returns. Set all functions.
 */
struct ckpt_observer {
    void *arg;
    /* A tensor that has a name: "model.blocks.0.weight". It stands at OFFSET of the file; without bytes, in another one. */
    void (*tensor)(void *arg, struct ckpt_name name, struct ckpt_name type, uint64_t offset, uint64_t size);
    /* An entry of an archive that is no tensor of torch's; AT is its offset, 0 when it is compressed. */
    void (*entry)(void *arg, struct ckpt_name name, uint64_t at, uint64_t size);
    /* An entry of the outermost dictionary that is a dictionary, list or object itself, and not empty. */
    void (*branch)(void *arg, struct ckpt_name name);
    /* A number in the outermost dictionary (GROUP is empty), or in the dictionary GROUP that stands in it. */
    void (*number)(void *arg, struct ckpt_name group, struct ckpt_name name, double value);
    /* A text that the header names. */
    void (*text)(void *arg, struct ckpt_name name, struct ckpt_name text);
};

/* A tensor as a reader finds it; AT counts from the range's start. */
struct ckpt_found {
    uint64_t at;
    uint64_t size;
    struct ckpt_name name;
    struct ckpt_name type; /* as the format writes it */
    uint8_t width;
};

/* Reads N bytes at AT of the range. CORRUPT: they aren't all within it; IO. */
CKPT_MUST_USE enum ckpt_err ckpt_reading_bytes(struct ckpt_reading *reading, const struct ckpt_range *range,
                                               uint64_t at, void *buf, size_t n);

/* Add a part; one of no bytes is left out. CORRUPT: not within the range, or the file has too many; NOMEM. */
CKPT_MUST_USE enum ckpt_err ckpt_reading_tensor(struct ckpt_reading *reading, const struct ckpt_range *range,
                                                const struct ckpt_found *found);
CKPT_MUST_USE enum ckpt_err ckpt_reading_blob(struct ckpt_reading *reading, const struct ckpt_range *range,
                                              uint64_t at, uint64_t size, struct ckpt_name name);

/* Adds the parts of an entry that is a container itself; if it is none, the entry as a blob. Errors as above. */
CKPT_MUST_USE enum ckpt_err ckpt_reading_entry(struct ckpt_reading *reading, const struct ckpt_range *range,
                                               uint64_t at, uint64_t size, struct ckpt_name name);

#endif
