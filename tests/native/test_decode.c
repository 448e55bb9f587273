/* with: decode.c guest.c syscalls.c
 *
 * A notification becomes a request: from this process's own memory, by process_vm_readv and by /proc/PID/mem. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "decode.h"

#define CHECK(condition) do { \
    if (!(condition)) { printf("%s:%d: %s\n", __FILE__, __LINE__, #condition); exit(1); } } while (0)
#define CALL(number, ...) make(number, (const uint64_t[6]){__VA_ARGS__})
#define ADDRESS(pointer) ((uint64_t)(uintptr_t)(pointer))

uint64_t answer_now(void) { return 5; }
bool trail_keeps(void) { return true; }

static struct request request;
static char *page; /* two pages, and then one that cannot be read */

static int make(int number, const uint64_t args[6]) {
    struct seccomp_notif notification = {.id = 9, .pid = (uint32_t)getpid(), .data.nr = number};
    memcpy(notification.data.args, args, sizeof notification.data.args);
    memset(&request, 0x41, sizeof request);
    int error = decode(&notification, &request);
    guest_forget();
    return error;
}

/* `length` letters and a NUL, which is the last byte that can be read. */
static char *at_end(size_t length) {
    char *text = page + 8192 - length - 1;
    memset(text, 'x', length);
    text[length] = 0;
    return text;
}

static void test_arguments(void) {
    CHECK(CALL(SYS_openat, 0xffffffff00000003, ADDRESS("/a/b"), 0xfffffffff0000000 | O_CREAT, 0640) == 0);
    CHECK(request.dirfd[0] == 3 && request.paths == 1 && strcmp(request.path[0], "/a/b") == 0);
    CHECK(request.flags == (0xf0000000u | O_CREAT) && request.mode == 0640 && request.fd == -1);
    CHECK(request.id == 9 && request.tid == getpid() && request.nr == SYS_openat && request.began_ns == 5);
    CHECK(request.service == 0 && !request.careful && request.name[0] == 0);
    CHECK(CALL(SYS_lstat, ADDRESS("a"), 77) == 0 && request.flags == AT_SYMLINK_NOFOLLOW && request.out == 77);
    CHECK(request.dirfd[0] == AT_FDCWD);
    CHECK(CALL(SYS_rmdir, ADDRESS("a")) == 0 && request.flags == AT_REMOVEDIR);
    CHECK(CALL(SYS_renameat2, 4, ADDRESS("a"), 5, ADDRESS("b"), 1) == 0 && request.paths == 2);
    CHECK(request.dirfd[0] == 4 && request.dirfd[1] == 5 && strcmp(request.path[1], "b") == 0 && request.flags == 1);
    CHECK(CALL(SYS_kill, (uint64_t)-1, 9) == 0 && request.pid == -1 && request.value[0] == 9);
    CHECK(CALL(99999, 1) == -ENOSYS && request.row == NULL && request.paths == 0);
    CHECK(CALL(-1, 1) == -ENOSYS && CALL(0x40000101, 1) == -ENOSYS); /* x32 */
}

static void test_edges(void) {
    CHECK(CALL(SYS_chdir, ADDRESS(at_end(5))) == 0 && strcmp(request.path[0], "xxxxx") == 0);
    CHECK(CALL(SYS_chdir, ADDRESS(at_end(0))) == 0 && request.path[0][0] == 0 && !request.path_null[0]);
    CHECK(CALL(SYS_chdir, ADDRESS(at_end(4095))) == 0 && strlen(request.path[0]) == 4095);
    CHECK(CALL(SYS_chdir, ADDRESS(at_end(4096))) == -ENAMETOOLONG && request.path[0][0] == 0 && request.paths == 1);
    CHECK(CALL(SYS_chdir, ADDRESS(at_end(4000))) == 0 && strlen(request.path[0]) == 4000);
    page[8191] = 'x';
    CHECK(CALL(SYS_chdir, ADDRESS(page + 8188)) == -EFAULT && request.path[0][0] == 0);
    CHECK(CALL(SYS_chdir, ADDRESS(page + 8192)) == -EFAULT);
    CHECK(CALL(SYS_chdir, UINT64_MAX - 3) == -EFAULT && CALL(SYS_chdir, 1) == -EFAULT && CALL(SYS_chdir, 1ull << 63) == -EFAULT);
    CHECK(CALL(SYS_utimensat, 3, 0, 0, 0) == 0 && request.path_null[0] && request.path[0][0] == 0);
    /* What can be read is recorded even where the call fails. */
    CHECK(CALL(SYS_rename, 1, ADDRESS("b")) == -EFAULT && request.paths == 2);
    CHECK(request.path[0][0] == 0 && strcmp(request.path[1], "b") == 0);
    CHECK(CALL(SYS_rename, ADDRESS("a"), 1) == -EFAULT && strcmp(request.path[0], "a") == 0 && request.path[1][0] == 0);
}

static void test_names(void) {
    CHECK(CALL(SYS_getxattr, ADDRESS("/a"), ADDRESS("user.x"), 5, 6) == 0 && strcmp(request.name, "user.x") == 0);
    CHECK(request.out == 5 && request.size == 6);
    CHECK(CALL(SYS_getxattr, ADDRESS("/a"), ADDRESS(at_end(255))) == 0 && strlen(request.name) == 255);
    CHECK(CALL(SYS_getxattr, ADDRESS("/a"), ADDRESS(at_end(256))) == -ERANGE);
    CHECK(CALL(SYS_getxattr, ADDRESS("/a"), ADDRESS("")) == -ERANGE);
    CHECK(CALL(SYS_getxattr, ADDRESS("/a"), 0) == -EFAULT && strcmp(request.path[0], "/a") == 0);
    CHECK(CALL(SYS_symlink, ADDRESS(at_end(4095)), ADDRESS("l")) == 0 && strlen(request.name) == 4095);
    CHECK(CALL(SYS_symlink, ADDRESS(at_end(4096)), ADDRESS("l")) == -ENAMETOOLONG && strcmp(request.path[0], "l") == 0);
    CHECK(CALL(SYS_symlink, 0, ADDRESS("l")) == -EFAULT);
}

int main(void) {
    int proc = open("/proc", O_RDONLY | O_DIRECTORY);
    page = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(proc >= 0 && page != MAP_FAILED && munmap(page + 8192, 4096) == 0);
    for (int by_pid = 0; by_pid < 2; by_pid++) {
        guest_setup(-1, proc, 0, by_pid);
        test_arguments();
        test_edges();
        test_names();
    }
    close(proc);
    puts("decode: ok");
    return 0;
}
