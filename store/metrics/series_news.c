/*
 * Which checkpoints new points may be about, so that of a long run only those are joined. It errs on the side of joining:
 * one span for all points may hold checkpoints that no point is about.
 */
#include "series_parts.h"

static const int64_t late_ns = 2000000000; /* of series.h, rule 4 */

static void widen(struct ckpt_series_span *span, int64_t from, int64_t to)
{
    span->from = !span->any || from < span->from ? from : span->from;
    span->to = !span->any || to > span->to ? to : span->to;
    span->any = true;
}

static int64_t clamp(uint64_t number)
{
    return number > INT64_MAX ? INT64_MAX : (int64_t)number;
}

static void widen_by_number(struct ckpt_series_span *span, uint64_t number)
{
    widen(span, clamp(number), clamp(number));
}

void ckpt_series_note_news(struct ckpt_series *series, const struct ckpt_series_point *point)
{
    struct ckpt_series_news *news = &series->news;
    if (point->has_step) {
        widen_by_number(&news->steps, point->step);
    }
    if (point->has_epoch) {
        double epoch = ckpt_series_whole_epoch(point);
        widen_by_number(&news->epochs, epoch < (double)INT64_MAX ? (uint64_t)epoch : (uint64_t)INT64_MAX);
    } else if (point->has_step && point->kind == CKPT_METRICS_OPTUNA) {
        widen_by_number(&news->epochs, point->step);
    }
    if (point->has_checkpoint) {
        widen_by_number(&news->checkpoints, point->checkpoint);
    }
    if (point->time_ns != 0) {
        widen(&news->times, point->time_ns, point->time_ns);
    }
}

void ckpt_series_add_news(struct ckpt_series_news *news, const struct ckpt_series_news *other)
{
    const struct ckpt_series_span *from[] = {&other->steps, &other->epochs, &other->checkpoints, &other->times};
    struct ckpt_series_span *to[] = {&news->steps, &news->epochs, &news->checkpoints, &news->times};
    for (size_t i = 0; i < sizeof to / sizeof to[0]; i++) {
        if (from[i]->any) {
            widen(to[i], from[i]->from, from[i]->to);
        }
    }
}

void ckpt_series_take_news(struct ckpt_series *series, struct ckpt_series_news *news)
{
    ckpt_series_add_news(news, &series->news);
    series->news = (struct ckpt_series_news){0};
}

void ckpt_series_all_news(struct ckpt_series_news *news)
{
    static const struct ckpt_series_span all = {true, INT64_MIN, INT64_MAX};
    *news = (struct ckpt_series_news){all, all, all, all};
}

bool ckpt_series_any_news(const struct ckpt_series_news *news)
{
    return news->steps.any || news->epochs.any || news->checkpoints.any || news->times.any;
}

/* What is known so far of a checkpoint that takes what is past AFTER and not past UPTO. */
static enum ckpt_series_touch touch(enum ckpt_series_touch so_far, const struct ckpt_series_span *span, int64_t after,
                                    int64_t upto)
{
    if (so_far == CKPT_TOUCH_IT || !span->any || span->from > upto) {
        return so_far;
    }
    return span->to > after ? CKPT_TOUCH_IT : CKPT_TOUCH_EARLIER;
}

enum ckpt_series_touch ckpt_series_touches(const struct ckpt_series_news *news, const struct ckpt_join_key *key)
{
    enum ckpt_series_touch found = CKPT_TOUCH_LATER;
    bool bare = key->has_number && !key->has_step && !key->has_epoch;
    if (key->has_step || bare) {
        uint64_t step = key->has_step ? key->step : key->number;
        bool after = key->has_previous_step && key->previous_step < step;
        found = touch(found, &news->steps, after ? clamp(key->previous_step) : -1, clamp(step));
    }
    if (key->has_epoch || bare) {
        int64_t epoch = clamp(key->has_epoch ? key->epoch : key->number);
        found = touch(found, &news->epochs, epoch - 1, epoch);
    }
    if (key->has_number) {
        found = touch(found, &news->checkpoints, clamp(key->number) - 1, clamp(key->number));
    }
    if (key->saved_ns != 0) {
        /* Where training was, the newest point says, however old. */
        bool placed = key->has_step || key->has_epoch || bare;
        bool after = placed && key->previous_ns > 0 && key->previous_ns < key->saved_ns;
        int64_t upto = key->saved_ns > INT64_MAX - late_ns ? INT64_MAX : key->saved_ns + late_ns;
        found = touch(found, &news->times, after ? key->previous_ns : INT64_MIN, upto);
    }
    return found;
}
