#include "pts.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include "loop.h"
#include "mounts.h"
#include "process.h"
#include "procfs_descriptor.h"

#define MULTIPLEXER makedev(5, 2)

struct search { dev_t slave; unsigned number; int access; bool found; };

/* The number of the terminal, where `info` is that of its master. */
static unsigned master_of(int process, const char *info) {
    char text[512];
    guest_text(process, info, text, sizeof text);
    const char *index = strstr(text, "tty-index:");
    return index ? (unsigned)strtoul(index + 10, NULL, 10) : UINT32_MAX;
}

/* Has the process the master of the terminal, or the terminal itself with the rights that are asked for? What a descriptor may do is told
 * of the file that is held: the guest may put another there between two looks, the terminal's name after one that it may write. */
static bool look(pid_t leader, int process, void *data) {
    (void)leader;
    struct search *search = data;
    char name[32];
    DIR *descriptors = process_list(process, "fd");
    if (descriptors == NULL) return true;
    for (struct dirent *entry; !search->found && (entry = readdir(descriptors)) != NULL;) {
        struct stat status;
        unsigned flags;
        if (entry->d_name[0] == '.' || fstatat(dirfd(descriptors), entry->d_name, &status, 0) < 0) continue;
        if (!S_ISCHR(status.st_mode) || (status.st_rdev != MULTIPLEXER && status.st_rdev != search->slave)) continue;
        snprintf(name, sizeof name, "fdinfo/%.16s", entry->d_name);
        if (status.st_rdev == MULTIPLEXER) { /* nothing but a master tells such a number */
            search->found = master_of(process, name) == search->number;
            continue;
        }
        snprintf(name, sizeof name, "fd/%.16s", entry->d_name);
        cleanup_close int held = procfs_descriptor_hold(process, name, &flags);
        search->found = held >= 0 && fstat(held, &status) == 0 && S_ISCHR(status.st_mode) && status.st_rdev == search->slave && procfs_descriptor_may(flags, search->access);
    }
    closedir(descriptors);
    return !search->found;
}

/* Others are served meanwhile: the guest may have many descriptors. 0 or -errno. */
static int find_own(dev_t slave, unsigned number, int access) {
    struct search search = {slave, number, access, false};
    if (!loop_leave()) return -ENOMEM;
    process_each(look, &search);
    return search.found ? 0 : -EACCES;
}

static int open_multiplexer(int flags) {
    char link[32];
    if (mounts_multiplexer() < 0) return -ENOENT;
    held_link(mounts_multiplexer(), link);
    int fd = openat(mounts_proc(), link, (flags & (O_ACCMODE | O_NONBLOCK)) | O_NOCTTY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* Looked for before, so that no terminal of the host is touched, and after: a number that has come again meanwhile is
 * another's. */
int pts_open(const struct place *place, int flags) {
    struct stat status;
    if (strcmp(place->name, "ptmx") == 0) return flags & O_DIRECTORY ? -ENOTDIR : open_multiplexer(flags);
    if (place->name[0] == 0 || fstatat(place->dir, place->name, &status, AT_SYMLINK_NOFOLLOW) < 0) return walk_open(place, flags, 0);
    unsigned number = (unsigned)strtoul(place->name, NULL, 10);
    int access = flags & O_ACCMODE;
    int error = S_ISCHR(status.st_mode) ? find_own(status.st_rdev, number, access) : -EACCES;
    if (error) return error;
    cleanup_close int fd = walk_open(place, flags, 0);
    if (fd < 0) return take(&fd);
    error = find_own(status.st_rdev, number, access);
    return error ? error : take(&fd);
}
