#include "handed.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include "procfs_descriptor.h"

#define ENTRIES_MAX (1u << 20) /* then the oldest is forgotten */
#define ALL 3u

struct entry { uint32_t inode, rights; }; /* a pipe's number has 32 bits */
static struct entry *entries;
static unsigned room, used, next;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int make_room(void) {
    if (used < room || room == ENTRIES_MAX) return 0;
    unsigned more = room ? 2 * room : 64;
    struct entry *moved = realloc(entries, more * sizeof *entries);
    if (moved == NULL) return -ENOMEM;
    entries = moved;
    room = more;
    return 0;
}

static int add(uint64_t inode, unsigned rights) { /* with lock held */
    if (make_room() < 0) return -ENOMEM;
    entries[next] = (struct entry){(uint32_t)inode, rights};
    next = (next + 1) % ENTRIES_MAX;
    if (used < room) used++;
    return 0;
}

int handed_note(const int *fds, int count) {
    int error = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < count && error == 0; i++) {
        struct stat status;
        int flags = fcntl(fds[i], F_GETFL);
        if (flags >= 0 && fstat(fds[i], &status) == 0 && S_ISFIFO(status.st_mode)) error = add(status.st_ino, procfs_descriptor_rights((unsigned)flags));
    }
    pthread_mutex_unlock(&lock);
    return error;
}

/* INVARIANT own-rights */
unsigned handed_rights(uint64_t inode) {
    unsigned rights = 0;
    bool known = false;
    pthread_mutex_lock(&lock);
    for (unsigned i = 0; i < used; i++) {
        if (entries[i].inode != inode) continue;
        known = true;
        rights |= entries[i].rights;
    }
    pthread_mutex_unlock(&lock);
    return known ? rights : ALL;
}
