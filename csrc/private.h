/* private.h: what the sentry, the launcher and the stub say to each other by SBX_PRIVATE_CALL, a system call number
 * that no kernel has. args[0] is the question; anyone else who asks gets ENOSYS. */
#ifndef SBX_PRIVATE_H
#define SBX_PRIVATE_H
#include "core.h"

enum private_question {
    PRIVATE_NONE,
    PRIVATE_NEXT,  /* launcher: args[1] = struct private_command *; args[2], args[3]: the process made for the last one, and its
                      command id. Held until a command arrives. Value: command memfd */
    PRIVATE_START, /* the launcher's child: args[1] = command id. Its next execveat is the sentry's own */
    PRIVATE_TAKE,  /* a thread held by borrow.c: value: a descriptor given to it */
    PRIVATE_LOAD   /* stub: args[1] = struct private_load *. Value: descriptor of the ELF file. Once after a checked exec */
};

#define PRIVATE_STUB_FD 1000    /* the launcher's descriptor of the stub, close-on-exec */
#define PRIVATE_ASK_AGAIN -2    /* close the program's descriptor, then LOAD once more: its value is the interpreter's */
#define PRIVATE_PREFIX_MAX 8704 /* `#!` lines of 4 nested scripts (256 each) and paths */

struct private_command {
    uint64_t number;                 /* command id */
    int32_t memfd;                   /* struct sbx_command and strings, injected into the launcher */
    int32_t fd_count;
    int32_t fd[SBX_COMMAND_FDS];     /* as injected into the launcher, in order of struct sbx_command.fd */
};

struct private_load {
    int32_t interpreter;             /* descriptor of PT_INTERP's file, -1, or PRIVATE_ASK_AGAIN */
    uint32_t script;                 /* 1: argv[0] is replaced by the prefix strings */
    uint32_t prefix_count;           /* strings in prefix */
    uint32_t prefix_length;          /* their bytes with the NULs */
    char comm[16];                   /* task name */
    char execfn[SBX_PATH_MAX];       /* AT_EXECFN, as Linux gives it */
    char prefix[PRIVATE_PREFIX_MAX];
};
#endif
