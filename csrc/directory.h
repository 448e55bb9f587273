/* directory.h: the directories that the guest's calls are relative to, kept between calls. Which one a descriptor is, the
 * kernel tells (kcmp) in one call; looking it up anew takes five. */
#ifndef SBX_DIRECTORY_H
#define SBX_DIRECTORY_H
#include "guest.h"

struct directory {
    int fd;                        /* the same open file description as the guest's */
    int mount;
    char guest[SBX_PATH_MAX];      /* guest path when it was first seen; `fd` follows renames */
    /* directory.c's own: */
    int number;
    unsigned uses;
    bool stale;
};

/* Directory `fd` of a guest thread, where it lies in a mount; NULL where it is something else or cannot be kept. Give it
 * back. `locate` names the mount and guest path of a descriptor of ours; 0 or -errno. */
struct directory *directory_of(pid_t tid, int fd, int (*locate)(int fd, int *mount, char guest[SBX_PATH_MAX]));
void directory_put(struct directory *directory);
/* Let go of all, and keep none from now on: a directory of this guest was locked, and a lock must end with the guest's last
 * descriptor of it. */
void directory_forget(void);
#endif
