"""`..` out of a mount, by path, by descriptor, from the working directory, through links and behind `/proc/self/cwd`."""

from __future__ import annotations

from tests.escape.attack import build, every_wall, inside, native, ordinary
from tests.escape.conftest import Host

ATTACK = r"""
static int won;
static void try(const char *name, int fd) {
    char text[64] = "";
    if (fd >= 0 && read(fd, text, sizeof text - 1) > 0 && strstr(text, "secret")) won = 1;
    told(name, fd);
}
int main(int argc, char **argv) {
    const char *top = argv[1];
    char path[512], out[256];
    sprintf(out, "../secret/file");
    if (chdir(top)) return unfit("chdir");
    int here = open(".", O_RDONLY | O_DIRECTORY), held = open(".", O_PATH);
    try("relative", open(out, O_RDONLY));
    sprintf(path, "%s/%s", top, out); try("absolute", open(path, O_RDONLY));
    try("descriptor", openat(here, out, O_RDONLY));
    try("path descriptor", openat(held, out, O_RDONLY));
    sprintf(path, "/proc/self/fd/%d/%s", here, out); try("magic link", open(path, O_RDONLY));
    try("working directory", open("/proc/self/cwd/../secret/file", O_RDONLY));
    sprintf(path, "%s/././/..//secret/./file", top); try("dots", open(path, O_RDONLY));
    sprintf(path, "%s/up", top); symlink("..", path); try("link", open("up/secret/file", O_RDONLY));
    sprintf(path, "%s/up2", top); symlink("../secret/file", path); try("last link", open("up2", O_RDONLY));
    char many[4000] = "";
    for (int i = 0; i < 1200; i++) strcat(many, "../");
    strcat(many, argv[2]); try("many", open(many, O_RDONLY));
    sprintf(path, "%s", argv[2]); try("itself", open(path, O_RDONLY));
    return won ? WON : LOST;
}
"""


@ordinary
@every_wall
def test_dotdot_stays_in_the_view(host: Host, walls: str) -> None:
    target = str(host.secret / "file")
    outcome = inside(build(ATTACK), "/out", target, writable={"/out": host.writable}, walls=walls)
    assert not outcome.won
    assert 0 not in outcome.told.values()


def test_it_leads_out_natively(host: Host) -> None:
    outcome = native(build(ATTACK), host.writable, host.secret / "file")
    assert outcome.won and set(outcome.told.values()) == {0}
