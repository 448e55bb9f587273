/* with: procfs.c procfs_descriptor.c handed.c process.c
 *
 * A number of a process that comes again: this one is the guest's when it is first asked about, and a stranger's from then on. Where it
 * comes again just after it was judged, what was held is not the stranger's. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "handed.h"
#include "interface.h"
#include "loop.h"
#include "mounts.h"
#include "process.h"
#include "procfs.h"
#include "rpc.h"
#include "walk_inner.h"

static int proc, asked, changes_at, shown, swaps_at;

/* Its number is another's from now on. */
static void swap(void) {
    char name[16];
    snprintf(name, sizeof name, "%d", getpid());
    assert(renameat(proc, name, proc, "ended") == 0 && renameat(proc, "stranger", proc, name) == 0);
}

int64_t guest_context(pid_t tid) {
    bool ours = tid == getpid() && asked++ < changes_at;
    if (asked == swaps_at) swap(), swaps_at = 0;
    return ours ? CONTEXT_LAUNCHER + 1 : -ESRCH;
}
pid_t guest_leader(pid_t tid) { return tid; }
int guest_proc(void) { return proc; }
void guest_close(int *fd) { if (*fd >= 0) close(*fd); }
static int left;
static bool may_leave = true;
bool loop_leave(void) { left++; return may_leave; }
void burst_end(void) { }
int loop_block_open(int (*open)(const void *what), const void *what) { return open(what); }
bool interface_is_own(void) { return true; }
int rpc_serve(enum sbx_serve service, int64_t handle, const char *name, int fd, uint64_t *id) {
    (void)service, (void)handle, (void)name, (void)id;
    shown++;
    return dup(fd);
}
struct context *context_of(pid_t tid) { (void)tid; return NULL; }
void context_put(struct context *context) { (void)context; }
int walk_cwd(const struct context *context, char guest[SBX_PATH_MAX]) { (void)context, (void)guest; return -ENOENT; }
int walk_descriptor(pid_t tid, int fd, struct place *place) { (void)tid, (void)fd, (void)place; return -EXDEV; }
int walk_below(int dir, const char *name, int flags, mode_t mode) { (void)dir, (void)name, (void)flags, (void)mode; return -ENOENT; }
void walk_none(struct place *place) { place->dir = -1; }
void walk_done(struct place *place) { (void)place; }
int mounts_find(const char *guest, uint32_t *rest) { (void)guest, (void)rest; return -1; }
int mounts_fd(int mount) { (void)mount; return -1; }
int guest_same_file(pid_t pid, int fd, int ours) { (void)pid, (void)fd, (void)ours; return 0; }

static struct request request;
static struct place place;

static int open_at(int moment, int flags) {
    asked = 0, changes_at = moment;
    int fd = procfs_open(&request, &place, flags);
    if (fd >= 0) close(fd);
    return fd < 0 ? fd : 0;
}

static int stat_at(int moment) {
    struct stat status;
    asked = 0, changes_at = moment;
    return procfs_stat(&request, &place, &status);
}

/* Stood at every moment it is served; judged once, and a stranger's when it is opened, it is not. */
static void check(const char *name, int flags) {
    int pid = getpid();
    snprintf(place.name, sizeof place.name, "%d%s", pid, name);
    assert(open_at(1000, flags) == 0 && stat_at(1000) == 0);
    shown = 0;
    assert(open_at(1, flags) == -ENOENT && shown == 0);
    assert(stat_at(1) == -ENOENT);
}

/* The other end of a pipe that is the guest's: others are served while it is looked for. */
static void check_other_end(int end) {
    snprintf(place.name, sizeof place.name, "%d/fd/%d", getpid(), end);
    left = 0;
    assert(open_at(1000, O_RDONLY) == 0 && left == 0); /* the same end is not looked for */
    assert(open_at(1000, O_WRONLY) == 0 && left > 0);
    may_leave = false;
    assert(open_at(1000, O_WRONLY) == -ENOMEM);
    may_leave = true;
}

/* The number is that of a pipe of which the caller has given one end: that there is another end by it does not count. */
static void check_handed_in(const int ends[2]) {
    snprintf(place.name, sizeof place.name, "%d/fd/%d", getpid(), ends[0]);
    assert(handed_note(&ends[0], 1) == 0);
    assert(open_at(1000, O_RDONLY) == 0 && open_at(1000, O_WRONLY) == -EACCES && open_at(1000, O_RDWR) == -EACCES);
    assert(handed_note(&ends[1], 1) == 0);
    assert(open_at(1000, O_WRONLY) == 0 && open_at(1000, O_RDWR) == 0);
}

static void make_process(const char *name, struct stat *status) {
    char path[48];
    assert(mkdirat(proc, name, 0700) == 0);
    snprintf(path, sizeof path, "%s/fd", name);
    assert(mkdirat(proc, path, 0700) == 0);
    snprintf(path, sizeof path, "%s/fd/3", name);
    int fd = openat(proc, path, O_WRONLY | O_CREAT, 0600);
    assert(fd >= 0 && fstat(fd, status) == 0 && close(fd) == 0);
}

struct visits { struct stat own, strangers; int count; };
static bool visit(pid_t leader, int process, void *data) {
    struct visits *visits = data;
    visits->count++;
    assert(process_holds(leader, process, visits->own.st_dev, visits->own.st_ino, -1));
    assert(!process_holds(leader, process, visits->strangers.st_dev, visits->strangers.st_ino, -1));
    return true;
}

/* Of all processes: the number is a stranger's after it was asked about `moment` times. */
static int visits_at(int moment) {
    char top[] = "/tmp/test-procfs-XXXXXX", name[16], command[64];
    struct visits visits = {.count = 0};
    assert(mkdtemp(top) && (proc = open(top, O_RDONLY | O_DIRECTORY)) >= 0);
    snprintf(name, sizeof name, "%d", getpid());
    make_process(name, &visits.own);
    make_process("stranger", &visits.strangers);
    asked = 0, changes_at = swaps_at = moment;
    process_each(visit, &visits);
    close(proc);
    snprintf(command, sizeof command, "rm -r %s", top);
    assert(swaps_at == 0 && system(command) == 0);
    return visits.count;
}

int main(void) {
    char fd[32];
    int ends[2];
    assert((proc = open("/proc", O_RDONLY | O_DIRECTORY)) >= 0 && pipe(ends) == 0);
    request.tid = getpid();
    static const char *const texts[] = {"/stat", "/cmdline", "/limits", "/environ", "/maps", "/fdinfo/0"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        check(texts[i], O_RDONLY);
        check(texts[i], O_PATH);
    }
    check("", O_RDONLY | O_DIRECTORY);
    check("/fd", O_RDONLY | O_DIRECTORY);
    check("/exe", O_PATH | O_NOFOLLOW);
    snprintf(fd, sizeof fd, "/fd/%d", ends[0]);
    check(fd, O_RDONLY);
    check(fd, O_PATH);
    check_other_end(ends[0]);
    check_handed_in(ends);
    close(proc);
    assert(visits_at(1) == 0 && visits_at(2) == 1);
    puts("procfs: ok");
    return 0;
}
