/* lock.h: flock and fcntl locks. A lock on a read-only grant would stop the host, so it is the guest's own: kept beside the
 * file. fcntl's classic locks belong to a process, and only the process itself could set them; letting the kernel go on
 * with its call would read the guest's memory and descriptors again. So each process's locks on one file are borne by an
 * open file description of ours (F_OFD_SETLK), in the kernel's own table: they meet those of other guests and of the host.
 *
 * What is not as on Linux: a lock whose process has closed the file without unlocking is noticed when it stands in
 * another's way and the process has no descriptor of the file left, not at once; EDEADLK is not found; F_GETLK names no
 * owner outside this guest; descriptors that share an open file description across fork are told apart for flock on a
 * read-only grant only where kcmp works. */
#ifndef SBX_LOCK_H
#define SBX_LOCK_H
#include "answer.h"
struct answer lock_flock(struct request *);
struct answer lock_fcntl(struct request *); /* F_GETLK, F_SETLK, F_SETLKW and the F_OFD_ ones */
#endif
