#include "procfs.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "burst.h"
#include "interface.h"
#include "loop.h"
#include "process.h"
#include "procfs_descriptor.h"
#include "rpc.h"
#include "walk.h"

/* What is `name` below a directory, which is of the process `pid`? As procfs_look. */
typedef int look_below(pid_t pid, const char *name, enum procfs_kind *kind, char target[SBX_PATH_MAX]);
static look_below look_sys, look_fd, look_fdinfo, look_net, look_task;

struct entry { const char *name; enum procfs_kind kind; look_below *below; };
#define TEXT(name) {name, PROCFS_FILE, NULL}
#define LINK(name) {name, PROCFS_LINK, NULL}
#define DIRECTORY(name, below) {name, PROCFS_DIRECTORY, below}

/* What stands in /proc itself; directories of processes come on top. */
static const struct entry top[] = {
    LINK("self"), LINK("thread-self"), LINK("mounts"), LINK("net"), DIRECTORY("sys", look_sys),
    TEXT("cpuinfo"), TEXT("filesystems"), TEXT("loadavg"), TEXT("meminfo"), TEXT("stat"), TEXT("swaps"), TEXT("uptime"),
    TEXT("version"), TEXT("vmstat"), {NULL, PROCFS_MISSING, NULL},
};
static const struct entry of_process[] = {
    TEXT("cgroup"), TEXT("cmdline"), TEXT("comm"), TEXT("environ"), TEXT("auxv"), TEXT("limits"), TEXT("maps"), TEXT("smaps"),
    TEXT("mountinfo"), TEXT("mounts"), TEXT("oom_score"), TEXT("oom_score_adj"), TEXT("stat"), TEXT("statm"), TEXT("status"),
    TEXT("io"), LINK("cwd"), LINK("exe"), LINK("root"), DIRECTORY("fd", look_fd), DIRECTORY("fdinfo", look_fdinfo),
    DIRECTORY("net", look_net), DIRECTORY("task", look_task), {NULL, PROCFS_MISSING, NULL},
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

static const struct entry *find(const struct entry *table, const char *name, size_t length) {
    for (; table->name; table++)
        if (strlen(table->name) == length && memcmp(table->name, name, length) == 0) return table;
    return NULL;
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
static bool is_guest(long pid) { return process_is_guest((pid_t)pid); }

static int look_sys(pid_t pid, const char *name, enum procfs_kind *kind, char target[SBX_PATH_MAX]) {
    (void)pid, (void)target;
    *kind = below_sys(name);
    return *kind == PROCFS_MISSING ? -ENOENT : 0;
}

static int look_net(pid_t pid, const char *name, enum procfs_kind *kind, char target[SBX_PATH_MAX]) {
    (void)pid, (void)target;
    *kind = PROCFS_FILE;
    return in_list(of_net, name) ? 0 : -ENOENT;
}

static int look_fd(pid_t pid, const char *name, enum procfs_kind *kind, char target[SBX_PATH_MAX]) {
    long fd = number_of(name, strlen(name));
    return fd < 0 ? -ENOENT : procfs_descriptor_look(pid, fd, kind, target);
}

static int look_fdinfo(pid_t pid, const char *name, enum procfs_kind *kind, char target[SBX_PATH_MAX]) {
    (void)pid, (void)target;
    *kind = PROCFS_FILE;
    return number_of(name, strlen(name)) < 0 ? -ENOENT : 0;
}

/* Of a process that has ended the links stand and lead nowhere: *target "". */
static int look_link(pid_t pid, const char *name, char target[SBX_PATH_MAX]) {
    char link[32];
    struct stat status;
    snprintf(link, sizeof link, "%d/%s", pid, name);
    bool ended = fstatat(guest_proc(), link, &status, 0) < 0 && errno == ENOENT;
    struct context *context = ended ? NULL : context_of(pid);
    target[0] = 0;
    if (context == NULL) return 0;
    int error = 0;
    if (strcmp(name, "exe") == 0) strcpy(target, context->exe);
    else if (strcmp(name, "root") == 0) strcpy(target, "/");
    else error = walk_cwd(context, target);
    context_put(context);
    return error;
}

/* "PID/..." of a process, or of a thread below its "task". */
enum whose { OF_PROCESS, OF_THREAD };
static int look_process(const char *name, enum whose whose, enum procfs_kind *kind, char target[SBX_PATH_MAX]) {
    size_t length = strcspn(name, "/");
    pid_t pid = (pid_t)number_of(name, length);
    if (!is_guest(pid) || (whose == OF_PROCESS && guest_leader(pid) != pid)) return -ENOENT;
    *kind = PROCFS_DIRECTORY;
    if (name[length] == 0) return 0;
    name += length + 1;
    length = strcspn(name, "/");
    const struct entry *entry = find(of_process, name, length);
    if (entry == NULL || (whose == OF_THREAD && entry->below == look_task)) return -ENOENT;
    *kind = entry->kind;
    if (name[length]) {
        int error = entry->below ? entry->below(pid, name + length + 1, kind, target) : -ENOTDIR;
        return is_guest(pid) ? error : -ENOENT; /* what was told may be another's that has the number by now */
    }
    return *kind == PROCFS_LINK ? look_link(pid, name, target) : 0;
}

static int look_task(pid_t pid, const char *name, enum procfs_kind *kind, char target[SBX_PATH_MAX]) {
    long tid = number_of(name, strcspn(name, "/"));
    if (tid <= 0 || guest_leader((pid_t)tid) != pid) return -ENOENT;
    return look_process(name, OF_THREAD, kind, target);
}

/* A link in /proc itself. */
static int look_own(pid_t tid, const char *name, char target[SBX_PATH_MAX]) {
    pid_t leader = guest_leader(tid);
    if (leader < 0) return leader;
    if (strcmp(name, "self") == 0) snprintf(target, SBX_PATH_MAX, "%d", leader);
    else if (strcmp(name, "thread-self") == 0) snprintf(target, SBX_PATH_MAX, "%d/task/%d", leader, tid);
    else snprintf(target, SBX_PATH_MAX, "self/%s", name);
    return 0;
}

int procfs_look(const struct request *request, const char *name, enum procfs_kind *kind, char target[SBX_PATH_MAX]) {
    *kind = PROCFS_DIRECTORY;
    if (name[0] == 0) return 0;
    size_t length = strcspn(name, "/");
    if (number_of(name, length) >= 0) return look_process(name, OF_PROCESS, kind, target);
    const struct entry *entry = find(top, name, length);
    if (entry == NULL) return -ENOENT;
    *kind = entry->kind;
    if (name[length] && entry->below) return entry->below(0, name + length + 1, kind, target);
    if (name[length]) return *kind == PROCFS_FILE ? -ENOTDIR : -ENOENT;
    return *kind == PROCFS_LINK ? look_own(request->tid, name, target) : 0;
}

/* What is to be opened or looked at: `name` below `directory`, which is the process's where it is in one. */
struct within { int directory, owned; const char *name; };
static void within_done(struct within *within) { guest_close(&within->owned); }
#define cleanup_within __attribute__((cleanup(within_done)))

/* INVARIANT own-processes: a process is held by its directory before its number is judged. 0 or -errno. */
static int hold(const char *name, struct within *within) {
    size_t length = strcspn(name, "/");
    *within = (struct within){guest_proc(), -1, name[0] ? name : "."};
    long pid = number_of(name, length);
    if (pid < 0) return 0;
    within->directory = within->owned = process_hold((pid_t)pid);
    within->name = name[length] ? name + length + 1 : ".";
    return within->owned < 0 ? within->owned : 0;
}

int procfs_stat(const struct request *request, const struct place *place, struct stat *status) {
    enum procfs_kind kind;
    char target[SBX_PATH_MAX];
    int error = procfs_look(request, place->name, &kind, target);
    if (error < 0) return error;
    bool follow = kind == PROCFS_MAGIC && !(request->flags & AT_SYMLINK_NOFOLLOW);
    if (place->directory && kind != PROCFS_DIRECTORY) return -ENOTDIR;
    struct within within cleanup_within;
    if ((error = hold(place->name, &within)) < 0) return error;
    return fstatat(within.directory, within.name, status, follow ? 0 : AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

bool procfs_listed(const char *directory, const char *name) {
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) return true;
    size_t length = strlen(name);
    if (directory[0] == 0) return find(top, name, length) || is_guest(number_of(name, length));
    if (strcmp(directory, "sys") == 0 || strncmp(directory, "sys/", 4) == 0) {
        char path[SBX_PATH_MAX];
        snprintf(path, sizeof path, "%s/%s", directory, name);
        return below_sys(path + 4) != PROCFS_MISSING;
    }
    const char *slash = strchr(directory, '/');
    if (slash == NULL) return find(of_process, name, length);
    const char *last = strrchr(directory, '/') + 1;
    if (strcmp(last, "net") == 0) return in_list(of_net, name);
    if (strncmp(slash, "/task/", 6) == 0 && number_of(last, strlen(last)) >= 0)
        return strcmp(name, "task") != 0 && find(of_process, name, length);
    return true; /* fd, fdinfo, task: the guest's own */
}

/* ---- opening --------------------------------------------------------------------------------------------------------------- */

/* The virtual umask of the process that "123/status" is about. */
static int64_t umask_of(const char *name) {
    struct context *context = context_of((pid_t)number_of(name, strcspn(name, "/")));
    int64_t umask = context ? context->umask & 0777 : 0;
    context_put(context);
    return umask;
}

static int open_within(const struct within *within, int flags) {
    int fd = openat(within->directory, within->name, flags | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* A name of the kernel's, of which nothing can be read (INVARIANT path-only: whoever opens it anew is served). */
static int open_name(const struct within *within) { return open_within(within, O_PATH | O_NOFOLLOW); }

/* A text that the Supervisor makes out of the kernel's own. */
static int open_text(struct request *request, const char *name, const struct within *within) {
    loop_leave();
    const char *last = strrchr(name, '/');
    if (last && strcmp(last, "/status") == 0) burst_end(); /* it shows an affinity */
    cleanup_close int raw = open_within(within, O_RDONLY);
    if (raw < 0 && raw != -ENOENT) return raw;
    /* Of the host's network the Supervisor's own text is shown. */
    bool hosts = strstr(name, "/net/") && !interface_is_own();
    return rpc_serve(SBX_SERVE_PROC, request->tid | umask_of(name) << 32, name, hosts ? -1 : raw, &request->service);
}

int procfs_open(struct request *request, const struct place *place, int flags) {
    enum procfs_kind kind;
    char target[SBX_PATH_MAX];
    int error = procfs_look(request, place->name, &kind, target);
    if (error < 0) return error;
    struct within within cleanup_within;
    if ((error = hold(place->name, &within)) < 0) return error;
    bool writes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC);
    bool link = kind == PROCFS_LINK || kind == PROCFS_MAGIC;
    if (link && (flags & O_NOFOLLOW) && (flags & O_DIRECTORY)) return -ENOTDIR;
    if (kind == PROCFS_LINK || (link && (flags & O_NOFOLLOW))) return flags & O_PATH ? open_name(&within) : -ELOOP;
    if (kind == PROCFS_MAGIC) return procfs_descriptor_open(within.directory, within.name, flags);
    if ((flags & O_CREAT) && (flags & O_EXCL)) return -EEXIST;
    if (kind == PROCFS_DIRECTORY) return writes || (flags & O_CREAT) ? -EISDIR : open_within(&within, (flags & O_PATH) | O_RDONLY | O_DIRECTORY);
    if (flags & O_DIRECTORY || place->directory) return -ENOTDIR;
    if (flags & O_PATH) return open_name(&within);
    return writes ? -EACCES : open_text(request, place->name, &within);
}
