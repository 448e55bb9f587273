"""A seccomp filter of the guest's own: the kernel takes the stricter answer, so it would hide calls from the audit."""

from __future__ import annotations

from pathlib import Path

import sandbox._audit
from tests.escape.attack import build, every_wall, inside, native, ordinary

ATTACK = r"""
#include <linux/filter.h>
#include <linux/seccomp.h>
int main(void) {
    /* openat answers 0 without ever being made */
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 0), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_fprog program = {4, code};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    told("listener", CALL(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program));
    told("tsync", CALL(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program));
    told("filter", CALL(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
    told("prctl", prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
    told("strict", CALL(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 0, 8));
    return CALL(SYS_openat, AT_FDCWD, "/no/such/name", O_RDONLY) == 0 ? WON : LOST;
}
"""


@ordinary
@every_wall
def test_there_is_none(walls: str, tmp_path: Path) -> None:
    trail = tmp_path / "trail"
    outcome = inside(build(ATTACK), walls=walls, audit=trail)
    assert not outcome.won and 0 not in outcome.told.values()
    assert any("/no/such/name" in event.paths for event in sandbox._audit.load(trail))


def test_it_hides_calls_natively() -> None:
    assert native(build(ATTACK)).won
