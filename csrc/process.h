/* process.h: the processes of this guest, found by their tag. */
#ifndef SBX_PROCESS_H
#define SBX_PROCESS_H
#include "guest.h"

/* Every process of the guest, but the launcher and what it has not started yet. `visit` returns false to stop. */
void process_each(bool (*visit)(pid_t leader, void *data), void *data);
/* Is this the id of a process or thread of the guest? */
bool process_is_guest(pid_t tid);
/* Has process `leader` a descriptor of the file `device`, `inode`? Where `ours` >= 0: of the same open file description as
 * that descriptor of ours. */
bool process_holds(pid_t leader, dev_t device, ino_t inode, int ours);
#endif
