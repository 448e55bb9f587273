/* trail.h: the ring of audit records, and the counts, in memory shared with the Supervisor. */
#ifndef SBX_TRAIL_H
#define SBX_TRAIL_H
#include <stdbool.h>
#include <stddef.h>
#include "core.h"

/* Map the shared memory. `drain` is called (from any thread) when the ring is half full. 0 or -errno. */
int trail_setup(int memfd, int keep_records, void (*drain)(void));
/* Are records kept, or calls only counted? */
bool trail_keeps(void);
void trail_count(uint32_t nr, enum sbx_verdict verdict);
/* Count, and append one record with its paths; sets magic, size, sequence, time. A full ring makes the caller wait: nothing is
 * overwritten or dropped. */
void trail_append(struct sbx_record *record, const char *first, const char *second);
#endif
