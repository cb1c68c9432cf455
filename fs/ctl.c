#include "ctl.h"
#include "ctl_keep.h"
#include "log.h"
#include "passthrough.h"
#include <ckpt/ctl.h>
#include <ckpt/host.h>
#include <ckpt/live.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { PATIENCE_MS = 10 * 1000, WAITING_LISTED = 20 };

struct ctl_server {
    struct ckptfs *fs;
    int fd;
    int wake; /* eventfd: stop */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t idle;
    unsigned connections; /* lock */
};

struct connection {
    struct ctl_server *server;
    int fd;
};

/* ---- requests ---- */

static void add_waiting(void *arg, const char *path, uint64_t bytes, bool live)
{
    /* A name that is not UTF-8 can't be told in JSON. */
    json_t *item = json_pack("{s:s, s:I, s:b}", "path", path, "bytes", (json_int_t)bytes, "live", live);
    if (item != NULL) {
        json_array_append_new(arg, item);
    }
}

static enum ckpt_err do_status(struct ckptfs *fs, json_t *answer)
{
    struct ckpt_engine_status s;
    ckpt_engine_status(fs->engine, &s);
    const char *log = log_path(fs->log);
    json_t *more = json_pack(
        "{s:i, s:s, s:s, s:b, s:s, s:I, s:I, s:I, s:I, s:I, s:b, s:b, s:s?}", "pid", (int)getpid(),
        "mountpoint", fs->mountpoint, "views", fs->views_visible ? "visible" : "hidden",
        "passthrough", passthrough_active(fs->passthrough), "passthrough_text",
        passthrough_text(fs->passthrough), "started", (json_int_t)fs->started.tv_sec,
        "queued_files", (json_int_t)s.queued_files, "queued_bytes", (json_int_t)s.queued_bytes,
        "hot_bytes", (json_int_t)s.hot_bytes, "hot_limit", (json_int_t)(s.hot_limit & INT64_MAX),
        "waiting_for_space", s.waiting_for_space, "stopped", s.stopped, "log", log);
    int failed = json_object_update(answer, more);
    json_decref(more);
    if (failed != 0) {
        return CKPT_ERR_NOMEM;
    }
    json_t *waiting = json_array();
    json_object_set_new(answer, "waiting", waiting);
    return s.waiting_for_space
               ? ckpt_engine_each_waiting(fs->engine, WAITING_LISTED, add_waiting, waiting)
               : CKPT_OK;
}

static enum ckpt_err do_forget_pending(struct ckptfs *fs, const char *path, json_t *answer)
{
    uint64_t files = 0;
    uint64_t bytes = 0;
    enum ckpt_err err = ckpt_engine_forget_pending(fs->engine, path, &files, &bytes);
    json_object_set_new(answer, "files", json_integer((json_int_t)files));
    json_object_set_new(answer, "bytes", json_integer((json_int_t)bytes));
    return err;
}

static enum ckpt_err do_flush(struct ckptfs *fs, json_t *answer)
{
    unsigned still_open = 0;
    enum ckpt_err err = ckpt_engine_flush(fs->engine, &still_open);
    json_object_set_new(answer, "still_open", json_integer(still_open));
    return err;
}

static enum ckpt_err do_forget(struct ckptfs *fs, const char *path, const json_t *versions)
{
    size_t n = json_array_size(versions);
    uint32_t *numbers = calloc(n > 0 ? n : 1, sizeof *numbers);
    enum ckpt_err err = numbers == NULL ? CKPT_ERR_NOMEM : n == 0 ? CKPT_ERR_INVALID : CKPT_OK;
    for (size_t i = 0; err == CKPT_OK && i < n; i++) {
        json_int_t number = json_integer_value(json_array_get(versions, i));
        if (number < 1 || number > UINT32_MAX) {
            err = CKPT_ERR_INVALID;
        }
        numbers[i] = (uint32_t)number;
    }
    if (err == CKPT_OK) {
        err = ckpt_engine_forget(fs->engine, path, numbers, n);
    }
    free(numbers);
    return err;
}

static enum ckpt_err do_views(struct ckptfs *fs, const char *path, bool show)
{
    if (!show) {
        return CKPT_ERR_INVALID;
    }
    int fd = ckpt_host_openat(ckpt_store_livefd(fs->store), *path == '\0' ? "." : path,
                              O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    if (fd < 0) {
        return ckpt_err_from_errno(errno);
    }
    enum ckpt_err err = CKPT_OK;
    if (ckpt_host_fremovexattr(fd, CKPT_XATTR_PREFIX "views") != 0 && errno != ENODATA) {
        err = ckpt_err_from_errno(errno);
    }
    ckpt_host_close(fd);
    return err;
}

/* Paths come from the user: nothing outside live/. */
static bool is_inside(const char *path)
{
    for (const char *at = path; *at != '\0'; at += strspn(at, "/")) {
        size_t n = strcspn(at, "/");
        if (n == 2 && memcmp(at, "..", 2) == 0) {
            return false;
        }
        at += n;
    }
    return *path != '/';
}

static enum ckpt_err carry_out(struct ckptfs *fs, const json_t *request, json_t *answer)
{
    const char *op = json_string_value(json_object_get(request, "op"));
    const char *path = json_string_value(json_object_get(request, "path"));
    if (op == NULL) {
        return CKPT_ERR_INVALID;
    }
    if (strcmp(op, "status") == 0) {
        return do_status(fs, answer);
    }
    if (strcmp(op, "flush") == 0) {
        return do_flush(fs, answer);
    }
    enum ckpt_err err = CKPT_ERR_INVALID;
    if ((path == NULL || is_inside(path)) && ctl_keep(fs, op, request, answer, &err)) {
        return err;
    }
    if (path == NULL || !is_inside(path)) {
        return CKPT_ERR_INVALID;
    }
    if (strcmp(op, "forget") == 0) {
        return do_forget(fs, path, json_object_get(request, "versions"));
    }
    if (strcmp(op, "forget_pending") == 0) {
        return do_forget_pending(fs, path, answer);
    }
    if (strcmp(op, "demote") == 0) {
        return ckpt_engine_demote(fs->engine, path);
    }
    if (strcmp(op, "views") == 0) {
        return do_views(fs, path, json_is_true(json_object_get(request, "show")));
    }
    return CKPT_ERR_INVALID;
}

static json_t *answer_to(struct ckptfs *fs, const char *line)
{
    struct log_listener listener = {0};
    json_t *request = json_loads(line, 0, NULL);
    json_t *answer = json_object();
    log_listen(fs->log, &listener, json_string_value(json_object_get(request, "path")));
    enum ckpt_err err = carry_out(fs, request, answer);
    log_unlisten(fs->log, &listener);
    json_object_set_new(answer, "ok", json_boolean(err == CKPT_OK));
    if (err != CKPT_OK) {
        json_object_set_new(answer, "error", json_string(ckpt_err_name(err)));
        /* A file name in a report need not be UTF-8, and then there is no JSON for it. */
        json_t *message =
            json_string(listener.text[0] != '\0' ? listener.text : ckpt_err_text(err));
        json_object_set_new(answer, "message",
                            message != NULL ? message : json_string(ckpt_err_text(err)));
    }
    json_decref(request);
    return answer;
}

/* ---- connections ---- */

/* Whether there is something to read; false after ten seconds, and when the server stops. */
static bool wait_for_bytes(const struct ctl_server *server, int fd)
{
    struct pollfd fds[2] = {{.fd = fd, .events = POLLIN}, {.fd = server->wake, .events = POLLIN}};
    int n = -1;
    do {
        n = poll(fds, 2, PATIENCE_MS);
    } while (n < 0 && errno == EINTR);
    return n > 0 && fds[1].revents == 0;
}

/* One line, or NULL. */
static char *read_line(const struct ctl_server *server, int fd)
{
    char *line = malloc(CKPT_CTL_LINE);
    size_t have = 0;
    while (line != NULL && have < CKPT_CTL_LINE - 1 && wait_for_bytes(server, fd)) {
        ssize_t n = read(fd, line + have, CKPT_CTL_LINE - 1 - have);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            break;
        }
        have += (size_t)n;
        char *end = memchr(line, '\n', have);
        if (end != NULL) {
            *end = '\0';
            return line;
        }
    }
    free(line);
    return NULL;
}

static void write_line(int fd, const json_t *answer)
{
    char *text = json_dumps(answer, JSON_COMPACT);
    size_t size = text == NULL ? 0 : strlen(text);
    for (size_t at = 0; at < size;) {
        ssize_t n = send(fd, text + at, size - at, MSG_NOSIGNAL);
        if (n <= 0) {
            break;
        }
        at += (size_t)n;
    }
    (void)!send(fd, "\n", 1, MSG_NOSIGNAL);
    free(text);
}

static void *serve(void *arg)
{
    struct connection *connection = arg;
    struct ctl_server *server = connection->server;
    char *line = read_line(server, connection->fd);
    if (line != NULL) {
        json_t *answer = answer_to(server->fs, line);
        write_line(connection->fd, answer);
        json_decref(answer);
        free(line);
    }
    close(connection->fd);
    free(connection);
    pthread_mutex_lock(&server->lock);
    server->connections--;
    pthread_cond_signal(&server->idle);
    pthread_mutex_unlock(&server->lock);
    return NULL;
}

static void accept_one(struct ctl_server *server)
{
    pthread_t thread;
    int fd = accept4(server->fd, NULL, NULL, SOCK_CLOEXEC);
    struct connection *connection = fd < 0 ? NULL : malloc(sizeof *connection);
    if (connection == NULL) {
        ckpt_host_close(fd);
        /* Out of descriptors or memory: it is still waiting, but there is no use in asking at once.
         */
        (void)poll(NULL, 0, 100);
        return;
    }
    *connection = (struct connection){.server = server, .fd = fd};
    pthread_mutex_lock(&server->lock);
    server->connections++;
    pthread_mutex_unlock(&server->lock);
    if (pthread_create(&thread, NULL, serve, connection) == 0) {
        pthread_detach(thread);
        return;
    }
    close(fd);
    free(connection);
    pthread_mutex_lock(&server->lock);
    server->connections--;
    pthread_mutex_unlock(&server->lock);
}

static void *listen_thread(void *arg)
{
    struct ctl_server *server = arg;
    struct pollfd fds[2] = {{.fd = server->fd, .events = POLLIN},
                            {.fd = server->wake, .events = POLLIN}};
    for (;;) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR) {
            break;
        }
        if (fds[1].revents != 0) {
            break;
        }
        if (fds[0].revents != 0) {
            accept_one(server);
        }
    }
    return NULL;
}

static int bind_socket(struct ckptfs *fs)
{
    /* A store's path may be longer than a socket's name can be. */
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s",
             ckpt_store_dirfd(fs->store), CKPT_CTL_SOCKET);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    (void)ckpt_host_unlinkat(ckpt_store_dirfd(fs->store), CKPT_CTL_SOCKET, 0);
    /* bind takes the mode from the socket, so there is no moment in which others could connect. */
    if (fchmod(fd, 0600) != 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) != 0 ||
        listen(fd, 8) != 0) {
        int err = errno;
        close(fd);
        errno = err;
        return -1;
    }
    return fd;
}

enum ckpt_err ctl_start(struct ckptfs *fs, struct ctl_server **out)
{
    struct ctl_server *server = calloc(1, sizeof *server);
    if (server == NULL) {
        return CKPT_ERR_NOMEM;
    }
    server->fs = fs;
    server->wake = eventfd(0, EFD_CLOEXEC);
    server->fd = server->wake < 0 ? -1 : bind_socket(fs);
    pthread_mutex_init(&server->lock, NULL);
    pthread_cond_init(&server->idle, NULL);
    enum ckpt_err err = server->fd < 0 ? ckpt_err_from_errno(errno) : CKPT_OK;
    if (err == CKPT_OK && pthread_create(&server->thread, NULL, listen_thread, server) != 0) {
        err = CKPT_ERR_NOMEM;
    }
    if (err != CKPT_OK) {
        ckpt_host_close(server->fd);
        ckpt_host_close(server->wake);
        pthread_cond_destroy(&server->idle);
        pthread_mutex_destroy(&server->lock);
        free(server);
        return err;
    }
    *out = server;
    return CKPT_OK;
}

void ctl_stop(struct ctl_server *server)
{
    if (server == NULL) {
        return;
    }
    uint64_t one = 1;
    (void)!write(server->wake, &one, sizeof one);
    pthread_join(server->thread, NULL);
    (void)ckpt_host_unlinkat(ckpt_store_dirfd(server->fs->store), CKPT_CTL_SOCKET, 0);
    pthread_mutex_lock(&server->lock);
    while (server->connections > 0) {
        pthread_cond_wait(&server->idle, &server->lock);
    }
    pthread_mutex_unlock(&server->lock);
    close(server->fd);
    close(server->wake);
    pthread_cond_destroy(&server->idle);
    pthread_mutex_destroy(&server->lock);
    free(server);
}
