#include "misc.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/prctl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "interface.h"
#include "process.h"
#include "sockets.h"

#ifndef PR_SET_PTRACER
#define PR_SET_PTRACER 0x59616d61
#endif

struct answer misc_deny(struct request *request) { return answer_denied(request->row->error ? request->row->error : ENOSYS); }

/* ---- commands -------------------------------------------------------------------------------------------------------------- */

/* What a command answers that never reaches the kernel. No row: `otherwise`. */
struct command { uint32_t number; int error; };
static struct answer by_table(const struct command *table, size_t count, uint32_t number, int otherwise) {
    for (size_t i = 0; i < count; i++) {
        if (table[i].number != number) continue;
        return table[i].error ? answer_denied(table[i].error) : answer_value(0);
    }
    return answer_denied(otherwise);
}
#define BY_TABLE(table, number, otherwise) by_table(table, sizeof table / sizeof *table, (uint32_t)(number), otherwise)

/* 0: said to be done, where nothing depends on it inside. A guest that is not dumpable could not be served. */
static const struct command of_prctl[] = {
    {PR_SET_DUMPABLE, 0}, {PR_SET_KEEPCAPS, 0}, {PR_SET_PTRACER, 0}, {PR_SET_SECCOMP, EINVAL}, {PR_CAPBSET_DROP, EPERM},
    {PR_SET_SECUREBITS, EPERM}, {PR_SET_MM, EPERM}, {PR_SET_TIMING, EINVAL}, {PR_SET_IO_FLUSHER, EPERM},
};
struct answer misc_prctl(struct request *request) {
    uint32_t option = (uint32_t)request->args[0];
    if (option == PR_SET_DUMPABLE && request->args[1] > 1) return answer_error(EINVAL);
    if (option == PR_CAP_AMBIENT) {
        if (request->args[1] == PR_CAP_AMBIENT_RAISE) return answer_denied(EPERM);
        return answer_value(0); /* there are none: not set, lowered, cleared */
    }
    return BY_TABLE(of_prctl, option, EINVAL);
}

/* SIGIO reaches every process of the user, leases and notifications stop or tell of the host. A process that makes itself the
 * owner is let believe it (nginx does, and polls): a descriptor has none, so FIOASYNC, too, has no effect. */
static const struct command of_fcntl[] = {
    {F_SETOWN, EPERM}, {F_SETOWN_EX, EPERM}, {F_SETSIG, EPERM}, {F_SETFL, EPERM}, {F_SETLEASE, EINVAL}, {F_NOTIFY, EINVAL},
};
struct answer misc_fcntl(struct request *request) {
    cleanup_close int fd = guest_borrow_fd(request->tid, request->fd);
    if (fd < 0) return answer_error(-fd);
    if (request->args[1] == F_SETOWN && (pid_t)request->args[2] == guest_leader(request->tid)) return answer_value(0);
    return BY_TABLE(of_fcntl, request->args[1], EINVAL);
}

static const struct command of_ioctl[] = {{TIOCSTI, EPERM}, {TIOCLINUX, EPERM}, {TIOCCONS, EPERM}};
struct answer misc_ioctl(struct request *request) {
    uint32_t number = (uint32_t)request->args[1];
    if (number == FIOASYNC) return answer_value(0);
    return interface_asks(number) ? sockets_interface(request) : BY_TABLE(of_ioctl, number, ENOTTY);
}

/* ---- identity: the guest has the caller's ids, and no privilege to take others ----------------------------------------- */

struct answer misc_setid(struct request *request) {
    uint32_t user = getuid(), group = getgid();
    bool of_group = request->nr == SYS_setgid || request->nr == SYS_setregid || request->nr == SYS_setresgid || request->nr == SYS_setfsgid;
    uint32_t own = of_group ? group : user;
    int count = request->nr == SYS_setresuid || request->nr == SYS_setresgid ? 3 : request->nr == SYS_setreuid || request->nr == SYS_setregid ? 2 : 1;
    if (request->nr == SYS_setgroups) return answer_denied(EPERM);
    if (request->nr == SYS_setfsuid || request->nr == SYS_setfsgid) return answer_value(own); /* tells what was, never fails */
    for (int i = 0; i < count; i++) {
        uint32_t wanted = (uint32_t)request->args[i];
        if (wanted == own || (wanted == UINT32_MAX && count > 1)) continue;
        return wanted == UINT32_MAX ? answer_error(EINVAL) : answer_denied(EPERM);
    }
    return answer_value(0);
}

#define CAPABILITY_1 0x19980330u
#define CAPABILITY_2 0x20071026u
#define CAPABILITY_3 0x20080522u
struct answer misc_capget(struct request *request) {
    struct { uint32_t version; int32_t pid; } header;
    if (guest_read(request->tid, request->args[0], &header, sizeof header) < 0) return answer_error(EFAULT);
    size_t size = header.version == CAPABILITY_1 ? 12 : 24;
    if (header.version != CAPABILITY_1 && header.version != CAPABILITY_2 && header.version != CAPABILITY_3) {
        uint32_t known = CAPABILITY_3;
        if (guest_write(request->tid, request->args[0], &known, sizeof known) < 0) return answer_error(EFAULT);
        return request->args[1] ? answer_error(EINVAL) : answer_value(0);
    }
    if (header.pid < 0) return answer_error(EINVAL);
    if (header.pid && !process_is_guest(header.pid)) return answer_denied(ESRCH);
    struct answer answer = answer_value(0);
    if (request->args[1]) answer.out[0] = (struct answer_out){request->args[1], memset(request->buffer, 0, size), size};
    return answer;
}

/* ---- clocks of processes: an id below 0 is ~pid << 3, a thread's has bit 2 ------------------------------------------------- */

/* Nanoseconds that a thread has run. */
static int thread_time(pid_t tid, struct timespec *time) {
    char path[32], text[64];
    snprintf(path, sizeof path, "%d/schedstat", tid);
    unsigned long long ran;
    if (guest_text(guest_proc(), path, text, sizeof text) == 0 || sscanf(text, "%llu", &ran) != 1) return -EINVAL;
    *time = (struct timespec){(time_t)(ran / 1000000000), (long)(ran % 1000000000)};
    return 0;
}

struct answer misc_clock(struct request *request) {
    int clock = (int)request->args[0];
    pid_t pid = (pid_t)~(clock >> 3);
    if (clock >= 0 || (clock & 3) == 3) return answer_error(EINVAL); /* unknown, or a device's */
    if (!process_is_guest(pid)) return answer_denied(EINVAL);
    struct timespec *time = (struct timespec *)(void *)request->buffer;
    int error = 0;
    bool of_thread = clock & 4;
    if (of_thread && guest_leader(pid) != guest_leader(request->tid)) return answer_error(EINVAL);
    if (request->nr == SYS_clock_getres) *time = (struct timespec){0, 1};
    else if (of_thread) error = thread_time(pid, time);
    else if (syscall(SYS_clock_gettime, clock, time) < 0) error = -errno;
    struct answer answer = answer_result(error);
    if (error == 0 && request->args[1]) answer.out[0] = (struct answer_out){request->args[1], time, sizeof *time};
    return answer;
}

/* ---- limits ------------------------------------------------------------------------------------------------------------------ */

/* Two limits are not the guest's: LOCKS carries its tag and is shown unlimited, CORE stays off. */
static int own_limit(unsigned resource, const struct rlimit64 *wanted, struct rlimit64 *had) {
    uint64_t shown = resource == RLIMIT_CORE ? 0 : RLIM64_INFINITY;
    *had = (struct rlimit64){shown, shown};
    if (wanted == NULL) return 0;
    if (wanted->rlim_cur > wanted->rlim_max) return -EINVAL;
    return wanted->rlim_max > shown ? -EPERM : 0;
}

struct answer misc_prlimit(struct request *request) {
    bool by_pid = request->nr == SYS_prlimit64;
    pid_t target = by_pid && request->args[0] ? (pid_t)request->args[0] : request->tid;
    unsigned resource = (unsigned)request->args[by_pid ? 1 : 0];
    uint64_t in = by_pid ? request->args[2] : request->nr == SYS_setrlimit ? request->args[1] : 0;
    uint64_t out = by_pid ? request->args[3] : request->nr == SYS_getrlimit ? request->args[1] : 0;
    struct rlimit64 wanted, *had = (struct rlimit64 *)(void *)request->buffer;
    if (in && guest_read(request->tid, in, &wanted, sizeof wanted) < 0) return answer_error(EFAULT);
    if (resource >= RLIM_NLIMITS) return answer_error(EINVAL);
    if (target != request->tid && !process_is_guest(target)) return answer_denied(ESRCH);
    int error = 0;
    if (resource == RLIMIT_CORE || resource == RLIMIT_LOCKS) error = own_limit(resource, in ? &wanted : NULL, had);
    else if (syscall(SYS_prlimit64, target, resource, in ? &wanted : NULL, had) < 0) error = -errno;
    struct answer answer = answer_result(error);
    if (error == 0 && out) answer.out[0] = (struct answer_out){out, had, sizeof *had};
    return answer;
}
