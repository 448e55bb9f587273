/* Calls on processes by their ids. INVARIANT own-processes: only those of the guest, and the launcher is none. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "burst.h"
#include "misc.h"
#include "process.h"

/* ---- signals --------------------------------------------------------------------------------------------------------------- */

static int signal_thread(pid_t leader, pid_t tid, int signal) {
    if (leader == 0 || leader < -1 || tid <= 0) return -EINVAL;
    if (!process_is_guest(tid)) return -ESRCH;
    pid_t is = guest_leader(tid);
    if (is < 0 || (leader > 0 && is != leader)) return -ESRCH;
    return syscall(SYS_tgkill, is, tid, signal) < 0 ? -errno : 0;
}

static int signal_many(const struct request *request, pid_t target, int signal) {
    if (target == -1) return process_signal_all(guest_leader(request->tid), signal);
    return process_signal_group(target ? -target : getpgid(request->tid), signal);
}

/* Only what the kernel would let the sentry say of itself: a queued value, not "the kernel" or "the user". */
static int read_info(const struct request *request, uint64_t address, int signal, siginfo_t *info) {
    if (guest_read(request->tid, address, info, sizeof *info) < 0) return -EFAULT;
    if (info->si_code >= 0 || info->si_code == SI_TKILL) return -EPERM;
    info->si_signo = signal;
    return 0;
}

static int signal_pidfd(const struct request *request, siginfo_t *info) {
    char path[32], text[512];
    if (request->args[3]) return -EINVAL; /* not to a group: the launcher could be in it */
    cleanup_close int pidfd = guest_borrow_fd(request->tid, (int)request->args[0]);
    if (pidfd < 0) return pidfd;
    snprintf(path, sizeof path, "self/fdinfo/%d", pidfd);
    if (guest_text(guest_proc(), path, text, sizeof text) == 0) return -EBADF;
    const char *at = strstr(text, "\nPid:");
    int pid;
    if (at == NULL || sscanf(at + 5, "%d", &pid) != 1) return -EBADF;
    if (!process_is_guest(pid)) return -ESRCH;
    return syscall(SYS_pidfd_send_signal, pidfd, (int)request->args[1], info, 0) < 0 ? -errno : 0;
}

struct answer misc_kill(struct request *request) {
    siginfo_t info;
    pid_t first = (pid_t)request->args[0], second = (pid_t)request->args[1];
    int third = (int)request->args[2], error = 0;
    switch (request->nr) {
    case SYS_kill: error = first > 0 ? process_signal(first, (int)second, NULL) : signal_many(request, first, (int)second); break;
    case SYS_tkill: error = first > 0 ? signal_thread(-1, first, (int)second) : -EINVAL; break;
    case SYS_tgkill: error = signal_thread(first, second, third); break;
    case SYS_rt_sigqueueinfo:
        if ((error = read_info(request, request->args[2], (int)second, &info)) == 0) error = process_signal(first, (int)second, &info);
        break;
    case SYS_rt_tgsigqueueinfo: /* the value is lost: no call of ours carries it to one thread */
        if ((error = read_info(request, request->args[3], third, &info)) == 0) error = signal_thread(first, second, third);
        break;
    case SYS_pidfd_send_signal:
        if (request->args[2]) error = read_info(request, request->args[2], (int)second, &info);
        if (error == 0) error = signal_pidfd(request, request->args[2] ? &info : NULL);
        break;
    default: return answer_denied(ENOSYS);
    }
    struct answer answer = answer_result(error);
    answer.denied = error == -ESRCH || error == -EPERM;
    return answer;
}

/* ---- priorities ---------------------------------------------------------------------------------------------------------- */

struct census { pid_t group; int value; bool set; long best; int error; };
static bool count_in(pid_t leader, int process, void *data) {
    (void)process;
    struct census *census = data;
    if (census->group && getpgid(leader) != census->group) return true;
    long did = census->set ? syscall(SYS_setpriority, PRIO_PROCESS, leader, census->value) : syscall(SYS_getpriority, PRIO_PROCESS, leader);
    if (did < 0) census->error = -errno;
    else if (did > census->best) census->best = did;
    return true;
}

/* What a process has that asks for none; `ioprio_set` to less is accepted and not kept. */
#define IOPRIO_NONE 4
static struct answer io_priority(const struct request *request) {
    pid_t who = (pid_t)request->args[1];
    if (request->args[0] == 1 && who && !process_is_guest(who)) return answer_denied(ESRCH);
    if (request->nr == SYS_ioprio_get) return answer_value(IOPRIO_NONE);
    return (request->args[2] >> 13) == 1 ? answer_denied(EPERM) : answer_value(0);
}

struct answer misc_priority(struct request *request) {
    if (request->nr == SYS_ioprio_get || request->nr == SYS_ioprio_set) return io_priority(request);
    int which = (int)request->args[0];
    pid_t who = (pid_t)request->args[1];
    struct census census = {.value = (int)request->args[2], .set = request->nr == SYS_setpriority, .best = -1, .error = -ESRCH};
    if (which == PRIO_PROCESS) {
        if (who < 0 || !process_is_guest(who)) return answer_denied(ESRCH);
        long did = census.set ? syscall(SYS_setpriority, which, who, census.value) : syscall(SYS_getpriority, which, who);
        return did < 0 ? answer_error(errno) : answer_value(did);
    }
    if (which != PRIO_PGRP && which != PRIO_USER) return answer_error(EINVAL);
    if (which == PRIO_USER && who && (uid_t)who != getuid()) return answer_denied(ESRCH);
    if (which == PRIO_PGRP) census.group = who ? who : getpgid(request->tid);
    process_each(count_in, &census);
    return census.best < 0 ? answer_error(-census.error) : answer_value(census.best);
}

/* ---- scheduling: a guest runs as everybody does, on the processors that it may have ------------------------------------------ */

static struct answer affinity(struct request *request, pid_t target) {
    size_t size = (unsigned)request->args[1];
    if (request->nr == SYS_sched_setaffinity) {
        cpu_set_t wanted;
        memset(&wanted, 0, sizeof wanted);
        if (size > sizeof wanted) size = sizeof wanted;
        if (guest_read(request->tid, request->args[2], &wanted, size) < 0) return answer_error(EFAULT);
        return answer_result(syscall(SYS_sched_setaffinity, target, sizeof wanted, &wanted) < 0 ? -errno : 0);
    }
    if (size > sizeof request->buffer) size = sizeof request->buffer & ~(size_t)7;
    long got = syscall(SYS_sched_getaffinity, target, size, request->buffer);
    struct answer answer = answer_result(got < 0 ? -errno : got);
    if (got > 0) answer.out[0] = (struct answer_out){request->args[2], request->buffer, (size_t)got};
    return answer;
}

/* The sentry is the parent that a guest's processes see: what everybody may know of it. */
static bool is_seen(pid_t pid) { return pid == getpid() || process_is_guest(pid); }

static bool plain_policy(uint32_t policy) { return policy == SCHED_OTHER || policy == SCHED_BATCH || policy == SCHED_IDLE; }

static struct answer answer_with(struct request *request, uint64_t address, size_t size) {
    struct answer answer = answer_value(0);
    answer.out[0] = (struct answer_out){address, request->buffer, size};
    return answer;
}

struct answer misc_sched(struct request *request) {
    pid_t pid = (pid_t)request->args[0];
    bool of_affinity = request->nr == SYS_sched_setaffinity || request->nr == SYS_sched_getaffinity;
    if (pid < 0) return answer_error(of_affinity ? ESRCH : EINVAL);
    bool asks = request->nr == SYS_sched_getscheduler || request->nr == SYS_sched_getparam;
    if (pid && !(asks ? is_seen(pid) : process_is_guest(pid))) return answer_denied(ESRCH);
    pid_t target = pid ? pid : request->tid;
    uint32_t number;
    memset(request->buffer, 0, 64);
    switch (request->nr) {
    case SYS_sched_setaffinity: case SYS_sched_getaffinity:
        request->nr == SYS_sched_setaffinity ? burst_never() : burst_end();
        return affinity(request, target);
    case SYS_sched_getscheduler: return answer_value(SCHED_OTHER);
    case SYS_sched_getparam: return answer_with(request, request->args[1], sizeof(int));
    case SYS_sched_rr_get_interval:
        ((struct timespec *)(void *)request->buffer)->tv_nsec = 4000000;
        return answer_with(request, request->args[1], sizeof(struct timespec));
    case SYS_sched_setscheduler: case SYS_sched_setparam: {
        bool sets_policy = request->nr == SYS_sched_setscheduler;
        uint32_t policy = sets_policy ? (uint32_t)request->args[1] & ~(uint32_t)SCHED_RESET_ON_FORK : SCHED_OTHER;
        if (guest_read(request->tid, request->args[sets_policy ? 2 : 1], &number, sizeof number) < 0) return answer_error(EFAULT);
        if (plain_policy(policy)) return number ? answer_error(EINVAL) : answer_value(0);
        return policy == SCHED_FIFO || policy == SCHED_RR ? answer_denied(EPERM) : answer_error(EINVAL);
    }
    case SYS_sched_getattr:
        if ((uint32_t)request->args[2] < 48 || request->args[3]) return answer_error(EINVAL);
        number = 48; /* its size; policy, flags, nice and the rest are 0 */
        memcpy(request->buffer, &number, sizeof number);
        return answer_with(request, request->args[1], 48);
    case SYS_sched_setattr:
        if (guest_read(request->tid, request->args[1] + 4, &number, sizeof number) < 0) return answer_error(EFAULT);
        return plain_policy(number) ? answer_value(0) : answer_denied(EPERM);
    default: return answer_denied(ENOSYS);
    }
}

/* ---- ids --------------------------------------------------------------------------------------------------------------------- */

struct answer misc_getpgid(struct request *request) {
    pid_t pid = (pid_t)request->args[0];
    if (!is_seen(pid)) return answer_denied(ESRCH);
    pid_t got = request->nr == SYS_getsid ? getsid(pid) : getpgid(pid);
    return got < 0 ? answer_error(errno) : answer_value(got);
}

struct answer misc_pidfd_open(struct request *request) {
    pid_t pid = (pid_t)request->args[0];
    unsigned flags = (unsigned)request->args[1];
    if (flags & ~(unsigned)(O_NONBLOCK | O_EXCL)) return answer_error(EINVAL); /* PIDFD_NONBLOCK, PIDFD_THREAD */
    if (pid <= 0) return answer_error(EINVAL);
    cleanup_close int fd = (int)syscall(SYS_pidfd_open, pid, flags);
    int why = errno;
    if (!process_is_guest(pid)) return answer_denied(ESRCH);
    return fd < 0 ? answer_error(why) : answer_fd(take(&fd), O_CLOEXEC);
}
