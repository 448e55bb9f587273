/* elf.h: the first bytes of a program, read as Linux reads them. Hostile files: every offset and length is bounded and
 * nothing but pread is called. (Not <elf.h> of the C library: layouts come from <linux/elf.h>.) */
#ifndef SBX_ELF_H
#define SBX_ELF_H
#include <stdbool.h>
#include "core.h"

#define ELF_HEAD 256 /* BINPRM_BUF_SIZE: all that Linux looks at before it knows the format */

enum elf_kind { ELF_NONE, ELF_PROGRAM, ELF_SCRIPT };

struct elf_image {
    enum elf_kind kind;
    bool has_interpreter;             /* a script always has one; it may be "" (and then does not exist) */
    bool has_argument;                /* a script's one argument */
    char interpreter[SBX_PATH_MAX];
    char argument[ELF_HEAD];
};

/* What the file is: 0, or -ENOEXEC (also for other machines), -EIO for a cut PT_INTERP, pread's own error. */
int elf_read(int fd, struct elf_image *image);

/* Could this file be the PT_INTERP of a program? 0, or -ELIBBAD, -EIO as Linux. */
int elf_check_interpreter(int fd);

/* A `#!` line in the first ELF_HEAD bytes of a file, padded with zeros, whose first two bytes are "#!". 0 or -ENOEXEC. */
int elf_script(const char head[ELF_HEAD], struct elf_image *image);
#endif
