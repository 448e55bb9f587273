#include "lock.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "fs_place.h"
#include "loop.h"
#include "mounts.h"
#include "process.h"

#define ERESTARTSYS 512
#define HOLDERS_MAX 1024
#define LOOK_MS 20 /* how often a waiting lock is tried again where nobody tells us of a release */
#define STACK_SIZE 65536

/* Who holds locks on a file: a process (fcntl) or an open file description of a read-only grant (flock). */
struct holder {
    struct holder *next;
    bool by_description;
    pid_t leader;
    int owner; /* pidfd of the process, or a copy of the description */
    int bearer; /* our open file description, which has the locks */
    dev_t device;
    ino_t inode;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t released = PTHREAD_COND_INITIALIZER;
static struct holder *holders;
static int count, watch_event = -1;

static void drop(struct holder **at) {
    struct holder *holder = *at;
    *at = holder->next;
    close(holder->bearer);
    close(holder->owner);
    free(holder);
    count--;
    pthread_cond_broadcast(&released);
}

/* ---- processes that end: their locks end with them ------------------------------------------------------------------------- */

static bool ended(int pidfd) {
    struct pollfd polled = {.fd = pidfd, .events = POLLIN};
    return poll(&polled, 1, 0) > 0;
}

static void *watch(void *unused) {
    (void)unused;
    static struct pollfd polled[HOLDERS_MAX + 1];
    for (;;) {
        nfds_t used = 1;
        polled[0] = (struct pollfd){.fd = watch_event, .events = POLLIN};
        pthread_mutex_lock(&lock);
        for (struct holder **at = &holders; *at;) {
            if (!(*at)->by_description && ended((*at)->owner)) {
                drop(at);
                continue;
            }
            if (!(*at)->by_description) polled[used++] = (struct pollfd){.fd = (*at)->owner, .events = POLLIN};
            at = &(*at)->next;
        }
        pthread_mutex_unlock(&lock);
        /* A holder dropped meanwhile leaves a number that may be another descriptor's: then we look once too often. */
        if (poll(polled, used, used > 1 ? 1000 : -1) > 0 && polled[0].revents) {
            uint64_t value;
            if (read(watch_event, &value, sizeof value) < 0 && errno != EAGAIN) return NULL;
        }
    }
}

static int start_watch(void) { /* with lock held */
    uint64_t one = 1;
    if (watch_event >= 0) return write(watch_event, &one, sizeof one) < 0 && errno != EAGAIN ? -errno : 0;
    int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (event < 0) return -ENOLCK;
    watch_event = event;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_SIZE);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_t thread;
    int error = pthread_create(&thread, &attributes, watch, NULL);
    pthread_attr_destroy(&attributes);
    if (!error) return 0;
    close(watch_event);
    watch_event = -1;
    return -ENOLCK;
}

/* ---- holders --------------------------------------------------------------------------------------------------------------- */

static bool stale(const struct holder *holder) {
    if (!holder->by_description) return ended(holder->owner) || !process_holds(holder->leader, holder->device, holder->inode, -1);
    bool held = false;
    struct looking { const struct holder *holder; bool *held; } looking = {holder, &held};
    bool visit(pid_t leader, void *data);
    (void)visit;
    (void)looking;
    return !held;
}
