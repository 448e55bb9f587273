/* with: decode.c guest.c syscalls.c wrap: process_vm_readv pread openat
 *
 * A notification and the memory that it points into. The guest changes its memory after every read. What must hold: no
 * read outside what was asked for, read-once, bounded, every text ended by NUL, and errors that the call can have. */
#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>
#include "decode.h"
#include "fuzz.h"

#define BASE 0x7ff000000000u /* where the guest's memory is, a page boundary */
#define MEMORY_MAX 20000

static uint8_t memory[MEMORY_MAX];
static uint64_t start, length; /* mapped: [start, start + length) */
static size_t asked;           /* bytes that were read */
static int flips;              /* the guest changes its memory after each read */

uint64_t answer_now(void) { return 1; }
bool trail_keeps(void) { return true; }

static ssize_t copy(void *to, size_t size, uint64_t address) {
    if (address < start || address - start >= length) return 0;
    uint64_t offset = address - start, count = length - offset < size ? length - offset : size;
    memcpy(to, memory + offset, count);
    if (flips)
        for (uint64_t i = 0; i < count; i++) memory[offset + i] ^= 0x5a;
    asked += count;
    return (ssize_t)count;
}

ssize_t __wrap_process_vm_readv(pid_t tid, const struct iovec *local, unsigned long count, const struct iovec *remote,
                                unsigned long remote_count, unsigned long flags) {
    CHECK(tid == 77 && count == 1 && flags == 0 && remote_count >= 1 && remote_count <= 2);
    size_t done = 0;
    for (unsigned long i = 0; i < remote_count; i++) {
        CHECK(done + remote[i].iov_len <= local[0].iov_len);
        ssize_t got = copy((char *)local[0].iov_base + done, remote[i].iov_len, (uint64_t)remote[i].iov_base);
        done += (size_t)got;
        if ((size_t)got < remote[i].iov_len) break;
    }
    errno = EFAULT;
    return done ? (ssize_t)done : -1;
}

ssize_t __wrap_pread(int fd, void *to, size_t size, off_t offset) {
    CHECK(fd >= 0);
    ssize_t got = copy(to, size, (uint64_t)offset);
    errno = EIO;
    return got ? got : -1;
}

int __real_openat(int directory, const char *name, int flags, mode_t mode);
int __wrap_openat(int directory, const char *name, int flags, mode_t mode) {
    CHECK(directory == 1000 && strcmp(name, "77/mem") == 0);
    return __real_openat(AT_FDCWD, "/dev/null", flags, mode);
}

/* The memory: what is left of the input, repeated, ending where a page ends or starting where one starts. */
static void make_memory(struct input *input, uint8_t how) {
    static uint8_t tail[MEMORY_MAX];
    size_t count = input_bytes(input, tail, sizeof tail), copies = 1 + (how & 63);
    length = 0;
    for (size_t i = 0; count && i < copies && length + count <= sizeof memory; i++, length += count)
        memcpy(memory + length, tail, count);
    start = how & 64 ? BASE : BASE + ((0 - length) & 4095);
}

static uint64_t argument(struct input *input, uint64_t mapped) {
    switch (input_byte(input) % 6) {
    case 0: return BASE + input_number(input, 2);             /* somewhere near */
    case 1: return BASE + mapped - input_byte(input);         /* near the end */
    case 2: return input_number(input, 8);
    case 3: return (uint64_t)(int64_t)(int8_t)input_byte(input);
    case 4: return (uint64_t)-1 - input_number(input, 2);      /* wraps around */
    default: return 0;
    }
}

static bool expected(int error) {
    return error == 0 || error == -EFAULT || error == -ENAMETOOLONG || error == -ERANGE || error == -ENOSYS;
}

static void check_texts(const struct request *request, const uint8_t *before, int error) {
    int path = 0;
    size_t may_ask = 0;
    for (int i = 0; request->row && i < 6; i++) {
        enum sbx_role role = (enum sbx_role)request->row->role[i];
        if (role == SBX_ROLE_PATH || role == SBX_ROLE_TEXT) may_ask += SBX_PATH_MAX;
        if (role == SBX_ROLE_NAME) may_ask += 256;
        const char *text = role == SBX_ROLE_PATH ? request->path[path++] : request->name;
        if (error || (role != SBX_ROLE_PATH && role != SBX_ROLE_TEXT && role != SBX_ROLE_NAME)) continue;
        CHECK(strnlen(text, SBX_PATH_MAX) < SBX_PATH_MAX);
        uint64_t at = request->args[i];
        if (role == SBX_ROLE_PATH && at == 0) CHECK(request->path_null[path - 1] && text[0] == 0);
        else CHECK(at >= start && at - start + strlen(text) < length);
        if (at && !flips) CHECK(strcmp(text, (const char *)before + (at - start)) == 0);
    }
    if (error == 0) CHECK(strnlen(request->name, SBX_PATH_MAX) < SBX_PATH_MAX);
    CHECK(asked <= may_ask); /* INVARIANT read-once, bounded */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct request request;
    static uint8_t before[MEMORY_MAX + 1];
    struct input input = {data, size};
    memset(&request, 0x41, sizeof request); /* of the request before: nothing of it may show */
    uint8_t how = input_byte(&input), mode = input_byte(&input);
    struct seccomp_notif notification = {.id = 9, .pid = 77};
    notification.data.nr = (int)input_number(&input, mode & 1 ? 4 : 2);
    if (mode & 2) notification.data.nr &= 511;
    uint64_t mapped = input_number(&input, 2);
    for (int i = 0; i < 6; i++) notification.data.args[i] = argument(&input, mapped);
    make_memory(&input, how);
    memcpy(before, memory, length);
    flips = mode & 4;
    asked = 0;
    guest_setup(-1, 1000, 0, mode & 8);
    int error = decode(&notification, &request);
    guest_forget();
    CHECK(expected(error));
    CHECK((request.row == NULL) == (syscalls_row((uint32_t)notification.data.nr) == NULL) && (request.row || error == -ENOSYS));
    CHECK(request.paths >= 0 && request.paths <= 2 && request.service == 0 && !request.careful);
    for (int i = 0; i < request.paths; i++) CHECK(strnlen(request.path[i], SBX_PATH_MAX) < SBX_PATH_MAX); /* recorded */
    check_texts(&request, before, error);
    return 0;
}
