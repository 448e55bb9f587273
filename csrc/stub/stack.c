/* stack.c: the initial stack. From low to high addresses: argc, argv, NULL, envp, NULL, the auxiliary vector; small
 * things that it points to (random bytes, platform name); the argument strings, the environment strings, a file name. */
#include "stub.h"

static uint64_t end_of_last(uint64_t *pointer, uint64_t otherwise) {
    return pointer[-1] ? pointer[-1] + stub_length((const char *)pointer[-1]) + 1 : otherwise;
}

void stub_stack_read(struct stub_stack *stack, uint64_t *top) {
    uint64_t argc = top[0], *environment = top + 1 + argc + 1, *after = environment;
    while (*after) after++;
    stack->top = top;
    stack->auxiliary = after + 1;
    uint64_t name = 0, *entry = stack->auxiliary;
    for (; entry[0] != AT_NULL; entry += 2)
        if (entry[0] == AT_EXECFN) name = entry[1];
    stack->auxiliary_end = entry + 2;
    if (!name) stub_die();
    stack->end = name + stub_length((const char *)name) + 1;
    uint64_t none = environment[0] ? environment[0] : name; /* where the strings would begin */
    stack->arg_start = argc ? top[1] : none;
    stack->arg_end = argc ? end_of_last(environment - 1, none) : none;
    stack->env_end = environment[0] ? end_of_last(after, none) : stack->arg_end;
}

/* The small things are moved by `distance`: so are the entries that point to them. */
static void move_pointers(const struct stub_stack *stack, uint64_t low, uint64_t high, uint64_t distance) {
    for (uint64_t *entry = stack->auxiliary; entry[0] != AT_NULL; entry += 2)
        if ((entry[0] == AT_RANDOM || entry[0] == AT_PLATFORM || entry[0] == AT_BASE_PLATFORM) && entry[1] >= low &&
            entry[1] < high)
            entry[1] -= distance;
}

/* Everything below the second argument moves down to make room, in the order in which nothing is overwritten before it
 * has been read: each goes to lower addresses, and from lower to higher ones. */
void stub_stack_prefix(struct stub_stack *stack, const struct private_load *load) {
    uint64_t argc = stack->top[0], replaced = argc ? 1 : 0;
    uint64_t first = stack->arg_start;
    uint64_t tail = argc ? first + stub_length((const char *)first) + 1 : first;
    uint64_t start = tail - load->prefix_length;
    uint64_t down = start < first ? (first - start + 15) & ~15ul : 0;
    uint64_t wider = ((load->prefix_count - replaced) * 8 + 15) & ~15ul;
    uint64_t small = (uint64_t)stack->auxiliary_end;
    if (load->prefix_count == 0 || load->prefix_length > sizeof load->prefix || down + wider > STUB_ROOM) stub_die();

    move_pointers(stack, small, first, down);
    uint64_t *to = stack->top - (down + wider) / 8, *from = stack->top + 1 + replaced;
    stack->top = to;
    *to++ = argc - replaced + load->prefix_count;
    const char *string = load->prefix;
    for (uint32_t i = 0; i < load->prefix_count; i++) {
        *to++ = start + (uint64_t)(string - load->prefix);
        string += stub_length(string) + 1;
    }
    uint64_t kept = small - (uint64_t)from;
    uint64_t *auxiliary = to + (stack->auxiliary - from);
    stub_copy(to, from, kept);
    stack->auxiliary = auxiliary;
    stack->auxiliary_end = to + kept / 8;
    stub_copy((void *)(small - down), (const void *)small, first - small);
    stub_copy((void *)start, load->prefix, load->prefix_length);
    stack->arg_start = start;
}
