/* stub_facts.c: what a program can find out about how it was loaded, one line each. Native and inside must be equal. */
#define _GNU_SOURCE
#include <elf.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

extern char **environ;
extern char _end[], __executable_start[];
static char zeros[100000];
static int initialised = 1;

static size_t load_file(const char *path, char *text, size_t size) {
    int fd = open(path, O_RDONLY);
    ssize_t got = fd < 0 ? 0 : read(fd, text, size - 1);
    close(fd);
    text[got > 0 ? got : 0] = '\0';
    return got > 0 ? (size_t)got : 0;
}

static void show_strings(const char *name, const char *path) {
    static char text[65536];
    size_t length = load_file(path, text, sizeof text);
    printf("%s", name);
    for (size_t i = 0; i < length; i++) putchar(text[i] ? text[i] : '|');
    putchar('\n');
}

static uintptr_t *auxiliary(void) {
    char **after = environ;
    while (*after) after++;
    return (uintptr_t *)(after + 1);
}

static void show_auxiliary(void) {
    static char text[4096];
    uintptr_t value[64] = {0}, *at = auxiliary();
    for (; at[0] != AT_NULL; at += 2)
        if (at[0] < 64) value[at[0]] = at[1];
    size_t size = (size_t)((char *)(at + 2) - (char *)auxiliary());
    const Elf64_Ehdr *header = (const Elf64_Ehdr *)__executable_start;
    uintptr_t start = (uintptr_t)__executable_start, bias = header->e_type == ET_DYN ? start : 0;
    printf("file name %s\n", (const char *)value[AT_EXECFN]);
    printf("platform %s\n", (const char *)value[AT_PLATFORM]);
    printf("random bytes %d\n", value[AT_RANDOM] && *(const uint64_t *)value[AT_RANDOM] != 0);
    printf("headers %d %d %d\n", value[AT_PHDR] == start + header->e_phoff, value[AT_PHNUM] == header->e_phnum,
           value[AT_PHENT] == sizeof(Elf64_Phdr));
    printf("entry %d interpreter %d\n", value[AT_ENTRY] == bias + header->e_entry, value[AT_BASE] != 0);
    printf("secure %lu\n", (unsigned long)value[AT_SECURE]);
    printf("/proc/self/auxv %d\n", load_file("/proc/self/auxv", text, sizeof text) >= size && !memcmp(text, auxiliary(), size));
}

/* Field `number` of /proc/self/stat, counted as proc(5) does. */
static uintptr_t stat_field(int number) {
    static char text[4096];
    load_file("/proc/self/stat", text, sizeof text);
    char *at = strrchr(text, ')') + 2;
    for (int i = 3; i < number; i++) at = strchr(at, ' ') + 1;
    return strtoul(at, NULL, 10);
}

static void show_memory(char **argv) {
    int clear = 1;
    for (size_t i = 0; i < sizeof zeros; i++) clear &= zeros[i] == 0;
    uintptr_t heap = (uintptr_t)sbrk(0), end = (uintptr_t)_end, start = (uintptr_t)__executable_start;
    printf("data %d %d\n", clear, initialised);
    printf("heap grows %d\n", sbrk(1 << 26) != (void *)-1);
    printf("heap behind the program %d\n", heap >= end && heap - end < (uintptr_t)2 << 30);
    printf("stack aligned %d\n", ((uintptr_t)(argv - 1) & 15) == 0);
    printf("code %d %d\n", stat_field(26) >= start && stat_field(26) < end, stat_field(27) > stat_field(26));
    printf("stack starts at argc %d, strings at argv[0] %d\n", stat_field(28) == (uintptr_t)(argv - 1),
           stat_field(48) == (uintptr_t)argv[0]);
    static char maps[65536];
    load_file("/proc/self/maps", maps, sizeof maps);
    char *stack = strstr(maps, "[stack]");
    while (stack && stack > maps && stack[-1] != '\n') stack--;
    printf("stack %.4s\n", stack ? strchr(stack, ' ') + 1 : "none");
}

int main(int argc, char **argv) {
    char name[17] = "";
    sigset_t blocked;
    printf("arguments %d\n", argc);
    for (int i = 0; i < argc; i++) printf(" [%s]%s\n", argv[i], i && argv[i] != argv[i - 1] + strlen(argv[i - 1]) + 1 ? " apart" : "");
    prctl(PR_GET_NAME, name);
    printf("name %s\n", name);
    show_strings("command line ", "/proc/self/cmdline");
    show_strings("environment ", "/proc/self/environ");
    show_auxiliary();
    show_memory(argv);
    sigprocmask(SIG_SETMASK, NULL, &blocked);
    for (int i = 1; i < 65; i++)
        if (sigismember(&blocked, i) == 1) printf("blocked %d\n", i);
    return 7;
}
