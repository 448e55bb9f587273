/* with: elf.c wrap: pread
 *
 * The first bytes of a program. What must hold: every read is inside a bounded buffer, every text ends, and a `#!` line
 * with its newline in reach means what execve(2) says it means. */
#include <errno.h>
#include "elf.h"
#include "fuzz.h"

static const uint8_t *file;
static uint64_t file_size;
static int reads, fail_at; /* the read that fails */

ssize_t __wrap_pread(int fd, void *to, size_t size, off_t offset) {
    CHECK(fd == 5 && size <= 4096);
    if (++reads == fail_at || offset < 0) {
        errno = offset < 0 ? EINVAL : ENOMEM;
        return -1;
    }
    CHECK(reads <= 2 + 65536 / (32 * 56) + 2); /* a file cannot make us read for ever */
    if ((uint64_t)offset >= file_size) return 0;
    size_t count = file_size - (uint64_t)offset < size ? (size_t)(file_size - (uint64_t)offset) : size;
    memcpy(to, file + offset, count);
    return (ssize_t)count;
}

static bool blank(char c) { return c == ' ' || c == '\t'; }

/* A line that ends and holds no NUL, read the plain way. */
static void check_line(const char *head, const struct elf_image *image, int error) {
    const char *end = memchr(head, '\n', ELF_HEAD);
    if (end == NULL || memchr(head, 0, (size_t)(end - head))) return;
    const char *at = head + 2;
    while (end > at && blank(end[-1])) end--;
    while (at < end && blank(*at)) at++;
    CHECK((error == -ENOEXEC) == (at == end));
    if (at == end) return;
    const char *name = at;
    while (at < end && !blank(*at)) at++;
    CHECK(strlen(image->interpreter) == (size_t)(at - name) && memcmp(image->interpreter, name, (size_t)(at - name)) == 0);
    while (at < end && blank(*at)) at++;
    CHECK(image->has_argument == (at < end));
    CHECK(strlen(image->argument) == (size_t)(end - at) && memcmp(image->argument, at, (size_t)(end - at)) == 0);
}

static bool expected(int error) {
    return error == 0 || error == -ENOEXEC || error == -EIO || error == -EINVAL || error == -ENOMEM;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct elf_image image;
    struct input input = {data, size};
    uint8_t how = input_byte(&input);
    fail_at = how & 1 ? 1 + (how >> 4) : 0;
    reads = 0;
    uint8_t *exact = malloc(input.left + 1);
    file_size = input.left;
    file = exact;
    input_bytes(&input, exact, input.left);
    memset(&image, 0x41, sizeof image);
    int error = elf_read(5, &image);
    CHECK(expected(error));
    CHECK(image.kind == ELF_NONE || image.kind == ELF_PROGRAM || image.kind == ELF_SCRIPT);
    if (error == 0) CHECK(image.kind != ELF_NONE);
    if (error == 0) CHECK(strnlen(image.interpreter, SBX_PATH_MAX) < SBX_PATH_MAX);
    if (error == 0) CHECK(strnlen(image.argument, ELF_HEAD) < ELF_HEAD);
    if (file_size > 2 && exact[0] == '#' && exact[1] == '!' && reads != fail_at) {
        char head[ELF_HEAD] = {0};
        memcpy(head, exact, file_size < sizeof head ? (size_t)file_size : sizeof head);
        check_line(head, &image, error);
    }
    reads = 0;
    error = elf_check_interpreter(5);
    CHECK(expected(error) || error == -ELIBBAD);
    free(exact);
    return 0;
}
