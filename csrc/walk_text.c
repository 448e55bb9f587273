#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "mounts.h"
#include "walk_inner.h"

int walker_below(const struct walker *walker, int mount, uint32_t rest, const char **name) {
    if (walker->start.dir < 0 || walker->start.mount != mount) {
        *name = walker_at(walker) + rest;
        return mounts_fd(mount);
    }
    *name = walker_at(walker) + walker->start.length;
    *name += strspn(*name, "/");
    return walker->start.dir;
}

void walker_drop_start(struct walker *walker) {
    if (walker->start.dir < 0) return;
    if (walker->start.owned) close(walker->start.dir);
    context_put(walker->start.context);
    walker->start = (struct start){.dir = -1};
}

int walker_finish(struct walker *walker, int mount, uint32_t rest, bool directory, struct place *place) {
    const char *name;
    place->mount = mount;
    place->directory = directory;
    place->special = walk_is_service(mount);
    memcpy(place->guest, walker_at(walker), walker->at_length ? walker->at_length + 1 : 2);
    place->dir = walker_below(walker, mount, rest, &name);
    strcpy(place->name, name);
    if (walker->start.dir != place->dir) return 0;
    place->owned = walker->start.owned;
    place->context = walker->start.context;
    walker->start = (struct start){.dir = -1};
    return 0;
}

/* Append `path`, which has no "..", to `to` (which ends at `end`) without its dots and double slashes. Returns the new end,
 * or NULL where there is no room. */
static char *append_text(char *to, const char *end, const char *path, bool *directory) {
    *directory = false;
    for (;;) { /* by bytes: names are short, and calls of strcspn and memcpy take longer */
        while (*path == '/') path++;
        if (*path == 0) break;
        *directory = path[0] == '.' && (path[1] == '/' || path[1] == 0);
        if (*directory) path++;
        else
            for (*to++ = '/'; *path && *path != '/'; *to++ = *path++)
                if (end - to < 2) return NULL;
        *directory |= *path == '/';
    }
    *to = 0;
    return to;
}

bool walk_has_dotdot(const char *path) {
    for (const char *at = path; (at = strchr(at, '.')) != NULL; at++)
        if (at[1] == '.' && (at[2] == '/' || at[2] == 0) && (at == path || at[-1] == '/')) return true;
    return false;
}

void walker_end(struct walker *walker) {
    walker_drop_start(walker);
    if (walker->pending != walker->usual) free(walker->pending);
}

int walker_expand(struct walker *walker, const char *target, const char *rest) {
    if (++walker->links > LINKS_MAX) return -ELOOP;
    if (target[0] == 0) return -ENOENT;
    size_t length = strlen(target), after = strlen(rest) + 1;
    bool usual = walker->pending == walker->usual;
    char *to = usual && length + after > PENDING_USUAL ? malloc(PENDING_MAX) : walker->pending;
    if (to == NULL) return -ENOMEM;
    memmove(to + length, rest, after); /* often a part of what is pending */
    memcpy(to, target, length);
    walker->pending = to;
    if (target[0] == '/') {
        walker_drop_start(walker);
        walker_cut(walker, 0);
    }
    return 0;
}

void walker_cut(struct walker *walker, size_t length) {
    walker->at_length = length;
    walker->at[length] = 0;
}

int walker_append(struct walker *walker, uint32_t *rest, bool *directory) {
    char *end = append_text(walker->at + walker->at_length, walker->at + SBX_PATH_MAX, walker->pending, directory);
    if (end == NULL) return -ENAMETOOLONG;
    walker->at_length = (size_t)(end - walker->at);
    return mounts_find(walker_at(walker), rest);
}

/* The links that the plan itself holds are followed here. */
int walker_try_text(struct walker *walker, struct place *place) {
    for (;;) {
        bool directory;
        uint32_t rest = 0;
        int mount = walker_append(walker, &rest, &directory);
        if (mount < 0) return mount;
        const char *name = walker_at(walker) + rest;
        enum sbx_mount_kind kind = walk_kind(mount);
        if (kind == SBX_MOUNT_LINK && (name[0] || directory || walker->last == WALK_FOLLOW)) {
            const struct sbx_mount *link = plan_mount(mounts_plan(), (uint32_t)mount);
            const char *target = plan_text(mounts_plan(), link->source);
            char after[SBX_PATH_MAX + 2];
            snprintf(after, sizeof after, "%s%s%s", name[0] ? "/" : "", name, directory ? "/" : "");
            if (walk_has_dotdot(target)) return -ELOOP;
            walker_cut(walker, (size_t)(strrchr(plan_text(mounts_plan(), link->guest), '/') - plan_text(mounts_plan(), link->guest)));
            int error = walker_expand(walker, target, after);
            if (error < 0) return error;
            continue;
        }
        if (kind == SBX_MOUNT_LINK || kind == SBX_MOUNT_PROC) return -ELOOP;
        if (mounts_single_file(mount) && (name[0] || directory)) return -ENOTDIR;
        return walker_finish(walker, mount, rest, directory, place);
    }
}

bool walk_open_country(int mount, const char *guest) {
    const struct sbx_plan *plan = mounts_plan();
    bool below = mounts_has_below(mount) && plan_has_below(plan, guest);
    return !walk_is_service(mount) && !plan_mount(plan, (uint32_t)mount)->hide_count && !below;
}

bool walk_try_held(const char *path, int dir, int mount, const char *guest, struct place *place) {
    if (dir < 0 || !walk_open_country(mount, guest)) return false;
    bool directory;
    char joined[SBX_PATH_MAX + 1];
    char *end = append_text(joined, joined + sizeof joined, path, &directory);
    size_t before = strcmp(guest, "/") == 0 ? 0 : strlen(guest);
    if (end == NULL || end == joined || before + (size_t)(end - joined) >= SBX_PATH_MAX) return false;
    memcpy(place->guest, guest, before);
    memcpy(place->guest + before, joined, (size_t)(end - joined) + 1);
    memcpy(place->name, joined + 1, (size_t)(end - joined));
    place->dir = dir;
    place->mount = mount;
    place->directory = directory;
    place->special = false;
    return true;
}
