/* with: syscalls.c rules.c
 *
 * The table and its rules: sorted, complete in every row, and no row that could be read as more than it says. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include "syscalls.h"

#define CHECK(condition) do { \
    if (!(condition)) { printf("%s:%d: %s (row %s)\n", __FILE__, __LINE__, #condition, at ? at->name : "?"); exit(1); } } while (0)

static const struct sbx_syscall *at;

static uint32_t rules_of(uint32_t nr) {
    uint32_t count, found = 0;
    const struct sbx_argument_rule *rules = sbx_argument_rules(&count);
    for (uint32_t i = 0; i < count; i++) found += rules[i].nr == nr;
    return found;
}

static int roles(const struct sbx_syscall *row, enum sbx_role role) {
    int count = 0;
    for (int i = 0; i < 6; i++) count += row->role[i] == role;
    return count;
}

static void test_row(const struct sbx_syscall *row) {
    CHECK(row->name && row->name[0] && row->reason && row->reason[0]);
    CHECK(row->route <= SBX_SERVED && row->op < SBX_OP_COUNT && row->sentry <= 1 && row->error < 4096);
    for (int i = 0; i < 6; i++) CHECK(row->role[i] <= SBX_ROLE_PID);
    CHECK(roles(row, SBX_ROLE_PATH) <= 2); /* as many as a request holds */
    CHECK(roles(row, SBX_ROLE_NAME) + roles(row, SBX_ROLE_TEXT) <= 1);
    CHECK(roles(row, SBX_ROLE_DIRFD) <= roles(row, SBX_ROLE_PATH));
    if (row->route == SBX_REFUSED) CHECK(row->error && row->op == SBX_OP_NONE && rules_of(row->nr) == 0);
    if (row->route == SBX_SERVED) CHECK(row->op != SBX_OP_NONE && rules_of(row->nr) == 0);
    if (row->route == SBX_NATIVE) CHECK((row->op == SBX_OP_NONE) == (rules_of(row->nr) == 0));
    if (row->route == SBX_NATIVE && row->op == SBX_OP_NONE) CHECK(roles(row, SBX_ROLE_PATH) == 0);
    if (row->op == SBX_OP_DENY) CHECK(row->error != 0);
    if (row->preset) CHECK(row->route == SBX_SERVED);
}

static void test_table(void) {
    uint32_t count = 0;
    const struct sbx_syscall *rows = sbx_syscalls(&count);
    CHECK(rows && count > 300);
    for (uint32_t i = 0; i < count; i++) {
        at = &rows[i];
        CHECK(i == 0 || rows[i - 1].nr < at->nr);
        CHECK(syscalls_row(at->nr) == at);
        CHECK((at->nr & 0x40000000) == 0); /* x32 */
        test_row(at);
    }
    uint32_t found = 0;
    for (uint32_t nr = 0; nr < 4096; nr++) found += syscalls_row(nr) != NULL;
    at = NULL;
    CHECK(found == count && syscalls_row(UINT32_MAX) == NULL && syscalls_row(0x40000000) == NULL);
}

static void test_rules(const struct sbx_argument_rule *rules, uint32_t count, bool sentry) {
    CHECK(count > 0);
    for (uint32_t i = 0; i < count; i++) {
        at = syscalls_row(rules[i].nr);
        CHECK(at != NULL);
        CHECK(i == 0 || rules[i - 1].nr <= rules[i].nr);
        CHECK(sentry ? at->sentry : at->route == SBX_NATIVE);
        CHECK(rules[i].count <= 3 && rules[i].options < 128);
        for (int n = 0; n < rules[i].count; n++) {
            const struct sbx_compare *one = &rules[i].compare[n];
            CHECK(one->arg < 6 && one->mask != 0 && (one->value & ~one->mask) == 0); /* else it never matches, or always */
            CHECK(one->mask <= UINT32_MAX || one->mask == UINT64_MAX); /* INVARIANT int-is-32-bits */
        }
    }
}

static void test_ops(void) {
    at = syscalls_row(SYS_fcntl);
    CHECK(syscalls_op(at, (uint64_t[6]){3, F_SETLK}) == SBX_OP_LOCK);
    CHECK(syscalls_op(at, (uint64_t[6]){3, 0xffffffff00000000 | F_SETLKW}) == SBX_OP_LOCK); /* sign bits above an int */
    CHECK(syscalls_op(at, (uint64_t[6]){3, F_SETOWN}) == SBX_OP_FCNTL);
    at = syscalls_row(SYS_openat);
    CHECK(syscalls_op(at, (uint64_t[6]){3, F_SETLK}) == SBX_OP_OPEN);
}

int main(void) {
    uint32_t count;
    test_table();
    const struct sbx_argument_rule *rules = sbx_argument_rules(&count);
    test_rules(rules, count, false);
    rules = sbx_sentry_rules(&count);
    test_rules(rules, count, true);
    test_ops();
    puts("syscalls: ok");
    return 0;
}
