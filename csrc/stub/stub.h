/* stub.h: the parts of the stub: stub.c (the order of things), map.c (ELF segments), stack.c (the initial stack). */
#ifndef SBX_STUB_H
#define SBX_STUB_H
#include <asm/mman.h>
#include <asm/unistd.h>
#include <linux/auxvec.h>
#include <linux/elf.h>
#include <linux/mman.h>
#include <linux/prctl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "../private.h"

#define STUB_PAGE 4096ul
#define STUB_ROOM 16384                       /* what stub_stack_prefix may add: the prefix, its pointers, alignment */
#define STUB_ROOM_TEXT "16384"
#define STUB_PIE_BASE 0x555555554000ul        /* ELF_ET_DYN_BASE: where Linux puts position-independent programs, */
#define STUB_PIE_RANDOM (1ul << 28)           /* plus so many pages at most, */
#define STUB_HEAP_RANDOM (1ul << 30)          /* and the heap so many bytes after them */
_Static_assert(PRIVATE_PREFIX_MAX + 256 < STUB_ROOM, "the prefix fits below the stack");

struct stub_start { uint64_t stack, entry; }; /* returned in rax and rdx */

enum stub_part { STUB_PROGRAM, STUB_INTERPRETER };

struct stub_image {
    uint64_t bias, entry, headers, header_count;
    uint64_t code_start, code_end, data_start, data_end, end;
    bool executable_stack;
};

struct stub_stack {
    uint64_t *top;                            /* argc; then argv, envp, the auxiliary vector */
    uint64_t *auxiliary, *auxiliary_end;
    uint64_t arg_start, arg_end, env_end;     /* argument strings, environment strings right behind */
    uint64_t end;                             /* of all of it */
};

_Noreturn void stub_die(void);
size_t stub_length(const char *string);
void stub_copy(void *to, const void *from, size_t size);
void stub_zero(void *to, size_t size);
uint64_t stub_random(void);

/* Map the ELF file behind fd; dies where it cannot. */
void stub_map(int fd, enum stub_part part, struct stub_image *image);

void stub_stack_read(struct stub_stack *stack, uint64_t *top);
/* Put the strings of a script's prefix in the place of argv[0]. */
void stub_stack_prefix(struct stub_stack *stack, const struct private_load *load);

static inline long stub_call(long nr, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}
#endif
