/* quota.h: whole-guest limits where no cgroup keeps them: the guest's processes are counted by identity, and the guest is
 * killed when it is past a limit. What grew between two looks is the overshoot. */
#ifndef SBX_QUOTA_H
#define SBX_QUOTA_H
#include <sys/types.h>
#include "core.h"

#define QUOTA_LOOK_MS 50
/* `cgroup`: memory and processes are kept by one. `tmpfs`: scratch is bounded by its file system. */
void quota_setup(const struct sbx_plan *plan, int scratch, int cgroup, int tmpfs);
int quota_needed(void);                 /* is there anything to look at? */
enum sbx_exceeded quota_look(void);     /* which limit the guest is past now */
void quota_kill(pid_t launcher);        /* kill every process of the guest but the launcher */
#endif
