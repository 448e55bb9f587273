"""Calls that administer the host."""

from __future__ import annotations

import errno

from tests.escape.attack import answered_natively, build, every_wall, ordinary, refused

ATTACK = r"""
int main(void) {
    told("reboot", CALL(169, 0, 0, 0, 0));
    told("sethostname", CALL(170, "attack", 6));
    told("setdomainname", CALL(171, "attack", 6));
    told("settimeofday", CALL(164, 0, 0));
    told("clock_settime", CALL(227, 0, 0));
    told("adjtimex", CALL(159, 0));
    told("init_module", CALL(175, 0, 0, 0));
    told("finit_module", CALL(313, 0, 0, 0));
    told("delete_module", CALL(176, "attack", 0));
    told("kexec_load", CALL(246, 0, 0, 0, 0));
    told("syslog", CALL(103, 3, 0, 0));
    told("vhangup", CALL(153));
    told("fanotify_init", CALL(300, 0, 0));
    return 0;
}
"""
EXPECTED = {
    "reboot": errno.EPERM,
    "sethostname": errno.EPERM,
    "setdomainname": errno.EPERM,
    "settimeofday": errno.EPERM,
    "clock_settime": errno.EPERM,
    "adjtimex": errno.EPERM,
    "init_module": errno.EPERM,
    "finit_module": errno.EPERM,
    "delete_module": errno.EPERM,
    "kexec_load": errno.EPERM,
    "syslog": errno.EPERM,
    "vhangup": errno.EPERM,
    "fanotify_init": errno.EPERM,
}


@ordinary
@every_wall
def test_refused(walls: str) -> None:
    refused(build(ATTACK), EXPECTED, walls=walls)


def test_answered_without_the_filter() -> None:
    answered_natively(build(ATTACK), EXPECTED)
