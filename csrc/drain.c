/* The Supervisor's side of the trail. Part of the Python extension, not of the sentry. */
#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "core.h"

int sbx_trail_counted(const struct sbx_trail *trail, uint16_t rows[SBX_TRAIL_ROWS]) {
    int found = 0;
    for (uint16_t row = 0; row < SBX_TRAIL_ROWS; row++)
        for (int verdict = 0; verdict < 4; verdict++)
            if (__atomic_load_n(&trail->count[row][verdict], __ATOMIC_RELAXED)) {
                rows[found++] = row;
                break;
            }
    return found;
}

void sbx_trail_drained(struct sbx_trail *trail, uint64_t tail) {
    __atomic_store_n(&trail->tail, tail, __ATOMIC_SEQ_CST);
    /* The word changes, so a thread that is about to wait for its old value does not. */
    if (__atomic_exchange_n(&trail->waiting, 0, __ATOMIC_SEQ_CST) != 0)
        syscall(SYS_futex, &trail->waiting, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}
