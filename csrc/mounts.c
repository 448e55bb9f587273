#include "mounts.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "mounts_in_place.h"
#include "mounts_points.h"
#include "mounts_table.h"

#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000 /* Linux 5.14 */
#endif

#define COPY_MAX 65536 /* bytes: a larger file costs more than its mount */

/* ---- making ---------------------------------------------------------------------------------------------------------- */

struct option { const char *name, *value; }; /* the last has no name; one without a value is left out */

/* A file system of its own, attached nowhere: a descriptor, or -errno. */
static int make(const char *type, unsigned attributes, const struct option *options) {
    int context = (int)syscall(SYS_fsopen, type, FSOPEN_CLOEXEC);
    if (context < 0) return -errno;
    for (; options->name; options++)
        if (options->value) syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, options->name, options->value, 0);
    int fd = (int)syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
    if (fd == 0) fd = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, attributes);
    int error = fd < 0 ? -errno : 0;
    close(context);
    return error ? error : fd;
}

static int make_tmpfs(uint64_t bytes, uint64_t files) {
    char size[24], inodes[24];
    snprintf(size, sizeof size, "%llu", (unsigned long long)bytes);
    snprintf(inodes, sizeof inodes, "%llu", (unsigned long long)files);
    const struct option options[] = {{"mode", "0755"}, {"size", bytes ? size : NULL}, {"nr_inodes", files ? inodes : NULL}, {0}};
    return make("tmpfs", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, options);
}

static int make_pts(void) {
    static const struct option options[] = {{"ptmxmode", "0666"}, {"mode", "0620"}, {0}};
    int fd = make("devpts", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOSYMFOLLOW, options);
    return fd < 0 ? -1 : fd; /* a guest without terminals */
}

static int clone_as_is(int directory, const char *name) {
    int tree = (int)syscall(SYS_open_tree, directory, name, AT_EMPTY_PATH | AT_NO_AUTOMOUNT | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
    return tree < 0 ? -errno : tree;
}

/* A clone of the tree there, with the flags of a mount enforced by the kernel: a descriptor, or -errno. */
static int clone_tree(int directory, const char *name, uint32_t flags) {
    int tree = clone_as_is(directory, name);
    if (tree < 0) return tree;
    struct mount_attr attributes = {.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOSYMFOLLOW, .propagation = MS_PRIVATE};
    if (!(flags & SBX_MOUNT_WRITABLE)) attributes.attr_set |= MOUNT_ATTR_RDONLY;
    if (!(flags & SBX_MOUNT_EXEC)) attributes.attr_set |= MOUNT_ATTR_NOEXEC;
    if (!(flags & SBX_MOUNT_DEVICE)) attributes.attr_set |= MOUNT_ATTR_NODEV;
    if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes, sizeof attributes) == 0) return tree;
    int error = -errno;
    close(tree);
    return error;
}

/* /proc of our pid namespace; a masked one cannot be mounted anew: then the one that is there. */
static int make_proc(void) {
    static const struct option none[] = {{0}};
    if (getpid() == 1) return MOUNTS_SPAWN_PROC;
    int proc = make("proc", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, none);
    return proc < 0 ? clone_as_is(AT_FDCWD, "/proc") : proc;
}

static int attach(int fd, int directory, const char *name) {
    return syscall(SYS_move_mount, fd, "", directory, name, MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0 ? -errno : 0;
}

/* ---- a root of our own ------------------------------------------------------------------------------------------------ */

/* A file of the default view may as well be copied: its mount costs more calls than its bytes. */
static bool may_be_copied(uint32_t i) {
    const struct sbx_mount *mount = plan_mount(mount_table.plan, i);
    return mount->flags & SBX_MOUNT_COPY && !(mount->flags & SBX_MOUNT_DEVICE) && mount_table_kind(mount_table.rows[i].holder) == SBX_MOUNT_SKELETON;
}

static int open_host(uint32_t i) {
    const struct sbx_mount *mount = plan_mount(mount_table.plan, i);
    struct mounted *row = &mount_table.rows[i];
    const char *source = plan_text(mount_table.plan, mount->source);
    struct stat status;
    int opened = may_be_copied(i) ? open(source, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC) : -1;
    bool known = opened >= 0 && fstat(opened, &status) == 0;
    if (known && S_ISREG(status.st_mode) && status.st_size <= COPY_MAX) {
        row->copied = opened;
        row->in_skeleton = row->single = true;
        return 0;
    }
    row->fd = opened >= 0 ? clone_tree(opened, "", mount->flags) : clone_tree(AT_FDCWD, source, mount->flags);
    if (opened >= 0) close(opened);
    if (row->fd < 0) return mount_table_fail_at(row->fd, "clone of mount", i);
    if (!known && fstat(row->fd, &status) < 0) return mount_table_fail_at(-errno, "mount", i);
    row->single = !S_ISDIR(status.st_mode);
    return 0;
}

/* Host mounts may lie below /tmp, where our root is attached for the time being, or hold it. */
static int open_hosts(void) {
    for (uint32_t i = 0; i < mount_table.plan->mount_count; i++) {
        int error = mount_table_kind((int)i) == SBX_MOUNT_HOST ? open_host(i) : 0;
        if (error < 0) return error;
    }
    return 0;
}

/* The new root, and a tmpfs for scratch. Only what is attached in our namespace can be cloned: both lie on a directory of
 * the old root, scratch below, and go with it. */
static int make_root(int *root, int *scratch) {
    const struct sbx_plan *plan = mount_table.plan;
    const char *at = plan_text(plan, plan->scratch_host); /* empty and the Supervisor's own: no source lies below it */
    if (at[0] == 0) at = "/tmp";
    *root = make_tmpfs(0, 0);
    if (*root < 0) return mount_table_fail(*root, "tmpfs for", "the root");
    *scratch = make_tmpfs(plan->limits.scratch_bytes, plan->limits.scratch_files);
    if (*scratch < 0) return mount_table_fail(*scratch, "tmpfs for", "scratch");
    if (mkdirat(*root, "proc", 0555) < 0 || mkdirat(*root, "m", 0755) < 0) return mount_table_fail(-errno, "mkdir in", "the root");
    int error = attach(*scratch, AT_FDCWD, at);
    if (!error) error = attach(*root, *scratch, "");
    if (error < 0) return mount_table_fail(error, "attach", at);
    return (error = points_setup(*root, *scratch)) < 0 ? mount_table_fail(error, "mkdir in", "the root") : 0;
}

/* Put the clone at /m/<i> below the new root, so that the kernel's own names tell mount and rest. */
static int attach_mount(uint32_t i, int root) {
    char name[24];
    struct mounted *row = &mount_table.rows[i];
    if (row->fd < 0) return 0;
    snprintf(name, sizeof name, "/m/%u", i);
    int made = row->single ? mknodat(root, name + 1, S_IFREG | 0600, 0) : mkdirat(root, name + 1, 0755);
    if (made < 0) return mount_table_fail(-errno, "mkdir", name);
    int error = attach(row->fd, root, name + 1);
    return error < 0 ? mount_table_fail(error, "attach", name) : mount_table_name(i, name);
}

static int make_mount(uint32_t i, const int *files, int root) {
    struct mounted *row = &mount_table.rows[i];
    struct point source = {.directory = -1};
    int made = points_source(i, files, &source);
    if (made < 0) return mount_table_fail_at(made, "mount", i);
    if (made) row->fd = clone_tree(source.directory, source.name, plan_mount(mount_table.plan, i)->flags);
    if (made && row->fd < 0) return mount_table_fail_at(row->fd, "clone of mount", i);
    if (mount_table_kind((int)i) == SBX_MOUNT_PTS) row->fd = make_pts();
    int error = points_place(i, files);
    if (error < 0) return mount_table_fail_at(error, "mount point", i);
    if (row->copied >= 0) close(row->copied);
    return attach_mount(i, root);
}

/* What is hidden is covered, too: a descriptor's fstat is native here and takes a path beside it, which no filter can read. */
static int cover(int root, uint32_t i, const char *name) {
    struct stat status;
    int hidden = openat(mount_table.rows[i].fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC); /* the mount follows no link on the way */
    if (hidden < 0) return 0; /* not there */
    if (fstat(hidden, &status) < 0) return mount_table_fail(-errno, "hide", name);
    bool directory = S_ISDIR(status.st_mode);
    const char *empty = directory ? "base/directory" : "base/file";
    int error = 0;
    if (!S_ISLNK(status.st_mode)) {
        int made = directory ? mkdirat(root, empty, 0) : mknodat(root, empty, S_IFREG, 0);
        int nothing = made < 0 && errno != EEXIST ? -errno : clone_tree(root, empty, 0);
        error = nothing < 0 ? nothing : attach(nothing, hidden, "");
        if (nothing >= 0) close(nothing);
    }
    close(hidden);
    return error < 0 ? mount_table_fail(error, "hide", name) : 0;
}

static int cover_hidden(int root) {
    for (uint32_t i = 0; i < mount_table.plan->mount_count; i++) {
        const struct sbx_mount *mount = plan_mount(mount_table.plan, i);
        const char *name = plan_text(mount_table.plan, mount->hide);
        for (uint32_t n = 0; n < mount->hide_count && mount_table.rows[i].fd >= 0; n++, name += strlen(name) + 1) {
            int error = cover(root, i, name);
            if (error < 0) return error;
        }
    }
    return 0;
}

/* Step onto the new root and drop what lies below it. */
static int enter_root(int root) {
    struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSYMFOLLOW};
    if (fchdir(root) < 0) return mount_table_fail(-errno, "chdir", "root");
    if (syscall(SYS_pivot_root, ".", ".") < 0) return mount_table_fail(-errno, "pivot_root", "root");
    if (umount2(".", MNT_DETACH) < 0) return mount_table_fail(-errno, "umount", "old root");
    if (chdir("/") < 0) return mount_table_fail(-errno, "chdir", "/");
    long made = syscall(SYS_mount_setattr, root, "", AT_EMPTY_PATH, &read_only, sizeof read_only);
    return made < 0 ? mount_table_fail(-errno, "make read-only", "root") : 0;
}

static int setup_own_root(const int *files) {
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) return mount_table_fail(-errno, "make private", "/");
    int root = -1, scratch = -1, proc, error = open_hosts();
    if (error < 0 || (error = make_root(&root, &scratch)) < 0) return error;
    for (uint32_t i = 0; i < mount_table.plan->mount_count; i++)
        if ((error = make_mount(i, files, root)) < 0) return error;
    if ((error = cover_hidden(root)) < 0) return error;
    if ((proc = make_proc()) < 0 || (error = attach(proc, root, "proc")) < 0) return mount_table_fail(proc < 0 ? proc : error, "attach", "/proc");
    if ((error = enter_root(root)) < 0) return error;
    close(proc);
    close(scratch);
    close(root);
    mount_table.whole = true;
    return 0;
}

/* ---- both -------------------------------------------------------------------------------------------------------------- */

int mounts_possible(void) {
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) return -errno;
    int clone = clone_as_is(AT_FDCWD, "/proc/self");
    int context = clone < 0 ? -1 : (int)syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC);
    int error = clone < 0 ? clone : context < 0 ? -errno : 0;
    if (clone >= 0) close(clone);
    if (context >= 0) close(context);
    return error;
}

int mounts_setup(const struct sbx_plan *plan, const int *files, bool own_root, const char **why) {
    int error = mount_table_setup(plan);
    if (!own_root && getpid() == 1) close(MOUNTS_SPAWN_PROC);
    if (!error) error = own_root ? setup_own_root(files) : mounts_in_place(files);
    for (uint32_t i = 0; !error && i < plan->mount_count; i++)
        if (mount_table_kind((int)i) == SBX_MOUNT_PROC) error = mount_table_name(i, "/proc");
    if (!error && (mount_table.proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0) error = mount_table_fail(-errno, "open", "/proc");
    if (error < 0 && mount_table.failed[0]) *why = mount_table.failed;
    return error;
}
