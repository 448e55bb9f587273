/* The table. INVARIANT every-name-served: a call that takes a path, an address or a socket has a SERVED row (or a native
 * one with rules that leave names out), even where the answer is always a refusal, so that it leaves a record. REFUSED is
 * for the rest: the filter answers and nothing is recorded. */
#include "syscalls.h"
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>

enum {
    NONE = SBX_ROLE_NONE, DIRFD = SBX_ROLE_DIRFD, PATH = SBX_ROLE_PATH, FD = SBX_ROLE_FD, FLAGS = SBX_ROLE_FLAGS,
    MODE = SBX_ROLE_MODE, OUT = SBX_ROLE_OUT, IN = SBX_ROLE_IN, SIZE = SBX_ROLE_SIZE, NAME = SBX_ROLE_NAME,
    TEXT = SBX_ROLE_TEXT, VALUE = SBX_ROLE_VALUE, PID = SBX_ROLE_PID
};
enum { _, S }; /* second column: S is a call that a sentry may make after its own filter stands */

/* Straight to the kernel. */
#define NATIVE(nr, sentry, name, why) {nr, SBX_NATIVE, SBX_OP_NONE, sentry, 0, {0}, 0, name, why}
/* Straight to the kernel where an argument rule (rules.c) matches, else served. */
#define RULED(nr, sentry, name, op, why, ...) {nr, SBX_NATIVE, SBX_OP_##op, sentry, 0, {__VA_ARGS__}, 0, name, why}
/* The same, and what no rule matches is refused with `error`, and recorded. */
#define RULED_ELSE(nr, sentry, name, error, why, ...) \
    {nr, SBX_NATIVE, SBX_OP_DENY, sentry, error, {__VA_ARGS__}, 0, name, why}
#define SERVED(nr, sentry, name, op, preset, why, ...) \
    {nr, SBX_SERVED, SBX_OP_##op, sentry, 0, {__VA_ARGS__}, preset, name, why}
#define DENIED(nr, name, error, why, ...) {nr, SBX_SERVED, SBX_OP_DENY, _, error, {__VA_ARGS__}, 0, name, why}
#define REFUSED(nr, sentry, name, error, why) {nr, SBX_REFUSED, SBX_OP_NONE, sentry, error, {0}, 0, name, why}

#define GRANTED "acts on a descriptor already granted"
#define MEMORY "the caller's own memory"
#define ITSELF "concerns the caller and its threads only"
#define SIGNALS "the caller's own signals"
#define TIME "reads clocks, waits"
#define CREATES "makes a descriptor that reaches nothing but itself"
#define CHILDREN "the caller's own children"
#define SYNCS "writes back; changes nothing"
#define LOOKS "names a file: resolved below a mount"
#define CHANGES "changes a name or a file: only below a writable mount"
#define METADATA "changes what even a read-only descriptor can change: only on a writable mount"
#define IDENTITY "the guest has the caller's ids and no others"
#define PROCESS "takes the id of a process: only those of the guest"
#define PROCESS0 "native for the caller itself; else only processes of the guest"
#define SOCKET "takes a socket or its address"
#define IPC "named by numbers that all of a host share: needs an IPC namespace"
#define CLOCKS "clocks of other processes have negative ids"
#define LIMITS "the tag of a guest lives in RLIMIT_LOCKS, and core files stay off"
#define NO_MOUNTS "mounts are the policy's"
#define NO_HOST "administers the host"
#define NO_MODULES "loads code into the kernel"
#define NO_OTHERS "reads or changes another process; Linux refuses it without privilege too"
#define NO_NAMESPACES "namespaces give an unprivileged process the kernel's privileged interfaces"
#define NO_SURFACE "a large kernel interface that programs do without"
#define NO_SWARM "works beside the filter: what it does could not be seen"
#define NO_KEYS "keyrings are shared by all processes of a user"
#define NO_NUMA "placement on memory nodes is the host's"
#define UNUSED "no longer in Linux, or never was on x86_64"
#define NEWER "newer than its users require: they fall back"

static const struct sbx_syscall table[] = {
#include "syscalls_table.h"
};
#define COUNT (sizeof table / sizeof *table)

const struct sbx_syscall *sbx_syscalls(uint32_t *count) {
    *count = COUNT;
    return table;
}

const struct sbx_syscall *syscalls_row(uint32_t nr) {
    if (nr < COUNT && table[nr].nr == nr) return &table[nr]; /* there is a gap below the newer ones only */
    size_t low = 0, high = COUNT;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (table[middle].nr == nr) return &table[middle];
        if (table[middle].nr < nr) low = middle + 1;
        else high = middle;
    }
    return NULL;
}

enum sbx_op syscalls_op(const struct sbx_syscall *row, const uint64_t args[6]) {
    if (row->op != SBX_OP_FCNTL) return (enum sbx_op)row->op;
    switch ((uint32_t)args[1]) {
    case F_GETLK: case F_SETLK: case F_SETLKW: case F_OFD_SETLK: case F_OFD_SETLKW: return SBX_OP_LOCK;
    default: return SBX_OP_FCNTL;
    }
}
