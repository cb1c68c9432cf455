/*
 * Codes to text, machine names and errno, from one table; and the delivery of reports.
 */
#include <ckpt/err.h>
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

/* Longer reports are cut: a path (PATH_MAX) and a sentence fit. */
enum { REPORT_MAX = 8192 };

static const struct {
    const char *name;
    const char *text;
    int host_errno;
} errors[] = {
    [CKPT_OK] = {"ok", "no error", 0},
    [CKPT_ERR_NOMEM] = {"nomem", "out of memory", ENOMEM},
    [CKPT_ERR_IO] = {"io", "input/output error", EIO},
    [CKPT_ERR_NOSPC] = {"nospc", "no space left on the host filesystem", ENOSPC},
    [CKPT_ERR_PERM] = {"perm", "permission denied", EACCES},
    [CKPT_ERR_NOT_FOUND] = {"not_found", "not found", ENOENT},
    [CKPT_ERR_EXISTS] = {"exists", "already exists", EEXIST},
    [CKPT_ERR_BUSY] = {"busy", "in use", EBUSY},
    [CKPT_ERR_CHANGED] = {"changed", "changed while it was being read", EAGAIN},
    [CKPT_ERR_CORRUPT] = {"corrupt", "stored data is damaged", EIO},
    [CKPT_ERR_NOT_STORE] = {"not_store", "not a ckptfs store", ENOTDIR},
    [CKPT_ERR_FORMAT] = {"format", "written by a newer version of ckptfs", EPROTONOSUPPORT},
    [CKPT_ERR_INVALID] = {"invalid", "invalid argument", EINVAL},
    [CKPT_ERR_UNSUPPORTED] = {"unsupported", "not supported by the host", EOPNOTSUPP},
    [CKPT_ERR_NEEDED] = {"needed", "a live file needs it", EBUSY},
    [CKPT_ERR_STOPPED] = {"stopped", "the store stopped after a failed sync", EROFS},
};

enum { ERRORS = sizeof errors / sizeof errors[0] };

const char *ckpt_err_text(enum ckpt_err err)
{
    return (size_t)err < ERRORS ? errors[err].text : "unknown error";
}

const char *ckpt_err_name(enum ckpt_err err)
{
    return (size_t)err < ERRORS ? errors[err].name : "unknown";
}

int ckpt_err_errno(enum ckpt_err err)
{
    return (size_t)err < ERRORS ? errors[err].host_errno : EIO;
}

enum ckpt_err ckpt_err_from_errno(int host_errno)
{
    switch (host_errno) {
    case 0:
        return CKPT_OK;
    case ENOMEM:
        return CKPT_ERR_NOMEM;
    case ENOSPC:
    case EDQUOT:
        return CKPT_ERR_NOSPC;
    case EACCES:
    case EPERM:
    case EROFS:
        return CKPT_ERR_PERM;
    case ENOENT:
    case ENODATA:
        return CKPT_ERR_NOT_FOUND;
    case EEXIST:
    case ENOTEMPTY:
        return CKPT_ERR_EXISTS;
    case EBUSY:
    case EAGAIN:
    case ETXTBSY:
        return CKPT_ERR_BUSY;
    case EINVAL:
    case ENAMETOOLONG:
    case ENOTDIR:
    case EISDIR:
        return CKPT_ERR_INVALID;
    case EOPNOTSUPP:
    case ENOSYS:
        return CKPT_ERR_UNSUPPORTED;
    default:
        return CKPT_ERR_IO;
    }
}

void ckpt_reportf(const struct ckpt_report *report, enum ckpt_level level, const char *format, ...)
{
    char text[REPORT_MAX];
    if (report == NULL || report->fn == NULL) {
        return;
    }
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    /* A format that can't be expanded still says that something happened. */
    report->fn(report->arg, level, n < 0 ? format : text);
}
