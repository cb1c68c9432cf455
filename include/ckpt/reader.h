/*
 * Reading a stored file by its recipe: random access with read-ahead and parallel decoding, or the
 * whole file into a descriptor.
 *
 * Every chunk is checked (record checksum, then the id of the decoded bytes) before a byte of it is
 * handed out. A bad chunk is CKPT_ERR_CORRUPT and a report that names LABEL, the offset and the chunk.
 *
 * An open reader pins its recipe: versions may be forgotten, its chunks stay until it is closed.
 */
#ifndef CKPT_READER_H
#define CKPT_READER_H

#include <ckpt/err.h>
#include <ckpt/id.h>
#include <ckpt/store.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct ckpt_reader;

/* Decoded chunks, shared by all readers of a store, and the threads that fill it. */
struct ckpt_cache;

/* BYTES bounds the decoded chunks kept (in use ones may exceed it by a little); THREADS decode. */
CKPT_MUST_USE enum ckpt_err ckpt_cache_create(struct ckpt_store *store, size_t bytes,
                                              unsigned threads, struct ckpt_cache **cache);
void ckpt_cache_free(struct ckpt_cache *cache); /* all readers must be closed; NULL is fine */

/* LABEL names the file in reports; it is copied. */
CKPT_MUST_USE enum ckpt_err ckpt_reader_open(struct ckpt_cache *cache, const struct ckpt_id *recipe,
                                             const char *label, struct ckpt_reader **reader);
void ckpt_reader_close(struct ckpt_reader *reader);

uint64_t ckpt_reader_size(const struct ckpt_reader *reader);

/* Bytes read (short only at the end of the file) in *GOT. Any number of threads at a time. */
CKPT_MUST_USE enum ckpt_err ckpt_reader_pread(struct ckpt_reader *reader, void *buf, size_t n,
                                              uint64_t offset, size_t *got);

/* lseek(2) with SEEK_DATA or SEEK_HOLE: the new offset, or -1 with errno ENXIO. */
off_t ckpt_reader_seek(const struct ckpt_reader *reader, off_t offset, int whence);

/* Progress of a whole-file copy; bytes so far. Called from the calling thread. */
typedef void ckpt_progress_fn(void *arg, uint64_t done, uint64_t total);

/*
 * Writes the whole file to FD, which is empty, keeping holes and setting its size; decodes on THREADS
 * threads. Not synced. PROGRESS may be NULL.
 */
CKPT_MUST_USE enum ckpt_err ckpt_restore(struct ckpt_store *store, const struct ckpt_id *recipe,
                                         const char *label, int fd, unsigned threads,
                                         ckpt_progress_fn *progress, void *arg);

/* Reads FD from its start and compares it with the recipe; *SAME. Holes equal zeros. */
CKPT_MUST_USE enum ckpt_err ckpt_compare(struct ckpt_store *store, const struct ckpt_id *recipe,
                                         const char *label, int fd, unsigned threads, bool *same);

#endif
