/* exec_slots.h: the execs under way, each in a slot from its call until the stub has been told what to load, and those that
 * have to wait for one. Nobody stands by for a waiting exec: whoever ends one takes the next one up. */
#ifndef SBX_EXEC_SLOTS_H
#define SBX_EXEC_SLOTS_H
#include "image.h"

/* A slot for the thread, which may now be traced: one at a time in a thread group, or two execs would wait for each
 * other's threads. -EAGAIN, or -ESRCH where a sibling's exec has just ended this thread. */
int slots_take(const struct request *request, pid_t tgid);
/* The same; -EBUSY: the call has been put off, and comes again by slots_deferred. */
int slots_take_or_defer(const struct request *request, pid_t tgid);
/* An exec that was put off and may be served now. */
bool slots_deferred(struct seccomp_notif *notification);
void slots_release(int slot);

/* The one call that the thread is to make, and which goes on in the kernel. */
void slots_arm(int slot, const uint64_t args[6]);
void slots_disarm(int slot);
bool slots_expects(const struct request *request);
/* Thread group of a thread that is armed, or 0. */
pid_t slots_group_of(pid_t tid);

/* The exec has happened: keep a copy of the image, which owns the descriptors from now on, for the process's LOAD. */
void slots_keep(int slot, const struct image *image);
void slots_program_of(pid_t tgid, char exe[SBX_PATH_MAX]);
/* Slot of the process whose LOAD this is, or -1. Then release it, or let it wait for another LOAD. */
int slots_load(pid_t tgid);
void slots_load_again(int slot);
struct image *slots_image(int slot);
#endif
