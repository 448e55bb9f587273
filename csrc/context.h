/* context.h: what a process has that the kernel does not keep for us: virtual working directory, umask, program. A
 * context is immutable; its number is in the process's tag (guest.h). Equal contexts are one. */
#ifndef SBX_CONTEXT_H
#define SBX_CONTEXT_H
#include "guest.h"

#define CONTEXT_LAUNCHER 0 /* the launcher and its fresh children: trusted, not yet a guest */

struct context {
    struct context *next;          /* of all */
    uint32_t number;
    uint32_t uses;                 /* references held by sentry threads, see context_put */
    mode_t umask;
    int cwd;                       /* O_PATH descriptor of the working directory, or -1 for one that is special */
    int cwd_mount;
    dev_t cwd_device;              /* of cwd, set by context_enter */
    ino_t cwd_inode;
    char cwd_path[SBX_PATH_MAX];   /* guest path when it was entered; the descriptor follows renames */
    char exe[SBX_PATH_MAX];        /* guest path of the program, "" before the first exec */
};

/* The context of a thread's process, or NULL where it is gone or no process of the guest. Give it back. */
struct context *context_of(pid_t tid);
void context_put(struct context *context);
/* Move the process of `tid` to a context like `wanted` (next, number, uses ignored; cwd descriptor is copied). 0 or -errno. */
int context_enter(pid_t tid, const struct context *wanted);
#endif
