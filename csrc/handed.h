/* handed.h: the pipes that came with commands, and what the caller gave of each. A pipe's number is all that tells it from others, and
 * numbers come again: the guest must not pass off a pipe of its own as the caller's. */
#ifndef SBX_HANDED_H
#define SBX_HANDED_H
#include <stdint.h>

/* The descriptors of a command: what is no pipe is left out. 0 or -ENOMEM. */
int handed_note(const int *fds, int count);
/* What was given of the pipe of this number: reading 1, writing 2; all where none has come. */
unsigned handed_rights(uint64_t inode);
#endif
