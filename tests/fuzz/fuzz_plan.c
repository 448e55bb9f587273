/* with: plan.c
 *
 * A plan from bytes as they are, or one that is well formed, made of texts in the input; then paths are looked up in it.
 * What must hold: no plan that passes the check makes a lookup read outside it, and lookups find what a scan of all mounts
 * finds. */
#include <errno.h>
#include <stdbool.h>
#include "build_plan.h"
#include "fuzz.h"

#define ROWS_MAX 12
#define TEXT 64

/* The mount that holds a path, by trying all of them. */
static int scan(const struct sbx_plan *plan, const char *path, uint32_t *rest) {
    int best = 0;
    size_t best_length = 0;
    for (uint32_t i = 1; i < plan->mount_count; i++) {
        const struct sbx_mount *mount = plan_mount(plan, i);
        size_t length = mount->guest_length;
        if (length <= best_length || strncmp(path, plan_text(plan, mount->guest), length) != 0) continue;
        if (path[length] != 0 && path[length] != '/') continue;
        best = (int)i;
        best_length = length;
    }
    *rest = (uint32_t)(path[best_length] ? best_length + 1 : best_length);
    const char *hidden = plan_text(plan, plan_mount(plan, (uint32_t)best)->hide);
    for (uint32_t i = 0; i < plan_mount(plan, (uint32_t)best)->hide_count; i++, hidden += strlen(hidden) + 1) {
        size_t length = strlen(hidden);
        char after = strncmp(path + *rest, hidden, length) == 0 ? path[*rest + length] : 'x';
        if (after == 0 || after == '/') return -ENOENT;
    }
    return best;
}

static void look_up(const struct sbx_plan *plan, const char *path) {
    uint32_t rest = 0, should = 0;
    size_t length = strlen(path);
    int found = sbx_plan_find(plan, path, &rest), below = -1;
    for (int at = 0; (at = plan_next_below(plan, path, at)) >= 0; at++) {
        CHECK(at > below && at < (int)plan->mount_count);
        below = at;
    }
    if (path[0] != '/') CHECK(found == -EINVAL);
    if (path[0] != '/' || found == -ENAMETOOLONG) return;
    if (length > 1 && path[length - 1] == '/') return; /* not normal: any answer inside the plan will do */
    CHECK(found == scan(plan, path, &should));
    CHECK(rest <= length && (found < 0 || rest == should));
    for (uint32_t i = 1; i < plan->mount_count; i++) {
        const char *guest = plan_text(plan, plan_mount(plan, i)->guest);
        bool is_below = strncmp(guest, path, length) == 0 && (length == 1 || guest[length] == '/');
        if (is_below) CHECK(plan_has_below(plan, path) && plan_next_below(plan, path, (int)i) == (int)i);
        if (plan_has_below(plan, guest)) continue;
        uint32_t rest_in = 0;
        int in = plan_find_in(plan, i, path, &rest_in);
        CHECK(in == -EXDEV ? found != (int)i : in == found && (in < 0 || rest_in == rest));
    }
}

static void use(const struct sbx_plan *plan, struct input *input) {
    char path[SBX_PATH_MAX + 8];
    for (uint32_t i = 0; i < plan->mount_count && i < 64; i++) {
        const struct sbx_mount *mount = plan_mount(plan, i);
        const char *guest = plan_text(plan, mount->guest);
        uint32_t rest;
        CHECK(sbx_plan_find(plan, guest, &rest) == (int)i && guest[rest] == 0);
        const char *hidden = plan_text(plan, mount->hide);
        for (uint32_t n = 0; n < mount->hide_count && n < 16; n++, hidden += strlen(hidden) + 1) {
            int made = snprintf(path, sizeof path, "%s/%s", i ? guest : "", hidden);
            if (made < SBX_PATH_MAX && !plan_has_below(plan, path)) look_up(plan, path);
        }
        look_up(plan, guest);
        (void)strlen(plan_text(plan, mount->source));
    }
    for (int i = 0; i < 3; i++) CHECK(((const uint8_t *)plan_guest_filter(plan, i > 1))[8 * plan->guest_filter_count[i > 1] - 1] >= 0);
    CHECK(((const uint8_t *)plan_sentry_filter(plan))[8 * plan->sentry_filter_count - 1] >= 0);
    (void)(strlen(plan_text(plan, plan->cgroup)) + strlen(plan_text(plan, plan->scratch_host)));
    look_up(plan, "/");
    while (input->left) {
        input_text(input, path, sizeof path);
        look_up(plan, path);
    }
}

static struct sbx_plan *raw(struct input *input, size_t *size) {
    *size = (size_t)input_number(input, 2);
    if (*size > input->left) *size = input->left;
    char *memory = malloc(*size ? *size : 1);
    input_bytes(input, memory, *size);
    struct sbx_plan *plan = (struct sbx_plan *)(void *)memory;
    if (*size > sizeof *plan && memory[*size - 1] == 1) { /* help the fuzzer past the plainest checks */
        plan->version = SBX_VERSION;
        plan->size = (uint32_t)*size;
        plan->tag <<= 32;
        memory[*size - 1] = 0;
    }
    return plan;
}

static int by_guest(const void *left, const void *right) {
    return strcmp(((const struct plan_row *)left)->guest, ((const struct plan_row *)right)->guest);
}

static struct sbx_plan *made(struct input *input, size_t *size) {
    static char texts[ROWS_MAX][3][TEXT];
    struct plan_row rows[ROWS_MAX] = {{.guest = "/", .source = "/", .hide = "", .kind = SBX_MOUNT_HOST}};
    uint32_t count = 1 + input_byte(input) % ROWS_MAX;
    for (uint32_t i = 0; i < count; i++) {
        texts[i][0][0] = texts[i][1][0] = '/';
        input_text(input, texts[i][0] + 1, TEXT - 1);
        input_text(input, texts[i][1] + 1, TEXT - 1);
        input_text(input, texts[i][2], TEXT);
        uint8_t kind = input_byte(input) % 12, flags = input_byte(input) & 0x1f;
        rows[i] = (struct plan_row){i ? texts[i][0] : "/", texts[i][1], texts[i][2], texts[i][2][0] != 0, kind, flags};
        if (i == 0) rows[i].kind = SBX_MOUNT_HOST;
    }
    qsort(rows + 1, count - 1, sizeof rows[0], by_guest);
    struct sbx_plan *plan = build_plan(rows, count, "");
    *size = plan->size;
    return plan;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input input = {data, size};
    size_t bytes = 0;
    struct sbx_plan *plan = input_byte(&input) & 1 ? made(&input, &bytes) : raw(&input, &bytes);
    const char *why = "";
    int error = sbx_plan_check(plan, bytes, &why);
    CHECK(error == 0 || error == -EINVAL);
    CHECK((error == 0) == (why == NULL));
    if (error == 0) use(plan, &input);
    free(plan);
    return 0;
}
