#include "plan.h"
#include <errno.h>
#include <string.h>

#define FILTER_SIZE 8 /* bytes of a struct sock_filter */
#define NAME_BYTES 255

/* Bytes, not text of a locale: the order in which Python sorts bytes. Most differ in the first few: memcmp takes longer. */
static int compare(const char *left, size_t left_length, const char *right, size_t right_length) {
    size_t both = left_length < right_length ? left_length : right_length, at = 0;
    while (at < both && left[at] == right[at]) at++;
    if (at < both) return (unsigned char)left[at] < (unsigned char)right[at] ? -1 : 1;
    return left_length < right_length ? -1 : left_length > right_length;
}

/* First mount from `low` on whose guest path is not before path[0..length). */
static uint32_t lower_bound(const struct sbx_plan *plan, uint32_t low, const char *path, size_t length) {
    uint32_t high = plan->mount_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct sbx_mount *mount = plan_mount(plan, middle);
        if (compare(plan_text(plan, mount->guest), mount->guest_length, path, length) < 0) low = middle + 1;
        else high = middle;
    }
    return low;
}

/* Is `inner` the path outer[0..length), or below it? */
static bool holds(const char *outer, size_t length, const char *inner) {
    size_t at = 0;
    while (at < length && outer[at] == inner[at]) at++; /* by bytes, as above; no byte of `outer` is 0 */
    return at == length && (inner[length] == 0 || inner[length] == '/');
}

bool plan_hidden(const struct sbx_plan *plan, const struct sbx_mount *mount, const char *rest) {
    const char *hidden = plan_text(plan, mount->hide);
    for (uint32_t i = 0; i < mount->hide_count; i++) {
        size_t length = strlen(hidden);
        if (holds(hidden, length, rest)) return true;
        hidden += length + 1;
    }
    return false;
}

/* Does the guest path of mount `at` begin with path[0..length)? */
static bool begins(const struct sbx_plan *plan, uint32_t at, const char *path, size_t length) {
    if (at >= plan->mount_count) return false;
    const struct sbx_mount *mount = plan_mount(plan, at);
    return mount->guest_length >= length && compare(plan_text(plan, mount->guest), length, path, length) == 0;
}

/* The path lies in mount `index`, of whose point it repeats the first `prefix` bytes. */
static int found(const struct sbx_plan *plan, uint32_t index, const char *guest_path, size_t prefix, uint32_t *rest) {
    *rest = (uint32_t)(guest_path[prefix] ? prefix + 1 : prefix);
    return plan_hidden(plan, plan_mount(plan, index), guest_path + *rest) ? -ENOENT : (int)index;
}

int plan_find_in(const struct sbx_plan *plan, uint32_t index, const char *guest_path, uint32_t *rest) {
    const struct sbx_mount *mount = plan_mount(plan, index);
    if (!holds(plan_text(plan, mount->guest), mount->guest_length, guest_path)) return -EXDEV;
    return found(plan, index, guest_path, mount->guest_length, rest);
}

/* Down from "/", as long as there are mounts below: each is behind the one before. */
int sbx_plan_find(const struct sbx_plan *plan, const char *guest_path, uint32_t *rest) {
    size_t length = strnlen(guest_path, SBX_PATH_MAX), prefix = 0;
    if (guest_path[0] != '/') return -EINVAL;
    if (length == SBX_PATH_MAX) return -ENAMETOOLONG;
    uint32_t index = 0, at = 1; /* "/" holds what nothing else does */
    for (size_t end = 1; begins(plan, at, guest_path, end); end++) {
        while (end < length && guest_path[end] != '/') end++;
        at = lower_bound(plan, at, guest_path, end);
        if (begins(plan, at, guest_path, end) && plan_mount(plan, at)->guest_length == end) {
            index = at;
            prefix = end;
        }
        if (end == length) break;
        at = lower_bound(plan, at, guest_path, end + 1);
    }
    return found(plan, index, guest_path, prefix, rest);
}

int plan_next_below(const struct sbx_plan *plan, const char *guest_path, int from) {
    char below[SBX_PATH_MAX + 1];
    size_t length = strnlen(guest_path, SBX_PATH_MAX);
    if (length == SBX_PATH_MAX || from < 0) return -1;
    memcpy(below, guest_path, length);
    if (length > 1) below[length++] = '/';
    uint32_t at = lower_bound(plan, 0, below, length);
    if (at < (uint32_t)from) at = (uint32_t)from;
    if (length == 1 && at == 0) at = 1; /* "/" is not below itself */
    if (at >= plan->mount_count) return -1;
    return plan_mount(plan, at)->guest_length > length && begins(plan, at, below, length) ? (int)at : -1;
}

bool plan_has_below(const struct sbx_plan *plan, const char *guest_path) {
    return plan_next_below(plan, guest_path, 0) >= 0;
}

/* ---- the check: nothing above looks at a plan that did not pass it ------------------------------------------------------ */

static bool inside(const struct sbx_plan *plan, uint32_t offset, uint32_t count, uint32_t size, uint32_t align) {
    uint64_t end = (uint64_t)offset + (uint64_t)count * size;
    return offset >= sizeof *plan && offset % align == 0 && end <= plan->size;
}

/* Components of 1 to 255 bytes, none of them "." or "..", single slashes between, none at the ends. "" is normal. */
static bool is_normal(const char *path) {
    if (path[0] == 0) return true;
    for (;;) {
        size_t length = strcspn(path, "/");
        if (length == 0 || length > NAME_BYTES) return false;
        if (path[0] == '.' && (length == 1 || (length == 2 && path[1] == '.'))) return false;
        if (path[length] == 0) return true;
        path += length + 1;
    }
}

static const char *check_hidden(const struct sbx_plan *plan, const struct sbx_mount *mount) {
    uint64_t at = mount->hide;
    for (uint32_t i = 0; i < mount->hide_count; i++) {
        if (at >= plan->size) return "hidden names run past the end";
        const char *hidden = plan_text(plan, (uint32_t)at);
        if (hidden[0] == 0 || !is_normal(hidden)) return "a hidden name is not a normal relative path";
        at += strlen(hidden) + 1;
    }
    return NULL;
}

static const char *check_kind(const struct sbx_plan *plan, const struct sbx_mount *mount) {
    const char *source = plan_text(plan, mount->source);
    switch (mount->kind) {
    case SBX_MOUNT_HOST: return source[0] == '/' ? NULL : "the source of a host mount is not absolute";
    case SBX_MOUNT_LINK: return source[0] != 0 ? NULL : "a link leads nowhere";
    case SBX_MOUNT_BYTES: return mount->handle < plan->descriptors ? NULL : "a mount names a descriptor that does not come";
    case SBX_MOUNT_SKELETON: case SBX_MOUNT_SCRATCH: case SBX_MOUNT_SERVICE: case SBX_MOUNT_PROC: case SBX_MOUNT_PTS:
    case SBX_MOUNT_TTY: return NULL;
    default: return "a mount of unknown kind";
    }
}

static const char *check_mount(const struct sbx_plan *plan, uint32_t index) {
    const struct sbx_mount *mount = plan_mount(plan, index);
    if (mount->guest >= plan->size || mount->source >= plan->size || mount->hide >= plan->size) return "text outside the plan";
    const char *guest = plan_text(plan, mount->guest);
    if (strlen(guest) != mount->guest_length || mount->guest_length >= SBX_PATH_MAX) return "length of a guest path";
    if (strlen(plan_text(plan, mount->source)) >= SBX_PATH_MAX) return "length of a source";
    if (mount->flags & ~(SBX_MOUNT_WRITABLE | SBX_MOUNT_EXEC | SBX_MOUNT_DEVICE | SBX_MOUNT_STICKY | SBX_MOUNT_COPY)) return "unknown flags of a mount";
    if (mount->reserved != 0) return "reserved bytes of a mount";
    if (guest[0] != '/' || !is_normal(guest + 1)) return "a guest path is not absolute and normal";
    if (index == 0 && mount->guest_length != 1) return "the first mount is not /";
    if (index == 0 && mount->kind != SBX_MOUNT_SKELETON && mount->kind != SBX_MOUNT_HOST && mount->kind != SBX_MOUNT_SCRATCH)
        return "/ is no directory";
    if (index > 0) {
        const struct sbx_mount *before = plan_mount(plan, index - 1);
        if (compare(plan_text(plan, before->guest), before->guest_length, guest, mount->guest_length) >= 0)
            return "mounts are not sorted, or one guest path has two";
    }
    const char *why = check_kind(plan, mount);
    return why != NULL ? why : check_hidden(plan, mount);
}

static const char *check_filters(const struct sbx_plan *plan) {
    uint32_t offset[3] = {plan->guest_filter[0], plan->guest_filter[1], plan->sentry_filter};
    uint32_t count[3] = {plan->guest_filter_count[0], plan->guest_filter_count[1], plan->sentry_filter_count};
    for (int i = 0; i < 3; i++) {
        if (count[i] == 0 || count[i] > SBX_FILTER_MAX) return "length of a filter program";
        if (!inside(plan, offset[i], count[i], FILTER_SIZE, 8)) return "a filter program outside the plan";
    }
    return NULL;
}

static const char *check(const void *bytes, uint64_t size) {
    const struct sbx_plan *plan = bytes;
    if ((uintptr_t)bytes % _Alignof(struct sbx_plan) != 0) return "not aligned";
    if (size <= sizeof *plan || size > SBX_PLAN_MAX) return "size of the plan";
    if (plan->version != SBX_VERSION) return "another version";
    if (plan->size != size) return "size in the header";
    if (((const char *)bytes)[size - 1] != 0) return "the last text does not end";
    if (plan->mount_count == 0 || plan->mount_count > SBX_MOUNTS_MAX) return "number of mounts";
    if (!inside(plan, plan->mounts, plan->mount_count, sizeof(struct sbx_mount), _Alignof(struct sbx_mount)))
        return "mounts outside the plan";
    if (plan->scratch_host >= plan->size || plan->cgroup >= plan->size) return "text outside the plan";
    if ((plan->tag & 0xffffffffu) != 0 || plan->tag == 0) return "the tag";
    if (plan->required >= 1u << SBX_WALL_COUNT || plan->audit > 1 || plan->network > SBX_NETWORK_SERVED || plan->slice & 0xff || plan->resolver > 0xffff) return "walls or switches";
    if (plan->publish_count > SBX_PUBLISH_MAX) return "number of published ports";
    const char *why = check_filters(plan);
    for (uint32_t i = 0; why == NULL && i < plan->mount_count; i++) why = check_mount(plan, i);
    return why;
}

int sbx_plan_check(const void *plan, uint64_t size, const char **why) {
    const char *wrong = check(plan, size);
    if (why != NULL) *why = wrong;
    return wrong == NULL ? 0 : -EINVAL;
}
