/* The sentry: one process for one guest. It is started with the control socket and, in a pid namespace of its own, a mount of
 * its /proc (mounts.h), and nothing else; makes its namespaces, takes the plan, builds the other walls around itself and its guest, and serves. The main thread here
 * talks to the Supervisor and reaps; loop.c's threads serve the guest. Its arguments are what it needs before the plan: the walls that may be used (bits of
 * 1 << enum sbx_wall) and the inode of the caller's mount namespace: a sentry that finds itself in that touches no mount. */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "answer.h"
#include "borrow.h"
#include "burst.h"
#include "confine.h"
#include "context.h"
#include "crowd.h"
#include "exec.h"
#include "fetch.h"
#include "filter.h"
#include "flight.h"
#include "guest.h"
#include "interface.h"
#include "launcher.h"
#include "quota.h"
#include "loop.h"
#include "mounts.h"
#include "process.h"
#include "rpc.h"
#include "sockets.h"
#include "trace.h"
#include "trail.h"
#include "walk.h"

#define CONTROL 3
#define PLAN_WITHIN_MS 60000
#define BLOCKED_LOOK_MS 20 /* how often blocked calls are looked after while there are any */

static struct {
    const struct sbx_plan *plan;
    int *files, file_count;
    int stub, trail, caller;
    pid_t launcher;
    struct sbx_ready ready;
    uint32_t walls;
    enum sbx_exceeded exceeded;
} sentry = {.stub = -1, .trail = -1, .caller = -1};

static bool has_wall(enum sbx_wall wall) { return (sentry.walls & (1u << wall)) != 0; }

static void kill_guest(void) {
    if (has_wall(SBX_WALL_PIDNS)) kill(-1, SIGKILL); /* as PID 1: every process of its namespace */
    else if (sentry.plan) sbx_sweep(sentry.plan->tag);
}

static _Noreturn void end(void) {
    kill_guest();
    _exit(0);
}

/* INVARIANT nothing-unrecorded: a call is carried out to its end, and its record, when its caller is dead. */
static _Noreturn void end_in_order(void) {
    kill_guest();
    loop_settle();
    _exit(0);
}

static _Noreturn void fault(int error, const char *why) {
    char text[1024];
    int length = snprintf(text, sizeof text, "%s: %s", why, strerror(error < 0 ? -error : error));
    rpc_send(SBX_MSG_FAULT, 0, error < 0 ? -error : error, 0, text, (size_t)(length < (int)sizeof text ? length : (int)sizeof text - 1), -1);
    end();
}

/* ---- setting up -------------------------------------------------------------------------------------------------------------- */

static void take_plan(int memfd) {
    struct stat status;
    const char *why = "plan";
    if (fstat(memfd, &status) < 0 || status.st_size > SBX_PLAN_MAX) fault(EINVAL, "plan: size");
    void *plan = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, memfd, 0);
    if (plan == MAP_FAILED) fault(errno, "plan: map");
    int error = sbx_plan_check(plan, (uint64_t)status.st_size, &why);
    if (error < 0) fault(error, why);
    sentry.plan = plan;
    close(memfd);
}

static void receive_setup(void) {
    struct sbx_message message;
    static char text[SBX_MESSAGE_MAX];
    int fds[SBX_MESSAGE_FDS], count;
    struct pollfd polled = {.fd = CONTROL, .events = POLLIN};
    if (poll(&polled, 1, PLAN_WITHIN_MS) <= 0) _exit(0); /* the caller is gone, and a fork of it keeps the socket open */
    int got = rpc_receive(&message, text, fds, &count, 0);
    if (got <= 0) _exit(0);
    if (message.type != SBX_MSG_SETUP || count != 4) fault(EPROTO, "first message is not SETUP with four descriptors");
    take_plan(fds[0]);
    sentry.stub = fds[1];
    sentry.trail = fds[2];
    sentry.caller = fds[3];
    sentry.files = calloc(sentry.plan->descriptors + 1, sizeof *sentry.files);
    while (sentry.files && sentry.file_count < (int)sentry.plan->descriptors) {
        if (rpc_receive(&message, text, fds, &count, 0) <= 0) _exit(0);
        if (message.type != SBX_MSG_FILES || count == 0 || sentry.file_count + count > (int)sentry.plan->descriptors)
            fault(EPROTO, "FILES message expected");
        for (int i = 0; i < count; i++) sentry.files[sentry.file_count++] = fds[i];
    }
}

static void ask_drain(void) { rpc_send(SBX_MSG_DRAIN, 0, 0, 0, NULL, 0, -1); }

static void build_mounts(void) {
    const char *why = "mounts";
    int error = mounts_setup(sentry.plan, sentry.files, has_wall(SBX_WALL_MOUNTNS), &why);
    if (error < 0) fault(error, why);
    for (int i = 0; i < sentry.file_count; i++) close(sentry.files[i]);
    bool cgroup = plan_text(sentry.plan, sentry.plan->cgroup)[0] != 0;
    quota_setup(sentry.plan, mounts_scratch(), cgroup, has_wall(SBX_WALL_MOUNTNS));
    if (cgroup) sentry.walls |= 1u << SBX_WALL_CGROUP;
}

/* Does pidfd_getfd work here? Ordinary containers refuse it. */
static bool can_borrow(void) {
    int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    int fd = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, CONTROL, 0);
    if (fd >= 0) close(fd);
    if (pidfd >= 0) close(pidfd);
    return fd >= 0;
}

/* Was this process started in a user namespace of its own (spawn.c)? Its map then holds one id. */
static bool has_own_users(void) {
    unsigned long inside = 0, outside = 0, count = 0;
    FILE *map = fopen("/proc/self/uid_map", "re");
    bool one = map && fscanf(map, "%lu %lu %lu", &inside, &outside, &count) == 3 && count == 1;
    if (map) fclose(map);
    return one;
}

static void set_up(uint32_t wanted, uint64_t caller_mounts) {
    umask(0); /* modes are the guest's, less its own umask */
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max; /* the launcher's, and so the guest's */
    setrlimit(RLIMIT_NOFILE, &files);
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    for (int wall = 0; wall < SBX_WALL_COUNT; wall++) sentry.ready.wall_error[wall] = wanted & (1u << wall) ? 0 : EPERM;
    sentry.walls = confine_namespaces(wanted, caller_mounts, &sentry.ready); /* takes as long as the caller does for the plan */
    receive_setup();
    int error = sentry.plan->network && has_wall(SBX_WALL_NETNS) ? confine_loopback() : 0;
    if (error < 0 && sentry.plan->network == SBX_NETWORK_LOOPBACK) fault(error, "loopback");
    if (has_wall(SBX_WALL_NETNS)) interface_setup(sentry.plan->address);
    if (getpid() == 1) sentry.walls |= 1u << SBX_WALL_PIDNS;
    if (has_own_users()) sentry.walls |= 1u << SBX_WALL_USERNS;
    error = trail_setup(sentry.trail, (int)sentry.plan->audit, ask_drain);
    if (error < 0) fault(error, "trail");
    build_mounts();
    if ((error = exec_setup(sentry.stub)) < 0) fault(error, "stub");
    if ((error = confine_privileges()) < 0) fault(error, "giving up privileges");
    sentry.ready.borrow = can_borrow();
    sentry.walls |= confine_sentry(wanted, sentry.stub, !has_wall(SBX_WALL_PIDNS), &sentry.ready);
    bool pids_are_ours = has_wall(SBX_WALL_PIDNS) || has_wall(SBX_WALL_LANDLOCK);
    int report = launcher_begin(sentry.plan, sentry.stub, sentry.ready.landlock_abi, has_wall(SBX_WALL_USERNS), &sentry.launcher);
    if (report < 0) fault(report, "making the launcher");
    flight_setup();
    /* While it works: everything that needs no listener. */
    if ((error = borrow_setup()) < 0) fault(error, "channel for descriptors");
    if ((error = loop_setup()) < 0) fault(error, "event descriptor");
    guest_lender(borrow_fd, !sentry.ready.borrow);
    if ((error = sockets_setup(has_wall(SBX_WALL_NETNS))) < 0) fault(error, "names of sockets");
    prctl(PR_SET_DUMPABLE, 0); /* the guest, of the same uid, reads nothing of ours */
    const char *base = (const char *)sentry.plan;
    if ((error = filter_install(base + sentry.plan->sentry_filter, sentry.plan->sentry_filter_count)) < 0) fault(error, "installing the sentry's filter");
    int listener = launcher_listener(report);
    if (listener < 0) fault(listener, "installing the guest's filter");
    filter_stay_on_processor(listener);
    guest_setup(listener, mounts_proc(), sentry.plan->tag, pids_are_ours);
    if ((error = loop_start()) < 0) fault(error, "starting threads");
    rpc_send(SBX_MSG_READY, 0, sentry.walls, 0, &sentry.ready, sizeof sentry.ready, -1);
}

/* ---- running ----------------------------------------------------------------------------------------------------------------- */

static void report_exit(uint64_t number, int status, const struct rusage *used) {
    struct sbx_usage usage = {
        .user_us = used->ru_utime.tv_sec * 1000000 + used->ru_utime.tv_usec,
        .system_us = used->ru_stime.tv_sec * 1000000 + used->ru_stime.tv_usec,
        .peak_kib = used->ru_maxrss,
    };
    int exceeded = (int)sentry.exceeded;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU) exceeded = SBX_EXCEEDED_CPU;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ) exceeded = SBX_EXCEEDED_FILE_SIZE;
    rpc_send(SBX_MSG_EXITED, number, status, exceeded, &usage, sizeof usage, -1);
}

static void reap(void) {
    int status;
    struct rusage usage;
    pid_t pid;
    while ((pid = trace_reap(&status, &usage)) > 0) {
        if (pid == sentry.launcher) fault(ECHILD, "the launcher has ended");
        uint64_t number = launcher_command_of(pid);
        if (number == 0) continue;
        loop_let_go();
        report_exit(number, status, &usage);
    }
}

static void run_command(const struct sbx_message *message, const int *fds, int count) {
    static int given[SBX_COMMAND_FDS];
    static int have, want, memfd;
    static uint64_t number;
    struct sbx_command header;
    if (message->type == SBX_MSG_RUN) {
        if (count < 1 || pread(fds[0], &header, sizeof header, 0) != sizeof header || header.fd_count > SBX_COMMAND_FDS)
            fault(EPROTO, "RUN message");
        if (sentry.plan->required & ~sentry.walls) fault(EPERM, "walls that are required do not stand");
        number = message->number;
        memfd = fds[0];
        want = (int)header.fd_count;
        have = 0;
        fds++;
        count--;
    }
    if (message->number != number || have + count > want) fault(EPROTO, "descriptors of a command");
    for (int i = 0; i < count; i++) given[have++] = fds[i];
    if (have < want) return;
    int error = launcher_run(message->number, memfd, given, have);
    number = 0;
    if (error < 0) rpc_send(SBX_MSG_FAILED, message->number, -error, 0, NULL, 0, -1);
}

static void signal_command(const struct sbx_message *message) {
    int signal = (int)message->value;
    if (message->value2) process_signal_group((pid_t)message->value2, signal); /* which may outlive the command */
    else process_signal(launcher_pid_of(message->number), signal, NULL);
}

static void serve_message(void) {
    static char text[SBX_MESSAGE_MAX];
    struct sbx_message message;
    int fds[SBX_MESSAGE_FDS], count;
    int got = rpc_receive(&message, text, fds, &count, MSG_DONTWAIT);
    if (got == -EAGAIN) return;
    if (got <= 0) end();
    text[message.length < sizeof text ? message.length : sizeof text - 1] = 0;
    switch (message.type) {
    case SBX_MSG_RUN: case SBX_MSG_FDS: run_command(&message, fds, count); return;
    case SBX_MSG_SIGNAL: signal_command(&message); break;
    case SBX_MSG_END: end_in_order();
    case SBX_MSG_FETCH: fetch_start(message.number, (enum sbx_fetch)message.value, text); break;
    case SBX_MSG_REPLY: rpc_reply(message.number, message.value, count > 0 ? fds[--count] : -1, text, message.length); break; /* it brings one */
    default: fault(EPROTO, "unknown message from the Supervisor");
    }
    for (int i = 0; i < count; i++) close(fds[i]);
}

static void look_at_quota(uint64_t now) {
    static uint64_t last;
    if (!quota_needed() || now - last < QUOTA_LOOK_MS * 1000000ull) return;
    last = now;
    enum sbx_exceeded past = quota_look();
    if (past) quota_kill(sentry.launcher);
    if (past) sentry.exceeded = past;
}

/* Calls that block: milliseconds between two looks, 0 while there is none. */
static uint64_t look_at_blocked(uint64_t now) {
    static uint64_t last, pause;
    if (now - last < pause * 1000000) return pause;
    last = now;
    return pause = loop_watch() ? BLOCKED_LOOK_MS : 0;
}

/* What needs a look now and then. Milliseconds to the next, -1: none. */
static int look_after(void) {
    uint64_t now = answer_now();
    look_at_quota(now);
    int bursts = burst_look(now);
    if (crowd_look(now) && bursts == 0) bursts = BURST_LOOK_MS;
    uint64_t blocked = look_at_blocked(now);
    if (bursts) return bursts;
    if (blocked) return (int)blocked;
    return quota_needed() ? QUOTA_LOOK_MS : -1;
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    mallopt(M_ARENA_MAX, 1); /* threads hardly allocate: not each a heap of its own */
    rpc_setup(CONTROL);
    fcntl(CONTROL, F_SETFD, FD_CLOEXEC);
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    sigprocmask(SIG_BLOCK, &children, NULL);
    struct sigaction ends_only = {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDSTOP}; /* not the stops of every exec (trace.c) */
    sigaction(SIGCHLD, &ends_only, NULL);
    int child_events = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
    set_up((uint32_t)strtoul(argv[1], NULL, 10), strtoull(argv[2], NULL, 10));
    struct pollfd polled[] = {
        {.fd = CONTROL, .events = POLLIN}, {.fd = sentry.caller, .events = POLLIN},
        {.fd = child_events, .events = POLLIN}, {.fd = loop_watch_event(), .events = POLLIN},
    };
    int pause = quota_needed() ? QUOTA_LOOK_MS : -1;
    for (;;) {
        if (poll(polled, sizeof polled / sizeof *polled, pause) < 0 && errno != EINTR) fault(errno, "poll");
        if (polled[1].revents) end(); /* the caller has gone, even if a fork of it keeps the socket open */
        if (polled[2].revents) {
            struct signalfd_siginfo info;
            while (read(child_events, &info, sizeof info) > 0) continue;
            reap();
        }
        if (polled[3].revents) {
            uint64_t value;
            if (read(polled[3].fd, &value, sizeof value) < 0 && errno != EAGAIN) fault(errno, "event");
        }
        if (polled[0].revents) serve_message();
        pause = look_after();
    }
}
