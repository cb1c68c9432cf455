/*
 * Whether a closed file is what it claims to be, structurally: not cut short, not torn. Nothing of its
 * contents is decoded.
 *
 *     zip (torch.save, npz, .keras)   the end record is there, the directory has as many entries as it says,
 *                                     each entry has its local header, and its bytes stand before the
 *                                     directory (APPNOTE.TXT 6.3.10)
 *     safetensors                     8 + length of the header + end of the last tensor is the file's size
 *     HDF5                            the superblock's end-of-file address isn't beyond the end; one of
 *                                     version 3 isn't marked as being written (HDF5 File Format
 *                                     Specification 3.0, II.A)
 *     npy                             header and elements are the file's size; one of pickled objects ends
 *                                     like a pickle
 *     pickle (.metadata of DCP)       it ends like one
 *
 * What can't be told: torch's files of before 1.6 and other pickles, msgpack, ONNX, GGUF and the like are
 * UNKNOWN. A file of several zip archives one after another (.distcp) that was cut between two of them is
 * valid; so is an HDF5 file whose writer died after a flush, and a pickle, also in a npy, that was cut
 * behind a full stop.
 *
 * Where the file's name says its format, bytes of another one are invalid: a .safetensors that begins with
 * zeros.
 *
 * Pure reader: through SOURCE only. Nothing in the bytes is trusted; memory is at most that of the
 * directory of a zip archive or of the header of a safetensors file, up to 64 MiB, and that of
 * container.h's limits. Thread rules: any thread.
 */
#ifndef CKPT_STORE_VALIDITY_H
#define CKPT_STORE_VALIDITY_H

#include "container.h"

enum ckpt_validity {
    CKPT_VALIDITY_UNKNOWN, /* of no format that can be checked */
    CKPT_VALIDITY_VALID,
    CKPT_VALIDITY_INVALID,
};

struct ckpt_validity_report {
    enum ckpt_validity validity;
    const char *format; /* "zip", "safetensors", "hdf5", "npy", "pickle"; "" when it is unknown */
    char why[128];      /* for people; empty when it is valid */
};

/*
 * NAME is the file's, for its extension. Errors: NOMEM; IO (PREAD failed within SOURCE->size). *OUT is
 * whole in any case.
 */
CKPT_MUST_USE enum ckpt_err ckpt_validity_check(const struct ckpt_source *source, const char *name,
                                                struct ckpt_validity_report *out);

#endif
