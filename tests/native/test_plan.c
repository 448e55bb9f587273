/* with: plan.c
 *
 * The plan's lookups, and that no damaged plan passes the check and then reads outside itself (run under ASan). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "plan.h"

#define CHECK(condition) do { \
    if (!(condition)) { printf("%s:%d: %s\n", __FILE__, __LINE__, #condition); exit(1); } } while (0)

static const struct row { const char *guest, *source, *hide; uint32_t hide_count; uint8_t kind; } rows[] = {
    {"/", "", "", 0, SBX_MOUNT_SKELETON},
    {"/data", "/srv/data", "a/secret\0hidden", 2, SBX_MOUNT_HOST},
    {"/data-old", "/srv/old", "", 0, SBX_MOUNT_HOST},
    {"/data/sub/deep", "", "", 0, SBX_MOUNT_SCRATCH},
    {"/proc", "", "", 0, SBX_MOUNT_PROC},
};
#define ROWS (sizeof rows / sizeof *rows)

static char *buffer;
static uint32_t used;

static uint32_t put(const void *data, size_t size) {
    uint32_t at = used;
    memcpy(buffer + at, data, size);
    used += (uint32_t)size;
    return at;
}

static size_t hide_size(const struct row *row) {
    size_t size = 1;
    const char *at = row->hide;
    for (uint32_t i = 0; i < row->hide_count; i++) {
        at += strlen(at) + 1;
        size = (size_t)(at - row->hide);
    }
    return size;
}

/* A plan in memory of exactly its size, so that ASan sees one byte too many. */
static struct sbx_plan *make(uint32_t *size) {
    static const uint64_t programs[3];
    struct sbx_mount mounts[ROWS] = {0};
    struct sbx_plan plan = {.version = SBX_VERSION, .mount_count = ROWS, .tag = 0x1234567800000000, .audit = 1};
    buffer = calloc(1, 65536);
    used = sizeof plan;
    plan.mounts = put(mounts, sizeof mounts);
    used = (used + 7) & ~7u;
    plan.guest_filter[0] = put(&programs[0], 8);
    plan.guest_filter[1] = put(&programs[1], 8);
    plan.sentry_filter = put(&programs[2], 8);
    plan.guest_filter_count[0] = plan.guest_filter_count[1] = plan.sentry_filter_count = 1;
    plan.scratch_host = plan.cgroup = put("", 1);
    for (uint32_t i = 0; i < ROWS; i++) {
        mounts[i].guest = put(rows[i].guest, strlen(rows[i].guest) + 1);
        mounts[i].guest_length = (uint32_t)strlen(rows[i].guest);
        mounts[i].source = put(rows[i].source, strlen(rows[i].source) + 1);
        mounts[i].hide = put(rows[i].hide, hide_size(&rows[i]));
        mounts[i].hide_count = rows[i].hide_count;
        mounts[i].kind = rows[i].kind;
    }
    plan.size = *size = used;
    memcpy(buffer, &plan, sizeof plan);
    memcpy(buffer + plan.mounts, mounts, sizeof mounts);
    struct sbx_plan *exact = malloc(used);
    memcpy(exact, buffer, used);
    free(buffer);
    return exact;
}

static void finds(const struct sbx_plan *plan, const char *path, int mount, const char *rest) {
    uint32_t offset = 0;
    int found = sbx_plan_find(plan, path, &offset);
    if (found != mount || (found >= 0 && strcmp(path + offset, rest) != 0)) {
        printf("%s: mount %d rest %s\n", path, found, found >= 0 ? path + offset : "");
        exit(1);
    }
    for (uint32_t i = 1; i < plan->mount_count; i++) { /* in one that has none below: the same, or not in it */
        uint32_t offset_in = 0;
        if (plan_has_below(plan, plan_text(plan, plan_mount(plan, i)->guest))) continue;
        int in = plan_find_in(plan, i, path, &offset_in);
        CHECK(in == -EXDEV ? found != (int)i : in == found && (in < 0 || offset_in == offset));
    }
}

static void test_find(const struct sbx_plan *plan) {
    finds(plan, "/", 0, "");
    finds(plan, "/etc", 0, "etc");
    finds(plan, "/dat", 0, "dat");
    finds(plan, "/data", 1, "");
    finds(plan, "/data/x/y", 1, "x/y");
    finds(plan, "/data-old", 2, "");
    finds(plan, "/data-older", 0, "data-older");
    finds(plan, "/data-old/z", 2, "z");
    finds(plan, "/data/sub", 1, "sub");
    finds(plan, "/data/sub/deep", 3, "");
    finds(plan, "/data/sub/deeper", 1, "sub/deeper");
    finds(plan, "/data/sub/deep/er", 3, "er");
    finds(plan, "/proc/self", 4, "self");
    finds(plan, "/data/hidden", -ENOENT, "");
    finds(plan, "/data/hidden/below", -ENOENT, "");
    finds(plan, "/data/hiddenish", 1, "hiddenish");
    finds(plan, "/data/a", 1, "a");
    finds(plan, "/data/a/secret", -ENOENT, "");
    finds(plan, "relative", -EINVAL, "");
    finds(plan, "", -EINVAL, "");
    char longest[SBX_PATH_MAX + 2];
    memset(longest, 'a', sizeof longest);
    longest[0] = '/';
    longest[SBX_PATH_MAX - 1] = 0;
    uint32_t rest;
    CHECK(sbx_plan_find(plan, longest, &rest) == 0 && rest == 1);
    longest[SBX_PATH_MAX - 1] = 'a';
    longest[SBX_PATH_MAX] = 0;
    CHECK(sbx_plan_find(plan, longest, &rest) == -ENAMETOOLONG);
    CHECK(!plan_has_below(plan, longest));
}

static void test_below(const struct sbx_plan *plan) {
    CHECK(plan_has_below(plan, "/"));
    CHECK(plan_has_below(plan, "/data"));
    CHECK(plan_has_below(plan, "/data/sub"));
    CHECK(!plan_has_below(plan, "/data/sub/deep"));
    CHECK(!plan_has_below(plan, "/data-old"));
    CHECK(!plan_has_below(plan, "/dat"));
    CHECK(!plan_has_below(plan, "/zzz"));
    CHECK(plan_next_below(plan, "/", 0) == 1 && plan_next_below(plan, "/", 4) == 4 && plan_next_below(plan, "/", 5) == -1);
    CHECK(plan_next_below(plan, "/data", 0) == 3 && plan_next_below(plan, "/data", 4) == -1);
}

/* Every byte of the fixed part in turn gets other values: what passes must still be safe to use. */
static void test_damage(void) {
    uint32_t size, passed = 0;
    struct sbx_plan *plan = make(&size);
    static const uint8_t values[] = {0, 1, 7, 0x2f, 0x7f, 0x80, 0xff};
    for (uint32_t at = 0; at < size; at++) {
        uint8_t before = ((uint8_t *)plan)[at];
        for (size_t i = 0; i < sizeof values; i++) {
            uint32_t rest;
            const char *why;
            ((uint8_t *)plan)[at] = values[i];
            if (sbx_plan_check(plan, size, &why) < 0) {
                CHECK(why != NULL);
                continue;
            }
            passed++;
            sbx_plan_find(plan, "/data/a/secret/x", &rest);
            sbx_plan_find(plan, "/data/sub/deep/x", &rest);
            plan_has_below(plan, "/data");
            plan_text(plan, plan->cgroup)[0] == 0 ? passed++ : 0;
        }
        ((uint8_t *)plan)[at] = before;
    }
    CHECK(passed > 0);
    for (uint32_t cut = 0; cut < size; cut++) {
        const char *why;
        struct sbx_plan *shorter = malloc(cut ? cut : 1);
        memcpy(shorter, plan, cut);
        CHECK(sbx_plan_check(shorter, cut, &why) == -EINVAL);
        free(shorter);
    }
    free(plan);
}

int main(void) {
    uint32_t size;
    const char *why = "?";
    struct sbx_plan *plan = make(&size);
    if (sbx_plan_check(plan, size, &why) < 0) printf("plan: %s\n", why);
    CHECK(sbx_plan_check(plan, size, &why) == 0 && why == NULL);
    CHECK(sbx_plan_check((char *)plan + 1, size, &why) == -EINVAL);
    test_find(plan);
    test_below(plan);
    test_damage();
    free(plan);
    puts("plan: ok");
    return 0;
}
