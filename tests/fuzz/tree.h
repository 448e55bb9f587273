/* tree.h: what fuzz_walk.c and fuzz_procfs.c stand on: this process as the only process of a guest, its mounts made of
 * directories in memory, the real sources of the sentry below, and a few functions of it that are not linked. */
#ifndef TREE_H
#define TREE_H
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include "build_plan.h"
#include "context.h"
#include "fuzz.h"
#include "loop.h"
#include "mounts.h"
#include "rpc.h"
#include "walk.h"

/* ---- this process is the guest; nothing else is ---- */
static pid_t tree_pid;
#define NO_CONTEXT UINT32_MAX /* a number that is never given: an input must not begin in a directory of one before */
static uint32_t tree_context = NO_CONTEXT;

int64_t __wrap_guest_context(pid_t tid) { return tid == tree_pid ? (int64_t)tree_context : -ESRCH; }
int __wrap_guest_set_context(pid_t tid, uint32_t context) {
    if (tid != tree_pid) return -ESRCH;
    tree_context = context;
    return 0;
}

/* ---- not linked ---- */
uint64_t answer_now(void) { return 1; }
bool loop_leave(void) { return true; }
void burst_end(void) { }
int loop_block_open(int (*open)(const void *what), const void *what) { return open(what); }
bool interface_is_own(void) { return false; }

int rpc_serve(enum sbx_serve service, int64_t handle, const char *name, int fd, uint64_t *id) {
    (void)service, (void)handle, (void)name, (void)fd;
    *id = 1;
    return -EIO;
}

/* ---- the mounts ---- */
enum { ROOT, DATA, INNER, FILE_, LINK_, PROC, SCRATCH, TREE_MOUNTS };
static char tree_top[64], tree_source[TREE_MOUNTS][128];

/* Everything in a directory, links not followed. */
static void tree_empty(int directory) {
    int again = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = again < 0 ? NULL : fdopendir(again);
    for (struct dirent *entry; list && (entry = readdir(list)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        if (unlinkat(directory, entry->d_name, 0) == 0 || errno != EISDIR) continue;
        int below = openat(directory, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        tree_empty(below);
        close(below);
        unlinkat(directory, entry->d_name, AT_REMOVEDIR);
    }
    if (list) closedir(list);
}

static void tree_end(void) {
    if (tree_pid != getpid()) return;
    int top = open(tree_top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (top < 0) return;
    tree_empty(top);
    close(top);
    rmdir(tree_top);
}

static int tree_file(const char *name, const char *content) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", tree_top, name);
    int fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && write(fd, content, strlen(content)) == (ssize_t)strlen(content));
    return fd;
}

static void tree_directory(const char *name) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", tree_top, name);
    CHECK(mkdir(path, 0700) == 0);
}

/* The host has `data`, `inner` and `single`, which are granted, and beside them what is not: names that start alike. */
static void tree_setup(void) {
    const char *why = "";
    struct plan_row rows[TREE_MOUNTS] = {
        [ROOT] = {"/", "", "", 0, SBX_MOUNT_SKELETON, 0},
        [DATA] = {"/data", tree_source[DATA], "secret\0sub/secret", 2, SBX_MOUNT_HOST, 0},
        [INNER] = {"/data/inner", tree_source[INNER], "", 0, SBX_MOUNT_HOST, SBX_MOUNT_WRITABLE},
        [FILE_] = {"/file", tree_source[FILE_], "", 0, SBX_MOUNT_HOST, 0},
        [LINK_] = {"/link", "data/sub", "", 0, SBX_MOUNT_LINK, 0},
        [PROC] = {"/proc", "", "", 0, SBX_MOUNT_PROC, 0},
        [SCRATCH] = {"/scratch", "", "", 0, SBX_MOUNT_SCRATCH, SBX_MOUNT_WRITABLE},
    };
    strcpy(tree_top, access("/dev/shm", W_OK) == 0 ? "/dev/shm/fuzz-XXXXXX" : "/tmp/fuzz-XXXXXX");
    CHECK(mkdtemp(tree_top) != NULL);
    tree_pid = getpid();
    atexit(tree_end);
    umask(0);
    snprintf(tree_source[DATA], sizeof tree_source[0], "%s/data", tree_top);
    snprintf(tree_source[INNER], sizeof tree_source[0], "%s/inner", tree_top);
    snprintf(tree_source[FILE_], sizeof tree_source[0], "%s/single", tree_top);
    tree_directory("data");
    tree_directory("inner");
    tree_directory("scratch_host");
    tree_directory("data-outside");
    tree_directory("data (deleted)");
    tree_directory("data-outside/sub");
    close(tree_file("data-outside/a", "host"));
    close(tree_file("single", "granted"));
    close(tree_file("single-outside", "host"));
    char host[128];
    snprintf(host, sizeof host, "%s/scratch_host", tree_top);
    struct sbx_plan *plan = build_plan(rows, TREE_MOUNTS, host);
    CHECK(sbx_plan_check(plan, plan->size, &why) == 0);
    CHECK(mounts_setup(plan, NULL, false, &why) == 0);
    guest_setup(-1, mounts_proc(), 0, true);
}
#endif
