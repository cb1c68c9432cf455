/*
 * MLflow's file store: one file per metric, mlruns/EXPERIMENT/RUN/metrics/KEY, and a line per value
 * (mlflow/store/tracking/ file_store.py, _log_run_metric and _get_metric_from_line):
 *
 *     TIMESTAMP VALUE [STEP [...]]     milliseconds since 1970; a step that isn't there is 0. What follows is
 *                                      newer and names data sets or runs
 */
#include "metrics_parts.h"
#include <string.h>

enum { RUN_ID = 32, FIELDS = 3 };

/* RUN is 32 hexadecimal digits, which tells these paths from other directories called metrics. A key may have
   slashes. */
struct ckpt_metrics_text ckpt_metrics_mlflow_key(const char *path)
{
    static const char directory[] = "/metrics/";
    const char *at = path;
    while ((at = strstr(at, directory)) != NULL) {
        const char *key = at + sizeof directory - 1;
        bool long_enough = at - path >= RUN_ID && (at - path == RUN_ID || at[-RUN_ID - 1] == '/');
        if (long_enough && strspn(at - RUN_ID, "0123456789abcdef") == RUN_ID && *key != '\0') {
            return (struct ckpt_metrics_text){key, strlen(key)};
        }
        at++;
    }
    return (struct ckpt_metrics_text){"", 0};
}

static enum ckpt_err take_line(struct ckpt_metrics_reading *reading, void *arg, struct ckpt_metrics_text line)
{
    const struct ckpt_metrics_text *key = arg;
    struct ckpt_metric_point point = {0};
    double fields[FIELDS] = {0};
    size_t count = 0;
    struct ckpt_metrics_text rest = ckpt_metrics_trim(line);
    while (rest.size > 0 && count < FIELDS) {
        const char *blank = memchr(rest.at, ' ', rest.size);
        struct ckpt_metrics_text field = {rest.at, blank == NULL ? rest.size : (size_t)(blank - rest.at)};
        if (!ckpt_metrics_number(reading, field, &fields[count])) {
            return CKPT_OK;
        }
        rest.at += field.size;
        rest.size -= field.size;
        rest = ckpt_metrics_trim(rest);
        count++;
    }
    if (count < 2) {
        return CKPT_OK;
    }
    ckpt_metrics_set_seconds(&point, fields[0] / 1000);
    ckpt_metrics_set_step(&point, fields[2]);
    return ckpt_metrics_emit(reading, &point, *key, fields[1]);
}

enum ckpt_err ckpt_metrics_mlflow_read(struct ckpt_metrics_reading *reading)
{
    const char *path = reading->input->path;
    struct ckpt_metrics_text key = ckpt_metrics_mlflow_key(path == NULL ? "" : path);
    return key.size == 0 ? CKPT_ERR_INVALID : ckpt_metrics_lines(reading, false, take_line, &key);
}
