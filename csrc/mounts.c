#include "mounts.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000 /* Linux 5.14 */
#endif

#define COPY_MAX 131072

struct mounted {
    int fd;
    bool single;
    bool in_skeleton; /* a BYTES row, or a copied file: a file of the skeleton `holder`: no mount of its own */
    int holder;
    char *host; /* how the kernel shows it: /m/3, or its host path; "" where it has none */
    size_t host_length;
};

static const struct sbx_plan *plan;
static struct mounted *mounted;
static bool whole;
static int proc = -1;
static int skeleton = -1; /* directory that becomes mount 0 where the plan has no other root */
static int base = -1;     /* directory that holds skeleton, scratch and files */
static int scratch_in_place = -1;
static int multiplexer = -1;
static int *early = NULL; /* clones of the host mounts, made before our own root lies over /tmp; NULL without one */
static char failed[SBX_PATH_MAX + 64];

const struct sbx_plan *mounts_plan(void) { return plan; }
int mounts_fd(int mount) { return mounted[mount].fd; }
bool mounts_single_file(int mount) { return mounted[mount].single; }
bool mounts_whole(void) { return whole; }
int mounts_scratch(void) { return scratch_in_place; }
int mounts_multiplexer(void) { return multiplexer; }
int mounts_proc(void) { return proc; }
bool mounts_flag(int mount, enum sbx_mount_flag flag) { return (plan_mount(plan, (uint32_t)mount)->flags & flag) != 0; }

static int open_tree_of(int fd) {
    return (int)syscall(SYS_open_tree, fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
}

static int fail(const char *what, const char *on, const char **why) {
    int error = errno;
    snprintf(failed, sizeof failed, "%s %s", what, on);
    *why = failed;
    return -error;
}

/* A clone of the tree at fd with the flags of the mount enforced by the kernel; it replaces fd. */
static int clone_tree(int *fd, uint32_t flags) {
    int tree = open_tree_of(*fd);
    if (tree < 0) return -errno;
    struct mount_attr attributes = {.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOSYMFOLLOW};
    if (!(flags & SBX_MOUNT_WRITABLE)) attributes.attr_set |= MOUNT_ATTR_RDONLY;
    if (!(flags & SBX_MOUNT_EXEC)) attributes.attr_set |= MOUNT_ATTR_NOEXEC;
    if (!(flags & SBX_MOUNT_DEVICE)) attributes.attr_set |= MOUNT_ATTR_NODEV;
    attributes.propagation = MS_PRIVATE;
    if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes, sizeof attributes) < 0) {
        int error = errno;
        close(tree);
        return -error;
    }
    close(*fd);
    *fd = tree;
    return 0;
}

static int make_tmpfs(uint64_t bytes, uint64_t files, const char *mode) {
    int context = (int)syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC);
    if (context < 0) return -errno;
    char text[32];
    syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, "mode", mode, 0);
    if (bytes) {
        snprintf(text, sizeof text, "%llu", (unsigned long long)bytes);
        syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, "size", text, 0);
    }
    if (files) {
        snprintf(text, sizeof text, "%llu", (unsigned long long)files);
        syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, "nr_inodes", text, 0);
    }
    int fd = -1, error = 0;
    if (syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) error = errno;
    else if ((fd = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)) < 0) error = errno;
    close(context);
    return fd < 0 ? -error : fd;
}

static int make_proc(void) {
    int context = (int)syscall(SYS_fsopen, "proc", FSOPEN_CLOEXEC);
    if (context < 0) return -errno;
    int fd = -1, error = 0;
    if (syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) error = errno;
    else if ((fd = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)) < 0) error = errno;
    close(context);
    return fd < 0 ? -error : fd;
}

/* Parents of a mount point, in the skeleton; then the point itself as a directory, file or link. Points below another
 * mount than "/" are made only where that mount is a scratch of ours. */
static int make_point(int root, const char *guest, const struct sbx_mount *mount, bool directory) {
    char path[SBX_PATH_MAX];
    snprintf(path, sizeof path, "%s", guest + 1);
    for (char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        if (mkdirat(root, path, 0755) < 0 && errno != EEXIST) return -errno;
        *slash = '/';
    }
    if (mount->kind == SBX_MOUNT_LINK) return symlinkat(plan_text(plan, mount->source), root, path) < 0 && errno != EEXIST ? -errno : 0;
    if (directory) return mkdirat(root, path, 0755) < 0 && errno != EEXIST ? -errno : 0;
    int fd = openat(root, path, O_CREAT | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0) return errno == EISDIR ? 0 : -errno;
    close(fd);
    return 0;
}

/* The mount that holds the directory of a mount point. */
static int holder_of(const char *guest) {
    char parent[SBX_PATH_MAX];
    uint32_t rest;
    snprintf(parent, sizeof parent, "%s", guest);
    char *slash = strrchr(parent, '/');
    *(slash == parent ? slash + 1 : slash) = 0;
    return sbx_plan_find(plan, parent, &rest);
}

static enum sbx_mount_kind kind_at(int mount) { return mount < 0 ? SBX_MOUNT_NONE : (enum sbx_mount_kind)plan_mount(plan, (uint32_t)mount)->kind; }

/* A file of the default view that may as well be copied: its mount costs ten calls, its bytes three. */
static bool is_copied(uint32_t i) {
    const struct sbx_mount *mount = plan_mount(plan, i);
    struct stat status;
    return early && mount->kind == SBX_MOUNT_HOST && mount->flags & SBX_MOUNT_COPY && early[i] >= 0 &&
           kind_at(holder_of(plan_text(plan, mount->guest))) == SBX_MOUNT_SKELETON && fstat(early[i], &status) == 0 &&
           S_ISREG(status.st_mode) && status.st_size <= COPY_MAX;
}

static int copy_bytes(int from, int directory, const char *name) {
    int to = openat(directory, name, O_CREAT | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (to < 0) return -errno;
    char buffer[65536];
    off_t at = 0;
    ssize_t got;
    while ((got = pread(from, buffer, sizeof buffer, at)) > 0 && write(to, buffer, (size_t)got) == got) at += got;
    int error = got < 0 ? -errno : got > 0 ? -ENOSPC : 0;
    fchmod(to, 0444);
    close(to);
    return error;
}

/* A descriptor for mount `i` before any cloning. -1 with errno 0: served otherwise. */
static int open_source(uint32_t i, const int *files, int scratch) {
    const struct sbx_mount *mount = plan_mount(plan, i);
    char name[16];
    snprintf(name, sizeof name, "%u", i);
    errno = 0;
    switch (mount->kind) {
    case SBX_MOUNT_SKELETON: /* the root, or a directory above mount points that another root does not have */
        if (i == 0) return fcntl(skeleton, F_DUPFD_CLOEXEC, 0);
        if (mkdirat(base, name, 0755) < 0) return -1;
        return openat(base, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    case SBX_MOUNT_HOST:
        return early ? early[i] : open(plan_text(plan, mount->source), O_PATH | O_CLOEXEC);
    case SBX_MOUNT_SCRATCH: {
        mode_t mode = mount->flags & SBX_MOUNT_STICKY ? 01777 : 0700;
        if (mkdirat(scratch, name, 0700) < 0) return -1;
        int fd = openat(scratch, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd >= 0) fchmod(fd, mode);
        return fd;
    }
    case SBX_MOUNT_BYTES: {
        int error = copy_bytes(files[mount->handle], base, name);
        errno = -error;
        return error < 0 ? -1 : openat(base, name, O_PATH | O_CLOEXEC);
    }
    default: return -1;
    }
}

static int note_host(uint32_t i) {
    char link[64], text[SBX_PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", mounted[i].fd);
    ssize_t length = readlink(link, text, sizeof text - 1);
    if (length < 0) return -errno;
    text[length] = 0;
    mounted[i].host = strdup(strcmp(text, "/") == 0 ? "" : text);
    mounted[i].host_length = strlen(mounted[i].host);
    return 0;
}

/* Make the point of mount `i`, in the skeleton or in the scratch that holds it; elsewhere it is only in the guest's view. */
static int place_point(uint32_t i, const int *files) {
    const struct sbx_mount *mount = plan_mount(plan, i);
    const char *guest = plan_text(plan, mount->guest);
    int holder = i == 0 ? -1 : holder_of(guest);
    enum sbx_mount_kind kind = kind_at(holder);
    if (kind != SBX_MOUNT_SKELETON && kind != SBX_MOUNT_SCRATCH) return 0;
    uint32_t skip = holder == 0 ? 0 : plan_mount(plan, (uint32_t)holder)->guest_length;
    int error = make_point(mounted[holder].fd, guest + skip, mount, !mounted[i].single);
    if (!error && mounted[i].in_skeleton) {
        int from = mount->kind == SBX_MOUNT_BYTES ? files[mount->handle] : early[i];
        error = copy_bytes(from, mounted[holder].fd, guest + skip + 1);
        if (mount->kind != SBX_MOUNT_BYTES) close(from);
    }
    return error == -EROFS ? 0 : error;
}

static int open_one(uint32_t i, const int *files, int scratch, bool clone, const char **why) {
    const struct sbx_mount *mount = plan_mount(plan, i);
    const char *guest = plan_text(plan, mount->guest);
    int holder = mount->kind == SBX_MOUNT_BYTES || is_copied(i) ? holder_of(guest) : -1;
    bool in_skeleton = kind_at(holder) == SBX_MOUNT_SKELETON;
    mounted[i] = (struct mounted){.fd = -1, .in_skeleton = in_skeleton, .holder = holder, .single = in_skeleton};
    if (!in_skeleton) {
        mounted[i].fd = open_source(i, files, scratch);
        if (mounted[i].fd < 0 && errno) return fail("mount", guest, why);
        struct stat status = {0};
        if (mounted[i].fd >= 0 && fstat(mounted[i].fd, &status) < 0) return fail("mount", guest, why);
        mounted[i].single = mounted[i].fd >= 0 ? !S_ISDIR(status.st_mode)
                                               : mount->kind == SBX_MOUNT_SERVICE || mount->kind == SBX_MOUNT_TTY;
    }
    int error = place_point(i, files);
    if (error < 0) {
        errno = -error;
        return fail("mount point", guest, why);
    }
    /* Skeleton and scratch take their clones last: mount points are still made in them. */
    bool late = mount->kind == SBX_MOUNT_SCRATCH || mount->kind == SBX_MOUNT_SKELETON, done = early && mount->kind == SBX_MOUNT_HOST;
    error = clone && !late && !done && mounted[i].fd >= 0 ? clone_tree(&mounted[i].fd, mount->flags) : 0;
    if (error < 0) {
        errno = -error;
        return fail("clone of mount", guest, why);
    }
    return 0;
}

static int open_all(const int *files, int scratch, bool clone, const char **why) {
    for (uint32_t i = 0; i < plan->mount_count; i++) {
        int error = open_one(i, files, scratch, clone, why);
        if (error < 0) return error;
    }
    for (uint32_t i = 0; clone && i < plan->mount_count; i++) {
        const struct sbx_mount *mount = plan_mount(plan, i);
        if (mount->kind != SBX_MOUNT_SCRATCH && mount->kind != SBX_MOUNT_SKELETON) continue;
        int error = clone_tree(&mounted[i].fd, mount->flags);
        if (error < 0) {
            errno = -error;
            return fail("clone of mount", plan_text(plan, mount->guest), why);
        }
    }
    return 0;
}

/* Put every clone at /m/<i> below the new root, so that the kernel's own names tell mount and rest. */
static int attach_all(int root, const char **why) {
    if (mkdirat(root, "m", 0755) < 0) return fail("mkdir", "/m", why);
    for (uint32_t i = 0; i < plan->mount_count; i++) {
        if (mounted[i].fd < 0) continue;
        char point[24];
        snprintf(point, sizeof point, "m/%u", i);
        int made = mounted[i].single ? openat(root, point, O_CREAT | O_WRONLY | O_CLOEXEC, 0600) : mkdirat(root, point, 0755);
        if (made < 0) return fail("mkdir", point, why);
        if (mounted[i].single) close(made);
        if (syscall(SYS_move_mount, mounted[i].fd, "", root, point, MOVE_MOUNT_F_EMPTY_PATH) < 0)
            return fail("attach", point, why);
    }
    return 0;
}

/* What is hidden is covered, too: a descriptor's fstat is native here and takes a path beside it, which no filter can read. */
static int cover(int root, int mount, const char *name, const char **why) {
    struct stat status;
    int hidden = openat(mounted[mount].fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC); /* the mount follows no link on the way */
    if (hidden < 0) return 0; /* not there */
    if (fstat(hidden, &status) < 0) return fail("hide", name, why);
    int nothing = openat(root, S_ISDIR(status.st_mode) ? "base/directory" : "base/file", O_PATH | O_CLOEXEC);
    int error = S_ISLNK(status.st_mode) ? 0 : nothing < 0 ? -errno : clone_tree(&nothing, 0);
    if (error == 0 && !S_ISLNK(status.st_mode) &&
        syscall(SYS_move_mount, nothing, "", hidden, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0) error = -errno;
    close(nothing);
    close(hidden);
    errno = -error;
    return error < 0 ? fail("hide", name, why) : 0;
}

static int cover_hidden(int root, const char **why) {
    int file = openat(root, "base/file", O_CREAT | O_WRONLY | O_CLOEXEC, 0);
    if (file < 0 || mkdirat(root, "base/directory", 0) < 0) return fail("mkdir in", "the root", why);
    close(file);
    for (uint32_t i = 0; i < plan->mount_count; i++) {
        const struct sbx_mount *mount = plan_mount(plan, i);
        const char *name = plan_text(plan, mount->hide);
        for (uint32_t n = 0; n < mount->hide_count && mounted[i].fd >= 0; n++, name += strlen(name) + 1) {
            int error = cover(root, (int)i, name, why);
            if (error < 0) return error;
        }
    }
    return 0;
}

static void make_pts(void) {
    for (uint32_t i = 0; i < plan->mount_count; i++) {
        if (plan_mount(plan, i)->kind != SBX_MOUNT_PTS) continue;
        int context = (int)syscall(SYS_fsopen, "devpts", FSOPEN_CLOEXEC);
        if (context < 0) return;
        syscall(SYS_fsconfig, context, FSCONFIG_SET_FLAG, "newinstance", NULL, 0);
        syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, "ptmxmode", "0666", 0);
        syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, "mode", "0620", 0);
        if (syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
            mounted[i].fd = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOSYMFOLLOW);
        close(context);
    }
}

/* Step onto the new root and drop what lies below it. */
static int enter_root(int root, const char **why) {
    if (fchdir(root) < 0) return fail("chdir", "root", why);
    if (syscall(SYS_pivot_root, ".", ".") < 0) return fail("pivot_root", "root", why);
    if (umount2(".", MNT_DETACH) < 0) return fail("umount", "old root", why);
    return chdir("/") < 0 ? fail("chdir", "/", why) : 0;
}

/* Host mounts may lie below /tmp, where our root is attached for the time being, or hold it. */
static int clone_early(const char **why) {
    early = calloc(plan->mount_count, sizeof *early);
    if (early == NULL) return -ENOMEM;
    for (uint32_t i = 0; i < plan->mount_count; i++) {
        const struct sbx_mount *mount = plan_mount(plan, i);
        if (mount->kind != SBX_MOUNT_HOST) continue;
        const char *source = plan_text(plan, mount->source);
        early[i] = mount->flags & SBX_MOUNT_COPY ? open(source, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC) : -1;
        if (is_copied(i)) continue;
        if (early[i] >= 0) close(early[i]);
        early[i] = open(source, O_PATH | O_CLOEXEC);
        if (early[i] < 0) return fail("mount", plan_text(plan, mount->guest), why);
        int error = clone_tree(&early[i], mount->flags);
        if (error == 0) continue;
        errno = -error;
        return fail("clone of mount", plan_text(plan, mount->guest), why);
    }
    return 0;
}

static int setup_own_root(const int *files, const char **why) {
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) return fail("make private", "/", why);
    int early_error = clone_early(why);
    if (early_error < 0) return early_error;
    int root = make_tmpfs(0, 0, "0755");
    if (root < 0) {
        errno = -root;
        return fail("tmpfs for", "the root", why);
    }
    int scratch = make_tmpfs(plan->limits.scratch_bytes, plan->limits.scratch_files, "0755");
    if (scratch < 0) {
        errno = -scratch;
        return fail("tmpfs for", "scratch", why);
    }
    int proc_mount = make_proc();
    /* open_tree clones only what is attached in our namespace: attach root and scratch. */
    if (mkdirat(root, "proc", 0555) < 0 || mkdirat(root, "base", 0755) < 0 || mkdirat(root, "scratch", 0755) < 0 || mkdirat(root, "skeleton", 0755) < 0)
        return fail("mkdir in", "the root", why);
    const char *at = plan_text(plan, plan->scratch_host); /* empty and the Supervisor's own: no source lies below it */
    if (at[0] == 0) at = "/tmp";
    if (syscall(SYS_move_mount, root, "", AT_FDCWD, at, MOVE_MOUNT_F_EMPTY_PATH) < 0) return fail("attach", at, why);
    if (syscall(SYS_move_mount, scratch, "", root, "scratch", MOVE_MOUNT_F_EMPTY_PATH) < 0) return fail("attach", "scratch", why);
    base = openat(root, "base", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    skeleton = openat(root, "skeleton", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int inside = openat(root, "scratch", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int error = open_all(files, inside, true, why);
    if (error < 0) return error;
    make_pts();
    if ((error = attach_all(root, why)) < 0 || (error = cover_hidden(root, why)) < 0) return error;
    if (proc_mount >= 0) {
        if (syscall(SYS_move_mount, proc_mount, "", root, "proc", MOVE_MOUNT_F_EMPTY_PATH) < 0) return fail("attach", "/proc", why);
    } else { /* a masked /proc cannot be mounted anew: take the one that is there */
        int old = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
        int tree = old < 0 ? -1 : open_tree_of(old);
        if (tree < 0 || syscall(SYS_move_mount, tree, "", root, "proc", MOVE_MOUNT_F_EMPTY_PATH) < 0) return fail("attach", "/proc", why);
        close(old);
        close(tree);
    }
    if ((error = enter_root(root, why)) < 0) return error;
    umount2("/scratch", MNT_DETACH); /* reached by its clones only */
    struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSYMFOLLOW};
    int here = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    syscall(SYS_mount_setattr, here, "", AT_EMPTY_PATH, &read_only, sizeof read_only);
    close(here);
    for (uint32_t i = 0; i < plan->mount_count; i++) { /* descriptors by their attached names */
        if (mounted[i].fd < 0) continue;
        char point[24];
        snprintf(point, sizeof point, "/m/%u", i);
        int fd = open(point, O_PATH | O_CLOEXEC);
        if (fd < 0) return fail("open", point, why);
        close(mounted[i].fd);
        mounted[i].fd = fd;
    }
    close(inside);
    close(scratch);
    close(root);
    whole = true;
    return 0;
}

static int setup_in_place(const int *files, const char **why) {
    const char *host = plan_text(plan, plan->scratch_host);
    int scratch = -1;
    if (host[0]) {
        int top = open(host, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (top < 0) return fail("open scratch directory", host, why);
        mkdirat(top, "base", 0700);
        mkdirat(top, "skeleton", 0755);
        mkdirat(top, "scratch", 0700);
        base = openat(top, "base", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        skeleton = openat(top, "skeleton", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        scratch = openat(top, "scratch", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        close(top);
        if (base < 0 || skeleton < 0 || scratch < 0) return fail("make directories in", host, why);
    }
    int error = open_all(files, scratch, false, why);
    scratch_in_place = scratch;
    for (uint32_t i = 0; !error && i < plan->mount_count; i++) {
        if (plan_mount(plan, i)->kind != SBX_MOUNT_PTS) continue;
        mounted[i].fd = open("/dev/pts", O_PATH | O_DIRECTORY | O_CLOEXEC);
        multiplexer = open("/dev/ptmx", O_PATH | O_CLOEXEC);
    }
    return error;
}

int mounts_possible(void) {
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) return -errno;
    int clone = (int)syscall(SYS_open_tree, AT_FDCWD, "/proc/self", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
    int context = clone < 0 ? -1 : (int)syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC);
    int error = context < 0 ? errno : 0;
    if (clone >= 0) close(clone);
    if (context >= 0) close(context);
    return -error;
}

int mounts_setup(const struct sbx_plan *the_plan, const int *files, bool own_root, const char **why) {
    plan = the_plan;
    mounted = calloc(plan->mount_count, sizeof *mounted);
    if (mounted == NULL) return -ENOMEM;
    int error = own_root ? setup_own_root(files, why) : setup_in_place(files, why);
    if (error < 0) return error;
    for (uint32_t i = 0; i < plan->mount_count; i++) {
        if (mounted[i].fd >= 0 && (error = note_host(i)) < 0) return error;
        if (plan_mount(plan, i)->kind == SBX_MOUNT_PROC) {
            mounted[i].host = strdup("/proc");
            mounted[i].host_length = 5;
        }
    }
    close(base);
    close(skeleton);
    proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return proc < 0 ? fail("open", "/proc", why) : 0;
}

int mounts_find(const char *guest, uint32_t *rest) {
    int mount = sbx_plan_find(plan, guest, rest);
    if (mount <= 0 || !mounted[mount].in_skeleton) return mount;
    int holder = mounted[mount].holder;
    *rest = holder == 0 ? 1 : plan_mount(plan, (uint32_t)holder)->guest_length + 1;
    return holder;
}

int mounts_locate(const char *kernel_path, size_t *rest) {
    int best = -1;
    size_t best_length = 0;
    for (uint32_t i = 0; i < plan->mount_count; i++) {
        const struct mounted *mount = &mounted[i];
        if (mount->host == NULL || (best >= 0 && mount->host_length < best_length)) continue;
        if (strncmp(kernel_path, mount->host, mount->host_length) != 0) continue;
        char next = kernel_path[mount->host_length];
        if (next != 0 && next != '/') continue;
        /* Two grants of one file: the stricter wins. */
        if (best >= 0 && mount->host_length == best_length && plan_mount(plan, i)->flags & SBX_MOUNT_WRITABLE) continue;
        best = (int)i;
        best_length = mount->host_length;
    }
    *rest = best_length + (best >= 0 && kernel_path[best_length] == '/');
    return best;
}
