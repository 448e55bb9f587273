#include "mounts_in_place.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "mounts_points.h"
#include "mounts_table.h"

/* The descriptor of `host`, or -errno. */
static int make_directories(const char *host) {
    int top = open(host, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (top < 0) return mount_table_fail(-errno, "open scratch directory", host);
    mkdirat(top, "scratch", 0700);
    mount_table.scratch = openat(top, "scratch", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int error = mount_table.scratch < 0 ? -errno : points_setup(top, mount_table.scratch);
    return error < 0 ? mount_table_fail(error, "make directories in", host) : top;
}

static int open_source(uint32_t i, const int *files) {
    const struct sbx_mount *mount = plan_mount(mount_table.plan, i);
    struct point source = {.directory = AT_FDCWD};
    struct stat status;
    int made = points_source(i, files, &source);
    if (made < 0) return made;
    if (made) return (mount_table.rows[i].fd = openat(source.directory, source.name, O_PATH | O_CLOEXEC)) < 0 ? -errno : 0;
    if (mount->kind != SBX_MOUNT_HOST) return 0;
    int fd = mount_table.rows[i].fd = open(plan_text(mount_table.plan, mount->source), O_PATH | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) < 0) return -errno;
    mount_table.rows[i].single = !S_ISDIR(status.st_mode);
    return 0;
}

static int note_host(uint32_t i) {
    char link[64], text[SBX_PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", mount_table.rows[i].fd);
    ssize_t length = readlink(link, text, sizeof text - 1);
    if (length < 0) return -errno;
    text[length] = 0;
    return mount_table_name(i, strcmp(text, "/") == 0 ? "" : text);
}

static int open_mount(uint32_t i, const int *files) {
    struct mounted *row = &mount_table.rows[i];
    int error = open_source(i, files);
    if (error < 0) return mount_table_fail_at(error, "mount", i);
    if ((error = points_place(i, files)) < 0) return mount_table_fail_at(error, "mount point", i);
    if (mount_table_kind((int)i) == SBX_MOUNT_PTS) {
        row->fd = open("/dev/pts", O_PATH | O_DIRECTORY | O_CLOEXEC);
        mount_table.multiplexer = open("/dev/ptmx", O_PATH | O_CLOEXEC);
    }
    error = row->fd < 0 ? 0 : note_host(i);
    return error < 0 ? mount_table_fail_at(error, "name of mount", i) : 0;
}

int mounts_in_place(const int *files) {
    const char *host = plan_text(mount_table.plan, mount_table.plan->scratch_host);
    int top = host[0] ? make_directories(host) : -1, error = host[0] && top < 0 ? top : 0;
    for (uint32_t i = 0; !error && i < mount_table.plan->mount_count; i++) error = open_mount(i, files);
    if (top >= 0) close(top);
    return error;
}
