#include "pool.h"
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

struct task {
    ckpt_pool_fn *fn;
    void *arg;
    struct task *next;
};

struct worker {
    struct ckpt_pool *pool;
    struct ckpt_codec *codec;
    pthread_t thread;
    bool started;
};

struct ckpt_pool {
    bool background;
    unsigned threads;
    struct worker *workers;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct task *first; /* lock */
    struct task **last; /* lock */
    bool stop;          /* lock */
};

void ckpt_thread_background(void)
{
    /* ioprio_set(IOPRIO_WHO_PROCESS, this thread, class idle); glibc has no name for it. */
    enum { WHO_PROCESS = 1, CLASS_IDLE = 3, CLASS_SHIFT = 13 };
    struct sched_param none = {0};
    (void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 19);
    (void)pthread_setschedparam(pthread_self(), SCHED_BATCH, &none);
    (void)syscall(SYS_ioprio_set, WHO_PROCESS, 0, CLASS_IDLE << CLASS_SHIFT);
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    struct ckpt_pool *pool = worker->pool;
    if (pool->background) {
        ckpt_thread_background();
    }
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (pool->first == NULL && !pool->stop) {
            pthread_cond_wait(&pool->wake, &pool->lock);
        }
        struct task *task = pool->first;
        if (task == NULL) {
            break;
        }
        pool->first = task->next;
        if (pool->first == NULL) {
            pool->last = &pool->first;
        }
        pthread_mutex_unlock(&pool->lock);
        task->fn(task->arg, worker->codec);
        free(task);
        pthread_mutex_lock(&pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* Signals are for the thread that waits for them, never for a worker. */
static enum ckpt_err start(struct worker *worker)
{
    sigset_t all;
    sigset_t before;
    enum ckpt_err err = ckpt_codec_create(&worker->codec);
    if (err != CKPT_OK) {
        return err;
    }
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    worker->started = pthread_create(&worker->thread, NULL, work, worker) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return worker->started ? CKPT_OK : CKPT_ERR_NOMEM;
}

enum ckpt_err ckpt_pool_create(unsigned threads, bool background, struct ckpt_pool **out)
{
    if (threads == 0) {
        return CKPT_ERR_INVALID;
    }
    struct ckpt_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL) {
        return CKPT_ERR_NOMEM;
    }
    pool->background = background;
    pool->last = &pool->first;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pool->workers = calloc(threads, sizeof *pool->workers);
    enum ckpt_err err = pool->workers == NULL ? CKPT_ERR_NOMEM : CKPT_OK;
    pool->threads = err == CKPT_OK ? threads : 0;
    for (unsigned i = 0; err == CKPT_OK && i < threads; i++) {
        pool->workers[i].pool = pool;
        err = start(&pool->workers[i]);
    }
    if (err != CKPT_OK) {
        ckpt_pool_free(pool);
        return err;
    }
    *out = pool;
    return CKPT_OK;
}

void ckpt_pool_free(struct ckpt_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    pthread_mutex_lock(&pool->lock);
    pool->stop = true;
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->threads; i++) {
        if (pool->workers[i].started) {
            pthread_join(pool->workers[i].thread, NULL);
        }
        ckpt_codec_free(pool->workers[i].codec);
    }
    free(pool->workers);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

enum ckpt_err ckpt_pool_submit(struct ckpt_pool *pool, ckpt_pool_fn *fn, void *arg)
{
    struct task *task = malloc(sizeof *task);
    if (task == NULL) {
        return CKPT_ERR_NOMEM;
    }
    *task = (struct task){.fn = fn, .arg = arg};
    pthread_mutex_lock(&pool->lock);
    *pool->last = task;
    pool->last = &task->next;
    pthread_cond_signal(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
    return CKPT_OK;
}
