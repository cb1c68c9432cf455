/*
 * The control socket (ckpt/ctl.h): a thread that listens, and one for each connection.
 */
#ifndef CKPTFS_CTL_H
#define CKPTFS_CTL_H

#include "fs.h"

CKPT_MUST_USE enum ckpt_err ctl_start(struct ckptfs *fs, struct ctl_server **server);

/* Waits for requests that are being carried out. NULL is fine. */
void ctl_stop(struct ctl_server *server);

#endif
