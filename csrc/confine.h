/* confine.h: the walls around a sentry and its guest. Alone may call landlock_*, unshare, capset and the prctl calls that
 * give privileges up. Each function says which walls stand; none fails because a wall cannot be had. */
#ifndef SBX_CONFINE_H
#define SBX_CONFINE_H
#include <stdbool.h>
#include "core.h"

/* Leave the host's namespaces as far as `walls` (bits of 1 << enum sbx_wall) asks and the kernel lets us; notes what
 * stands and why not in `ready`. Returns the walls that stand. */
uint32_t confine_namespaces(uint32_t walls, uint64_t caller_mounts, struct sbx_ready *ready);
/* No new privileges, no capabilities, no core dumps. 0 or -errno: these always stand or nothing runs. */
int confine_privileges(void);
/* The sentry's Landlock domain: the mounts as granted, the stub, and /proc. Returns the walls that stand. */
uint32_t confine_sentry(uint32_t walls, int stub, bool memory_by_proc, struct sbx_ready *ready);
/* The guest's, inside it: the stub may be executed and read, nothing else. In the launcher. 0 or -errno. */
int confine_guest(int stub, int landlock_abi);
/* Limits that the kernel keeps for each process of the guest, and the tag. In the launcher. `own_users`: a user namespace stands.
 * 0 or -errno. */
int confine_limits(const struct sbx_limits *limits, uint64_t tag, bool own_users);
/* The limit of open files, 0: none. In the launcher's child, which then has its descriptors. 0 or -errno. */
int confine_files(uint64_t open_files);
/* Bring up the loopback of a network namespace that the sentry has entered; every port may be bound there. It has 127.0.0.2 and
 * ::ffff:127.0.0.2, too. 0 or -errno. */
int confine_loopback(void);
#endif
