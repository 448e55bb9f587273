/* calls_table.c: what calls.c times. */
#include "calls.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOOP(count) for (long turn = 0; turn < (count); turn++)
/* Every call must do what it is timed for: one that is refused is no figure. */
#define MUST(condition) do { if (!(condition)) fail(#condition); } while (0)
#define FILE_NAME "calls.file"

static int file = -1, null = -1, zero = -1, listing = -1, pair[2] = {-1, -1};
static struct stat status;

static void have_file(void) {
    if (file >= 0) return;
    MUST((file = open(FILE_NAME, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)) >= 0);
    MUST(write(file, "x", 1) == 1);
    unlink("calls.link");
    MUST(symlink(FILE_NAME, "calls.link") == 0);
    unlink("calls.renamed"); /* what a run that was killed has left */
    unlink("calls.new");
}

static void have_devices(void) {
    if (null < 0) MUST((null = open("/dev/null", O_WRONLY | O_CLOEXEC)) >= 0);
    if (zero < 0) MUST((zero = open("/dev/zero", O_RDONLY | O_CLOEXEC)) >= 0);
}

static void have_listing(void) {
    char name[64];
    if (listing >= 0) return;
    MUST(mkdir("calls.many", 0755) == 0 || errno == EEXIST);
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "calls.many/entry-%04d", i);
        int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        MUST(fd >= 0);
        close(fd);
    }
    MUST((listing = open("calls.many", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) >= 0);
}

static void have_echo(void) {
    if (pair[0] >= 0) return;
    MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    pid_t pid = fork();
    MUST(pid >= 0);
    if (pid > 0) {
        close(pair[1]);
        return;
    }
    char byte;
    close(pair[0]);
    while (read(pair[1], &byte, 1) == 1)
        if (write(pair[1], &byte, 1) != 1) break;
    _exit(0);
}

static void run_getppid(long count) { LOOP(count) syscall(SYS_getppid); }
static void run_read(long count) { char byte; LOOP(count) MUST(read(zero, &byte, 1) == 1); }
static void run_write(long count) { LOOP(count) MUST(write(null, "x", 1) == 1); }
static void run_pread(long count) { char byte; LOOP(count) MUST(pread(file, &byte, 1, 0) == 1); }
static void run_fstat_raw(long count) { LOOP(count) MUST(syscall(SYS_fstat, file, &status) == 0); }
/* What glibc 2.33 to 2.38 makes of fstat(). */
static void run_fstat_libc(long count) {
    LOOP(count) MUST(syscall(SYS_newfstatat, file, "", &status, AT_EMPTY_PATH) == 0);
}
static void run_poll(long count) {
    struct pollfd wait = {null, POLLOUT, 0};
    LOOP(count) MUST(poll(&wait, 1, 0) == 1);
}
static void run_stat(long count) { LOOP(count) MUST(stat(FILE_NAME, &status) == 0); }
static void run_stat_deep(long count) { LOOP(count) MUST(stat("/usr/bin/env", &status) == 0); }
static void run_stat_miss(long count) { LOOP(count) MUST(stat("calls.missing", &status) < 0 && errno == ENOENT); }
static void run_access(long count) { LOOP(count) MUST(access(FILE_NAME, R_OK) == 0); }
static void run_open_close(long count) {
    LOOP(count) {
        int fd = open(FILE_NAME, O_RDONLY | O_CLOEXEC);
        MUST(fd >= 0);
        close(fd);
    }
}
static void run_readlink(long count) { char text[64]; LOOP(count) MUST(readlink("calls.link", text, sizeof text) > 0); }
static void run_getdents(long count) {
    static char entries[65536];
    LOOP(count) {
        long got;
        MUST(lseek(listing, 0, SEEK_SET) == 0);
        while ((got = syscall(SYS_getdents64, listing, entries, sizeof entries)) > 0) continue;
        MUST(got == 0);
    }
}
static void run_create_unlink(long count) {
    LOOP(count) {
        int fd = open("calls.new", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        MUST(fd >= 0);
        close(fd);
        MUST(unlink("calls.new") == 0);
    }
}
static void run_rename(long count) { /* there and back: one each */
    LOOP(count) MUST(turn % 2 ? rename("calls.renamed", FILE_NAME) == 0 : rename(FILE_NAME, "calls.renamed") == 0);
    rename("calls.renamed", FILE_NAME);
}
static void run_ping_pong(long count) {
    char byte = 0;
    LOOP(count) MUST(write(pair[0], &byte, 1) == 1 && read(pair[0], &byte, 1) == 1);
}
static void run_fork(long count) {
    LOOP(count) {
        pid_t pid = fork();
        MUST(pid >= 0);
        if (pid == 0) _exit(0);
        MUST(waitpid(pid, NULL, 0) == pid);
    }
}
static void run_exec(long count) { /* by vfork, as shells and interpreters do */
    char *arguments[] = {"/bin/true", NULL}, *environment[] = {NULL};
    LOOP(count) {
        pid_t pid;
        int how;
        MUST(posix_spawn(&pid, arguments[0], NULL, NULL, arguments, environment) == 0);
        MUST(waitpid(pid, &how, 0) == pid && WIFEXITED(how) && WEXITSTATUS(how) == 0);
    }
}
static void run_fork_exec(long count) {
    char *arguments[] = {"/bin/true", NULL}, *environment[] = {NULL};
    LOOP(count) {
        int how;
        pid_t pid = fork();
        MUST(pid >= 0);
        if (pid == 0) execve(arguments[0], arguments, environment), _exit(127);
        MUST(waitpid(pid, &how, 0) == pid && WIFEXITED(how) && WEXITSTATUS(how) == 0);
    }
}
static void *nothing(void *argument) { return argument; }
static void run_thread(long count) {
    LOOP(count) {
        pthread_t thread;
        MUST(pthread_create(&thread, NULL, nothing, NULL) == 0 && pthread_join(thread, NULL) == 0);
    }
}
static void *half_of_stats(void *argument) {
    struct stat own;
    LOOP(*(long *)argument) MUST(stat(FILE_NAME, &own) == 0);
    return NULL;
}
static void run_stat_two(long count) { /* two threads: nanoseconds until both have one */
    pthread_t other;
    MUST(pthread_create(&other, NULL, half_of_stats, &count) == 0);
    half_of_stats(&count);
    MUST(pthread_join(other, NULL) == 0);
}
static void run_compute(long count) {
    volatile double sum = 0;
    LOOP(count) for (int i = 1; i < 1000; i++) sum = sum + 1.0 / i;
}

const struct call calls[] = {
    {"getppid", NULL, run_getppid}, {"read", have_devices, run_read}, {"write", have_devices, run_write},
    {"pread", have_file, run_pread}, {"fstat-raw", have_file, run_fstat_raw}, {"fstat-libc", have_file, run_fstat_libc},
    {"poll", have_devices, run_poll}, {"compute", NULL, run_compute},
    {"stat", have_file, run_stat}, {"stat-usr", NULL, run_stat_deep}, {"stat-miss", have_file, run_stat_miss},
    {"stat-2threads", have_file, run_stat_two}, {"access", have_file, run_access}, {"open+close", have_file, run_open_close},
    {"readlink", have_file, run_readlink}, {"getdents-1000", have_listing, run_getdents},
    {"create+unlink", have_file, run_create_unlink}, {"rename", have_file, run_rename},
    {"unix-ping-pong", have_echo, run_ping_pong}, {"thread", NULL, run_thread}, {"fork+wait", NULL, run_fork},
    {"fork+exec", NULL, run_fork_exec}, {"spawn", NULL, run_exec},
};
const int call_count = sizeof calls / sizeof *calls;
