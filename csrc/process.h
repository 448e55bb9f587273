/* process.h: the processes of this guest, found by their tag. */
#ifndef SBX_PROCESS_H
#define SBX_PROCESS_H
#include <signal.h>
#include "guest.h"

/* Every process of the guest, but the launcher and what it has not started yet. `visit` returns false to stop. */
void process_each(bool (*visit)(pid_t leader, void *data), void *data);
/* Is this the id of a process or thread of the guest? */
bool process_is_guest(pid_t tid);
/* Has process `leader` a descriptor of the file `device`, `inode`? Where `ours` >= 0: of the same open file description as
 * that descriptor of ours. */
bool process_holds(pid_t leader, dev_t device, ino_t inode, int ours);

/* Signals, to processes of the guest only. A process is held by a pidfd before it is judged: its number may be another's
 * meanwhile, the descriptor not. Of many, one that could be signalled is enough. 0, -ESRCH or -EPERM. */
int process_signal(pid_t pid, int signal, siginfo_t *info);
int process_signal_group(pid_t group, int signal);
int process_signal_all(pid_t but, int signal);
#endif
