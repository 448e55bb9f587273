#include "mounts_table.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct mount_table mount_table = {.proc = -1, .scratch = -1, .multiplexer = -1};

const struct sbx_plan *mounts_plan(void) { return mount_table.plan; }
int mounts_fd(int mount) { return mount_table.rows[mount].fd; }
bool mounts_single_file(int mount) { return mount_table.rows[mount].single; }
bool mounts_has_below(int mount) { return mount_table.rows[mount].has_below; }
bool mounts_whole(void) { return mount_table.whole; }
int mounts_scratch(void) { return mount_table.scratch; }
int mounts_multiplexer(void) { return mount_table.multiplexer; }
int mounts_proc(void) { return mount_table.proc; }
bool mounts_flag(int mount, enum sbx_mount_flag flag) { return (plan_mount(mount_table.plan, (uint32_t)mount)->flags & flag) != 0; }

enum sbx_mount_kind mount_table_kind(int mount) {
    return mount < 0 ? SBX_MOUNT_NONE : (enum sbx_mount_kind)plan_mount(mount_table.plan, (uint32_t)mount)->kind;
}

/* The mount that holds the directory of a mount point. */
static int holder_of(const char *guest) {
    char parent[SBX_PATH_MAX];
    uint32_t rest;
    snprintf(parent, sizeof parent, "%s", guest);
    char *slash = strrchr(parent, '/');
    *(slash == parent ? slash + 1 : slash) = 0;
    return sbx_plan_find(mount_table.plan, parent, &rest);
}

int mount_table_setup(const struct sbx_plan *plan) {
    mount_table.plan = plan;
    mount_table.rows = calloc(plan->mount_count, sizeof *mount_table.rows);
    if (mount_table.rows == NULL) return -ENOMEM;
    for (uint32_t i = 0; i < plan->mount_count; i++) {
        const struct sbx_mount *mount = plan_mount(plan, i);
        struct mounted *row = &mount_table.rows[i];
        row->fd = row->copied = -1;
        row->holder = i == 0 ? -1 : holder_of(plan_text(plan, mount->guest));
        row->has_below = plan_has_below(plan, plan_text(plan, mount->guest));
        row->in_skeleton = mount->kind == SBX_MOUNT_BYTES && !(mount->flags & SBX_MOUNT_EXEC) && mount_table_kind(row->holder) == SBX_MOUNT_SKELETON;
        row->single = mount->kind == SBX_MOUNT_BYTES || mount->kind == SBX_MOUNT_SERVICE || mount->kind == SBX_MOUNT_TTY;
    }
    return 0;
}

int mount_table_fail(int error, const char *what, const char *on) {
    snprintf(mount_table.failed, sizeof mount_table.failed, "%s %s", what, on);
    return error;
}

int mount_table_fail_at(int error, const char *what, uint32_t mount) {
    return mount_table_fail(error, what, plan_text(mount_table.plan, plan_mount(mount_table.plan, mount)->guest));
}

int mount_table_name(uint32_t mount, const char *host) {
    struct mounted *row = &mount_table.rows[mount];
    row->host = strdup(host);
    row->host_length = strlen(host);
    return row->host ? 0 : -ENOMEM;
}

int mounts_find(const char *guest, uint32_t *rest) {
    static _Thread_local uint32_t last; /* that a path was in, and has none below it: most calls stay in one. 0: none */
    int mount = last ? plan_find_in(mount_table.plan, last, guest, rest) : -EXDEV;
    if (mount == -EXDEV) {
        mount = sbx_plan_find(mount_table.plan, guest, rest);
        last = mount > 0 && !mounts_has_below(mount) ? (uint32_t)mount : 0;
    }
    if (mount <= 0 || !mount_table.rows[mount].in_skeleton) return mount;
    int holder = mount_table.rows[mount].holder;
    *rest = holder == 0 ? 1 : plan_mount(mount_table.plan, (uint32_t)holder)->guest_length + 1;
    return holder;
}

int mounts_locate(const char *kernel_path, size_t *rest) {
    int best = -1;
    size_t best_length = 0;
    for (uint32_t i = 0; i < mount_table.plan->mount_count; i++) {
        const struct mounted *row = &mount_table.rows[i];
        if (row->host == NULL || (best >= 0 && row->host_length < best_length)) continue;
        if (strncmp(kernel_path, row->host, row->host_length) != 0) continue;
        char next = kernel_path[row->host_length];
        if (next != 0 && next != '/') continue;
        /* Two grants of one file: the stricter wins. */
        if (best >= 0 && row->host_length == best_length && mounts_flag((int)i, SBX_MOUNT_WRITABLE)) continue;
        best = (int)i;
        best_length = row->host_length;
    }
    *rest = best_length + (best >= 0 && kernel_path[best_length] == '/');
    return best;
}
