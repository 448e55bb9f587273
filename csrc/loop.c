#include "loop.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "answer.h"
#include "borrow.h"
#include "burst.h"
#include "context.h"
#include "crowd.h"
#include "exec.h"
#include "fs.h"
#include "fs_change.h"
#include "launcher.h"
#include "lock.h"
#include "misc.h"
#include "private.h"
#include "sockets.h"
#include "thread.h"

#define THREADS_MAX 2048
#define RESERVE 64 /* of them never block: a guest can still kill what does */
#define STACK_SIZE (256 * 1024)

/* An execveat of our own making goes on in the kernel: the launcher's child starting the stub, or a dance's second
 * call (exec.c). INVARIANT no-continue: these, and the sendmsg of borrow.c, are all that ever does. */
static struct answer serve_exec(struct request *request) {
    struct answer go_on = {ANSWER_CONTINUE, .silent = true, .mount = -1};
    if (exec_expected(request)) return go_on;
    bool launching = guest_context(request->tid) == CONTEXT_LAUNCHER;
    if (launching && request->nr == SYS_execveat && (int)request->args[0] == PRIVATE_STUB_FD) return go_on;
    return launching ? answer_denied(EPERM) : exec_serve(request);
}

typedef struct answer (*handler)(struct request *);
static const handler handlers[SBX_OP_COUNT] = {
#define ROW(op, function) [SBX_OP_##op] = function
    ROW(DENY, misc_deny), ROW(OPEN, fs_open), ROW(STAT, fs_stat), ROW(STATX, fs_statx), ROW(ACCESS, fs_access),
    ROW(READLINK, fs_readlink), ROW(GETDENTS, fs_getdents), ROW(STATFS, fs_statfs), ROW(CHDIR, fs_chdir),
    ROW(FCHDIR, fs_fchdir), ROW(GETCWD, fs_getcwd), ROW(UMASK, fs_umask), ROW(MKDIR, fs_mkdir),
    ROW(UNLINK, fs_unlink), ROW(RENAME, fs_rename), ROW(LINK, fs_link), ROW(SYMLINK, fs_symlink),
    ROW(MKNOD, fs_mknod), ROW(CHMOD, fs_chmod), ROW(FCHMOD, fs_chmod), ROW(CHOWN, fs_chown), ROW(FCHOWN, fs_chown),
    ROW(TRUNCATE, fs_truncate), ROW(UTIMES, fs_utimes), ROW(GETXATTR, fs_getxattr), ROW(SETXATTR, fs_setxattr),
    ROW(LISTXATTR, fs_listxattr), ROW(REMOVEXATTR, fs_removexattr), ROW(INOTIFY_ADD, fs_inotify_add),
    ROW(FLOCK, lock_flock), ROW(LOCK, lock_fcntl), ROW(SOCKET, sockets_socket), ROW(BIND, sockets_bind),
    ROW(CONNECT, sockets_connect), ROW(SENDMSG, sockets_send), ROW(RECVMSG, sockets_receive), ROW(SOCKNAME, sockets_name),
    ROW(ACCEPT, sockets_accept), ROW(LISTEN, sockets_listen), ROW(SOCKOPT, sockets_option), ROW(KILL, misc_kill), ROW(PRLIMIT, misc_prlimit),
    ROW(PRIORITY, misc_priority), ROW(SCHED, misc_sched), ROW(GETPGID, misc_getpgid), ROW(PIDFD_OPEN, misc_pidfd_open),
    ROW(CLOCK, misc_clock), ROW(SETID, misc_setid), ROW(PRCTL, misc_prctl), ROW(FCNTL, misc_fcntl),
    ROW(IOCTL, misc_ioctl), ROW(CAPGET, misc_capget), ROW(EXEC, serve_exec), ROW(PRIVATE, launcher_serve),
#undef ROW
};

enum { SERVES, RECEIVES, WOKEN };
/* One receiving thread. Its request lives as long as it does. */
struct worker {
    struct request request;
    bool left; /* loop_leave was called for this request */
    struct worker *next;
    _Atomic uint64_t received_ns; /* its last call */
    atomic_int state; /* of these; WOKEN: by a signal, since another receives and is enough */
    /* a call that may block: */
    struct worker *next_blocked;
    pthread_t thread;
    bool interrupted;
};
static _Thread_local struct worker *self;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_int receiving; /* or about to: one too many parks when it has served */
static int threads, blocking;
static int parked, called; /* threads that wait for their turn to receive, and how many of them have been given it */
static pthread_cond_t turn = PTHREAD_COND_INITIALIZER;
static struct worker *workers, *blocked;
static int blocked_event = -1;

static void serve(struct worker *worker, const struct seccomp_notif *notification) {
    struct request *request = &worker->request;
    int error = decode(notification, request);
    if (!guest_check(request->tid, request->id)) { /* INVARIANT still-there: killed meanwhile; nothing was done */
        guest_forget();
        return;
    }
    struct answer expected = borrow_expected(request);
    if (expected.kind != ANSWER_NONE) {
        answer_send(request, &expected);
        guest_forget();
        return;
    }
    handler handle = request->row ? handlers[syscalls_op(request->row, request->args)] : NULL;
    struct answer answer = {0};
    if (error) answer = answer_error(-error);
    else if (handle) answer = handle(request);
    if (answer.kind == ANSWER_VALUE && answer.error == ELOOP && !request->careful) {
        request->careful = true; /* the kernel met a link: nothing was done; now link by link */
        answer = handle(request);
    }
    if (answer.kind != ANSWER_SENT) answer_send(request, &answer);
    guest_forget();
}

/* The kernel wakes every thread that receives, for each notification; so one receives, two for a crowd, and the others wait
 * here until somebody leaves (loop_leave). */
static void wait_turn(void) {
    int now = atomic_load(&receiving);
    bool ours = false;
    while (!ours && now < crowd_receivers()) ours = atomic_compare_exchange_weak(&receiving, &now, now + 1);
    if (!ours) { /* whoever receives now comes here again, or leaves */
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
    for (;;) {
        struct seccomp_notif notification;
        memset(&notification, 0, sizeof notification);
        int got = ioctl(guest_listener(), SECCOMP_IOCTL_NOTIF_RECV, &notification);
        int why = errno;
        stop_receiving();
        if (got < 0 && why != EINTR && why != ENOENT) break; /* ENOENT: the caller died before we looked */
        if (got == 0) received((pid_t)notification.pid);
        while (got == 0) { /* and whatever exec had to put off until now: before our turn, which may not come soon */
            worker->left = false;
            serve(worker, &notification);
            got = exec_deferred(&notification) ? 0 : -1;
        }
        wait_turn();
    }
    return NULL; /* the listener is closed: no guest process is left */
}

static int start_thread(void) { /* with lock held */
    struct worker *worker = calloc(1, sizeof *worker);
    if (worker == NULL) return -ENOMEM;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_SIZE);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    worker->state = RECEIVES;
    atomic_fetch_add(&receiving, 1);
    int error = thread_create(&worker->thread, &attributes, receive, worker);
    pthread_attr_destroy(&attributes);
    if (error) {
        atomic_fetch_sub(&receiving, 1);
        free(worker);
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

static bool leave(void) { /* with lock held */
    return self->left = self->left || somebody_receives();
}

static void call_another(void) {
    pthread_mutex_lock(&lock);
    somebody_receives();
    pthread_mutex_unlock(&lock);
    loop_wake_main();
}

/* The crowd is gone: of two that receive, the one that did last longer ago goes to wait. */
void loop_disperse(void) {
    struct worker *idle = NULL;
    int expected = RECEIVES;
    pthread_mutex_lock(&lock);
    for (struct worker *at = workers; at && receiving > 1; at = at->next)
        if (at->state == RECEIVES && (idle == NULL || at->received_ns < idle->received_ns)) idle = at;
    if (idle && atomic_compare_exchange_strong(&idle->state, &expected, WOKEN)) pthread_kill(idle->thread, SIGUSR1);
    pthread_mutex_unlock(&lock);
}

bool loop_leave(void) {
    if (self == NULL) return true;
    pthread_mutex_lock(&lock);
    bool left = leave();
    pthread_mutex_unlock(&lock);
    return left;
}

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

bool loop_block_enter(void) {
    pthread_mutex_lock(&lock);
    bool room = blocking < THREADS_MAX - RESERVE && leave(), first = blocked == NULL;
    if (room) {
        blocking++;
        self->interrupted = false;
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
    pthread_mutex_unlock(&lock);
    return interrupted;
}

/* Would a signal interrupt the thread's call on Linux? One is pending for it or its process, and not blocked. */
static bool signal_waits(pid_t tid) {
    char path[32], text[2048];
    snprintf(path, sizeof path, "%d/status", tid);
    cleanup_close int fd = openat(guest_proc(), path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (got <= 0) return true;
    text[got] = 0;
    static const char *const names[3] = {"\nSigPnd:", "\nShdPnd:", "\nSigBlk:"};
    uint64_t masks[3] = {0};
    for (int i = 0; i < 3; i++) {
        const char *at = strstr(text, names[i]);
        if (at) masks[i] = strtoull(at + 8, NULL, 16);
    }
    return ((masks[0] | masks[1]) & ~masks[2]) != 0;
}

int loop_watch(void) {
    int count = 0;
    pthread_mutex_lock(&lock);
    for (struct worker *at = blocked; at; at = at->next_blocked, count++) {
        if (!at->interrupted && guest_alive(at->request.id) && !signal_waits(at->request.tid)) continue;
        at->interrupted = true;
        pthread_kill(at->thread, SIGUSR1); /* again at the next look, until the thread has left */
    }
    pthread_mutex_unlock(&lock);
    return count;
}
