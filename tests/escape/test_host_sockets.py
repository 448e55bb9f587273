"""Sockets of the host's daemons, where these have them (docker, an ssh agent, X11, D-Bus), or another guest's: by path through a
grant, by an abstract name, its own or the kernel's, by the number of a deleted socket of the guest's own that came again, through a link, by a datagram."""

from __future__ import annotations

import errno
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any, Optional

import pytest

from tests.escape.attack import LOST, WALLS, box, build, every_wall, inside, native, ordinary
from tests.escape.conftest import Host

ATTACK = r"""
/* argv[1]: a name, "@" for an abstract one */
int main(int argc, char **argv) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    strcpy(name.sun_path, argv[1]);
    if (argv[1][0] == '@') name.sun_path[0] = 0;
    socklen_t size = offsetof(struct sockaddr_un, sun_path) + strlen(argv[1]) + (argv[1][0] != '@');
    int stream = socket(AF_UNIX, SOCK_STREAM, 0), datagram = socket(AF_UNIX, SOCK_DGRAM, 0), won = 0;
    won |= !told("connect", connect(stream, (void *)&name, size));
    int error = told("sendto", sendto(datagram, "x", 1, 0, (void *)&name, size));
    won |= error == EPROTOTYPE || error == 0; /* EPROTOTYPE: it was found */
    struct iovec part = {"x", 1};
    struct msghdr message = {.msg_name = &name, .msg_namelen = size, .msg_iov = &part, .msg_iovlen = 1};
    error = told("sendmsg", sendmsg(datagram, &message, 0));
    won |= error == EPROTOTYPE || error == 0;
    error = told("connect datagram", connect(datagram, (void *)&name, size));
    won |= error == EPROTOTYPE || error == 0;
    return won ? WON : LOST;
}
"""
REUSE = r"""
/* binds, so that the sentry remembers the file, and removes it; argv[2]: a socket that the host has made meanwhile */
int main(int argc, char **argv) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    char line;
    for (int i = 0; i < 64; i++) {
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        sprintf(name.sun_path, "%s/s%d", argv[1], i);
        if (bind(fd, (void *)&name, sizeof name)) return unfit("bind");
        close(fd);
    }
    for (int i = 0; i < 64; i++) { sprintf(name.sun_path, "%s/s%d", argv[1], i); unlink(name.sun_path); }
    told("bound", 0);
    read(0, &line, 1);
    strcpy(name.sun_path, argv[2]);
    return connect(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&name, sizeof name) ? LOST : WON;
}
"""


@ordinary
@every_wall
@pytest.mark.parametrize("grant", ["mounts", "writable"])
def test_a_grant_of_a_directory_is_none_of_its_sockets(host: Host, walls: str, grant: str) -> None:
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.bind(str(host.granted / "daemon"))
        daemon.listen()
        options = {grant: {"/data": host.granted}}
        if grant == "mounts":
            outcome = inside(build(ATTACK), "/data/daemon", walls=walls, mounts=options["mounts"])
        else:
            outcome = inside(build(ATTACK), "/data/daemon", walls=walls, writable=options["writable"])
        assert not outcome.won


def test_natively_it_answers(host: Host) -> None:
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.bind(str(host.granted / "daemon"))
        daemon.listen()
        assert native(build(ATTACK), host.granted / "daemon").won


@dataclass(frozen=True)
class Daemon:
    """A socket of a daemon's that listens: its name on the host, in a guest, and what a guest could be granted of it."""

    there: Path
    inside: str
    grants: dict[str, Path]


DAEMONS = ["docker", "docker by its older name", "ssh agent", "X11", "D-Bus", "a link", "a link up", "a link to a link"]


@pytest.fixture
def daemons(host: Host) -> Iterator[dict[str, Daemon]]:
    """In the trees that they make; these stand below a folder of the test's but for the agent's, which anybody may have."""
    with ExitStack() as stack:
        top, agent = host.granted, Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ssh-", dir="/tmp")))
        places = [top / "run/docker.sock", top / "run/dbus/system_bus_socket", top / "tmp/.X11-unix/X0", agent / f"agent.{os.getpid()}", host.secret / "daemon"]
        for place in places:
            place.parent.mkdir(parents=True, exist_ok=True)
            made = stack.enter_context(socket.socket(socket.AF_UNIX))
            made.bind(str(place))
            made.listen()
            place.chmod(0o666)
        docker, bus, display, mine, secret = places
        (top / "var").mkdir()
        (top / "var/run").symlink_to("../run")
        links = top / "links"
        links.mkdir()
        for name, target in {"agent": mine, "up": "../../secret/daemon", "again": "agent"}.items():
            (links / name).symlink_to(target)
        run = {"/run": top / "run", "/var": top / "var"}
        yield {
            "docker": Daemon(docker, "/run/docker.sock", run),
            "docker by its older name": Daemon(top / "var/run/docker.sock", "/var/run/docker.sock", run),
            "ssh agent": Daemon(mine, str(mine), {str(agent): agent}),
            "X11": Daemon(display, "/tmp/.X11-unix/X0", {"/tmp/.X11-unix": display.parent}),
            "D-Bus": Daemon(bus, "/run/dbus/system_bus_socket", run),
            "a link": Daemon(links / "agent", "/data/agent", {"/data": links, str(agent): agent}),
            "a link up": Daemon(links / "up", "/data/links/up", {"/data": top, "/secret": secret.parent}),
            "a link to a link": Daemon(links / "again", "/data/again", {"/data": links, str(agent): agent}),
        }


@ordinary
@every_wall
@pytest.mark.parametrize("name", DAEMONS)
@pytest.mark.parametrize("grant", ["none", "mounts", "writable"])
def test_no_daemon_is_reached(daemons: dict[str, Daemon], walls: str, grant: str, name: str) -> None:
    daemon = daemons[name]
    granted: dict[str, Any] = {} if grant == "none" else {grant: daemon.grants}
    outcome = inside(build(ATTACK), daemon.inside, walls=walls, network="host", **granted)
    assert not outcome.won and set(outcome.told.values()) <= {errno.ENOENT, errno.ECONNREFUSED, errno.EACCES}, outcome


@pytest.mark.parametrize("name", DAEMONS)
def test_natively_each_is_reached(daemons: dict[str, Daemon], name: str) -> None:
    assert native(build(ATTACK), daemons[name].there).told["connect"] == 0


@ordinary
@every_wall
@pytest.mark.parametrize("network", [None, "host"])
@pytest.mark.parametrize("name", ["sandbox-test-", "/tmp/.X11-unix/X", "/tmp/dbus-"])
def test_an_abstract_name_of_the_host(walls: str, network: Optional[str], name: str) -> None:
    name += str(os.getpid())
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.bind(f"\0{name}")
        daemon.listen()
        assert native(build(ATTACK), f"@{name}").won
        assert not inside(build(ATTACK), f"@{name}", walls=walls, network=network).won


DAEMON = """
import socket, sys
with socket.socket(socket.AF_UNIX) as s, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as plain:
    s.bind("\\0" + sys.argv[1])
    s.listen()
    print("listens", flush=True)
    sys.stdin.read()
    s.setblocking(False)
    try: print(s.accept())
    except BlockingIOError: print("nobody came")
"""


@contextmanager
def _daemon(start: Callable[..., Any], name: str) -> Iterator[None]:
    """Somebody who listens at an abstract name, until whoever has tried it is gone."""
    with start([sys.executable, "-c", DAEMON, name], stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdout.readline() == "listens\n"
        yield
        assert (process.communicate()[0] == "nobody came\n") == (start is not Popen)


@ordinary
@every_wall
@pytest.mark.parametrize("network", [None, "host", "loopback"])
def test_an_abstract_name_of_another_guest(walls: str, network: Optional[str]) -> None:
    """Both may have it at the same time; nobody comes to it from outside."""
    name = f"sandbox-test-guest-{os.getpid()}"
    with ExitStack() as stack:
        one, two = (stack.enter_context(box(walls, build(ATTACK), network=network)) for _ in range(2))
        stack.enter_context(_daemon(one.popen, name))
        assert two.run(["/attack/attack", f"@{name}"]).returncode == LOST
        assert native(build(ATTACK), f"@{name}").status == LOST
        stack.enter_context(_daemon(two.popen, name))


SHARED = [walls for walls, names in WALLS.items() if "netns" not in names]
"""Where a guest's names are in the host's network namespace."""


def _found(name: str) -> str:
    """What the kernel calls the listener at the name, as a guest or the host may read it."""
    for line in Path("/proc/net/unix").read_bytes().splitlines():
        if line.endswith(name.encode()) and b" 0001 01 " in line:  # listens
            return line.split(b" ", 7)[7].decode("latin-1").lstrip(" 0123456789")
    raise AssertionError("nobody listens there")


@ordinary
@pytest.mark.parametrize("walls", SHARED)
def test_a_stranger_who_knows_the_kernels_name(walls: str) -> None:
    """The host's /proc/net/unix shows it to everybody: from outside the guest nobody gets through, and another guest's names are its own."""
    name = f"sandbox-test-guest-{os.getpid()}"
    with box(walls) as one, box(walls, build(ATTACK)) as two, _daemon(one.popen, name):
        found = _found(name)
        assert found != f"@{name}"
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(f"\0{found[1:]}".replace("@", "\0"))
        assert two.run(["/attack/attack", found]).returncode == LOST


def test_natively_a_stranger_gets_through() -> None:
    name = f"sandbox-test-guest-{os.getpid()}"
    with _daemon(Popen, name), socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(f"\0{_found(name)[1:]}")


def test_an_abstract_name_of_another_process_natively() -> None:
    name = f"sandbox-test-guest-{os.getpid()}"
    with _daemon(Popen, name):
        assert native(build(ATTACK), f"@{name}").won


def wait_for_the_clock_of_files(folder: Path) -> None:
    """It ticks every few milliseconds; what was made within one tick is of one age."""
    first = second = 0
    while first == second:
        for name in ("tick", "tock"):
            (folder / name).touch()
        first, second = first or (folder / "tick").stat().st_ctime_ns, (folder / "tock").stat().st_ctime_ns


@ordinary
@every_wall
def test_a_number_that_comes_again(host: Host, walls: str) -> None:
    """The guest's own sockets are remembered by their file: a later file with the same number is another one."""
    with box(walls, build(REUSE), writable={"/out": host.writable}, mounts={"/data": host.granted}) as made:
        process = made.popen(["/attack/attack", "/out", "/data/daemon"], stdin=-1, stdout=-1)
        assert process.stdout.readline() == b"bound=0\n"
        wait_for_the_clock_of_files(host.secret)
        with socket.socket(socket.AF_UNIX) as daemon:
            daemon.bind(str(Path(host.granted) / "daemon"))
            daemon.listen()
            process.communicate(b"\n")
        assert process.returncode == 43
