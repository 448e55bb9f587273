"""A filter around the caller answers unshare with success and does nothing, as some emulators do: the walls must not be
believed, and a guest with rules must not list the interfaces of the host."""

from __future__ import annotations

import subprocess
import sys

MAIN = """
import socket, sys, warnings
warnings.simplefilter("ignore")
import sandbox
network = [sandbox.Allow("udp://192.0.2.1:53")]
with sandbox.Sandbox(network=network) as box:
    done = box.run([sys.argv[1], "-c", "import socket\\ntry: print(socket.if_nameindex())\\nexcept OSError: print('refused')"], text=True)
    print(sorted({"netns", "ipcns", "utsns"} & set(box.walls)), done.stdout, done.stderr)
"""


def _said(*how: str) -> str:
    command = [sys.executable, "-m", "tests.refusing", *how, "--", sys.executable, "-c", MAIN, "/usr/bin/python3"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def test_what_is_pretended_does_not_stand() -> None:
    assert _said("pretended").startswith("[] refused")


def test_what_is_refused_does_not_stand_either() -> None:
    assert _said("namespaces").startswith("[] refused")
