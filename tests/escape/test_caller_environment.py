"""The caller's environment, arguments, descriptors, working directory and home."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest

from tests.escape.attack import build, every_wall, inside, native, ordinary

ATTACK = r"""
#include <dirent.h>
extern char **environ;
/* argv[1]: text that only the caller has; argv[2]: a file in its home, argv[3..]: its process and the like */
static int won;
static void search(const char *path, const char *text) {
    static char buffer[1 << 20];
    int fd = open(path, O_RDONLY);
    long got = fd < 0 ? -1 : read(fd, buffer, sizeof buffer - 1);
    if (got > 0 && memmem(buffer, got, text, strlen(text))) { printf("%s: found\n", path); won = 1; }
    if (fd >= 0) close(fd);
}
int main(int argc, char **argv) {
    char path[300], text[100];
    for (int i = 0; argv[1][i]; i++) text[i] = argv[1][i] ^ 1, text[i + 1] = 0; /* it is not in our own memory as it is */
    for (char **at = environ; *at; at++) if (strstr(*at, text)) won = 1;
    static char *names[] = {"environ", "cmdline", "mem", "fd/3", "cwd/file", "root/etc/shadow"};
    for (int pid = 0; pid < 300 + argc - 3; pid++)
        for (int n = 0; n < 6; n++) {
            if (pid < 300) sprintf(path, "/proc/%d/%s", pid, names[n]);
            else sprintf(path, "/proc/%s/%s", argv[3 + pid - 300], names[n]);
            search(path, text);
        }
    search(argv[2], text);
    for (int fd = 3; fd < 1024; fd++) if (fcntl(fd, F_GETFD) >= 0) { printf("descriptor %d\n", fd); won = 1; }
    return won ? WON : LOST;
}
"""


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> str:
    text = secrets.token_hex(16)
    monkeypatch.setenv("SANDBOX_TEST_SECRET", text)
    os.environ["SANDBOX_TEST_SECRET"] = text
    return text


def _masked(text: str) -> str:
    return "".join(chr(ord(letter) ^ 1) for letter in text)


@ordinary
@every_wall
def test_nothing_of_the_callers_is_inherited(walls: str, secret: str) -> None:
    """INVARIANT nothing-inherited."""
    kept = [os.open("/dev/null", os.O_RDONLY) for _ in range(20)]
    for fd in kept:
        os.set_inheritable(fd, True)
    home = Path.home() / f".sandbox-test-{os.getpid()}"
    try:
        home.write_text(secret)
        outcome = inside(build(ATTACK), _masked(secret), home, os.getpid(), os.getppid(), walls=walls)
        assert not outcome.won, outcome
    finally:
        home.unlink()
        for fd in kept:
            os.close(fd)


def test_a_child_inherits_it_natively(secret: str) -> None:
    assert native(build(ATTACK), _masked(secret), "/dev/null", os.getpid()).won
