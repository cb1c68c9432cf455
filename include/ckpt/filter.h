/*
 * Which closed files become versions: files that look like checkpoints, and big ones.
 *
 * The text form (mount option capture=) is a colon-separated list: "*.pt" captures, "!*.log" excludes,
 * ">1M" captures any file of at least that size. Exclusions win. Patterns are shell wildcards over the file
 * name. "default" stands for the built-in list, so "default:*.foo" adds to it.
 */
#ifndef CKPT_FILTER_H
#define CKPT_FILTER_H

#include <ckpt/err.h>
#include <stdbool.h>
#include <stdint.h>

struct ckpt_filter;

#define CKPT_FILTER_DEFAULT "default"

/* INVALID: a bad pattern; *BAD (may be NULL) then points into TEXT at the item. */
CKPT_MUST_USE enum ckpt_err ckpt_filter_parse(const char *text, struct ckpt_filter **filter,
                                              const char **bad);
void ckpt_filter_free(struct ckpt_filter *filter); /* NULL is fine */

/* Whether a file of this name and size is captured. Pure. */
bool ckpt_filter_match(const struct ckpt_filter *filter, const char *name, uint64_t size);

/* Whether the user has excluded the name. What only the built-in list excludes is captured as part of a checkpoint's directory. */
bool ckpt_filter_excludes(const struct ckpt_filter *filter, const char *name);

/* Whether the name alone says checkpoint. */
bool ckpt_filter_match_name(const struct ckpt_filter *filter, const char *name);

/* "10G", "512M", "4096", "1.5T": bytes. INVALID. */
CKPT_MUST_USE enum ckpt_err ckpt_size_parse(const char *text, uint64_t *bytes);

#endif
