/*
 * Signals. A thread takes them, so that nothing has to be done inside a handler:
 *
 *     SIGTERM, SIGINT   the session's loop ends; the second one, or one while there is no loop,
 * leaves at once SIGHUP            the log is opened anew
 *
 * Leaving at once is safe: what isn't recorded yet stays in pending/ for the next start.
 */
#ifndef CKPTFS_SIGNALS_H
#define CKPTFS_SIGNALS_H

#include "fs.h"

struct signals;

/* Keeps the signals for the thread. In the first thread of the process, before there are others. */
void signals_block(void);

/* Starts the thread. LOG and MOUNTPOINT outlive it. NULL: no memory. */
struct signals *signals_start(struct log *log, const char *mountpoint);
void signals_stop(struct signals *signals); /* NULL is fine */

/* Whether the mount has to be cleared away before leaving. */
void signals_mounted(struct signals *signals, bool mounted);

/* The calling thread is about to enter SESSION's loop; NULL: has left it. */
void signals_serving(struct signals *signals, struct fuse_session *session);

#endif
