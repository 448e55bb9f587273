/* guest.h: bytes and descriptors in and out of a guest process, its tag, and whether a notification still stands.
 * Alone may call process_vm_*, /proc/TID/mem, pidfd_getfd, kcmp and the prlimit that reads and moves tags. */
#ifndef SBX_GUEST_H
#define SBX_GUEST_H
#include <fcntl.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <unistd.h>
#include "core.h"

#define cleanup_close __attribute__((cleanup(guest_close)))
void guest_close(int *fd);                 /* closes *fd where it is >= 0 */
static inline int take(int *fd) { int had = *fd; *fd = -1; return had; }

/* A small text below a directory of /proc: how many bytes, 0 where it cannot be read. A NUL is behind them. */
static inline size_t guest_text(int directory, const char *path, char *text, size_t size) {
    cleanup_close int fd = openat(directory, path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, size - 1);
    text[got > 0 ? got : 0] = 0;
    return got > 0 ? (size_t)got : 0;
}

/* Choose how guest memory is reached: process_vm_* where a recycled pid cannot be another's process (a pid namespace or
 * Landlock stands), else a descriptor of /proc/TID/mem opened before the notification is checked. */
void guest_setup(int listener, int proc, uint64_t tag, bool pids_are_ours);
int guest_listener(void);
int guest_proc(void);                      /* descriptor of the /proc that shows the guest's pids as notifications do */

/* All `size` bytes, else -EFAULT. */
int guest_read(pid_t tid, uint64_t address, void *to, size_t size);
int guest_write(pid_t tid, uint64_t address, const void *from, size_t size);
/* To a thread that is held by ptrace, so its pid cannot be another's. */
int guest_write_held(pid_t tid, uint64_t address, const void *from, size_t size);
/* A NUL-terminated string with its NUL: its length, -EFAULT, or -ENAMETOOLONG when no NUL comes in `size` bytes. */
int guest_read_string(pid_t tid, uint64_t address, char *to, size_t size);

/* An ioctl of the listener: its locks are interruptible, and a call that is not answered hangs its caller for ever. */
int guest_notify(unsigned long request, void *argument);
/* INVARIANT still-there: true while the notification waits for its answer. */
bool guest_alive(uint64_t id);
/* The same, made once after copying and before acting: pins the memory that guest_write will use. */
bool guest_check(pid_t tid, uint64_t id);
void guest_forget(void);                   /* end of a request: drop what guest_check pinned */
pid_t guest_leader(pid_t tid);             /* thread group of a thread, or -ESRCH */
/* Put a copy of fd into the caller of notification `id`. Its number there, or -errno. Does not answer. */
int guest_inject(uint64_t id, int fd, bool close_on_exec);
/* Where pidfd_getfd is refused: who borrows instead (borrow.c). */
void guest_lender(int (*borrow)(uint64_t id, pid_t tid, int fd), bool needed);
bool guest_borrows(void);                  /* pidfd_getfd and kcmp work here: borrowing is cheap */
/* A descriptor of ours for descriptor `fd` of the thread: the same open file description. -errno as the guest would see. */
int guest_borrow_fd(pid_t tid, int fd);

/* Is descriptor `fd` of process `pid` the same open file description as `ours`? 1 or 0; -errno where kcmp is refused. */
int guest_same_file(pid_t pid, int fd, int ours);

/* The context number in the low half of the tag; -ESRCH where the process is gone or is no process of this guest. */
int64_t guest_context(pid_t tid);
int guest_set_context(pid_t tid, uint32_t context);
/* Its soft limit of descriptors stands in the way: raised to the hard one for as long as its thread waits or is held. True where
 * guest_limit_files must follow. */
bool guest_extend_files(pid_t pid, struct rlimit64 *old);
void guest_limit_files(pid_t pid, const struct rlimit64 *old);
#endif
