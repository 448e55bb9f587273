"""SIGIO, or any signal, to a process outside: as the owner of a descriptor it is sent by the kernel itself."""

from __future__ import annotations

from tests.escape.attack import build, every_wall, inside, native, ordinary
from tests.escape.victim import victim

ATTACK = r"""
int main(int argc, char **argv) {
    pid_t victim = atoi(argv[1]);
    int ends[2], on = 1, any = 0;
    struct f_owner_ex owner = {F_OWNER_PID, victim};
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends)) return unfit("socketpair");
    any |= !told("F_SETOWN", fcntl(ends[0], F_SETOWN, victim));
    any |= !told("F_SETOWN group", fcntl(ends[0], F_SETOWN, -victim));
    any |= !told("F_SETOWN_EX", fcntl(ends[0], F_SETOWN_EX, &owner));
    told("F_SETSIG", fcntl(ends[0], F_SETSIG, SIGUSR1));
    any |= !told("FIOSETOWN", ioctl(ends[0], 0x8901, &victim));
    any |= !told("SIOCSPGRP", ioctl(ends[0], 0x8902, &victim));
    told("FIOASYNC", ioctl(ends[0], FIOASYNC, &on));
    told("O_ASYNC", fcntl(ends[0], F_SETFL, O_ASYNC | O_NONBLOCK));
    write(ends[1], "x", 1);
    return any ? WON : LOST;
}
"""


@ordinary
@every_wall
def test_no_descriptor_gets_an_owner(walls: str) -> None:
    with victim() as process:
        outcome = inside(build(ATTACK), process.pid, walls=walls)
        assert not outcome.won and process.poll() is None
    assert {name for name, error in outcome.told.items() if error == 0} == {"FIOASYNC"}  # without an owner: no effect


def test_the_owner_is_killed_natively() -> None:
    with victim() as process:
        assert native(build(ATTACK), process.pid).won
        assert process.wait(10) == -10
