/*
 * Paths and mount points: what is checked before the mount, and the clearing away of a dead one.
 */
#ifndef CKPTFS_MOUNTPOINT_H
#define CKPTFS_MOUNTPOINT_H

#include "log.h"
#include <stdbool.h>
#include <sys/types.h>

/* The absolute path of PATH, whose last component may be missing; to be freed. NULL and errno. */
char *path_absolute(const char *path);

/* Whether the absolute PATH is DIRECTORY or something below it. */
bool path_lies_in(const char *path, const char *directory);

/* The absolute path of the mount point GIVEN, a directory; to be freed. What a dead daemon left
   mounted there is unmounted first. NULL after a message. */
char *mountpoint_prepare(struct log *log, const char *given);

/* Takes the mount away from its name, whoever uses it still. */
bool mountpoint_detach(const char *mountpoint);

/* Lets the kernel read ahead further on the mount whose st_dev is DEVICE. Root only, and not before
   INIT has been answered, which sets it anew. */
void mountpoint_read_ahead(struct log *log, dev_t device);

#endif
