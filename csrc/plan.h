/* plan.h: a compiled policy: which mount holds a guest path. Pure lookups in bytes that sbx_plan_check has passed; no
 * I/O, no memory of its own. */
#ifndef SBX_PLAN_H
#define SBX_PLAN_H
#include <stdbool.h>
#include <stddef.h>
#include "core.h"

/* Text at an offset that the plan itself names. */
static inline const char *plan_text(const struct sbx_plan *plan, uint32_t offset) { return (const char *)plan + offset; }
/* Mount `index`, which is less than mount_count. */
static inline const struct sbx_mount *plan_mount(const struct sbx_plan *plan, uint32_t index) {
    return (const struct sbx_mount *)(const void *)((const char *)plan + plan->mounts) + index;
}
/* Program `which` of the guest: struct sock_filter[plan->guest_filter_count[which]]. */
static inline const void *plan_guest_filter(const struct sbx_plan *plan, int which) {
    return (const char *)plan + plan->guest_filter[which];
}
static inline const void *plan_sentry_filter(const struct sbx_plan *plan) { return (const char *)plan + plan->sentry_filter; }

/* Is `rest`, a path relative to the mount without slashes at its ends, hidden, or below something hidden? */
bool plan_hidden(const struct sbx_plan *plan, const struct sbx_mount *mount, const char *rest);
/* sbx_plan_find for a path of less than SBX_PATH_MAX bytes, where no mount is below mount `index`, which is not "/". -EXDEV: it
 * is not in that one. */
int plan_find_in(const struct sbx_plan *plan, uint32_t index, const char *guest_path, uint32_t *rest);
/* Is any mount strictly below this normal absolute guest path? */
bool plan_has_below(const struct sbx_plan *plan, const char *guest_path);
/* The mount at or after `from` that is strictly below guest_path, or -1. Those below one path follow each other, so a
 * listing starts at 0 and goes on at the result + 1. */
int plan_next_below(const struct sbx_plan *plan, const char *guest_path, int from);
#endif
