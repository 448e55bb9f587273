/* process.h: the processes of this guest, found by their tag. */
#ifndef SBX_PROCESS_H
#define SBX_PROCESS_H
#include <dirent.h>
#include <signal.h>
#include "guest.h"

/* The directory of a process in /proc, held before its number is judged: the number may be another's by then, or later; the directory of a
 * process that has ended shows nothing. A descriptor, or -errno; -ENOENT: it is none of the guest. */
int process_hold(pid_t pid);
/* A directory below one that is held, and not by a link, to be read; or NULL. */
DIR *process_list(int process, const char *name);
/* Every process of the guest, but the launcher and what it has not started yet: its directory, held. `visit` returns false to stop. */
void process_each(bool (*visit)(pid_t leader, int process, void *data), void *data);
/* Is this the id of a process or thread of the guest? */
bool process_is_guest(pid_t tid);
/* Has process `leader`, whose directory is held, a descriptor of the file `device`, `inode`? Where `ours` >= 0: of the same open file
 * description as that descriptor of ours. */
bool process_holds(pid_t leader, int process, dev_t device, ino_t inode, int ours);

/* Signals, to processes of the guest only. A process is held by a pidfd before it is judged: its number may be another's
 * meanwhile, the descriptor not. Of many, one that could be signalled is enough. 0, -ESRCH or -EPERM. */
int process_signal(pid_t pid, int signal, siginfo_t *info);
int process_signal_group(pid_t group, int signal);
int process_signal_all(pid_t but, int signal);
#endif
