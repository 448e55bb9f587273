#include "lock_holder.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "mounts.h"
#include "process.h"
#include "thread.h"

#define HOLDERS_MAX 1024
#define STACK_SIZE 65536

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t released = PTHREAD_COND_INITIALIZER;
static struct holder *holders;
static int count, watch_event = -1;

void holder_lock(void) { pthread_mutex_lock(&lock); }
void holder_unlock(void) { pthread_mutex_unlock(&lock); }
void holder_released(void) { pthread_cond_broadcast(&released); }

void holder_wait(int milliseconds) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += milliseconds * 1000000l;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_cond_timedwait(&released, &lock, &until);
}

void holder_drop(struct holder *holder) {
    struct holder **at = &holders;
    while (*at != holder) at = &(*at)->next;
    *at = holder->next;
    close(holder->bearer);
    close(holder->owner);
    free(holder);
    count--;
    holder_released();
}

/* ---- processes that end: their locks end with them ------------------------------------------------------------------------- */

static bool ended(int pidfd) {
    struct pollfd polled = {.fd = pidfd, .events = POLLIN};
    return poll(&polled, 1, 0) > 0;
}

static void *watch(void *unused) {
    static struct pollfd polled[HOLDERS_MAX + 1];
    for (;;) {
        nfds_t used = 1;
        polled[0] = (struct pollfd){.fd = watch_event, .events = POLLIN};
        holder_lock();
        for (struct holder *at = holders, *next; at; at = next) {
            next = at->next;
            if (at->by_description) continue;
            if (ended(at->owner)) holder_drop(at);
            else polled[used++] = (struct pollfd){.fd = at->owner, .events = POLLIN};
        }
        holder_unlock();
        /* A number dropped meanwhile may be another descriptor's by now: then we look once too often. */
        if (poll(polled, used, used > 1 ? 1000 : -1) > 0 && polled[0].revents) {
            uint64_t value;
            if (read(watch_event, &value, sizeof value) < 0 && errno != EAGAIN) return unused;
        }
    }
}

static int wake_watch(void) {
    uint64_t one = 1;
    if (watch_event >= 0) return write(watch_event, &one, sizeof one) < 0 && errno != EAGAIN ? -ENOLCK : 0;
    watch_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (watch_event < 0) return -ENOLCK;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_SIZE);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_t thread;
    int error = thread_create(&thread, &attributes, watch, NULL);
    pthread_attr_destroy(&attributes);
    if (!error) return 0;
    guest_close(&watch_event);
    return -ENOLCK;
}

/* ---- the table ------------------------------------------------------------------------------------------------------------- */

static bool of_file(const struct holder *holder, const struct held *file) {
    return holder->device == file->status.st_dev && holder->inode == file->status.st_ino;
}

struct holder *holder_find(const struct held *file, pid_t leader, bool by_description) {
    for (struct holder *at = holders; at; at = at->next) {
        if (at->by_description != by_description || !of_file(at, file)) continue;
        int same = by_description ? guest_same_file(getpid(), file->fd, at->owner) : at->leader == leader;
        if (same < 0) same = at->leader == leader;
        if (same) return at;
    }
    return NULL;
}

/* An open file description of our own for the object at `fd`. */
static int reopen(int fd, int flags) {
    char link[32];
    held_link(fd, link);
    return openat(mounts_proc(), link, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

/* Bears a process's locks, on the file itself. What is no regular file is not opened again: that could be noticed. */
static int make_bearer(const struct held *file) {
    int access = fcntl(file->fd, F_GETFL) & O_ACCMODE, fd = -1;
    if (S_ISREG(file->status.st_mode)) fd = reopen(file->fd, O_RDWR);
    if (fd < 0 && S_ISREG(file->status.st_mode) && access != O_RDWR) fd = reopen(file->fd, access);
    return fd >= 0 ? fd : fcntl(file->fd, F_DUPFD_CLOEXEC, 0);
}

/* Bears a description's lock, on a file of ours that stands for the read-only one. */
static int make_private_bearer(const struct held *file) {
    for (struct holder *at = holders; at; at = at->next)
        if (at->by_description && of_file(at, file)) return reopen(at->bearer, O_RDWR);
    return memfd_create("lock", MFD_CLOEXEC);
}

/* Has its process the file, by whatever descriptor? */
static bool has_file(const struct holder *holder) {
    cleanup_close int process = process_hold(holder->leader);
    return process >= 0 && process_holds(holder->leader, process, holder->device, holder->inode, -1);
}

static void prune_all(void) {
    for (struct holder *at = holders, *next; at; at = next) {
        next = at->next;
        if (!has_file(at)) holder_drop(at);
    }
}

int holder_make(const struct held *file, pid_t leader, bool by_description, struct holder **made) {
    if ((*made = holder_find(file, leader, by_description))) return 0;
    if (count >= HOLDERS_MAX) prune_all();
    if (count >= HOLDERS_MAX) return -ENOLCK;
    struct holder *holder = malloc(sizeof *holder);
    if (holder == NULL) return -ENOLCK;
    *holder = (struct holder){.next = holders, .by_description = by_description, .leader = leader,
                              .device = file->status.st_dev, .inode = file->status.st_ino};
    holder->owner = by_description ? fcntl(file->fd, F_DUPFD_CLOEXEC, 0) : (int)syscall(SYS_pidfd_open, leader, 0);
    holder->bearer = by_description ? make_private_bearer(file) : make_bearer(file);
    if (holder->owner < 0 || holder->bearer < 0 || (!by_description && wake_watch() < 0)) {
        guest_close(&holder->owner);
        guest_close(&holder->bearer);
        free(holder);
        return -ENOLCK;
    }
    holders = *made = holder;
    count++;
    return 0;
}

struct looking { const struct holder *holder; bool held; };
static bool look(pid_t leader, int process, void *data) {
    struct looking *looking = data;
    looking->held = process_holds(leader, process, looking->holder->device, looking->holder->inode, looking->holder->owner);
    return !looking->held;
}

static bool stale(const struct holder *holder) {
    if (!holder->by_description) return ended(holder->owner) || !has_file(holder);
    struct looking looking = {holder, false};
    process_each(look, &looking);
    return !looking.held;
}

bool holder_prune(const struct held *file, const struct holder *but) {
    bool any = false;
    for (struct holder *at = holders, *next; at; at = next) {
        next = at->next;
        if (at == but || !of_file(at, file) || !stale(at)) continue;
        holder_drop(at);
        any = true;
    }
    return any;
}

static bool is_lock(const char *line, off_t start, off_t length) {
    char end[32], wanted[32] = "EOF";
    long long first;
    if (length) snprintf(wanted, sizeof wanted, "%lld", (long long)(start + length - 1));
    return sscanf(line, "lock: %*d: %*s %*s %*s %*d %*s %lld %31s", &first, end) == 2 && first == start && strcmp(end, wanted) == 0;
}

/* Does a descriptor of ours bear a lock with these ends? Its fdinfo tells, with a line for each of any number. */
static bool bears(int bearer, off_t start, off_t length) {
    char path[40], text[4096];
    size_t kept = 0;
    snprintf(path, sizeof path, "self/fdinfo/%d", bearer);
    cleanup_close int fd = openat(mounts_proc(), path, O_RDONLY | O_CLOEXEC);
    ssize_t got;
    while (fd >= 0 && (got = read(fd, text + kept, sizeof text - 1 - kept)) > 0) {
        char *line = text, *end;
        text[kept + (size_t)got] = 0;
        for (; (end = strchr(line, '\n')); line = end + 1)
            if (is_lock(line, start, length)) return true;
        kept = strlen(line);
        memmove(text, line, kept);
    }
    return false;
}

pid_t holder_owner(const struct held *file, off_t start, off_t length) {
    for (struct holder *at = holders; at; at = at->next)
        if (!at->by_description && of_file(at, file) && bears(at->bearer, start, length)) return at->leader;
    return -1;
}
