/* misc.h: calls that name no file: what is always refused, processes, limits, identity, and the commands of fcntl, ioctl
 * and prctl that the filter does not let through. */
#ifndef SBX_MISC_H
#define SBX_MISC_H
#include "answer.h"
struct answer misc_deny(struct request *);
struct answer misc_prctl(struct request *);
struct answer misc_fcntl(struct request *);
struct answer misc_ioctl(struct request *);
struct answer misc_setid(struct request *);
struct answer misc_capget(struct request *);
struct answer misc_clock(struct request *);
struct answer misc_prlimit(struct request *);
/* Other processes of the guest (misc_process.c). */
struct answer misc_kill(struct request *);
struct answer misc_priority(struct request *);
struct answer misc_sched(struct request *);
struct answer misc_getpgid(struct request *);
struct answer misc_pidfd_open(struct request *);
#endif
