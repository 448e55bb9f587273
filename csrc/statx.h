/* statx(2), which a musl before 1.2.4 has not. */
#ifndef SBX_STATX_H
#define SBX_STATX_H
#include <sys/stat.h>
#ifndef STATX_BASIC_STATS
#include <linux/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static inline int statx(int dir, const char *path, int flags, unsigned mask, struct statx *status) {
    return (int)syscall(SYS_statx, dir, path, flags, mask, status);
}
#endif
#endif
