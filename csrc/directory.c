#include "directory.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEPT 16

static struct directory kept[KEPT];
static unsigned next_victim;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool set_up, given_up;

static void drop(struct directory *directory) { /* with lock held, unused */
    guest_close(&directory->fd);
    directory->stale = false;
}

static struct directory *find(pid_t tid, int fd) { /* with lock held */
    for (int i = 0; i < KEPT; i++) {
        if (kept[i].fd < 0 || kept[i].stale || kept[i].number != fd) continue;
        int same = guest_same_file(tid, fd, kept[i].fd);
        if (same == 1) return &kept[i];
        if (same == 0 && kept[i].uses == 0) drop(&kept[i]); /* closed, or another process's: most often never asked for again */
    }
    return NULL;
}

static struct directory *free_slot(void) { /* with lock held */
    for (int tries = 0; tries < KEPT; tries++) {
        struct directory *slot = &kept[next_victim++ % KEPT];
        if (slot->uses) continue;
        drop(slot);
        return slot;
    }
    return NULL;
}

static struct directory *keep(pid_t tid, int fd, int (*locate)(int, int *, char *)) { /* with lock held */
    struct stat status;
    cleanup_close int ours = guest_borrow_fd(tid, fd);
    if (ours < 0 || fstat(ours, &status) < 0 || !S_ISDIR(status.st_mode) || status.st_nlink == 0) return NULL;
    struct directory *slot = free_slot();
    if (slot == NULL || locate(ours, &slot->mount, slot->guest) < 0) return NULL;
    slot->fd = take(&ours);
    slot->number = fd;
    return slot;
}

struct directory *directory_of(pid_t tid, int fd, int (*locate)(int, int *, char *)) {
    if (fd < 0 || !guest_borrows()) return NULL;
    pthread_mutex_lock(&lock);
    for (int i = 0; !set_up && i < KEPT; i++) kept[i].fd = -1;
    set_up = true;
    struct directory *directory = given_up ? NULL : find(tid, fd);
    if (directory == NULL && !given_up) directory = keep(tid, fd, locate);
    if (directory) directory->uses++;
    pthread_mutex_unlock(&lock);
    return directory;
}

void directory_put(struct directory *directory) {
    pthread_mutex_lock(&lock);
    if (--directory->uses == 0 && directory->stale) drop(directory);
    pthread_mutex_unlock(&lock);
}

void directory_forget(void) {
    pthread_mutex_lock(&lock);
    given_up = true;
    for (int i = 0; i < KEPT && set_up; i++) {
        if (kept[i].uses) kept[i].stale = true;
        else drop(&kept[i]);
    }
    pthread_mutex_unlock(&lock);
}
