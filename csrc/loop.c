#include "loop.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "answer.h"
#include "burst.h"
#include "crowd.h"
#include "exec.h"
#include "guest.h"
#include "relaxed.h"
#include "serve.h"
#include "thread.h"

#define THREADS_MAX 2048
#define RESERVE 64 /* of them never block: a guest can still kill what does */
#define STACK_SIZE (256 * 1024)
#define LET_GO_LOOKS 20   /* a millisecond each, but for the first */
#define SETTLE_LOOKS 2000 /* the same */
#define WATCH_LOOKS 32 /* some 12 us each, in which others wait; of more calls that block each has its turn */

enum { SERVES, RECEIVES, WOKEN };
enum { STAYS, HANDS_ON, LEAVES };
/* One receiving thread. Its request lives as long as it does. */
struct worker {
    struct worker *next;
    pid_t tid;
    atomic_int state; /* of these; WOKEN: by a signal, since another receives and is enough */
    _Atomic uint64_t received_ns; /* its last call */
    struct request request;
    atomic_bool serves; /* has a call that is not answered yet */
    atomic_int turn; /* of these: what it has done for this request with its turn to receive */
    struct worker *next_blocked; /* of calls that may block */
    bool interrupted;
    unsigned looked_in; /* of loop_watch's rounds */
    bool holds; /* its call was interrupted, and may still hold what is the guest's: a copy of a socket */
};
static _Thread_local struct worker *self;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_int receiving; /* or about to: one too many parks when it has served */
static int threads, blocking;
static atomic_int holding; /* threads that do */
static int parked, called; /* threads that wait for their turn to receive, and how many of them have been given it */
static pthread_cond_t turn = PTHREAD_COND_INITIALIZER;
static struct worker *workers, *blocked;
static int blocked_event = -1;

/* INVARIANT waits-light: a thread that waits holds of the guest's data what it still needs, and its stack. */
static void give_back(size_t kept) {
    uintptr_t from = ((uintptr_t)self->request.buffer + kept + 4095) & ~(uintptr_t)4095;
    uintptr_t to = (uintptr_t)(self->request.buffer + sizeof self->request.buffer) & ~(uintptr_t)4095;
    if (from < to) madvise((void *)from, to - from, MADV_DONTNEED);
}

/* The kernel wakes every thread that receives, for each notification; so one receives, two for a crowd, and the others wait
 * here until somebody leaves (loop_leave). */
static void wait_turn(void) {
    int now = atomic_load(&receiving);
    bool ours = false;
    while (!ours && now < crowd_receivers()) ours = atomic_compare_exchange_weak(&receiving, &now, now + 1);
    if (!ours) { /* whoever receives now comes here again, or leaves */
        give_back(0);
        pthread_mutex_lock(&lock);
        parked++;
        while (called == 0) pthread_cond_wait(&turn, &lock);
        called--;
        parked--;
        pthread_mutex_unlock(&lock);
    }
    atomic_store(&self->state, RECEIVES);
}

static void stop_receiving(void) {
    atomic_fetch_sub(&receiving, 1);
    if (atomic_exchange(&self->state, SERVES) != WOKEN) return;
    pthread_mutex_lock(&lock); /* the signal has been sent */
    pthread_mutex_unlock(&lock);
    sched_yield(); /* and comes here at the latest, to no call that we serve */
}

static void call_another(void);

static void received(pid_t tid) {
    uint64_t now = answer_now();
    atomic_store_explicit(&self->received_ns, now, memory_order_relaxed);
    if (crowd_received(tid, now)) call_another();
    burst_received(tid, now);
}

static void *receive(void *argument) {
    struct worker *worker = self = argument;
    worker->tid = gettid();
    for (;;) {
        struct seccomp_notif notification;
        memset(&notification, 0, sizeof notification);
        int got = ioctl(guest_listener(), SECCOMP_IOCTL_NOTIF_RECV, &notification);
        int why = errno;
        stop_receiving();
        if (got < 0 && why != EINTR && why != ENOENT) break; /* ENOENT: the caller died before we looked */
        if (got == 0) {
            SET(worker->serves, true);
            received((pid_t)notification.pid);
        }
        while (got == 0) { /* and whatever exec had to put off until now: before our turn, which may not come soon */
            serve(&worker->request, &notification);
            if (worker->holds) atomic_fetch_sub(&holding, 1);
            worker->holds = false;
            got = exec_deferred(&notification) ? 0 : -1;
            SET(worker->turn, STAYS);
        }
        SET(worker->serves, false);
        wait_turn();
    }
    return NULL; /* the listener is closed: no guest process is left */
}

static int start_thread(void) { /* with lock held */
    struct worker *worker = mmap(NULL, sizeof *worker, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); /* calloc may write it all, and most is never used */
    if (worker == MAP_FAILED) return -ENOMEM;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_SIZE);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    worker->state = RECEIVES;
    atomic_fetch_add(&receiving, 1);
    pthread_t thread;
    int error = thread_create(&thread, &attributes, receive, worker);
    pthread_attr_destroy(&attributes);
    if (error) {
        atomic_fetch_sub(&receiving, 1);
        munmap(worker, sizeof *worker);
        return -error;
    }
    worker->next = workers;
    workers = worker;
    threads++;
    return 0;
}

static bool somebody_receives(void) { /* with lock held: from now on, if nobody has */
    if (receiving > 0) return true;
    if (parked == called) return threads < THREADS_MAX && start_thread() == 0;
    called++;
    atomic_fetch_add(&receiving, 1);
    pthread_cond_signal(&turn);
    return true;
}

static bool leave(int how) { /* with lock held */
    if (GET(self->turn) == STAYS && !somebody_receives()) return false;
    if (GET(self->turn) < how) SET(self->turn, how);
    return true;
}

static void call_another(void) {
    pthread_mutex_lock(&lock);
    somebody_receives();
    pthread_mutex_unlock(&lock);
    loop_wake_main();
}

static void interrupt(const struct worker *worker) { syscall(SYS_tgkill, getpid(), worker->tid, SIGUSR1); }

/* The crowd is gone: of two that receive, the one that did last longer ago goes to wait. */
void loop_disperse(void) {
    struct worker *idle = NULL;
    int expected = RECEIVES;
    pthread_mutex_lock(&lock);
    for (struct worker *at = workers; at && receiving > 1; at = at->next)
        if (at->state == RECEIVES && (idle == NULL || at->received_ns < idle->received_ns)) idle = at;
    if (idle && atomic_compare_exchange_strong(&idle->state, &expected, WOKEN)) interrupt(idle);
    pthread_mutex_unlock(&lock);
}

static bool leave_now(int how) {
    if (self == NULL) return true;
    pthread_mutex_lock(&lock);
    bool left = leave(how);
    pthread_mutex_unlock(&lock);
    return left;
}

bool loop_hand_on(void) { return leave_now(HANDS_ON); }
bool loop_leave(void) { return leave_now(LEAVES); }

static void wake(int signal) { (void)signal; }

int loop_setup(void) {
    struct sigaction action = {.sa_handler = wake}; /* no SA_RESTART: it is there to interrupt */
    sigaction(SIGUSR1, &action, NULL);
    blocked_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return blocked_event < 0 ? -errno : 0;
}

int loop_start(void) {
    pthread_mutex_lock(&lock);
    int error = start_thread();
    pthread_mutex_unlock(&lock);
    return error;
}

int loop_watch_event(void) { return blocked_event; }

void loop_wake_main(void) {
    uint64_t one = 1;
    if (write(blocked_event, &one, sizeof one) < 0) return; /* full: it is readable already */
}

bool loop_block_enter(size_t kept) {
    give_back(kept);
    pthread_mutex_lock(&lock);
    bool room = blocking < THREADS_MAX - RESERVE && leave(LEAVES), first = blocked == NULL;
    if (room) {
        blocking++;
        self->interrupted = false;
        self->looked_in = 0;
        self->next_blocked = blocked;
        blocked = self;
    }
    pthread_mutex_unlock(&lock);
    if (room && first) loop_wake_main();
    return room;
}

bool loop_block_leave(void) {
    pthread_mutex_lock(&lock);
    struct worker **at = &blocked;
    while (*at != self) at = &(*at)->next_blocked;
    *at = self->next_blocked;
    blocking--;
    bool interrupted = self->interrupted;
    if (interrupted && !self->holds) atomic_fetch_add(&holding, 1);
    self->holds = self->holds || interrupted;
    pthread_mutex_unlock(&lock);
    return interrupted;
}

int loop_block_open(int (*open)(const void *what), const void *what) {
    for (;;) {
        if (!loop_block_enter(0)) return -ENOMEM;
        int fd = open(what);
        bool interrupted = loop_block_leave();
        if (fd != -EINTR) return fd;
        if (interrupted) return -ERESTARTSYS;
    }
}

/* Would a signal interrupt the thread's call on Linux? One is pending for it or its process, and not blocked. */
static bool signal_waits(pid_t tid) {
    char path[32], text[2048];
    snprintf(path, sizeof path, "%d/status", tid);
    if (guest_text(guest_proc(), path, text, sizeof text) == 0) return true;
    static const char *const names[3] = {"\nSigPnd:", "\nShdPnd:", "\nSigBlk:"};
    uint64_t masks[3] = {0};
    for (int i = 0; i < 3; i++) {
        const char *at = strstr(text, names[i]);
        if (at) masks[i] = strtoull(at + 8, NULL, 16);
    }
    return ((masks[0] | masks[1]) & ~masks[2]) != 0;
}

static void interrupt_blocked(struct worker *worker) {
    worker->interrupted = true;
    interrupt(worker); /* again at the next look, until the thread has left */
}

int loop_watch(void) {
    static unsigned round = 1;
    int count = 0, looks = 0;
    pthread_mutex_lock(&lock);
    for (struct worker *at = blocked; at; at = at->next_blocked, count++) {
        if (!at->interrupted && (at->looked_in == round || looks >= WATCH_LOOKS)) continue;
        at->looked_in = round;
        looks++;
        if (at->interrupted || !guest_alive(at->request.id) || signal_waits(at->request.tid)) interrupt_blocked(at);
    }
    if (looks < WATCH_LOOKS) round++;
    pthread_mutex_unlock(&lock);
    return count;
}

/* Interrupts the blocked calls of the dead: were there any? */
static bool interrupt_dead(void) {
    bool any = false;
    pthread_mutex_lock(&lock);
    for (struct worker *at = blocked; at; at = at->next_blocked) {
        if (!at->interrupted && guest_alive(at->request.id)) continue;
        interrupt_blocked(at);
        any = true;
    }
    pthread_mutex_unlock(&lock);
    return any;
}

static bool somebody_serves(void) {
    bool any = false;
    pthread_mutex_lock(&lock);
    for (struct worker *at = workers; at; at = at->next) any = any || (GET(at->serves) && GET(at->turn) != LEAVES);
    pthread_mutex_unlock(&lock);
    return any;
}

static void wait_to_look(int looks) {
    if (looks < 3) sched_yield();
    else poll(NULL, 0, 1);
}

void loop_settle(void) {
    for (int looks = 0; looks < SETTLE_LOOKS && somebody_serves(); looks++) wait_to_look(looks);
}

void loop_let_go(void) {
    for (int looks = 0; looks < LET_GO_LOOKS && (interrupt_dead() || holding); looks++) wait_to_look(looks);
}
