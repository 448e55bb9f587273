"""New namespaces, tracers and parents by clone."""

from __future__ import annotations

import errno

from tests.escape.attack import answered_natively, build, every_wall, ordinary, refused

ATTACK = r"""
static long made(unsigned long flags) {
    char *stack = flags & CLONE_VM ? mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) + 65536 : NULL;
    long child = flags & CLONE_VM ? -1 : CALL(SYS_clone, flags | SIGCHLD, stack);
    if (flags & CLONE_VM) { /* no stack is needed where it is refused */
        errno = 0;
        child = CALL(SYS_clone, flags | SIGCHLD | CLONE_VFORK, stack);
    }
    if (child == 0) _exit(0);
    return child;
}
int main(void) {
    told("user", made(CLONE_NEWUSER));
    told("mount", made(CLONE_NEWNS));
    told("pid", made(CLONE_NEWPID));
    told("net", made(CLONE_NEWNET));
    told("ipc", made(CLONE_NEWIPC));
    told("uts", made(CLONE_NEWUTS));
    told("cgroup", made(CLONE_NEWCGROUP));
    told("traced", made(CLONE_PTRACE));
    told("untraced", made(CLONE_UNTRACED));
    told("working directory", made(CLONE_FS));
    told("parent of another", made(CLONE_PARENT | CLONE_VM));
    told("high bits", made(CLONE_NEWUSER | 0x7f00000000));
    return 0;
}
"""
EXPECTED = {
    "user": errno.EPERM,
    "mount": errno.EPERM,
    "pid": errno.EPERM,
    "net": errno.EPERM,
    "ipc": errno.EPERM,
    "uts": errno.EPERM,
    "cgroup": errno.EPERM,
    "traced": errno.EPERM,
    "untraced": errno.EPERM,
    "working directory": errno.EPERM,
    "parent of another": errno.EPERM,
    "high bits": errno.EPERM,
}


@ordinary
@every_wall
def test_refused(walls: str) -> None:
    refused(build(ATTACK), EXPECTED, walls=walls)


def test_answered_without_the_filter() -> None:
    answered_natively(build(ATTACK), EXPECTED)
