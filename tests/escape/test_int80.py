"""32-bit system calls: `int 0x80` has numbers of its own, which a filter for 64-bit numbers would take for others."""

from __future__ import annotations

import pytest

from tests.escape.attack import build, every_wall, inside, native, ordinary

ATTACK = r"""
/* 20 is getpid there, and writev here; 39 is mkdir there, and getpid here */
static long old(long number, const void *argument) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(argument) : "memory", "r8", "r9", "r10", "r11");
    return result;
}
int main(void) {
    char *low = mmap((void *)0x10000, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int status, worked = 0;
    strcpy(low, "/tmp/made-by-int80");
    for (int i = 0; i < 2; i++) {
        pid_t child = fork();
        if (child == 0) _exit(i ? old(39, low) == 0 : old(20, 0) == getpid());
        waitpid(child, &status, 0);
        if (WIFEXITED(status) && WEXITSTATUS(status)) worked = 1;
        printf("signal%d=%d\n", i, WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    }
    struct stat made;
    if (!lstat(low, &made)) { rmdir(low); worked = 1; }
    return worked ? WON : LOST;
}
"""


@ordinary
@every_wall
def test_the_process_is_killed(walls: str) -> None:
    """Another architecture kills the process, in both filters."""
    outcome = inside(build(ATTACK), walls=walls)
    assert not outcome.won
    assert outcome.told["signal0"] in (31, 11)


def test_it_works_natively() -> None:
    outcome = native(build(ATTACK))
    if not outcome.won:
        pytest.skip("this kernel has no 32-bit calls")
