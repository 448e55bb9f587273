/* served.c: the sentry's hot path, driven without a guest, so that its instructions and system calls can be counted.
 *
 *   served CASE COUNT        CASE: a row of the table below
 *
 * Linked with every file of the sentry but its main. This process is the guest, too: what is notified is a call of its own memory, and
 * instead of the kernel's listener stands __wrap_ioctl below, which gives COUNT notifications to loop.c's thread and
 * checks every answer. The path lies two directories deep in one granted mount; mounts are said to be NOSYMFOLLOW, as they
 * are with a mount namespace. The trail is what a Supervisor makes, drained here. The calls come a microsecond apart by the clock
 * that bursts and crowds look at, whatever a counting tool makes of time. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "build_plan.h"
#include "answer.h"
#include "loop.h"
#include "mounts.h"
#include "trail.h"

#define TAG 0x1234567800000000u
#define CONTEXT 1u
#define GIVEN 700 /* the descriptor that the guest is said to have got */
#define TRAIL_SIZE (1u << 20)
#define CHECK(condition) do { \
    if (!(condition)) { fprintf(stderr, "%s:%d: not true: %s (%s)\n", __FILE__, __LINE__, #condition, strerror(errno)); exit(1); } } while (0)

/* `relative`: the path begins at a descriptor of the guest's, which kcmp knows again. `records`: as for a guest that is traced or audited. */
static const struct served_case { const char *name; bool opens, relative, records; } cases[] = {
    {"stat", false, false, false}, {"open", true, false, false},
    {"stat-relative", false, true, false}, {"open-relative", true, true, false},
    {"stat-recorded", false, false, true}, {"open-recorded", true, false, true},
}, *chosen;
static const char absolute[] = "/data/one/two/file", relative[] = "two/file";
static char top[] = "/tmp/benchmark-served-XXXXXX";
static struct stat expected, told;
static long wanted, given, answered, looked;
static int beginning = AT_FDCWD;
static struct sbx_trail *trail;
static pid_t own;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t done = PTHREAD_COND_INITIALIZER;

bool __wrap_mounts_whole(void) { return true; }
uint64_t __real_answer_now(void);
uint64_t __wrap_answer_now(void) {
    static uint64_t now;
    __real_answer_now();
    return now += 1000;
}

static int receive(struct seccomp_notif *call) {
    if (given == wanted) {
        pthread_mutex_lock(&lock);
        wanted = -1;
        pthread_cond_signal(&done);
        pthread_mutex_unlock(&lock);
        errno = ENODEV;
        return -1;
    }
    call->id = (uint64_t)++given;
    call->pid = (uint32_t)own;
    call->data.nr = chosen->opens ? SYS_openat : SYS_newfstatat;
    call->data.args[0] = (uint64_t)beginning;
    call->data.args[1] = (uint64_t)(uintptr_t)(chosen->relative ? relative : absolute);
    call->data.args[2] = chosen->opens ? O_RDONLY | O_CLOEXEC : (uint64_t)(uintptr_t)&told;
    return 0;
}

static int take_answer(const struct seccomp_notif_resp *answer) {
    CHECK(!chosen->opens && answer->id == (uint64_t)given && answer->error == 0 && answer->flags == 0);
    CHECK(told.st_ino == expected.st_ino && told.st_size == expected.st_size);
    memset(&told, 0, sizeof told);
    answered++;
    return 0;
}

static int take_descriptor(const struct seccomp_notif_addfd *gift) {
    struct stat status;
    CHECK(chosen->opens && gift->id == (uint64_t)given && gift->flags == SECCOMP_ADDFD_FLAG_SEND);
    if (answered == 0) CHECK(fstat((int)gift->srcfd, &status) == 0 && status.st_ino == expected.st_ino);
    answered++;
    return GIVEN;
}

int __wrap_ioctl(int fd, unsigned long request, ...) {
    va_list list;
    va_start(list, request);
    void *argument = va_arg(list, void *);
    va_end(list);
    CHECK(fd == -1);
    switch (request) {
    case SECCOMP_IOCTL_NOTIF_RECV: return receive(argument);
    case SECCOMP_IOCTL_NOTIF_SEND: return take_answer(argument);
    case SECCOMP_IOCTL_NOTIF_ADDFD: return take_descriptor(argument);
    case SECCOMP_IOCTL_NOTIF_ID_VALID: looked++; return 0;
    default: errno = ENOTTY; return -1;
    }
}

/* What valgrind does not know: openat2, by openat, which gives the same descriptor in this quiet tree; and a process's descriptors, where the
 * process is this one. */
long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...) {
    long argument[6];
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++) argument[i] = va_arg(list, long);
    va_end(list);
    if (number == SYS_openat2) {
        const struct open_how *how = (const struct open_how *)argument[2];
        return openat((int)argument[0], (const char *)argument[1], (int)how->flags, (mode_t)how->mode);
    }
    if (number == SYS_pidfd_open && argument[0] == own) return open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (number == SYS_pidfd_getfd) return fcntl((int)argument[1], F_DUPFD_CLOEXEC, 0);
    return __real_syscall(number, argument[0], argument[1], argument[2], argument[3], argument[4], argument[5]);
}

static void make_tree(void) {
    char name[128];
    CHECK(mkdtemp(top) != NULL);
    static const char *const folders[] = {"one", "one/two"};
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "%s/%s", top, folders[i]);
        CHECK(mkdir(name, 0700) == 0);
    }
    snprintf(name, sizeof name, "%s/one/two/file", top);
    int file = open(name, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    CHECK(file >= 0 && write(file, "content", 7) == 7 && fstat(file, &expected) == 0);
    close(file);
}

static void drain(void) { __atomic_store_n(&trail->tail, trail->head, __ATOMIC_RELEASE); }

static void make_trail(void) {
    int fd = memfd_create("trail", MFD_CLOEXEC);
    CHECK(fd >= 0 && ftruncate(fd, SBX_TRAIL_DATA + TRAIL_SIZE) == 0);
    trail = mmap(NULL, sizeof *trail, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(trail != MAP_FAILED);
    trail->version = SBX_VERSION;
    trail->capacity = TRAIL_SIZE;
    CHECK(trail_setup(fd, chosen->records, drain) == 0);
    close(fd);
}

static int remove_one(const char *name, const struct stat *status, int kind, struct FTW *where) {
    (void)status, (void)kind, (void)where;
    return remove(name);
}

static void remove_tree(void) { nftw(top, remove_one, 8, FTW_DEPTH | FTW_PHYS); }

static void set_up(void) {
    const char *why = "";
    struct plan_row rows[] = {
        {"/", "", "", 0, SBX_MOUNT_SKELETON, 0}, {"/data", top, "", 0, SBX_MOUNT_HOST, 0},
        {"/proc", "", "", 0, SBX_MOUNT_PROC, 0}, {"/usr", "/usr", "", 0, SBX_MOUNT_HOST, 0},
    };
    struct sbx_plan *plan = build_plan(rows, sizeof rows / sizeof *rows, top);
    struct rlimit tagged = {TAG | CONTEXT, TAG | 0xffffffffu};
    CHECK(sbx_plan_check(plan, plan->size, &why) == 0);
    CHECK(mounts_setup(plan, NULL, false, &why) == 0);
    CHECK(setrlimit(RLIMIT_LOCKS, &tagged) == 0);
    guest_setup(-1, mounts_proc(), TAG, true);
    make_trail();
    if (chosen->relative) {
        char name[64];
        snprintf(name, sizeof name, "%s/one", top);
        CHECK((beginning = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) >= 0);
    }
    CHECK(loop_setup() == 0);
}

int main(int argc, char **argv) {
    for (size_t i = 0; argc == 3 && i < sizeof cases / sizeof *cases; i++)
        if (strcmp(argv[1], cases[i].name) == 0) chosen = &cases[i];
    if (chosen == NULL || (wanted = atol(argv[2])) < 1) return fprintf(stderr, "served CASE COUNT\n"), 2;
    own = getpid();
    long count = wanted;
    make_tree();
    atexit(remove_tree);
    set_up();
    pthread_mutex_lock(&lock);
    CHECK(loop_start() == 0);
    while (wanted >= 0) pthread_cond_wait(&done, &lock);
    pthread_mutex_unlock(&lock);
    CHECK(answered == count && (trail->head > 0) == chosen->records);
    CHECK(trail->count[chosen->opens ? SYS_openat : SYS_newfstatat][SBX_VERDICT_DONE] == (uint64_t)count);
    printf("{\"answered\": %ld, \"looked\": %ld}\n", answered, looked);
    return 0;
}
