/* calls_other.c: processes, threads, signals, pipes and sockets; and arithmetic, which nobody should slow down. */
#include "calls.h"
#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define SOCKET_NAME "calls.socket"

static int to_echo[2] = {-1, -1}, from_echo[2] = {-1, -1}, pair[2] = {-1, -1}, unix_listener = -1, tcp_listener = -1;

/* A child that sends back what it gets. What it does not need is closed, or it would never see the end. */
static void make_echo(int in, int out, int ours, int also_ours) {
    char byte;
    pid_t pid = fork();
    MUST(pid >= 0);
    if (pid > 0) return;
    close(ours);
    if (also_ours >= 0) close(also_ours);
    while (read(in, &byte, 1) == 1 && write(out, &byte, 1) == 1) continue;
    _exit(0);
}

static void have_pipe(void) {
    if (to_echo[0] >= 0) return;
    MUST(pipe(to_echo) == 0 && pipe(from_echo) == 0);
    make_echo(to_echo[0], from_echo[1], to_echo[1], from_echo[0]);
    close(to_echo[0]);
    close(from_echo[1]);
}

static void have_pair(void) {
    if (pair[0] >= 0) return;
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    make_echo(pair[1], pair[1], pair[0], -1);
    close(pair[1]);
}

static const struct sockaddr_un unix_address = {AF_UNIX, SOCKET_NAME};
static struct sockaddr_in tcp_address = {.sin_family = AF_INET};

static int listener(int family, const void *address, socklen_t size) {
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    MUST(fd >= 0 && bind(fd, address, size) == 0 && listen(fd, 16) == 0);
    return fd;
}

static void have_unix_listener(void) {
    unlink(SOCKET_NAME);
    if (unix_listener < 0) unix_listener = listener(AF_UNIX, &unix_address, sizeof unix_address);
}

static void have_tcp_listener(void) {
    socklen_t size = sizeof tcp_address;
    tcp_address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (tcp_listener < 0) tcp_listener = listener(AF_INET, &tcp_address, size);
    MUST(getsockname(tcp_listener, (struct sockaddr *)&tcp_address, &size) == 0);
}

static void connect_once(int family, int listening, const void *address, socklen_t size) {
    int there, here = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    MUST(here >= 0 && connect(here, address, size) == 0);
    MUST((there = accept(listening, NULL, NULL)) >= 0);
    if (family == AF_INET) MUST(send(here, "x", 1, 0) == 1); /* closed unread it is a reset, and no TIME_WAIT: ports are few */
    close(there);
    close(here);
}

static void run_connect_unix(long count) { LOOP(count) connect_once(AF_UNIX, unix_listener, &unix_address, sizeof unix_address); }
static void run_connect_tcp(long count) { LOOP(count) connect_once(AF_INET, tcp_listener, &tcp_address, sizeof tcp_address); }
static void run_socket(long count) {
    LOOP(count) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        MUST(fd >= 0);
        close(fd);
    }
}
static void run_pipe(long count) {
    LOOP(count) {
        char byte = (char)turn, back = (char)~byte;
        MUST(write(to_echo[1], &byte, 1) == 1 && read(from_echo[0], &back, 1) == 1 && back == byte);
    }
}
static void run_unix(long count) {
    LOOP(count) {
        char byte = (char)turn, back = (char)~byte;
        MUST(write(pair[0], &byte, 1) == 1 && read(pair[0], &back, 1) == 1 && back == byte);
    }
}
static void run_getppid(long count) { LOOP(count) MUST(syscall(SYS_getppid) >= 0); }
static void run_poll(long count) {
    struct pollfd wait = {1, POLLOUT, 0};
    LOOP(count) MUST(poll(&wait, 1, 0) == 1);
}

static volatile sig_atomic_t caught;
static void catch(int number) { (void)number, caught++; }
static void have_handler(void) {
    struct sigaction action = {.sa_handler = catch};
    MUST(sigaction(SIGUSR1, &action, NULL) == 0);
}
static void run_signal(long count) { LOOP(count) { caught = 0; MUST(kill(getpid(), SIGUSR1) == 0 && caught == 1); } }

static void *nothing(void *argument) { return argument; }
static void run_thread(long count) {
    LOOP(count) {
        pthread_t thread;
        void *given = NULL;
        MUST(pthread_create(&thread, NULL, nothing, &count) == 0 && pthread_join(thread, &given) == 0 && given == &count);
    }
}

static char *const true_argv[] = {"/bin/true", NULL}, *const no_environment[] = {NULL};
static void reap(pid_t pid, int status) {
    int how;
    MUST(pid > 0 && waitpid(pid, &how, 0) == pid && WIFEXITED(how) && WEXITSTATUS(how) == status);
}
static void run_fork(long count) {
    LOOP(count) {
        pid_t pid = fork();
        if (pid == 0) _exit((int)turn & 127);
        reap(pid, (int)turn & 127);
    }
}
static void run_exec(long count) {
    LOOP(count) {
        pid_t pid = fork();
        if (pid == 0) execve(true_argv[0], true_argv, no_environment), _exit(127);
        reap(pid, 0);
    }
}
static void run_spawn(long count) { /* by vfork, as shells and interpreters do */
    LOOP(count) {
        pid_t pid;
        MUST(posix_spawn(&pid, true_argv[0], NULL, NULL, true_argv, no_environment) == 0);
        reap(pid, 0);
    }
}
static double compute(void) {
    volatile double sum = 0;
    for (int i = 1; i < 1000; i++) sum = sum + 1.0 / i;
    return sum;
}
static void run_compute(long count) { LOOP(count) compute(); }
static uint64_t saw_compute(void) {
    double sum = compute();
    return hashed(&sum, sizeof sum);
}

const struct call other_calls[] = {
    {"getppid", NULL, run_getppid, NULL}, {"poll", NULL, run_poll, NULL}, {"compute", NULL, run_compute, saw_compute},
    {"pipe-ping-pong", have_pipe, run_pipe, NULL}, {"unix-ping-pong", have_pair, run_unix, NULL}, {"socket", NULL, run_socket, NULL},
    {"connect-unix", have_unix_listener, run_connect_unix, NULL}, {"connect-tcp", have_tcp_listener, run_connect_tcp, NULL},
    {"signal", have_handler, run_signal, NULL}, {"thread", NULL, run_thread, NULL}, {"fork", NULL, run_fork, NULL},
    {"fork+exec", NULL, run_exec, NULL}, {"spawn", NULL, run_spawn, NULL},
};
const int other_call_count = sizeof other_calls / sizeof *other_calls;
