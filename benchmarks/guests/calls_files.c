/* calls_files.c: calls that name files, or read and write them. */
#include "calls.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FILE_NAME "calls.file"
#define BIG (1 << 20)
#define ENTRIES 1000

static int file = -1, listing = -1;
static char bytes[BIG];

static void have_file(void) {
    if (file >= 0) return;
    MUST((file = open(FILE_NAME, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)) >= 0);
    for (size_t i = 0; i < BIG; i++) bytes[i] = 'x';
    MUST(write(file, bytes, BIG) == BIG);
    unlink("calls.link");
    MUST(symlink(FILE_NAME, "calls.link") == 0);
    unlink("calls.renamed"); /* what a run that was killed has left */
    unlink("calls.new");
}

static void have_listing(void) {
    char name[64];
    if (listing >= 0) return;
    MUST(mkdir("calls.many", 0755) == 0 || errno == EEXIST);
    for (int i = 0; i < ENTRIES; i++) {
        snprintf(name, sizeof name, "calls.many/entry-%04d", i);
        int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        MUST(fd >= 0);
        close(fd);
    }
    MUST((listing = open("calls.many", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) >= 0);
}

#define STAT_CALL(name, call) static void run_##name(long count) { struct stat status; LOOP(count) MUST(call); }
STAT_CALL(stat, stat(FILE_NAME, &status) == 0)
STAT_CALL(stat_absolute, stat("/usr/bin/env", &status) == 0)
STAT_CALL(stat_miss, stat("calls.missing", &status) < 0 && errno == ENOENT)
STAT_CALL(fstat, syscall(SYS_fstat, file, &status) == 0)
/* What glibc 2.33 to 2.38 makes of fstat(). */
STAT_CALL(fstat_at, syscall(SYS_newfstatat, file, "", &status, AT_EMPTY_PATH) == 0)

static void run_access(long count) { LOOP(count) MUST(access(FILE_NAME, R_OK) == 0); }
static void run_readlink(long count) {
    char text[64];
    LOOP(count) MUST(readlink("calls.link", text, sizeof text) == sizeof FILE_NAME - 1);
}

static void run_open(long count) {
    LOOP(count) {
        int fd = open(FILE_NAME, O_RDONLY | O_CLOEXEC);
        MUST(fd >= 0);
        close(fd);
    }
}

/* The records of a whole listing, "." and ".." included. */
static int count_entries(void) {
    static char records[65536];
    int found = 0;
    MUST(lseek(listing, 0, SEEK_SET) == 0);
    for (long got; (got = syscall(SYS_getdents64, listing, records, sizeof records)) != 0;) {
        MUST(got > 0);
        for (long at = 0; at < got; at += *(unsigned short *)(void *)(records + at + 16)) found++;
    }
    return found;
}

static void run_getdents(long count) { LOOP(count) MUST(count_entries() == ENTRIES + 2); }

static void run_create(long count) {
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

#define SIZED_CALL(call, size) static void run_##call##_##size(long count) { LOOP(count) MUST(call(file, bytes, size, 0) == size); }
SIZED_CALL(pread, 1)
SIZED_CALL(pread, 4096)
SIZED_CALL(pread, 65536)
SIZED_CALL(pread, 1048576)
SIZED_CALL(pwrite, 1)
SIZED_CALL(pwrite, 4096)
SIZED_CALL(pwrite, 65536)
SIZED_CALL(pwrite, 1048576)

static void map(int flags, int fd) {
    volatile char *memory = mmap(NULL, 65536, PROT_READ, flags, fd, 0);
    MUST(memory != MAP_FAILED);
    (void)*memory;
    MUST(munmap((void *)memory, 65536) == 0);
}

static void run_mmap(long count) { LOOP(count) map(MAP_PRIVATE | MAP_ANONYMOUS, -1); }
static void run_mmap_file(long count) { LOOP(count) map(MAP_PRIVATE, file); }

const struct call file_calls[] = {
    {"stat", have_file, run_stat}, {"stat-absolute", NULL, run_stat_absolute}, {"stat-miss", have_file, run_stat_miss},
    {"fstat", have_file, run_fstat}, {"fstat-at", have_file, run_fstat_at}, {"access", have_file, run_access},
    {"open+close", have_file, run_open}, {"readlink", have_file, run_readlink}, {"getdents-1000", have_listing, run_getdents},
    {"create+unlink", have_file, run_create}, {"rename", have_file, run_rename},
    {"pread-1", have_file, run_pread_1}, {"pread-4K", have_file, run_pread_4096},
    {"pread-64K", have_file, run_pread_65536}, {"pread-1M", have_file, run_pread_1048576},
    {"pwrite-1", have_file, run_pwrite_1}, {"pwrite-4K", have_file, run_pwrite_4096},
    {"pwrite-64K", have_file, run_pwrite_65536}, {"pwrite-1M", have_file, run_pwrite_1048576},
    {"mmap", NULL, run_mmap}, {"mmap-file", have_file, run_mmap_file},
};
const int file_call_count = sizeof file_calls / sizeof *file_calls;
