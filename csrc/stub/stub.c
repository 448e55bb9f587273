/* stub.c: the only program that a guest's kernel ever executes. It asks the sentry for the program that was meant, maps
 * it and its interpreter as binfmt_elf.c does, writes down the same things about it (auxiliary vector, heap, name) and
 * jumps. It runs inside the guest with nothing but the guest's rights: what goes wrong here costs the guest only itself,
 * and like Linux after the point of no return it answers every failure by dying.
 *
 * Freestanding, position-independent, without relocations and without floating point (the FPU state is the program's).
 * It stays mapped: AT_EXECFN points into its data. */
#include "stub.h"

static struct private_load load;

/* A fatal signal that can be neither blocked nor ignored: hlt is not for users, hence SIGSEGV as Linux gives. */
_Noreturn void stub_die(void) {
    for (;;)
        __asm__ volatile("hlt");
}

size_t stub_length(const char *string) {
    size_t length = 0;
    while (string[length]) length++;
    return length;
}

/* Forwards, byte by byte: right for overlapping areas where `to` lies below `from`. */
void stub_copy(void *to, const void *from, size_t size) {
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
}

void stub_zero(void *to, size_t size) {
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(0) : "memory");
}

static int ask(void) {
    long fd = stub_call(SBX_PRIVATE_CALL, PRIVATE_LOAD, (long)&load, 0, 0, 0, 0);
    if (fd < 0) stub_die();
    return (int)fd;
}

static void map_and_close(int fd, enum stub_part part, struct stub_image *image) {
    stub_map(fd, part, image);
    stub_call(__NR_close, fd, 0, 0, 0, 0, 0);
}

/* The sentry could not give two descriptors at once where the guest's table is full: then it is asked twice. */
static void map_both(struct stub_image *program, struct stub_image *interpreter) {
    map_and_close(ask(), STUB_PROGRAM, program);
    if (load.interpreter == PRIVATE_ASK_AGAIN) load.interpreter = ask();
    if (load.interpreter >= 0) map_and_close(load.interpreter, STUB_INTERPRETER, interpreter);
}

static void set_auxiliary(struct stub_stack *stack, const struct stub_image *program, const struct stub_image *interpreter) {
    for (uint64_t *entry = stack->auxiliary; entry[0] != AT_NULL; entry += 2)
        switch (entry[0]) {
        case AT_PHDR: entry[1] = program->headers; break;
        case AT_PHENT: entry[1] = sizeof(Elf64_Phdr); break;
        case AT_PHNUM: entry[1] = program->header_count; break;
        case AT_ENTRY: entry[1] = program->entry; break;
        case AT_BASE: entry[1] = interpreter->bias; break;
        case AT_EXECFN: entry[1] = (uint64_t)load.execfn; break;
        default: break;
        }
}

/* Where the kernel's own accounting may be told (CHECKPOINT_RESTORE), it is: the heap begins after the program, and
 * /proc shows its arguments. Elsewhere the heap stays where exec put it for the stub, which works too. */
static void tell_kernel(const struct stub_stack *stack, const struct stub_image *program) {
    uint64_t heap = program->end + (stub_random() % STUB_HEAP_RANDOM & ~(STUB_PAGE - 1));
    struct prctl_mm_map map = {
        .start_code = program->code_start, .end_code = program->code_end,
        .start_data = program->data_start, .end_data = program->data_end,
        .start_brk = heap, .brk = heap, .start_stack = (uint64_t)stack->top,
        .arg_start = stack->arg_start, .arg_end = stack->arg_end,
        .env_start = stack->arg_end, .env_end = stack->env_end,
        .auxv = (__u64 *)stack->auxiliary,
        .auxv_size = (uint32_t)((uint64_t)stack->auxiliary_end - (uint64_t)stack->auxiliary),
        .exe_fd = (uint32_t)-1,
    };
    stub_call(__NR_prctl, PR_SET_MM, PR_SET_MM_MAP, (long)&map, sizeof map, 0, 0);
    stub_call(__NR_prctl, PR_SET_NAME, (long)load.comm, 0, 0, 0, 0);
}

/* PT_GNU_STACK asks for an executable stack: from here to its end, and whatever it grows to. */
static void make_stack_executable(const struct stub_stack *stack) {
    uint64_t from = (uint64_t)stack->top & ~(STUB_PAGE - 1);
    uint64_t to = (stack->end + STUB_PAGE - 1) & ~(STUB_PAGE - 1);
    long error = stub_call(__NR_mprotect, (long)from, (long)(to - from),
                           PROT_READ | PROT_WRITE | PROT_EXEC | PROT_GROWSDOWN, 0, 0, 0);
    if (error < 0) stub_die();
}

struct stub_start stub_main(uint64_t *top) {
    struct stub_stack stack;
    struct stub_image program = {0}, interpreter = {0};
    map_both(&program, &interpreter);
    stub_stack_read(&stack, top);
    if (load.script) stub_stack_prefix(&stack, &load);
    set_auxiliary(&stack, &program, &interpreter);
    if (program.executable_stack) make_stack_executable(&stack);
    tell_kernel(&stack, &program);
    return (struct stub_start){(uint64_t)stack.top, interpreter.entry ? interpreter.entry : program.entry};
}

/* rdi: the stack as the kernel made it. stub_main works STUB_ROOM below it, for a script's arguments make it grow
 * downwards. In the end every register is zero but the two that matter, as after an exec. */
__asm__(".globl _start\n"
        "_start:\n"
        "    xorl %ebp, %ebp\n"
        "    movq %rsp, %rdi\n"
        "    subq $" STUB_ROOM_TEXT ", %rsp\n"
        "    andq $-16, %rsp\n"
        "    call stub_main\n"
        "    movq %rax, %rsp\n"
        "    pushq %rdx\n"
        "    xorl %eax, %eax\n"
        "    xorl %ebx, %ebx\n"
        "    xorl %ecx, %ecx\n"
        "    xorl %edx, %edx\n"
        "    xorl %esi, %esi\n"
        "    xorl %edi, %edi\n"
        "    xorl %ebp, %ebp\n"
        "    xorl %r8d, %r8d\n"
        "    xorl %r9d, %r9d\n"
        "    xorl %r10d, %r10d\n"
        "    xorl %r11d, %r11d\n"
        "    xorl %r12d, %r12d\n"
        "    xorl %r13d, %r13d\n"
        "    xorl %r14d, %r14d\n"
        "    xorl %r15d, %r15d\n"
        "    ret\n");
