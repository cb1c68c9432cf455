/*
 * The pool of workers: order, parallelism, an end that waits for what is queued, priorities,
 * signals.
 */
#include "unit.h"

#include "chunk/pool.h"
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

enum { MANY = 1000, PATIENCE = 60 /* seconds */ };

static struct ckpt_pool *pool_of(unsigned threads, bool background)
{
    struct ckpt_pool *pool = NULL;
    assert_ok(ckpt_pool_create(threads, background, &pool));
    return pool;
}

struct order {
    unsigned seen[MANY];
    unsigned count;
};

struct numbered {
    struct order *order;
    unsigned number;
};

static void note(void *arg, struct ckpt_codec *codec)
{
    struct numbered *n = arg;
    (void)codec;
    n->order->seen[n->order->count++] = n->number;
}

/* One worker, so nothing else orders them; and free waits for every one. */
static void test_first_in_first_out_and_all_before_the_end(void **state)
{
    struct order *order = calloc(1, sizeof *order);
    struct numbered *tasks = calloc(MANY, sizeof *tasks);
    struct ckpt_pool *pool = pool_of(1, false);
    (void)state;
    assert_non_null(order);
    assert_non_null(tasks);
    for (unsigned i = 0; i < MANY; i++) {
        tasks[i] = (struct numbered){order, i};
        assert_ok(ckpt_pool_submit(pool, note, &tasks[i]));
    }
    ckpt_pool_free(pool);
    assert_int_equal(order->count, MANY);
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(order->seen[i], i);
    }
    free(tasks);
    free(order);
}

static void add_one(void *arg, struct ckpt_codec *codec)
{
    (void)codec;
    atomic_fetch_add((atomic_uint *)arg, 1);
}

static void test_every_task_runs_once_on_many_threads(void **state)
{
    atomic_uint sum = 0;
    struct ckpt_pool *pool = pool_of(8, false);
    (void)state;
    for (unsigned i = 0; i < MANY; i++) {
        assert_ok(ckpt_pool_submit(pool, add_one, &sum));
    }
    ckpt_pool_free(pool);
    assert_int_equal(atomic_load(&sum), MANY);
}

static void wait_for(sem_t *semaphore)
{
    struct timespec until;
    assert_int_equal(clock_gettime(CLOCK_REALTIME, &until), 0);
    until.tv_sec += PATIENCE;
    assert_int_equal(sem_timedwait(semaphore, &until), 0);
}

/* What two tasks tell each other while both of them run. */
struct meeting {
    sem_t here[2];
    struct ckpt_codec *codec[2];
    atomic_uint next;
};

static void meet(void *arg, struct ckpt_codec *codec)
{
    struct meeting *m = arg;
    unsigned me = atomic_fetch_add(&m->next, 1);
    m->codec[me] = codec;
    (void)sem_post(&m->here[me]);
    wait_for(&m->here[1 - me]);
}

static void test_threads_work_at_the_same_time_with_a_codec_each(void **state)
{
    struct meeting m = {.next = 0};
    (void)state;
    assert_int_equal(sem_init(&m.here[0], 0, 0), 0);
    assert_int_equal(sem_init(&m.here[1], 0, 0), 0);
    struct ckpt_pool *pool = pool_of(2, false);
    assert_ok(ckpt_pool_submit(pool, meet, &m));
    assert_ok(ckpt_pool_submit(pool, meet, &m));
    ckpt_pool_free(pool);
    assert_non_null(m.codec[0]);
    assert_non_null(m.codec[1]);
    assert_ptr_not_equal(m.codec[0], m.codec[1]);
    (void)sem_destroy(&m.here[0]);
    (void)sem_destroy(&m.here[1]);
}

struct chain {
    struct ckpt_pool *pool;
    unsigned left;
    sem_t done;
};

static void next_link(void *arg, struct ckpt_codec *codec)
{
    struct chain *chain = arg;
    (void)codec;
    if (chain->left-- == 0) {
        (void)sem_post(&chain->done);
    } else {
        assert_ok(ckpt_pool_submit(chain->pool, next_link, chain));
    }
}

static void test_a_task_may_queue_another(void **state)
{
    struct chain chain = {.pool = pool_of(2, false), .left = 100};
    (void)state;
    assert_int_equal(sem_init(&chain.done, 0, 0), 0);
    assert_ok(ckpt_pool_submit(chain.pool, next_link, &chain));
    wait_for(&chain.done);
    ckpt_pool_free(chain.pool);
    (void)sem_destroy(&chain.done);
}

/* What a worker is, seen from inside. */
struct worker {
    int nice;
    int policy;
    long ioprio;
    bool takes_signals;
};

static struct worker look_at_myself(void)
{
    struct worker w = {0};
    sigset_t blocked;
    pid_t tid = (pid_t)syscall(SYS_gettid);
    w.nice = getpriority(PRIO_PROCESS, (id_t)tid);
    w.policy = sched_getscheduler(tid);
    w.ioprio = syscall(SYS_ioprio_get, 1, 0);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, NULL, &blocked), 0);
    w.takes_signals = !sigismember(&blocked, SIGTERM) || !sigismember(&blocked, SIGINT) ||
                      !sigismember(&blocked, SIGHUP) || !sigismember(&blocked, SIGUSR1);
    return w;
}

static void look(void *arg, struct ckpt_codec *codec)
{
    (void)codec;
    *(struct worker *)arg = look_at_myself();
}

static void test_only_background_workers_step_back(void **state)
{
    enum { IDLE_CLASS = 3 << 13 };
    struct worker mine = look_at_myself();
    struct worker front = {0};
    struct worker back = {0};
    (void)state;
    struct ckpt_pool *pool = pool_of(1, false);
    assert_ok(ckpt_pool_submit(pool, look, &front));
    ckpt_pool_free(pool);
    pool = pool_of(1, true);
    assert_ok(ckpt_pool_submit(pool, look, &back));
    ckpt_pool_free(pool);

    assert_int_equal(front.nice, mine.nice);
    assert_int_equal(front.policy, mine.policy);
    assert_int_equal(back.nice, 19);
    assert_int_equal(back.policy, SCHED_BATCH);
    assert_int_equal(back.ioprio, IDLE_CLASS);
    assert_int_equal(look_at_myself().nice, mine.nice);
    /* Signals are for the thread that waits for them. */
    assert_true(mine.takes_signals);
    assert_false(front.takes_signals);
    assert_false(back.takes_signals);
}

static void test_no_threads_are_no_pool(void **state)
{
    struct ckpt_pool *pool = NULL;
    (void)state;
    assert_int_equal(ckpt_pool_create(0, false, &pool), CKPT_ERR_INVALID);
    assert_null(pool);
    ckpt_pool_free(NULL);
    ckpt_pool_free(pool_of(3, false)); /* with nothing to do */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_in_first_out_and_all_before_the_end),
        cmocka_unit_test(test_every_task_runs_once_on_many_threads),
        cmocka_unit_test(test_threads_work_at_the_same_time_with_a_codec_each),
        cmocka_unit_test(test_a_task_may_queue_another),
        cmocka_unit_test(test_only_background_workers_step_back),
        cmocka_unit_test(test_no_threads_are_no_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
