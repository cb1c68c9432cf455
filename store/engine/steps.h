/*
 * The steps of the engine's thread. Each looks for one kind of thing to do and does some of it. True: it did, and there
 * may be more. False: there is nothing more to do, or it has to wait; an error was told if need be, and is tried again.
 *
 * Thread rules: the engine's thread, without a transaction.
 */
#ifndef CKPT_STORE_STEPS_H
#define CKPT_STORE_STEPS_H

#include "engine_parts.h"

enum {
    CKPT_RETRY_MS = 1000, /* a file that is open, a full disk */
    CKPT_HOT_CHECK_MS = 2000,
};

/* ---- commands.c ---- */

/* What another thread waits for: the oldest command. */
bool ckpt_step_command(struct ckpt_engine *engine);

/* ---- steps.c ---- */

/* Closed files, as many as can go now; they share transactions. */
bool ckpt_step_ingest(struct ckpt_engine *engine);
/* Files that could not be put aside when they were closed, for want of space. */
bool ckpt_step_missed(struct ckpt_engine *engine);
/* Stamps and directory rows, when no version takes them along. */
bool ckpt_step_save(struct ckpt_engine *engine);
/* What was captured becomes checkpoints. */
bool ckpt_step_publish(struct ckpt_engine *engine);
/* What is to be kept of checkpoints. */
bool ckpt_step_retain(struct ckpt_engine *engine);
/* Live files over the limit become cold, now and then or when there is news; also looks after the ballast. */
bool ckpt_step_hot(struct ckpt_engine *engine);
/* Garbage is released. */
bool ckpt_step_sweep(struct ckpt_engine *engine);
/* Free pages go back to the host. */
bool ckpt_step_punch(struct ckpt_engine *engine);

#endif
