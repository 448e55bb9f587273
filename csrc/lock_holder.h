/* lock_holder.h: who holds locks on which file: the table behind lock.c, and the thread that watches its processes. */
#ifndef SBX_LOCK_HOLDER_H
#define SBX_LOCK_HOLDER_H
#include "fs_place.h"

/* A process (fcntl), or an open file description of a read-only grant (flock). */
struct holder {
    struct holder *next;
    bool by_description;
    pid_t leader;
    int owner;  /* pidfd of the process, or a copy of the description */
    int bearer; /* our open file description, which has the locks */
    dev_t device;
    ino_t inode;
};

/* The table is one thread's at a time. */
void holder_lock(void);
void holder_unlock(void);
/* Let others in, until a lock is released or `milliseconds` have passed. */
void holder_wait(int milliseconds);
void holder_released(void); /* wake who waits */

/* With the table held: the holder of `leader` (or of the description `file->fd`) for the file, or NULL. */
struct holder *holder_find(const struct held *file, pid_t leader, bool by_description);
/* The same, made where there is none. 0 or -errno. */
int holder_make(const struct held *file, pid_t leader, bool by_description, struct holder **holder);
void holder_drop(struct holder *holder);
/* Drop those of other holders of the file whose owner has gone or has closed it. True if any were. */
bool holder_prune(const struct held *file, const struct holder *but);
/* Process of this guest whose lock on the file starts and ends there, or -1. */
pid_t holder_owner(const struct held *file, off_t start, off_t length);
#endif
