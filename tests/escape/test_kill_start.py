"""Commands are killed by another process of the guest at every moment of their start, when the sentry still works for them."""

from __future__ import annotations

from tests.escape.attack import alive, box, build, every_wall, ordinary, sentry_of, works

ATTACK = r"""
/* kills whatever has a number that is near the newest, but for those that were there before */
int main(int argc, char **argv) {
    char byte;
    told("ready", 0);
    fcntl(0, F_SETFL, O_NONBLOCK);
    pid_t last = getpid();
    for (unsigned long i = 0; read(0, &byte, 1) < 0; i++) {
        if (i % 64 == 0) { pid_t probe = vfork(); if (probe == 0) _exit(0); last = probe; waitpid(probe, NULL, 0); }
        for (pid_t pid = last + 1; pid < last + 5; pid++) kill(pid, SIGKILL);
        for (volatile unsigned n = 0; n < i % 997 * 16; n++) continue;
    }
    return 0;
}
"""


@ordinary
@every_wall
def test_the_sentry_survives_it(walls: str) -> None:
    """What belongs to a command stays as long as a thread of the sentry uses it, though its process is gone."""
    with box(walls, build(ATTACK)) as made:
        killer = made.popen(["/attack/attack"], stdin=-1, stdout=-1)
        assert killer.stdout.readline() == b"ready=0\n"
        codes = set()
        for _ in range(150):
            codes.add(made.run(["/bin/true"], timeout=60).returncode)
        assert codes <= {0, -9}
        killer.communicate(b"x")
        assert alive(sentry_of(made))
        assert made.run(["/bin/true"], timeout=60).returncode == 0
    assert works()
