/* build_plan.h: a plan in memory of exactly its size, so that ASan sees one byte too many. */
#ifndef BUILD_PLAN_H
#define BUILD_PLAN_H
#include <stdlib.h>
#include <string.h>
#include "plan.h"

/* `hide`: hide_count strings, one after the other. Rows stand in the order of their guest paths. */
struct plan_row { const char *guest, *source, *hide; uint32_t hide_count; uint8_t kind, flags; };

static inline size_t build_hide_size(const struct plan_row *row) {
    size_t size = 0;
    for (uint32_t i = 0; i < row->hide_count; i++) size += strlen(row->hide + size) + 1;
    return size;
}

static inline uint32_t build_put(char *plan, uint32_t *used, const void *data, size_t size) {
    uint32_t at = *used;
    if (plan && size) memcpy(plan + at, data, size);
    *used += (uint32_t)size;
    return at;
}

/* With `memory` NULL only the size is found. */
static inline uint32_t build_into(char *memory, const struct plan_row *rows, uint32_t count, const char *scratch_host) {
    static const uint64_t program = 0x7fff000000000006; /* one instruction: allow */
    struct sbx_plan plan = {.version = SBX_VERSION, .mount_count = count, .tag = 0x1234567800000000, .audit = 1};
    uint32_t used = sizeof plan;
    plan.mounts = build_put(NULL, &used, NULL, count * sizeof(struct sbx_mount));
    plan.guest_filter[0] = plan.guest_filter[1] = plan.sentry_filter = used = (used + 7) & ~7u;
    build_put(memory, &used, &program, sizeof program);
    plan.guest_filter_count[0] = plan.guest_filter_count[1] = plan.sentry_filter_count = 1;
    plan.cgroup = build_put(memory, &used, "", 1);
    plan.scratch_host = build_put(memory, &used, scratch_host, strlen(scratch_host) + 1);
    for (uint32_t i = 0; i < count; i++) {
        struct sbx_mount mount = {.kind = rows[i].kind, .flags = rows[i].flags, .hide_count = rows[i].hide_count};
        mount.hide = rows[i].hide_count ? build_put(memory, &used, rows[i].hide, build_hide_size(&rows[i])) : plan.cgroup;
        mount.source = build_put(memory, &used, rows[i].source, strlen(rows[i].source) + 1);
        mount.guest_length = (uint32_t)strlen(rows[i].guest);
        mount.guest = build_put(memory, &used, rows[i].guest, mount.guest_length + 1);
        if (memory) memcpy(memory + plan.mounts + i * sizeof mount, &mount, sizeof mount);
    }
    plan.size = used;
    if (memory) memcpy(memory, &plan, sizeof plan);
    return used;
}

static inline struct sbx_plan *build_plan(const struct plan_row *rows, uint32_t count, const char *scratch_host) {
    char *memory = calloc(1, build_into(NULL, rows, count, scratch_host));
    if (memory) build_into(memory, rows, count, scratch_host);
    return (struct sbx_plan *)(void *)memory;
}
#endif
