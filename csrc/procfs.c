#include "procfs.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include "interface.h"
#include "loop.h"
#include "mounts.h"
#include "rpc.h"
#include "walk.h"

struct entry { const char *name; enum procfs_kind kind; };

/* What stands in /proc itself; directories of processes come on top. */
static const struct entry top[] = {
    {"self", PROCFS_LINK}, {"thread-self", PROCFS_LINK}, {"mounts", PROCFS_LINK}, {"net", PROCFS_LINK},
    {"cpuinfo", PROCFS_FILE}, {"filesystems", PROCFS_FILE}, {"loadavg", PROCFS_FILE}, {"meminfo", PROCFS_FILE},
    {"stat", PROCFS_FILE}, {"swaps", PROCFS_FILE}, {"uptime", PROCFS_FILE}, {"version", PROCFS_FILE},
    {"vmstat", PROCFS_FILE}, {"sys", PROCFS_DIRECTORY}, {NULL, PROCFS_MISSING},
};
static const struct entry of_process[] = {
    {"cgroup", PROCFS_FILE}, {"cmdline", PROCFS_FILE}, {"comm", PROCFS_FILE}, {"environ", PROCFS_FILE}, {"auxv", PROCFS_FILE},
    {"limits", PROCFS_FILE}, {"maps", PROCFS_FILE}, {"smaps", PROCFS_FILE}, {"mountinfo", PROCFS_FILE},
    {"mounts", PROCFS_FILE}, {"oom_score", PROCFS_FILE}, {"oom_score_adj", PROCFS_FILE}, {"stat", PROCFS_FILE},
    {"statm", PROCFS_FILE}, {"status", PROCFS_FILE}, {"io", PROCFS_FILE}, {"cwd", PROCFS_LINK}, {"exe", PROCFS_LINK},
    {"root", PROCFS_LINK}, {"fd", PROCFS_DIRECTORY}, {"fdinfo", PROCFS_DIRECTORY}, {"net", PROCFS_DIRECTORY},
    {"task", PROCFS_DIRECTORY}, {NULL, PROCFS_MISSING},
};
static const char *const of_net[] = {"dev", "if_inet6", "netlink", "raw", "route", "tcp", "tcp6", "udp", "udp6", "unix", NULL};
/* Files below /proc/sys, and so the directories above them. */
static const char *const of_sys[] = {
    "fs/file-max", "fs/nr_open", "fs/pipe-max-size", "fs/inotify/max_user_instances", "fs/inotify/max_user_watches", "kernel/cap_last_cap",
    "kernel/hostname", "kernel/domainname", "kernel/ngroups_max", "kernel/osrelease", "kernel/ostype", "kernel/overflowgid",
    "kernel/overflowuid", "kernel/pid_max", "kernel/random/boot_id", "kernel/random/entropy_avail", "kernel/random/uuid",
    "kernel/sched_child_runs_first", "kernel/seccomp/actions_avail", "kernel/threads-max", "kernel/version", "kernel/yama/ptrace_scope",
    "kernel/sem", "kernel/shmmax", "kernel/shmall", "kernel/shmmni", "kernel/randomize_va_space", "kernel/perf_event_paranoid",
    "net/core/somaxconn", "net/ipv4/ip_local_port_range", "net/ipv4/tcp_fin_timeout", "net/ipv6/conf/all/disable_ipv6",
    "vm/max_map_count", "vm/mmap_min_addr", "vm/overcommit_memory", "vm/swappiness", NULL,
};

static enum procfs_kind in_table(const struct entry *table, const char *name, size_t length) {
    for (; table->name; table++)
        if (strlen(table->name) == length && memcmp(table->name, name, length) == 0) return table->kind;
    return PROCFS_MISSING;
}

static bool in_list(const char *const *list, const char *name) {
    for (; *list; list++)
        if (strcmp(*list, name) == 0) return true;
    return false;
}

static enum procfs_kind below_sys(const char *name) {
    if (in_list(of_sys, name)) return PROCFS_FILE;
    size_t length = strlen(name);
    for (const char *const *at = of_sys; *at; at++)
        if (strncmp(*at, name, length) == 0 && (*at)[length] == '/') return PROCFS_DIRECTORY;
    return PROCFS_MISSING;
}

/* A decimal number without leading zero or sign, as /proc spells pids and descriptors. -1: none. */
static long number_of(const char *text, size_t length) {
    if (length == 0 || length > 9 || (text[0] == '0' && length > 1)) return -1;
    long value = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9') return -1;
        value = value * 10 + (text[i] - '0');
    }
    return value;
}

/* INVARIANT own-processes: only processes whose tag is this guest's, and the launcher is not one of them. */
static bool is_guest(long pid) { return pid > 0 && guest_context((pid_t)pid) > CONTEXT_LAUNCHER; }

static int look_link(pid_t pid, const char *name, char target[SBX_PATH_MAX]) {
    struct context *context = context_of(pid);
    if (context == NULL) return -ESRCH;
    int error = 0;
    if (strcmp(name, "exe") == 0) strcpy(target, context->exe);
    else if (strcmp(name, "root") == 0) strcpy(target, "/");
    else error = walk_cwd(context, target);
    context_put(context);
    return error;
}

/* Opened under a name that is gone, though the file has others (one of O_TMPFILE that was linked): the kernel's text does
 * not lead to it. */
static bool renamed_away(const char *guest, const struct stat *held) {
    size_t length = strlen(guest);
    uint32_t rest = 0;
    if (length < 11 || strcmp(guest + length - 10, " (deleted)") != 0) return false;
    int mount = mounts_find(guest, &rest);
    struct stat there;
    if (mount < 0 || mounts_fd(mount) < 0 || fstatat(mounts_fd(mount), guest + rest, &there, AT_SYMLINK_NOFOLLOW) < 0) return true;
    return there.st_ino != held->st_ino || there.st_dev != held->st_dev;
}

/* What the kernel calls a descriptor that no mount holds. A file that the caller handed in: its host path is not the guest's
 * to know. A terminal's name is needed. */
static int name_foreign(pid_t pid, long fd, char target[SBX_PATH_MAX]) {
    char link[48];
    struct stat status;
    snprintf(link, sizeof link, "%d/fd/%ld", pid, fd);
    cleanup_close int held = openat(guest_proc(), link, O_PATH | O_CLOEXEC); /* the guest may replace it between two looks */
    if (held < 0) return -errno;
    snprintf(link, sizeof link, "self/fd/%d", held);
    ssize_t length = readlinkat(guest_proc(), link, target, SBX_PATH_MAX - 1);
    if (length < 0 || fstat(held, &status) < 0) return -errno;
    target[length] = 0;
    bool device = strncmp(target, "/dev/", 5) == 0 && S_ISCHR(status.st_mode);
    if (target[0] == '/' && strncmp(target, "/memfd:", 7) != 0 && !device) strcpy(target, "host:[file]");
    return 0;
}

/* A descriptor of a process: where it leads in the view, or what it is. */
static int look_descriptor(pid_t pid, long fd, enum procfs_kind *kind, char target[SBX_PATH_MAX]) {
    PLACE(place);
    int error = walk_descriptor(pid, (int)fd, &place);
    if (error == -EBADF) return -ENOENT;
    if (error < 0 && error != -EXDEV) return error;
    struct stat status;
    bool held = error == 0 && !place.special && fstat(place.dir, &status) == 0;
    if (held && S_ISLNK(status.st_mode)) { /* of a link itself: what it leads to is not what is held */
        *kind = PROCFS_MAGIC;
        strcpy(target, place.guest);
        return 0;
    }
    if (held && status.st_nlink == 0) {
        *kind = PROCFS_MAGIC;
        return snprintf(target, SBX_PATH_MAX, "%.4080s (deleted)", place.guest) > 0 ? 0 : -EIO;
    }
    *kind = error || (held && renamed_away(place.guest, &status)) ? PROCFS_MAGIC : PROCFS_LINK;
    if (!error) {
        strcpy(target, place.guest);
        return 0;
    }
    return name_foreign(pid, fd, target);
}

static int look_process(const char *name, enum procfs_kind *kind, char target[SBX_PATH_MAX], bool task) {
    size_t length = strcspn(name, "/");
    pid_t pid = (pid_t)number_of(name, length);
    if (!is_guest(pid)) return -ENOENT;
    pid_t leader = guest_leader(pid);
    if (!task && leader != pid) return -ENOENT;
    const char *rest = name + length;
    if (rest[0] == 0) {
        *kind = PROCFS_DIRECTORY;
        return 0;
    }
    rest++;
    length = strcspn(rest, "/");
    *kind = in_table(of_process, rest, length);
    const char *below = rest + length;
    if (task && strncmp(rest, "task", 4) == 0 && length == 4) *kind = PROCFS_MISSING;
    if (*kind == PROCFS_LINK && below[0] == 0) return look_link(pid, rest, target);
    if (*kind == PROCFS_MISSING) return -ENOENT;
    if (below[0] == 0) return 0;
    if (*kind != PROCFS_DIRECTORY) return -ENOTDIR;
    below++;
    if (rest[0] == 't') {
        long tid = number_of(below, strcspn(below, "/"));
        if (tid <= 0 || guest_leader((pid_t)tid) != pid) return -ENOENT;
        return look_process(below, kind, target, true);
    }
    if (rest[0] == 'n') {
        *kind = PROCFS_FILE;
        return in_list(of_net, below) ? 0 : -ENOENT;
    }
    long fd = number_of(below, strlen(below));
    if (fd < 0) return -ENOENT;
    if (length == 2) return look_descriptor(pid, fd, kind, target);
    *kind = PROCFS_FILE;
    return 0;
}

int procfs_look(const struct request *request, const char *name, enum procfs_kind *kind, char target[SBX_PATH_MAX]) {
    *kind = PROCFS_DIRECTORY;
    if (name[0] == 0) return 0;
    size_t length = strcspn(name, "/");
    if (number_of(name, length) >= 0) return look_process(name, kind, target, false);
    *kind = in_table(top, name, length);
    if (*kind == PROCFS_MISSING) return -ENOENT;
    if (name[length] && strncmp(name, "sys/", 4) != 0) return *kind == PROCFS_FILE ? -ENOTDIR : -ENOENT;
    if (name[length]) {
        *kind = below_sys(name + 4);
        return *kind == PROCFS_MISSING ? -ENOENT : 0;
    }
    if (*kind != PROCFS_LINK) return 0;
    pid_t leader = guest_leader(request->tid);
    if (leader < 0) return leader;
    if (strcmp(name, "self") == 0) snprintf(target, SBX_PATH_MAX, "%d", leader);
    else if (strcmp(name, "thread-self") == 0) snprintf(target, SBX_PATH_MAX, "%d/task/%d", leader, request->tid);
    else snprintf(target, SBX_PATH_MAX, "self/%s", name);
    return 0;
}

bool procfs_listed(const char *directory, const char *name) {
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) return true;
    size_t length = strlen(name);
    if (directory[0] == 0) return in_table(top, name, length) != PROCFS_MISSING || is_guest(number_of(name, length));
    if (strcmp(directory, "sys") == 0 || strncmp(directory, "sys/", 4) == 0) {
        char path[SBX_PATH_MAX];
        snprintf(path, sizeof path, "%s/%s", directory, name);
        return below_sys(path + 4) != PROCFS_MISSING;
    }
    const char *slash = strchr(directory, '/');
    if (slash == NULL) return in_table(of_process, name, length) != PROCFS_MISSING;
    const char *last = strrchr(directory, '/') + 1;
    if (strcmp(last, "net") == 0) return in_list(of_net, name);
    if (strncmp(slash, "/task/", 6) == 0 && number_of(last, strlen(last)) >= 0)
        return strcmp(name, "task") != 0 && in_table(of_process, name, length) != PROCFS_MISSING;
    return true; /* fd, fdinfo, task: the guest's own */
}

/* ---- handlers' part ------------------------------------------------------------------------------------------------------- */

static enum sbx_mount_kind kind_of(const struct place *place) {
    return (enum sbx_mount_kind)plan_mount(mounts_plan(), (uint32_t)place->mount)->kind;
}

int procfs_stat(const struct request *request, const struct place *place, struct stat *status) {
    enum sbx_mount_kind kind = kind_of(place);
    if (kind == SBX_MOUNT_PROC) {
        enum procfs_kind what;
        char target[SBX_PATH_MAX];
        int error = procfs_look(request, place->name, &what, target);
        if (error < 0) return error;
        bool follow = what == PROCFS_MAGIC && !(request->flags & AT_SYMLINK_NOFOLLOW);
        if (place->directory && what != PROCFS_DIRECTORY) return -ENOTDIR;
        return fstatat(guest_proc(), place->name[0] ? place->name : ".", status, follow ? 0 : AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
    }
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

/* What /proc tells of a descriptor, at once: how it was opened, and of which file it is. */
struct told { unsigned flags; long mount; unsigned long long inode; };

static int tell(const char *info, struct told *told) {
    char text[256];
    cleanup_close int fd = openat(guest_proc(), info, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (got <= 0) return -ENOENT;
    text[got] = 0;
    return sscanf(text, "pos: %*d flags: %o mnt_id: %ld ino: %llu", &told->flags, &told->mount, &told->inode) == 3 ? 0 : -ENOENT;
}

/* Open anew what a descriptor of ours holds: the guest cannot put something else in its place. */
static int reopen(int held, int flags) {
    char link[32];
    snprintf(link, sizeof link, "self/fd/%d", held);
    int opened = openat(guest_proc(), link, (flags & ~(O_CREAT | O_EXCL | O_NOFOLLOW)) | O_CLOEXEC | O_NOCTTY, 0); /* O_TMPFILE wants a mode */
    return opened < 0 ? -errno : opened;
}

/* A pipe, memfd, deleted or foreign file behind PID/fd/N or PID/task/TID/fd/N: opened anew, never with more than the
 * descriptor has. The guest may replace it at any time, so what is opened must be the file that the flags were told of. */
static int open_magic(const char *name, int flags) {
    const char *number = strrchr(name, '/');
    if (number == NULL || number - name < 3 || memcmp(number - 3, "/fd", 3) != 0) return -ENOENT;
    char info[SBX_PATH_MAX + 8], own[32];
    snprintf(info, sizeof info, "%.*sinfo%s", (int)(number - name), name, number);
    cleanup_close int held = openat(guest_proc(), name, O_PATH | O_CLOEXEC);
    if (held < 0) return -errno;
    struct told has, ours;
    struct stat status;
    snprintf(own, sizeof own, "self/fdinfo/%d", held);
    if (tell(info, &has) < 0 || tell(own, &ours) < 0 || fstat(held, &status) < 0) return -ENOENT;
    if (has.inode != ours.inode || has.mount != ours.mount) return -ENOENT;
    if (S_ISLNK(status.st_mode) && !(flags & O_PATH && !(flags & O_DIRECTORY))) return flags & O_DIRECTORY ? -ENOTDIR : -ELOOP;
    if (flags & O_PATH) return reopen(held, flags); /* gives no right: whoever opens that anew is asked again */
    unsigned want = (unsigned)flags & O_ACCMODE, may = has.flags & O_ACCMODE;
    char text[8] = ""; /* both ends of a pipe without a name, as on Linux; not those of a FIFO of the host */
    snprintf(own, sizeof own, "self/fd/%d", held);
    bool pipe = S_ISFIFO(status.st_mode) && readlinkat(guest_proc(), own, text, 5) == 5 && memcmp(text, "pipe:", 5) == 0;
    if (!pipe && (has.flags & O_PATH)) return -EACCES;
    if (!pipe && may != O_RDWR && want != may) return -EACCES;
    if (!pipe && (flags & O_TRUNC) && may == O_RDONLY) return -EACCES;
    return reopen(held, flags);
}

/* A terminal's number as /proc/PID/stat has it; 0 for what is no character device. */
static int device_of(const struct stat *status) {
    unsigned low = minor(status->st_rdev), high = major(status->st_rdev);
    return S_ISCHR(status->st_mode) ? (int)((low & 0xff) | (high << 8) | ((low & ~0xffu) << 12)) : 0;
}

/* The controlling terminal, through a descriptor of it that the process holds. */
static int open_terminal(pid_t tid, int flags) {
    char path[64], text[512];
    snprintf(path, sizeof path, "%d/stat", tid);
    int fd = openat(guest_proc(), path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0) close(fd);
    if (got <= 0) return -ENXIO;
    text[got] = 0;
    const char *after = strrchr(text, ')'); /* the name before it may hold anything */
    int terminal = 0;
    if (after == NULL || sscanf(after + 1, " %*c %*d %*d %*d %d", &terminal) != 1 || terminal == 0) return -ENXIO;
    for (int i = 0; i < 256; i++) {
        struct stat status;
        snprintf(path, sizeof path, "%d/fd/%d", tid, i);
        if (fstatat(guest_proc(), path, &status, 0) < 0 || device_of(&status) != terminal) continue;
        cleanup_close int held = openat(guest_proc(), path, O_PATH | O_CLOEXEC);
        if (held < 0 || fstat(held, &status) < 0 || device_of(&status) != terminal) continue; /* replaced meanwhile */
        int opened = reopen(held, flags & (O_ACCMODE | O_NONBLOCK | O_APPEND));
        if (opened != -EACCES) return opened;
        /* A terminal of the caller's lies below none of our mounts, so Landlock keeps it shut: share what the guest has. */
        cleanup_close int shared = guest_borrow_fd(tid, i);
        if (shared < 0 || fstat(shared, &status) < 0 || device_of(&status) != terminal) return -EACCES;
        int may = fcntl(shared, F_GETFL) & O_ACCMODE;
        return may == O_RDWR || may == (flags & O_ACCMODE) ? take(&shared) : -EACCES;
    }
    return -ENXIO;
}

/* The virtual umask of the process that "123/status" is about. */
static int64_t umask_of(const char *name) {
    struct context *context = context_of((pid_t)number_of(name, strcspn(name, "/")));
    int64_t umask = context ? context->umask & 0777 : 0;
    context_put(context);
    return umask;
}

static int open_proc(struct request *request, const struct place *place, int flags) {
    enum procfs_kind kind;
    char target[SBX_PATH_MAX];
    int error = procfs_look(request, place->name, &kind, target);
    if (error < 0) return error;
    bool writes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC);
    bool link = kind == PROCFS_LINK || kind == PROCFS_MAGIC;
    if (link && (flags & O_NOFOLLOW) && (flags & O_DIRECTORY)) return -ENOTDIR;
    if (kind == PROCFS_LINK) return flags & O_PATH ? openat(guest_proc(), place->name, O_PATH | O_NOFOLLOW | O_CLOEXEC) : -ELOOP;
    if (kind == PROCFS_MAGIC) return open_magic(place->name, flags);
    if ((flags & O_CREAT) && (flags & O_EXCL)) return -EEXIST;
    if (kind == PROCFS_DIRECTORY) {
        if (writes || (flags & O_CREAT)) return -EISDIR;
        int fd = openat(guest_proc(), place->name[0] ? place->name : ".", (flags & O_PATH) | O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
    }
    if (flags & O_DIRECTORY || place->directory) return -ENOTDIR;
    if (writes) return -EACCES;
    loop_leave();
    cleanup_close int raw = openat(guest_proc(), place->name, O_RDONLY | O_CLOEXEC);
    if (raw < 0 && errno != ENOENT) return -errno;
    if (flags & O_PATH) return raw < 0 ? -ENOENT : fcntl(raw, F_DUPFD_CLOEXEC, 0);
    /* Of the host's network the Supervisor's own text is shown. */
    bool hosts = strstr(place->name, "/net/") && !interface_is_own();
    return rpc_serve(SBX_SERVE_PROC, request->tid | umask_of(place->name) << 32, place->name, hosts ? -1 : raw, &request->service);
}

int procfs_open(struct request *request, const struct place *place, int flags) {
    switch (kind_of(place)) {
    case SBX_MOUNT_PROC: return open_proc(request, place, flags);
    case SBX_MOUNT_TTY: return open_terminal(request->tid, flags);
    case SBX_MOUNT_SERVICE:
        if ((flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC)) return -EROFS;
        if (flags & O_DIRECTORY) return -ENOTDIR;
        loop_leave();
        return rpc_serve(SBX_SERVE_FILE, plan_mount(mounts_plan(), (uint32_t)place->mount)->handle, "", -1, &request->service);
    default: return -ENXIO;
    }
}
