"""Hidden names of a grant: by every call, through links, by renames of what holds them, and by the native fstat, which the
kernel lets take a path."""

from __future__ import annotations

import pytest

import sandbox
from tests.escape.attack import build, every_wall, inside, native, ordinary
from tests.escape.conftest import Host

ATTACK = r"""
#include <dirent.h>
#include <sys/inotify.h>
static int won;
static void saw(const char *how) { printf("%s: seen\n", how); won = 1; }
static void try(const char *path) {
    struct stat status;
    char text[512];
    if (!lstat(path, &status)) saw("lstat");
    if (!access(path, F_OK)) saw("access");
    int fd = open(path, O_RDONLY);
    if (fd >= 0) saw("open");
    if (open(path, O_PATH) >= 0) saw("open path");
    if (readlink(path, text, 64) >= 0 || errno == EINVAL) saw("readlink");
    if (mkdir(path, 0700) < 0 && errno == EEXIST) saw("mkdir");
    if (open(path, O_CREAT | O_EXCL | O_WRONLY, 0600) < 0 && errno == EEXIST) saw("create");
    if (!link(path, "/out/linked") || !rename(path, "/out/moved") || !unlink(path)) saw("link");
    if (!CALL(SYS_statx, AT_FDCWD, path, 0, 0xfff, text)) saw("statx");
    if (CALL(SYS_inotify_add_watch, inotify_init1(0), path, IN_OPEN) >= 0) saw("inotify");
}
int main(int argc, char **argv) { /* /out is writable and hides deep/secret */
    struct stat status;
    char path[512];
    try("/out/deep/secret"); try("/out/./deep//secret"); try("/out/deep/../deep/secret");
    symlink("deep/secret", "/out/l1"); symlink("/out/deep", "/out/l2");
    if (open("/out/l1", O_RDONLY) >= 0 || open("/out/l2/secret", O_RDONLY) >= 0) saw("link");
    int folder = open("/out/deep", O_RDONLY | O_DIRECTORY);
    if (openat(folder, "secret", O_RDONLY) >= 0) saw("descriptor");
    sprintf(path, "/proc/self/fd/%d/secret", folder);
    try(path);
    if (!chdir("/out/deep") && open("secret", O_RDONLY) >= 0) saw("working directory");
    if (!rename("/out/deep", "/out/other")) { saw("rename"); try("/out/other/secret"); }
    mkdir("/out/swap", 0700);
    if (!CALL(SYS_renameat2, AT_FDCWD, "/out/swap", AT_FDCWD, "/out/deep", 2)) { saw("exchange"); try("/out/swap/secret"); }
    DIR *list = fdopendir(folder);
    for (struct dirent *entry; list && (entry = readdir(list));) if (!strcmp(entry->d_name, "secret")) saw("readdir");
    for (int mount = 0; mount < 80; mount++) { /* where the sentry has its mounts, by the native form of fstat */
        snprintf(path, sizeof path, "/m/%d/deep/secret", mount);
        if (!CALL(SYS_newfstatat, 0, path, &status, AT_EMPTY_PATH) && status.st_size) saw("native fstat");
    }
    if (!CALL(SYS_newfstatat, folder, "secret", &status, AT_EMPTY_PATH) && status.st_size) saw("native fstat below");
    return won ? WON : LOST;
}
"""


@ordinary
@every_wall
def test_a_hidden_name_is_not_there(host: Host, walls: str) -> None:
    (host.writable / "deep").mkdir()
    (host.writable / "deep" / "secret").write_bytes(b"hidden content")
    policy = sandbox.Policy(mounts=[sandbox.Mount("/out", host.writable, writable=True, hide=["deep/secret"])])
    outcome = inside(build(ATTACK), policy=policy, walls=walls)
    assert not outcome.won, outcome
    assert (host.writable / "deep" / "secret").read_bytes() == b"hidden content"


def test_natively_all_of_that_shows_it(host: Host) -> None:
    (host.writable / "deep").mkdir()
    (host.writable / "deep" / "secret").write_bytes(b"hidden content")
    assert native(build(ATTACK.replace("/out", str(host.writable)))).won


def test_hiding_by_a_links_name_is_refused(host: Host) -> None:
    """What is hidden through a link would still be there by its true path."""
    (host.granted / "current").symlink_to(".")
    policy = sandbox.Policy(mounts=[sandbox.Mount("/data", host.granted, hide=["current/file"])])
    with pytest.raises(sandbox.PolicyError, match="true path"):
        sandbox.run(["true"], policy=policy)
