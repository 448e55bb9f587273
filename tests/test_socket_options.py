"""Options of sockets: each that passes is set and read as on Linux, on every kind of socket, and each other is ENOPROTOOPT."""

from __future__ import annotations

import functools
import json
import socket
import subprocess
from typing import Any

import pytest

import sandbox
from sandbox import Allow
from sandbox._core import Option, guest_rules
from sandbox.services._options import _OPTIONS, SHARES
from tests.escape.attack import every_wall, ordinary, standing
from tests.helpers import give_up_privileges
from tests.test_internet import python

SETSOCKOPT = 54
KINDS = {
    "tcp4": (socket.AF_INET, socket.SOCK_STREAM),
    "tcp6": (socket.AF_INET6, socket.SOCK_STREAM),
    "udp4": (socket.AF_INET, socket.SOCK_DGRAM),
    "udp6": (socket.AF_INET6, socket.SOCK_DGRAM),
    "unix": (socket.AF_UNIX, socket.SOCK_STREAM),
    "unix datagrams": (socket.AF_UNIX, socket.SOCK_DGRAM),
}
NETWORKS: dict[str, Any] = {"none": None, "loopback": "loopback", "rules": [Allow("192.0.2.1:1")]}
STANDING = {
    "none": Option.PLAIN_LISTEN,
    "own namespace": Option.PLAIN_LISTEN | Option.NETWORK,
    "served": Option.NETWORK,
}
LEVELS = (socket.SOL_SOCKET, socket.IPPROTO_IP, socket.IPPROTO_TCP, socket.IPPROTO_UDP, socket.IPPROTO_IPV6, socket.IPPROTO_RAW,
          socket.IPPROTO_ICMPV6, 132, 270, 284, 285)  # fmt: skip
HIGHEST = 130


def listed(where: str) -> set[tuple[int, int]]:
    """Level and number of what rules_guest.h lets pass, and of what the Supervisor sets itself."""
    rules = [rule for rule in guest_rules() if rule.nr == SETSOCKOPT and rule.options in STANDING[where]]
    rows = [{each.arg: each.value for each in rule.comparisons} for rule in rules]
    return {(row[1], row[2]) for row in rows} | {(socket.SOL_SOCKET, number) for number in _OPTIONS}


SET = """
import errno, json, socket, struct, sys
VALUES = [*(struct.pack("i", value) for value in (0, 1, 2, 8, 100, 4000, -1)), struct.pack("ll", 3, 0), struct.pack("ii", 1, 0), struct.pack("ii", 0, 7)]
def attempt(call, *args):
    try: return call(*args)
    except OSError as e: return errno.errorcode[e.errno]
said = {}
kinds, options = json.loads(sys.argv[1])
for kind, (family, type) in kinds.items():
    for level, number in options:
        for value in VALUES:
            with socket.socket(family, type) as s:
                done = attempt(s.setsockopt, level, number, value)
                got = attempt(s.getsockopt, level, number, 16) if done is None else done
                said[f"{kind} {level}/{number} {value.hex()}"] = got if isinstance(got, str) else got.hex()
print(json.dumps(said))
"""
REFUSED = """
import errno, json, socket, sys
kinds, levels, highest, passed = json.loads(sys.argv[1])
for kind, (family, type) in kinds.items():
    with socket.socket(family, type) as s:
        for level, number in ((level, number) for level in levels for number in range(highest)):
            if [level, number] not in passed:
                try: print(kind, level, number, s.setsockopt(level, number, 1))
                except OSError as e: print(errno.errorcode[e.errno])
"""


def kinds(where: str) -> dict[str, tuple[int, int]]:
    return {kind: what for kind, what in KINDS.items() if where != "none" or what[0] == socket.AF_UNIX}


LATER = {"none": set(), "own namespace": set(), "served": {f"{kind} 1/{each}" for kind in ("udp4", "udp6") for each in SHARES}}
"""Kind, level and number of what is told to a socket when it has a port in the slice (services/_binding.py, option)."""


@functools.cache
def on_linux(asked: str) -> dict[str, str]:
    done = subprocess.run(python(SET, asked), capture_output=True, text=True, timeout=60, preexec_fn=give_up_privileges)
    assert done.stderr == ""
    return dict(json.loads(done.stdout))


every_network = pytest.mark.parametrize("network", NETWORKS)


def kind_of(network: str) -> str:
    """A loopback without a namespace is a slice of the host's."""
    if network != "loopback":
        return {"none": "none", "rules": "served"}[network]
    return "own namespace" if "netns" in sandbox.run(["true"], network=network).walls else "served"


@ordinary
@every_network
@every_wall
def test_what_passes_is_as_on_linux(network: str, walls: str) -> None:
    with standing(walls):
        where = kind_of(network)
        asked = json.dumps([kinds(where), sorted(listed(where))])
        done = sandbox.run(python(SET, asked), network=NETWORKS[network], text=True, stderr=-1)
    assert done.stderr == ""
    native, said = on_linux(asked), json.loads(done.stdout)
    differs = {what: (native[what], said[what]) for what in native if native[what] != said[what]}
    assert set(differs.values()) <= {("01000000", "00000000")} and {what.rpartition(" ")[0] for what in differs} == LATER[where]
    for kind in kinds(where):
        assert any(what.startswith(f"{kind} ") and value.isdigit() for what, value in said.items())


@ordinary
@every_network
@every_wall
def test_the_rest_is_not_there(network: str, walls: str) -> None:
    with standing(walls):
        where = kind_of(network)
        asked = json.dumps([kinds(where), LEVELS, HIGHEST, sorted(listed(where))])
        done = sandbox.run(python(REFUSED, asked), network=NETWORKS[network], text=True, stderr=-1)
    assert done.stderr == "" and set(done.stdout.split("\n")[:-1]) == {"ENOPROTOOPT"}


BOUND = """
for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        s = socket.socket(family, socket.SOCK_DGRAM)
        s.setsockopt(socket.SOL_SOCKET, option, 1)
        s.bind((host, 8080))
        print(s.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR), s.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT))
        s.close()
"""


def test_what_is_told_later_is_read_then() -> None:
    done = sandbox.run(python("import socket\n" + BOUND), network=NETWORKS["rules"], text=True)
    assert done.stdout == "1 0\n1 0\n0 1\n0 1\n", done
