"""Where the host keeps what is granted: its names for mounts, programs and descriptors, in links, maps, errors and addresses."""

from __future__ import annotations

from pathlib import Path

from tests.escape.attack import build, every_wall, inside, native, ordinary
from tests.escape.conftest import Host

ATTACK = r"""
#include <dirent.h>
#include <sys/auxv.h>
/* argv[1]: a piece of the host's names, one letter further; argv[2]: a granted directory */
static char text[64];
static int won;
static void search(const char *where, const char *bytes, long size) {
    if (size > 0 && memmem(bytes, size, text, strlen(text))) { printf("%s: %.200s\n", where, bytes); won = 1; }
}
static void look(const char *path) {
    static char buffer[1 << 20];
    long got = readlink(path, buffer, sizeof buffer - 1);
    if (got > 0) buffer[got] = 0;
    search(path, buffer, got);
    int link_ = open(path, O_PATH | O_NOFOLLOW);
    got = link_ < 0 ? -1 : readlinkat(link_, "", buffer, sizeof buffer - 1);
    if (got > 0) buffer[got] = 0;
    search("held link", buffer, got);
    int fd = open(path, O_RDONLY | O_NONBLOCK);
    got = fd < 0 ? -1 : read(fd, buffer, sizeof buffer - 1);
    if (got > 0) buffer[got] = 0;
    search(path, buffer, got);
    if (link_ >= 0) close(link_);
    if (fd >= 0) close(fd);
}
int main(int argc, char **argv) {
    static char *names[] = {"exe", "cwd", "root", "maps", "smaps", "mounts", "mountinfo", "environ", "cmdline", "status", "stat", "auxv", "cgroup", "limits", "io", "comm",
                            "net/unix", "map_files", "mountstats", "numa_maps", "personality", "stack", "task/self/exe"};
    char path[300], buffer[4096];
    for (int i = 0; argv[1][i]; i++) text[i] = argv[1][i] - 1;
    int folder = open(argv[2], O_RDONLY | O_DIRECTORY), file, made;
    sprintf(path, "%s/file", argv[2]);
    file = open(path, O_RDONLY);
    void *map = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, file, 0);
    struct sockaddr_un name = {AF_UNIX, "/tmp/socket"};
    socklen_t size = sizeof name;
    made = socket(AF_UNIX, SOCK_STREAM, 0);
    bind(made, (void *)&name, sizeof name);
    if (!getsockname(made, (void *)&name, &size)) search("getsockname", name.sun_path, sizeof name.sun_path);
    sprintf(path, "%s/gone", "/tmp");
    int gone = open(path, O_CREAT | O_RDWR, 0600);
    unlink(path);
    chdir(argv[2]);
    for (int i = 0; i < (int)(sizeof names / sizeof *names); i++) { sprintf(path, "/proc/self/%s", names[i]); look(path); }
    for (int fd = 0; fd < 16; fd++) { sprintf(path, "/proc/self/fd/%d", fd); look(path); sprintf(path, "/proc/self/fdinfo/%d", fd); look(path); }
    if (CALL(SYS_getcwd, buffer, 4096) > 0) search("getcwd", buffer, 4096);
    search("AT_EXECFN", (char *)getauxval(AT_EXECFN), strlen((char *)getauxval(AT_EXECFN)));
    look("/proc/mounts"); look("/proc/cmdline"); look("/proc/filesystems"); look("/etc/mtab"); look("/proc/swaps");
    DIR *folders[] = {opendir("/proc/self/fd"), opendir("/"), opendir("/tmp")};
    for (int i = 0; i < 3; i++) for (struct dirent *e; folders[i] && (e = readdir(folders[i]));) search("readdir", e->d_name, strlen(e->d_name));
    return won ? WON : LOST;
}
"""


def _masked(text: str) -> str:
    return "".join(chr(ord(letter) + 1) for letter in text)


@ordinary
@every_wall
def test_the_guest_reads_its_own_names_only(host: Host, walls: str) -> None:
    """Everything that the kernel names is named anew: by the guest's path, or as nothing in its view."""
    import sandbox

    package = Path(sandbox.__file__).parent
    with open(host.secret / "file") as handed:
        for piece in ("sandbox-host-", "sandbox-escape-", f"{package.name}/stub", "sandbox/sentry"):
            outcome = inside(
                build(ATTACK), _masked(piece), "/data", mounts={"/data": host.granted}, walls=walls, stdin=handed
            )
            assert not outcome.won, outcome


def test_natively_names_are_everywhere(host: Host) -> None:
    assert native(build(ATTACK), _masked("sandbox-host-"), host.granted).won
