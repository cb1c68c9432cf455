/*
 * CSV files and MLflow's lines. The first byte says which kind and how the file grows.
 */
#include "metrics_feed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum ckpt_metrics_kind kinds[] = {CKPT_METRICS_CSV, CKPT_METRICS_LIGHTNING,
                                                   CKPT_METRICS_KERAS, CKPT_METRICS_RAY_CSV,
                                                   CKPT_METRICS_MLFLOW};
    if (size == 0) {
        return 0;
    }
    size_t count = sizeof kinds / sizeof kinds[0];
    ckpt_metrics_kind_of("version_1/metrics.csv", data + 1, size - 1);
    feed_both_ways(kinds[data[0] % count], data + 1, size - 1, 1 + data[0] / count);
    return 0;
}
