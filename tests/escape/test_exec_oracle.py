"""Errors of exec that would tell which names the host has."""

from __future__ import annotations

from tests.escape.attack import build, every_wall, inside, native, ordinary
from tests.escape.conftest import Host
from tests.escape.test_exec_path_race import ATTACK as RACE

ATTACK = r"""
int main(int argc, char **argv) {
    char *arguments[] = {"x", NULL}, *environment[] = {NULL};
    execve(argv[1], arguments, environment);
    told("there", -1);
    execve(argv[2], arguments, environment);
    told("missing", -1);
    return LOST;
}
"""


@ordinary
@every_wall
def test_what_is_there_and_what_is_not_answer_alike(host: Host, walls: str) -> None:
    """A name outside of the view is missing, whatever the host has there."""
    outcome = inside(build(ATTACK), host.secret / "file", host.secret / "none", walls=walls)
    assert len(set(outcome.told.values())) == 1


@ordinary
@every_wall
def test_nor_do_they_when_the_empty_string_is_swapped(host: Host, walls: str) -> None:
    """Whatever the kernel says of a host name that it was made to look at, the process is killed: no errno comes back."""
    (host.granted / "good").write_bytes(build("int main(void) { return 0; }").read_bytes())
    (host.granted / "good").chmod(0o755)
    for name in ("file", "none"):
        outcome = inside(
            build(RACE), "/data/good", host.secret / name, 2, 100, mounts={"/data": host.granted}, walls=walls
        )
        assert outcome.told["unexpected"] == 0


def test_natively_they_differ(host: Host) -> None:
    told = native(build(ATTACK), host.secret / "file", host.secret / "none").told
    assert told["there"] != told["missing"]
