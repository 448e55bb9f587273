/* calls_files.c: calls that name files, or read and write them. */
#include "calls.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FILE_NAME "calls.file"
#define BIG (1 << 20)
#define ENTRIES 1000

static int file = -1, listing = -1, zero = -1, null = -1;
static char bytes[BIG];

static void have_file(void) {
    if (file >= 0) return;
    MUST((file = open(FILE_NAME, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)) >= 0);
    for (size_t i = 0; i < BIG; i++) bytes[i] = (char)(i * 7);
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

static uint64_t saw_status(const struct stat *status) {
    uint64_t told[] = {status->st_mode, (uint64_t)status->st_size};
    return hashed(told, sizeof told);
}

static void have_devices(void) {
    if (zero < 0) MUST((zero = open("/dev/zero", O_RDONLY | O_CLOEXEC)) >= 0 && (null = open("/dev/null", O_WRONLY | O_CLOEXEC)) >= 0);
}

static void run_read(long count) {
    char byte;
    LOOP(count) { byte = 1; MUST(read(zero, &byte, 1) == 1 && byte == 0); }
}

static void run_write(long count) { LOOP(count) MUST(write(null, "x", 1) == 1); }

#define STAT_CALL(name, call) \
    static void run_##name(long count) { struct stat status; LOOP(count) MUST(call); } \
    static uint64_t saw_##name(void) { struct stat status = {0}; MUST(call); return saw_status(&status); }
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

static uint64_t saw_link(void) {
    char text[64];
    ssize_t got = readlink("calls.link", text, sizeof text);
    MUST(got > 0);
    return hashed(text, (size_t)got);
}

/* What is in the file now, as this descriptor reads it. */
static uint64_t saw_bytes(int fd, size_t size) {
    for (size_t i = 0; i < size; i++) bytes[i] = 0;
    MUST(pread(fd, bytes, size, 0) == (ssize_t)size);
    return hashed(bytes, size);
}

static uint64_t saw_open(void) {
    int fd = open(FILE_NAME, O_RDONLY | O_CLOEXEC);
    MUST(fd >= 0);
    uint64_t saw = saw_bytes(fd, BIG);
    close(fd);
    return saw;
}

static void run_open(long count) {
    LOOP(count) {
        int fd = open(FILE_NAME, O_RDONLY | O_CLOEXEC);
        MUST(fd >= 0);
        close(fd);
    }
}

/* The records of a whole listing, "." and ".." included; and the sum of their names' numbers, if wanted. */
static int count_entries(uint64_t *names) {
    static char records[65536];
    int found = 0;
    MUST(lseek(listing, 0, SEEK_SET) == 0);
    for (long got; (got = syscall(SYS_getdents64, listing, records, sizeof records)) != 0;) {
        MUST(got > 0);
        for (long at = 0; at < got; at += *(unsigned short *)(void *)(records + at + 16)) {
            found++;
            if (names) *names += hashed(records + at + 19, strlen(records + at + 19));
        }
    }
    return found;
}

static void run_getdents(long count) { LOOP(count) MUST(count_entries(NULL) == ENTRIES + 2); }
static uint64_t saw_names(void) {
    uint64_t names = 0;
    MUST(count_entries(&names) == ENTRIES + 2);
    return names;
}

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

static uint64_t saw_left(void) { /* which of the names are there after it */
    return 1 + (access(FILE_NAME, F_OK) == 0) + 2 * (access("calls.new", F_OK) == 0) + 4 * (access("calls.renamed", F_OK) == 0);
}

#define SIZED_CALL(call, size) \
    static void run_##call##_##size(long count) { LOOP(count) MUST(call(file, bytes, size, 0) == size); } \
    static uint64_t saw_##call##_##size(void) { return saw_bytes(file, size); }
SIZED_CALL(pread, 1)
SIZED_CALL(pread, 4096)
SIZED_CALL(pread, 65536)
SIZED_CALL(pread, 1048576)
SIZED_CALL(pwrite, 1)
SIZED_CALL(pwrite, 4096)
SIZED_CALL(pwrite, 65536)
SIZED_CALL(pwrite, 1048576)

static uint64_t map(int flags, int fd, bool whole) {
    volatile char *memory = mmap(NULL, 65536, PROT_READ, flags, fd, 0);
    MUST(memory != MAP_FAILED);
    uint64_t saw = whole ? hashed((const void *)memory, 65536) : (uint64_t)*memory;
    MUST(munmap((void *)memory, 65536) == 0);
    return saw;
}

static void run_mmap(long count) { LOOP(count) map(MAP_PRIVATE | MAP_ANONYMOUS, -1, false); }
static void run_mmap_file(long count) { LOOP(count) map(MAP_PRIVATE, file, false); }
static uint64_t saw_mmap(void) { return map(MAP_PRIVATE | MAP_ANONYMOUS, -1, true); }
static uint64_t saw_mmap_file(void) { return map(MAP_PRIVATE, file, true); }

const struct call file_calls[] = {
    {"stat", have_file, run_stat, saw_stat}, {"stat-absolute", NULL, run_stat_absolute, saw_stat_absolute},
    {"stat-miss", have_file, run_stat_miss, saw_stat_miss}, {"fstat", have_file, run_fstat, saw_fstat},
    {"fstat-at", have_file, run_fstat_at, saw_fstat_at}, {"access", have_file, run_access, saw_left},
    {"open+close", have_file, run_open, saw_open}, {"readlink", have_file, run_readlink, saw_link},
    {"getdents-1000", have_listing, run_getdents, saw_names},
    {"create+unlink", have_file, run_create, saw_left}, {"rename", have_file, run_rename, saw_left},
    {"read", have_devices, run_read, NULL}, {"write", have_devices, run_write, NULL},
    {"pread-1", have_file, run_pread_1, saw_pread_1}, {"pread-4K", have_file, run_pread_4096, saw_pread_4096},
    {"pread-64K", have_file, run_pread_65536, saw_pread_65536}, {"pread-1M", have_file, run_pread_1048576, saw_pread_1048576},
    {"pwrite-1", have_file, run_pwrite_1, saw_pwrite_1}, {"pwrite-4K", have_file, run_pwrite_4096, saw_pwrite_4096},
    {"pwrite-64K", have_file, run_pwrite_65536, saw_pwrite_65536}, {"pwrite-1M", have_file, run_pwrite_1048576, saw_pwrite_1048576},
    {"mmap", NULL, run_mmap, saw_mmap}, {"mmap-file", have_file, run_mmap_file, saw_mmap_file},
};
const int file_call_count = sizeof file_calls / sizeof *file_calls;
