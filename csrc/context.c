#include "context.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONTEXTS_MAX 8192
#define SWEEP_AT 64 /* contexts alive before the first sweep */

/* Slot n holds context n, and the list `all` of them; slot 0 is the launcher's. A number is used again only after a sweep found it on no process. */
static struct context *table[CONTEXTS_MAX], *all;
static uint32_t alive, sweep_at = SWEEP_AT, newest = CONTEXT_LAUNCHER;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct context *hold(uint32_t number) {
    struct context *context = number < CONTEXTS_MAX ? table[number] : NULL;
    if (context) context->uses++;
    return context;
}

struct context *context_of(pid_t tid) {
    pthread_mutex_lock(&lock); /* with the tag read inside: a sweep cannot free between reading and holding */
    int64_t number = guest_context(tid);
    struct context *context = number < 0 ? NULL : hold((uint32_t)number);
    pthread_mutex_unlock(&lock);
    return context;
}

static void release(struct context **at) {
    struct context *context = *at;
    *at = context->next;
    table[context->number] = NULL;
    if (context->cwd >= 0) close(context->cwd);
    free(context);
    alive--;
}

void context_put(struct context *context) {
    if (context == NULL) return;
    pthread_mutex_lock(&lock);
    context->uses--;
    pthread_mutex_unlock(&lock);
}

/* Mark the context of every guest process. Tags move only under `lock`, so a fork during the pass copies a tag whose
 * owner either is still to be seen or was seen already; passes go on until one finds no process that is new. */
static void mark(uint8_t *used) {
    static uint8_t seen[4194304 / 8];
    memset(seen, 0, sizeof seen);
    bool found = true;
    while (found) {
        found = false;
        int fd = openat(guest_proc(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *processes = fd < 0 ? NULL : fdopendir(fd);
        if (processes == NULL) { /* cannot know: everything is used */
            if (fd >= 0) close(fd);
            memset(used, 1, CONTEXTS_MAX);
            return;
        }
        for (struct dirent *entry; (entry = readdir(processes)) != NULL;) {
            int pid = atoi(entry->d_name);
            if (pid <= 0 || pid >= 4194304 || (seen[pid / 8] & (1 << (pid % 8)))) continue;
            seen[pid / 8] |= (uint8_t)(1 << (pid % 8));
            int64_t number = guest_context(pid);
            if (number < 0) continue;
            found = true;
            if (number < CONTEXTS_MAX) used[number] = 1;
        }
        closedir(processes);
    }
}

static void sweep(void) {
    static uint8_t used[CONTEXTS_MAX];
    memset(used, 0, sizeof used);
    mark(used);
    for (struct context **at = &all; *at;)
        if (!used[(*at)->number] && (*at)->uses == 0) release(at);
        else at = &(*at)->next;
    sweep_at = alive * 2 > SWEEP_AT ? alive * 2 : SWEEP_AT;
    if (sweep_at > CONTEXTS_MAX - 2) sweep_at = CONTEXTS_MAX - 2;
}

static bool same(const struct context *a, const struct context *b) {
    return a->umask == b->umask && a->cwd_mount == b->cwd_mount && a->cwd_device == b->cwd_device &&
           a->cwd_inode == b->cwd_inode && strcmp(a->cwd_path, b->cwd_path) == 0 && strcmp(a->exe, b->exe) == 0;
}

static int make(const struct context *wanted, uint32_t *number) {
    if (alive >= sweep_at) sweep();
    if (alive >= CONTEXTS_MAX - 2) return -EAGAIN;
    struct context *context = malloc(sizeof *context);
    if (context == NULL) return -ENOMEM;
    memcpy(context, wanted, offsetof(struct context, cwd_path));
    strcpy(context->cwd_path, wanted->cwd_path);
    strcpy(context->exe, wanted->exe);
    context->uses = 0;
    context->cwd = wanted->cwd < 0 ? -1 : fcntl(wanted->cwd, F_DUPFD_CLOEXEC, 0);
    if (wanted->cwd >= 0 && context->cwd < 0) {
        free(context);
        return -EMFILE;
    }
    do newest = newest + 1 < CONTEXTS_MAX ? newest + 1 : CONTEXT_LAUNCHER + 1; while (table[newest]);
    table[newest] = context;
    context->number = *number = newest;
    context->next = all;
    all = context;
    alive++;
    return 0;
}

int context_enter(pid_t tid, const struct context *from) {
    struct context wanted = *from;
    struct stat status = {0};
    if (wanted.cwd >= 0) fstat(wanted.cwd, &status);
    wanted.cwd_device = status.st_dev;
    wanted.cwd_inode = status.st_ino;
    pthread_mutex_lock(&lock);
    uint32_t number = 0;
    int error = 0;
    for (const struct context *at = all; at && !number; at = at->next)
        if (same(at, &wanted)) number = at->number;
    if (!number) error = make(&wanted, &number);
    if (!error) error = guest_set_context(tid, number);
    pthread_mutex_unlock(&lock);
    return error;
}
