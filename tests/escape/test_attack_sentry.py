"""The guest turns on its own sentry: signals of every kind, its memory, its descriptors, its name in /proc, its launcher."""

from __future__ import annotations

import os
import signal

import pytest

import sandbox
from tests.escape.attack import LOST, alive, box, build, children, every_wall, ordinary, sentry_of

ATTACK = r"""
int main(int argc, char **argv) {
    static char *names[] = {"mem", "environ", "maps", "fd", "fd/3", "fdinfo/3", "root", "cwd", "exe", "auxv", "stack", "syscall", "status", "task"};
    char path[64], text[64];
    int got = 0;
    for (int i = 1; i < argc; i++) {
        pid_t pid = atoi(argv[i]);
        for (int signal = 1; signal <= 64; signal++) {
            kill(pid, signal);
            CALL(SYS_tgkill, pid, pid, signal);
            CALL(SYS_rt_sigqueueinfo, pid, signal, &(siginfo_t){.si_signo = signal, .si_code = -6, .si_pid = pid});
        }
        for (int times = 0; times < 2000; times++) kill(pid, SIGUSR1);
        for (int tid = pid; tid < pid + 12; tid++) for (int signal = 1; signal <= 64; signal++) CALL(SYS_tgkill, pid, tid, signal);
        for (int n = 0; n < 14; n++) {
            sprintf(path, "/proc/%d/%s", pid, names[n]);
            int fd = open(path, O_RDONLY);
            if (fd >= 0 && (read(fd, text, sizeof text) >= 0 || n == 3)) { printf("%s: read\n", path); got = 1; }
            if (!access(path, F_OK)) { printf("%s: there\n", path); got = 1; }
            if (fd >= 0) close(fd);
        }
    }
    return got ? WON : LOST;
}
"""


@ordinary
@every_wall
def test_the_sentry_does_not_care(walls: str) -> None:
    """It is no process of the guest: PID 1 of the namespace, or found by no tag."""
    with box(walls, build(ATTACK)) as made:
        done = made.run(["/attack/attack", "1", str(sentry_of(made))], timeout=60)
        assert done.returncode == LOST, done
        assert made.run(["/bin/true"], timeout=60).returncode == 0


KILL = r"""
int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) kill(atoi(argv[i]), SIGKILL);
    setpgid(0, atoi(argv[1]));
    kill(0, SIGKILL);
    pause();
    return 0;
}
"""


@ordinary
@every_wall
def test_without_its_launcher_a_guest_only_ends_itself(walls: str) -> None:
    """In a PID namespace its launcher can be reached by number: that ends this guest, with an error, and no other."""
    with box(walls) as neighbour, box(walls, build(KILL)) as made:
        launcher = children(sentry_of(made))
        try:
            made.run(["/attack/attack", "2", "3", *map(str, launcher)], timeout=30)
        except (sandbox.GuestFault, sandbox.CommandTimeout):
            pass
        assert neighbour.run(["/bin/true"], timeout=60).returncode == 0


@ordinary
def test_from_outside_the_same_signal_ends_it() -> None:
    """The caller may send it: the sentry dies, and within a second everything of its guest."""
    with box() as made:
        process = made.popen(["/bin/sleep", "1000"])
        everyone = [sentry_of(made), *children(sentry_of(made))]
        os.kill(sentry_of(made), signal.SIGKILL)
        with pytest.raises(sandbox.GuestFault):
            process.wait(10)
        made._guest.wait_ended(10)
        assert not any(map(alive, everyone))
