#include "client.h"
#include <ckpt/ctl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int client_connect(const char *dir)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int connected = -1;
    int saved = 0;
    int dirfd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dirfd < 0) {
        return -1;
    }
    /* A socket's address is short, a store's path may be long: go through the descriptor. */
    snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", dirfd,
             CKPT_CTL_SOCKET);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0) {
        connected = fd;
    } else {
        saved = errno;
        if (fd >= 0) {
            close(fd);
        }
    }
    close(dirfd);
    errno = saved;
    return connected;
}

static bool send_all(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent < 0) {
            return false;
        }
        bytes += sent;
        n -= (size_t)sent;
    }
    return true;
}

/* Reads up to the first newline or the end of the stream. */
static bool receive_line(int fd, char *line, size_t size)
{
    size_t got = 0;
    while (got + 1 < size) {
        ssize_t n = recv(fd, line + got, size - 1 - got, 0);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return false;
        }
        got += (size_t)n;
        line[got] = '\0';
        if (n == 0 || memchr(line + got - (size_t)n, '\n', (size_t)n)) {
            break;
        }
    }
    return got > 0;
}

/* Reads what the daemon says; takes no reference of ANSWER unless it is a success. */
static enum ckpt_err judge(struct tool *tool, json_t *answer)
{
    const char *name = json_string_value(json_object_get(answer, "error"));
    const char *text = json_string_value(json_object_get(answer, "message"));
    if (json_is_true(json_object_get(answer, "ok"))) {
        return CKPT_OK;
    }
    if (!name || !text) {
        (void)tool_fail(tool, CKPT_ERR_IO,
                        "the daemon of the store %s gave an answer that ckpt does not understand; "
                        "are ckpt and ckptfs of the same version?",
                        tool->store_dir);
        return CKPT_ERR_IO;
    }
    enum ckpt_err err = tool_err_named(name);
    (void)tool_fail(tool, err, "%s", text);
    return err;
}

enum ckpt_err client_request(struct tool *tool, const json_t *request, json_t **answer)
{
    enum ckpt_err err = CKPT_ERR_IO;
    json_t *got = NULL;
    char *reply = NULL;
    int fd = -1;
    char *line = json_dumps(request, JSON_COMPACT);
    size_t n = line ? strlen(line) : 0;
    if (!line || n + 1 >= CKPT_CTL_LINE) {
        err = line ? CKPT_ERR_INVALID : CKPT_ERR_NOMEM;
        (void)tool_fail(tool, err, line ? "too much for one call: name fewer versions at a time"
                                        : "out of memory");
        goto out;
    }
    line[n++] = '\n'; /* the place of the NUL: it is no string any more */
    fd = client_connect(tool->store_dir);
    if (fd < 0) {
        err = ckpt_err_from_errno(errno);
        (void)tool_fail(tool, err, "cannot reach the daemon of the store %s: %m; try again",
                        tool->store_dir);
        goto out;
    }
    reply = malloc(CKPT_CTL_LINE + 1);
    if (!reply || !send_all(fd, line, n) || !receive_line(fd, reply, CKPT_CTL_LINE + 1)) {
        (void)tool_fail(tool, err,
                        "the daemon of the store %s ended before it had answered; \"ckpt status\" "
                        "shows whether it still runs",
                        tool->store_dir);
        goto out;
    }
    got = json_loads(reply, 0, NULL);
    err = judge(tool, got);
    if (err == CKPT_OK) {
        *answer = got;
        got = NULL;
    }
out:
    json_decref(got);
    free(reply);
    if (fd >= 0) {
        close(fd);
    }
    free(line);
    return err;
}
