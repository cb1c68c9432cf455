#include "signals.h"
#include "log.h"
#include "mountpoint.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

/* How long the loop's thread is given to see that it was woken. */
enum { WAKE_AGAIN_NS = 50 * 1000 * 1000 };

struct signals {
    struct log *log;
    const char *mountpoint;
    pthread_t thread;
    pthread_mutex_t lock; /* everything below */
    struct fuse_session *session;
    pthread_t server; /* in session's loop, while there is a session */
    bool leaving;
    bool mounted;
    bool ended;
};

static void taken_signals(sigset_t *set)
{
    (void)sigemptyset(set);
    (void)sigaddset(set, SIGTERM);
    (void)sigaddset(set, SIGINT);
    (void)sigaddset(set, SIGHUP);
}

void signals_block(void)
{
    sigset_t set;
    taken_signals(&set);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
}

static void leave_at_once(struct signals *s)
{
    log_write(s->log, CKPT_NOTICE,
              "ended by a signal, at once; files that are not recorded yet are taken by the next "
              "start");
    if (s->mounted) {
        (void)mountpoint_detach(s->mountpoint);
    }
    _exit(1);
}

/* With s->lock. */
static void leave(struct signals *s)
{
    if (s->session == NULL || s->leaving) {
        leave_at_once(s);
    }
    s->leaving = true;
    fuse_session_exit(s->session);
}

static void *take_signals(void *arg)
{
    struct signals *s = arg;
    const struct timespec again = {.tv_nsec = WAKE_AGAIN_NS};
    bool waking = false;
    bool ended = false;
    sigset_t set;
    taken_signals(&set);
    while (!ended) {
        int got = waking ? sigtimedwait(&set, NULL, &again) : sigwaitinfo(&set, NULL);
        (void)pthread_mutex_lock(&s->lock);
        ended = s->ended;
        if (!ended && (got == SIGTERM || got == SIGINT)) {
            leave(s);
        }
        waking = s->leaving && s->session != NULL;
        if (waking) {
            /* The loop looks at its flag only when its wait is interrupted; once could be too
             * early. */
            (void)pthread_kill(s->server, SIGUSR1);
        }
        (void)pthread_mutex_unlock(&s->lock);
        if (!ended && got == SIGHUP) {
            log_reopen(s->log);
        }
    }
    return NULL;
}

/* Interrupts a wait, and that is all. */
static void interrupt(int number)
{
    (void)number;
}

struct signals *signals_start(struct log *log, const char *mountpoint)
{
    struct sigaction action = {.sa_handler = interrupt};
    struct signals *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return NULL;
    }
    s->log = log;
    s->mountpoint = mountpoint;
    (void)sigaction(SIGUSR1, &action, NULL);
    if (pthread_mutex_init(&s->lock, NULL) != 0) {
        free(s);
        return NULL;
    }
    if (pthread_create(&s->thread, NULL, take_signals, s) != 0) {
        (void)pthread_mutex_destroy(&s->lock);
        free(s);
        return NULL;
    }
    return s;
}

void signals_stop(struct signals *s)
{
    if (s == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&s->lock);
    s->ended = true;
    (void)pthread_mutex_unlock(&s->lock);
    (void)pthread_kill(s->thread, SIGHUP);
    (void)pthread_join(s->thread, NULL);
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
}

void signals_mounted(struct signals *s, bool mounted)
{
    (void)pthread_mutex_lock(&s->lock);
    s->mounted = mounted;
    (void)pthread_mutex_unlock(&s->lock);
}

void signals_serving(struct signals *s, struct fuse_session *session)
{
    (void)pthread_mutex_lock(&s->lock);
    s->session = session;
    s->server = pthread_self();
    (void)pthread_mutex_unlock(&s->lock);
}
