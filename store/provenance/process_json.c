/*
 * A process as a JSON document. What a process is called with is any bytes, and as long as it likes: bytes that are no UTF-8
 * are replaced, and what is too long is cut, shorter and shorter until the document has its size.
 */
#include "common/utf8.h"
#include "process.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */

/* What is being made; any failure of jansson's is one of memory. */
struct document {
    size_t limit; /* bytes of one string */
    bool cut;
    bool failed;
};

static json_t *made(struct document *document, json_t *json)
{
    document->failed |= json == NULL;
    return json;
}

static json_t *string_of(struct document *document, const char *text, size_t n)
{
    char *clean = malloc(3 * (n < document->limit ? n : document->limit) + 1);
    size_t size = 0;
    size_t i = 0;
    while (clean != NULL && i < n) {
        size_t length = ckpt_utf8_size(text + i, n - i);
        if (i + (length > 0 ? length : 1) > document->limit) {
            document->cut = true;
            break;
        }
        memcpy(clean + size, length > 0 ? text + i : replacement, length > 0 ? length : sizeof replacement - 1);
        size += length > 0 ? length : sizeof replacement - 1;
        i += length > 0 ? length : 1;
    }
    json_t *json = clean == NULL ? NULL : json_stringn(clean, size);
    free(clean);
    return made(document, json);
}

static void set(struct document *document, json_t *object, const char *key, json_t *value)
{
    document->failed |= json_object_set_new(object, key, value) != 0;
}

static void set_text(struct document *document, json_t *object, const char *key, const char *text)
{
    if (text != NULL && text[0] != '\0') {
        set(document, object, key, string_of(document, text, strlen(text)));
    }
}

static json_t *command_of(struct document *document, const struct ckpt_strings *command)
{
    json_t *list = made(document, json_array());
    for (size_t at = 0; at < command->size;) {
        size_t n = strlen(command->at + at);
        if (at + n > 2 * document->limit) {
            document->cut = true;
            break;
        }
        document->failed |= json_array_append_new(list, string_of(document, command->at + at, n)) != 0;
        at += n + 1;
    }
    return list;
}

static json_t *environment_of(struct document *document, const struct ckpt_strings *environment)
{
    json_t *object = made(document, json_object());
    for (size_t at = 0; at < environment->size;) {
        const char *variable = environment->at + at;
        const char *value = strchr(variable, '=');
        if (value != NULL) {
            document->failed |= json_object_setn_new(object, variable, (size_t)(value - variable),
                                                     string_of(document, value + 1, strlen(value + 1))) != 0;
        }
        at += strlen(variable) + 1;
    }
    return object;
}

static json_t *git_of(struct document *document, const struct ckpt_git *git)
{
    json_t *object = made(document, json_object());
    set_text(document, object, "commit", git->commit);
    set_text(document, object, "branch", git->branch);
    return object;
}

static json_t *describe(struct document *document, const struct ckpt_process *process)
{
    const struct ckpt_process_look *look = &process->look;
    json_t *object = made(document, json_object());
    set(document, object, "pid", json_integer(look->key.group));
    set(document, object, "start", json_integer((json_int_t)look->key.start));
    set_text(document, object, "boot", look->key.boot);
    if (process->started_ns > 0) {
        set(document, object, "started", json_real((double)process->started_ns / 1e9));
    }
    if (process->command.size > 0) {
        set(document, object, "command", command_of(document, &process->command));
    }
    set_text(document, object, "directory", process->directory);
    set_text(document, object, "user", process->user);
    set(document, object, "uid", json_integer(look->uid));
    set_text(document, object, "host", process->host);
    if (process->environment.size > 0) {
        set(document, object, "environment", environment_of(document, &process->environment));
    }
    if (process->git.commit[0] != '\0') {
        set(document, object, "git", git_of(document, &process->git));
    }
    if (document->cut || process->command_cut) {
        set(document, object, "cut", json_true());
    }
    return object;
}

enum ckpt_err ckpt_process_json(const struct ckpt_process *process, char **text)
{
    /* With one of 1 everything fits, whatever it is. */
    for (size_t limit = CKPT_PROCESS_JSON / 2; limit > 0; limit /= 2) {
        struct document document = {.limit = limit};
        json_t *object = describe(&document, process);
        char *dump = document.failed ? NULL : json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(15));
        json_decref(object);
        if (dump == NULL) {
            return CKPT_ERR_NOMEM;
        }
        if (strlen(dump) < CKPT_PROCESS_JSON) {
            *text = dump;
            return CKPT_OK;
        }
        free(dump);
    }
    return CKPT_ERR_INVALID;
}

bool ckpt_process_key_from_json(const char *text, struct ckpt_process_key *key)
{
    json_t *object = json_loads(text, 0, NULL);
    json_int_t pid = json_integer_value(json_object_get(object, "pid"));
    json_int_t start = json_integer_value(json_object_get(object, "start"));
    const char *boot = json_string_value(json_object_get(object, "boot"));
    bool told = pid > 0 && pid <= INT_MAX && start > 0 && boot != NULL && strlen(boot) == CKPT_BOOT_ID - 1;
    if (told) {
        memset(key, 0, sizeof *key);
        key->group = (pid_t)pid;
        key->start = (uint64_t)start;
        memcpy(key->boot, boot, CKPT_BOOT_ID);
    }
    json_decref(object);
    return told;
}
