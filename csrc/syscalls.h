/* syscalls.h: what happens to each system call. One row a call, its argument rules beside it; data only. The filters,
 * the decoder, `explain` and the published counts are all made from these tables. */
#ifndef SBX_SYSCALLS_H
#define SBX_SYSCALLS_H
#include "core.h"

/* The row of system call `nr`, or NULL: a call that is not in the table does not exist for a guest. */
const struct sbx_syscall *syscalls_row(uint32_t nr);
/* Who serves this call: the row's op, but for the locks among the fcntl commands, which are SBX_OP_LOCK. */
enum sbx_op syscalls_op(const struct sbx_syscall *row, const uint64_t args[6]);
#endif
