#include "special.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include "loop.h"
#include "mounts.h"
#include "procfs.h"
#include "rpc.h"
#include "tty.h"

static const struct sbx_mount *mount_of(const struct place *place) { return plan_mount(mounts_plan(), (uint32_t)place->mount); }

int special_stat(const struct request *request, const struct place *place, struct stat *status) {
    uint32_t kind = mount_of(place)->kind;
    if (kind == SBX_MOUNT_PROC) return procfs_stat(request, place, status);
    memset(status, 0, sizeof *status);
    bool tty = kind == SBX_MOUNT_TTY;
    status->st_ino = 0x5b000000u + (ino_t)place->mount;
    status->st_mode = tty ? S_IFCHR | 0666 : S_IFREG | 0444;
    status->st_rdev = tty ? makedev(5, 0) : 0;
    status->st_nlink = 1;
    status->st_uid = getuid();
    status->st_gid = getgid();
    status->st_blksize = 4096;
    return 0;
}

static int open_service(struct request *request, int64_t handle, int flags) {
    if ((flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC)) return -EROFS;
    loop_leave();
    return rpc_serve(SBX_SERVE_FILE, handle, "", -1, &request->service);
}

static int open_special(struct request *request, const struct place *place, int flags) {
    const struct sbx_mount *mount = mount_of(place);
    if (mount->kind == SBX_MOUNT_PROC) return procfs_open(request, place, flags);
    if (flags & O_DIRECTORY) return -ENOTDIR;
    struct stat status;
    if (flags & O_PATH) return special_stat(request, place, &status) < 0 ? -ENXIO : walk_open_name(place->mount, status.st_mode & 0777);
    switch (mount->kind) {
    case SBX_MOUNT_TTY: return tty_open(request->tid, flags);
    case SBX_MOUNT_SERVICE: return open_service(request, mount->handle, flags);
    default: return -ENXIO;
    }
}

/* INVARIANT path-only: a name asks nobody, and is nothing but a name. */
int special_open(struct request *request, const struct place *place, int flags) {
    cleanup_close int fd = open_special(request, place, flags);
    if (fd >= 0 && (flags & O_PATH) && !(fcntl(fd, F_GETFL) & O_PATH)) return -EACCES;
    return take(&fd);
}
