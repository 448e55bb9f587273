/* fuzz.h: what the targets share: taking an input apart, and checks that end the run. An input that is used up goes on
 * with zeros, so that every input means something and a shorter one means less. */
#ifndef FUZZ_H
#define FUZZ_H
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK(condition) do { \
    if (!(condition)) { fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); abort(); } } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

struct input { const uint8_t *at; size_t left; };

static inline uint8_t input_byte(struct input *input) {
    if (input->left == 0) return 0;
    input->left--;
    return *input->at++;
}

/* `bytes` bytes, the least significant one first. */
static inline uint64_t input_number(struct input *input, int bytes) {
    uint64_t number = 0;
    for (int i = 0; i < bytes; i++) number |= (uint64_t)input_byte(input) << (8 * i);
    return number;
}

/* At most `size` bytes, as they are; how many. */
static inline size_t input_bytes(struct input *input, void *to, size_t size) {
    size_t count = input->left < size ? input->left : size;
    if (count) memcpy(to, input->at, count);
    input->at += count;
    input->left -= count;
    return count;
}

/* A text: bytes up to a NUL or the end of the input, cut at size - 1. Its length. */
static inline size_t input_text(struct input *input, char *to, size_t size) {
    size_t length = 0;
    for (uint8_t byte; (byte = input_byte(input)) != 0;)
        if (length + 1 < size) to[length++] = (char)byte;
    to[length] = 0;
    return length;
}

/* The lowest free descriptor number: it moves where something was left open. */
static inline int lowest_free(void) {
    int fd = dup(0);
    CHECK(fd >= 0);
    close(fd);
    return fd;
}
#endif
