"""/proc/PID/root, cwd, exe and map_files of oneself, of the sentry and of every number, as ways to the host's names."""

from __future__ import annotations

from tests.escape.attack import build, every_wall, inside, native, ordinary
from tests.escape.conftest import Host

ATTACK = r"""
static int won;
static void try(const char *of, const char *link, const char *secret) {
    char path[512], text[64] = "";
    snprintf(path, sizeof path, "/proc/%s/%s%s", of, link, secret);
    int fd = open(path, O_RDONLY);
    if (fd >= 0 && read(fd, text, sizeof text - 1) > 0 && strstr(text, "secret")) won = 1;
    if (fd >= 0) close(fd);
    struct stat status;
    if (!stat(path, &status) && S_ISREG(status.st_mode)) won = 1;
}
int main(int argc, char **argv) {
    static char *links[] = {"root", "cwd", "cwd/../../../../..", "root/proc/self/root", "task/1/root", "fd/3", "fd/4", "ns/mnt"};
    char number[16];
    for (int i = 0; i < 8; i++) {
        try("self", links[i], argv[1]);
        try("thread-self", links[i], argv[1]);
    }
    for (int pid = 1; pid < 400; pid++) {
        sprintf(number, "%d", pid);
        try(number, "root", argv[1]);
        try(number, "cwd", argv[1]);
    }
    for (int i = 2; i < argc; i++) { try(argv[i], "root", argv[1]); try(argv[i], "cwd", argv[1]); }
    return won ? WON : LOST;
}
"""


@ordinary
@every_wall
def test_roots_of_processes_lead_into_the_view(host: Host, walls: str) -> None:
    """INVARIANT own-processes, and links of /proc are followed as text in the guest's view."""
    import os

    assert not inside(build(ATTACK), host.secret / "file", os.getpid(), os.getppid(), walls=walls).won


def test_they_lead_to_the_host_natively(host: Host) -> None:
    assert native(build(ATTACK), host.secret / "file").won
