/* with: elf.c
 * Headers of programs and scripts are read as Linux reads them, and no byte of them leads outside. */
#include <assert.h>
#include <errno.h>
#include <linux/elf.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "elf.h"

static int file_of(const void *bytes, size_t size) {
    int fd = memfd_create("elf", MFD_CLOEXEC);
    assert(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
    return fd;
}

static int read_bytes(const void *bytes, size_t size, struct elf_image *image) {
    int fd = file_of(bytes, size), result = elf_read(fd, image);
    close(fd);
    return result;
}

/* ---- scripts ---------------------------------------------------------------------------------------------------------- */

struct line { const char *text; int result; const char *interpreter, *argument; };
static const struct line lines[] = {
    {"#!/bin/sh\n", 0, "/bin/sh", NULL},
    {"#!/bin/sh", 0, "/bin/sh", NULL},                        /* the padding ends the name */
    {"#! \t/bin/sh \t\n", 0, "/bin/sh", NULL},
    {"#!/bin/sh -e\n", 0, "/bin/sh", "-e"},
    {"#!/bin/sh  -e  x \t\n", 0, "/bin/sh", "-e  x"},         /* one argument, with its inner blanks */
    {"#!/bin/sh\t-e\nsecond line", 0, "/bin/sh", "-e"},
    {"#!/bin/sh -e", 0, "/bin/sh", "-e"},
    {"#!/bin/sh \r\n", 0, "/bin/sh", "\r"},
    {"#!/bin/sh\r\n", 0, "/bin/sh\r", NULL},
    {"#!/bin/sh ", 0, "/bin/sh", ""},                         /* the first byte of the padding counts as an argument */
    {"#!", 0, "", NULL},                                      /* and here as a name, which does not exist */
    {"#!\n", -ENOEXEC, NULL, NULL},
    {"#! \t \n", -ENOEXEC, NULL, NULL},
    {"#!sh\n", 0, "sh", NULL},
    {"# !/bin/sh\n", -ENOEXEC, NULL, NULL},
    {"", -ENOEXEC, NULL, NULL},
    {"echo\n", -ENOEXEC, NULL, NULL},
};

static void test_lines(void) {
    struct elf_image image;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        const struct line *line = &lines[i];
        assert(read_bytes(line->text, strlen(line->text), &image) == line->result);
        if (line->result) continue;
        assert(image.kind == ELF_SCRIPT && image.has_interpreter);
        assert(strcmp(image.interpreter, line->interpreter) == 0);
        assert(image.has_argument == (line->argument != NULL));
        assert(!line->argument || strcmp(image.argument, line->argument) == 0);
    }
}

static void test_long_lines(void) {
    struct elf_image image;
    char text[400];
    memset(text, 'x', sizeof text);
    memcpy(text, "#!/", 3);
    assert(read_bytes(text, sizeof text, &image) == -ENOEXEC); /* a name that may be cut is none */
    text[254] = '\n';
    assert(read_bytes(text, sizeof text, &image) == 0 && strlen(image.interpreter) == 252);
    text[254] = 'x';
    text[100] = ' ';
    assert(read_bytes(text, sizeof text, &image) == 0); /* a cut argument is accepted */
    assert(strlen(image.interpreter) == 98 && strlen(image.argument) == 255 - 101);
    memset(text + 2, ' ', sizeof text - 2);
    assert(read_bytes(text, sizeof text, &image) == -ENOEXEC);
    memset(text + 2, 'x', sizeof text - 2);
    text[255] = ' ';
    assert(read_bytes(text, sizeof text, &image) == 0 && strlen(image.interpreter) == 253 && !image.has_argument);
}

/* ---- programs ----------------------------------------------------------------------------------------------------------- */

struct program {
    Elf64_Ehdr header;
    Elf64_Phdr segment[2];
    char name[4096 + 16];
};

static struct program *fresh(void) {
    static struct program program;
    memset(&program, 0, sizeof program);
    memcpy(program.header.e_ident, ELFMAG, SELFMAG);
    program.header.e_type = ET_DYN;
    program.header.e_machine = EM_X86_64;
    program.header.e_phentsize = sizeof(Elf64_Phdr);
    program.header.e_phnum = 2;
    program.header.e_phoff = offsetof(struct program, segment);
    program.segment[0].p_type = PT_LOAD;
    program.segment[1].p_type = PT_INTERP;
    program.segment[1].p_offset = offsetof(struct program, name);
    program.segment[1].p_filesz = sizeof "/lib/ld.so";
    strcpy(program.name, "/lib/ld.so");
    return &program;
}

static int check(const struct program *program) {
    struct elf_image image;
    int result = read_bytes(program, sizeof *program, &image);
    assert(result != 0 || image.kind == ELF_PROGRAM);
    return result;
}

static void test_program(void) {
    struct elf_image image;
    struct program *program = fresh();
    assert(read_bytes(program, sizeof *program, &image) == 0 && image.has_interpreter);
    assert(strcmp(image.interpreter, "/lib/ld.so") == 0);
    program->header.e_phnum = 1;
    assert(read_bytes(program, sizeof *program, &image) == 0 && !image.has_interpreter);
    program->header.e_type = ET_EXEC;
    assert(check(program) == 0);
}

static void test_refused_headers(void) {
    struct program *program = fresh();
    program->header.e_machine = EM_386;
    assert(check(program) == -ENOEXEC);
    (program = fresh())->header.e_type = ET_REL;
    assert(check(program) == -ENOEXEC);
    (program = fresh())->header.e_phentsize = sizeof(Elf32_Phdr);
    assert(check(program) == -ENOEXEC);
    (program = fresh())->header.e_phnum = 0;
    assert(check(program) == -ENOEXEC);
    (program = fresh())->header.e_phnum = 65535;
    assert(check(program) == -ENOEXEC);
    (program = fresh())->header.e_phnum = 1000; /* more than the file holds */
    assert(check(program) == -ENOEXEC);
    const uint64_t far[] = {1u << 20, INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX, UINT64_MAX - 100};
    for (size_t i = 0; i < sizeof far / sizeof *far; i++) {
        (program = fresh())->header.e_phoff = far[i];
        assert(check(program) == -ENOEXEC);
    }
}

static void test_interpreter_names(void) {
    struct program *program = fresh();
    const uint64_t sizes[] = {0, 1, 5, 4097, UINT64_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        program->segment[1].p_filesz = sizes[i];
        assert(check(program) == -ENOEXEC);
    }
    memset(program->name, '/', sizeof program->name);
    program->name[4095] = '\0';
    program->segment[1].p_filesz = 4096;
    assert(check(program) == 0);
    program->segment[1].p_offset = sizeof *program - 100;
    assert(check(program) == -EIO);
    program->segment[1].p_offset = UINT64_MAX;
    assert(check(program) == -EINVAL);
}

static void test_check_interpreter(void) {
    struct program *program = fresh();
    int fd = file_of(program, sizeof *program);
    assert(elf_check_interpreter(fd) == 0);
    close(fd);
    program->header.e_machine = EM_386;
    fd = file_of(program, sizeof *program);
    assert(elf_check_interpreter(fd) == -ELIBBAD);
    close(fd);
    fd = file_of("#!/bin/sh\n", 10);
    assert(elf_check_interpreter(fd) == -EIO);
    close(fd);
}

/* Every prefix of a program, and random bytes over it, are answered, not followed. */
static void test_hostile(void) {
    struct elf_image image;
    struct program *program = fresh();
    for (size_t size = 0; size < 300; size++) read_bytes(program, size, &image);
    srand(1);
    for (int i = 0; i < 20000; i++) {
        program = fresh();
        for (int flips = rand() % 6; flips >= 0; flips--) ((uint8_t *)program)[(unsigned)rand() % 200] = (uint8_t)rand();
        int result = read_bytes(program, sizeof *program, &image);
        assert(result <= 0 && memchr(image.interpreter, 0, sizeof image.interpreter));
    }
}

int main(void) {
    test_lines();
    test_long_lines();
    test_program();
    test_refused_headers();
    test_interpreter_names();
    test_check_interpreter();
    test_hostile();
    puts("elf: ok");
    return 0;
}
