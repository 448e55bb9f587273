"""Programs without glibc: busybox-static, and musl's loader used by name."""

from __future__ import annotations

import pytest

from tests.helpers import Twin, program

APPLETS = {
    "shell": "sh -c 'for i in 1 2 3; do echo $i; done | busybox sort -r; busybox ls /proc/self/fd | busybox wc -l; exit 4'",
    "files": "sh -c 'busybox mkdir -p a/b; busybox touch a/b/c; busybox find a; busybox cp -r a d; busybox tar c a | busybox tar t; busybox rm -r d; busybox ls -R'",
    "text": "sh -c 'busybox seq 100 | busybox grep 7 | busybox awk \"{s+=\\$1} END {print s}\"; echo x | busybox sed s/x/y/; busybox md5sum /dev/null'",
    "vi and ed": "sh -c 'busybox printf \"a\\nhello\\n.\\nw f\\nq\\n\" | busybox ed; busybox cat f'",
    "links": "sh -c 'busybox ln -s $(busybox readlink -f /proc/self/exe) ls; ./ls -A; busybox stat -c %N ls | busybox wc -l'",
    "pipes": "sh -c 'i=0; while [ $i -lt 30 ]; do busybox seq 100 | busybox sort | busybox wc -l; i=$((i+1)); done'",
    "missing": "no-such-applet",
}  # fmt: skip


@pytest.mark.parametrize("name", APPLETS)
def test_busybox(twin: Twin, name: str) -> None:
    program("busybox")
    twin.same(f"busybox {APPLETS[name]}", status=None)


def test_shell_pipelines_of_busybox(twin: Twin) -> None:
    script = "i=0; while [ $i -lt 200 ]; do seq 1000 | sort -n | uniq -c | wc -l; i=$((i+1)); done"
    assert twin.same([program("busybox"), "ash", "-c", script]).stdout == b"1000\n" * 200
