#include "mounts_points.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER 16384

static int top = -1, scratch = -1;

int points_setup(int in, int scratch_in) {
    top = in;
    scratch = scratch_in;
    return mkdirat(top, "base", 0700) < 0 || mkdirat(top, "skeleton", 0755) < 0 ? -errno : 0;
}

static struct point source_of(uint32_t i) {
    bool is_scratch = mount_table_kind((int)i) == SBX_MOUNT_SCRATCH;
    struct point point = {.directory = is_scratch ? scratch : top};
    if (is_scratch) snprintf(point.name, sizeof point.name, "%u", i);
    else if (i == 0) strcpy(point.name, "skeleton");
    else snprintf(point.name, sizeof point.name, "base/%u", i);
    return point;
}

static int copy(int from, int directory, const char *name, mode_t mode) {
    int to = openat(directory, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, mode);
    if (to < 0) return -errno;
    char buffer[BUFFER];
    off_t at = 0;
    ssize_t got;
    while ((got = pread(from, buffer, sizeof buffer, at)) > 0 && write(to, buffer, (size_t)got) == got) at += got;
    int error = got < 0 ? -errno : got > 0 ? -ENOSPC : 0;
    close(to);
    return error;
}

int points_source(uint32_t i, const int *files, struct point *source) {
    const struct sbx_mount *mount = plan_mount(mount_table.plan, i);
    bool bytes = mount->kind == SBX_MOUNT_BYTES && !mount_table.rows[i].in_skeleton;
    if (!bytes && mount->kind != SBX_MOUNT_SKELETON && mount->kind != SBX_MOUNT_SCRATCH) return 0;
    *source = source_of(i);
    if (bytes) {
        int error = copy(files[mount->handle], source->directory, source->name, mount->flags & SBX_MOUNT_EXEC ? 0555 : 0444);
        return error < 0 ? error : 1;
    }
    if (i == 0 && mount->kind == SBX_MOUNT_SKELETON) return 1;
    mode_t mode = mount->kind == SBX_MOUNT_SKELETON ? 0755 : mount->flags & SBX_MOUNT_STICKY ? 01777 : 0700;
    if (mkdirat(source->directory, source->name, mode) < 0) return -errno;
    return fchmodat(source->directory, source->name, mode, 0) < 0 ? -errno : 1; /* whatever the parent hands down */
}

static int make_parents(int directory, char *path) {
    for (char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        int error = mkdirat(directory, path, 0755) < 0 && errno != EEXIST ? -errno : 0;
        *slash = '/';
        if (error) return error;
    }
    return 0;
}

/* The point of mount `i`; its parents are there. */
static int make(uint32_t i, const int *files, int directory, const char *path) {
    const struct sbx_mount *mount = plan_mount(mount_table.plan, i);
    const struct mounted *row = &mount_table.rows[i];
    if (row->in_skeleton) return copy(row->copied >= 0 ? row->copied : files[mount->handle], directory, path, 0444);
    int made;
    if (mount->kind == SBX_MOUNT_LINK) made = symlinkat(plan_text(mount_table.plan, mount->source), directory, path);
    else made = row->single ? mknodat(directory, path, S_IFREG | 0644, 0) : mkdirat(directory, path, 0755);
    return made < 0 && errno != EEXIST ? -errno : 0;
}

int points_place(uint32_t i, const int *files) {
    int holder = mount_table.rows[i].holder;
    enum sbx_mount_kind kind = mount_table_kind(holder);
    if (kind != SBX_MOUNT_SKELETON && kind != SBX_MOUNT_SCRATCH) return 0;
    struct point in = source_of((uint32_t)holder);
    const char *guest = plan_text(mount_table.plan, plan_mount(mount_table.plan, i)->guest);
    uint32_t skip = holder == 0 ? 0 : plan_mount(mount_table.plan, (uint32_t)holder)->guest_length;
    char path[SBX_PATH_MAX + sizeof in.name];
    snprintf(path, sizeof path, "%s%s", in.name, guest + skip);
    int error = make(i, files, in.directory, path);
    if (error != -ENOENT) return error;
    error = make_parents(in.directory, path); /* most points have none that another has not made */
    return error < 0 ? error : make(i, files, in.directory, path);
}
