"""Descriptors run out, in the guest and, if it could be made so, in the sentry."""

from __future__ import annotations

import sandbox
from tests.escape.attack import LOST, box, build, every_wall, open_files, ordinary, sentry_of, works

ATTACK = r"""
#include <sys/file.h>
#include <sys/inotify.h>
/* every call that makes the sentry open something, with a full table and without */
static void calls(int fd) {
    struct stat status;
    char text[64];
    close(open("/tmp/file", O_CREAT | O_RDWR, 0600));
    stat("/proc/self/fd/0", &status); open("/proc/self/status", O_RDONLY); open("/dev/fd/0", O_RDONLY);
    fchmod(fd, 0600); flock(fd, LOCK_EX | LOCK_NB); fcntl(fd, F_SETLK, &(struct flock){.l_type = F_WRLCK});
    CALL(SYS_fsetxattr, fd, "user.a", "b", 1, 0); CALL(SYS_fgetxattr, fd, "user.a", text, 64);
    CALL(SYS_getdents64, open("/", O_RDONLY), text, 64); chdir("/tmp"); fchdir(open("/", O_RDONLY));
    linkat(fd, "", AT_FDCWD, "/tmp/other", AT_EMPTY_PATH); unlink("/tmp/other");
    inotify_add_watch(inotify_init(), "/tmp", IN_CREATE);
    open("/tmp", O_TMPFILE | O_RDWR, 0600); CALL(SYS_execve, "/no", 0, 0); CALL(SYS_execve, "/tmp/file", 0, 0);
    struct sockaddr_un name = {AF_UNIX, "/tmp/socket"};
    int ends[2], made = socket(AF_UNIX, SOCK_STREAM, 0);
    bind(made, (void *)&name, sizeof name); listen(made, 1);
    connect(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0), (void *)&name, sizeof name); unlink("/tmp/socket");
    if (!socketpair(AF_UNIX, SOCK_STREAM, 0, ends)) recvmsg(ends[0], &(struct msghdr){0}, MSG_DONTWAIT);
}
int main(int argc, char **argv) {
    for (int round = 0; round < atoi(argv[1]); round++) {
        pid_t child = fork();
        if (child == 0) {
            int fd = open("/tmp/file", O_CREAT | O_RDWR, 0600);
            calls(fd);
            setrlimit(RLIMIT_NOFILE, &(struct rlimit){64, 64});
            while (dup(fd) >= 0) continue;
            for (int i = 0; i < 3; i++) calls(fd);
            for (int i = 40; i < 64; i++) close(i);
            for (int i = 0; i < 3; i++) calls(fd);
            _exit(0);
        }
        waitpid(child, NULL, 0);
        for (int many = 0; many < 4; many++) /* open ones in processes that end */
            if (fork() == 0) { for (int i = 0; i < 200; i++) open("/tmp", O_RDONLY); _exit(0); }
        while (wait(NULL) > 0) continue;
    }
    return LOST;
}
"""
CONTEXTS = r"""
/* each process has a directory and a mask of its own, so that the sentry has to keep them apart */
int main(int argc, char **argv) {
    static int count;
    int ends[2], ok = 0;
    char byte, path[64];
    pipe(ends);
    for (int i = 0; i < 600; i++) {
        sprintf(path, "/tmp/d%d", i);
        mkdir(path, 0700);
        if (fork() == 0) {
            close(ends[1]);
            for (int n = 0; n < 8; n++) { umask(n * 8); if (chdir(path)) _exit(1); }
            read(ends[0], &byte, 1);
            char here[64] = "";
            CALL(SYS_getcwd, here, 64);
            _exit(strcmp(here, path) != 0);
        }
    }
    close(ends[1]);
    for (int status; wait(&status) > 0;) ok += status == 0;
    printf("kept=%d\n", ok);
    for (int i = 0; i < 20000; i++) umask(i & 0777); /* and many that are soon forgotten */
    return LOST;
}
"""


@ordinary
@every_wall
def test_a_full_table_is_the_guests_own_trouble(walls: str) -> None:
    with box(walls, build(ATTACK)) as made:
        assert made.run(["/attack/attack", "2"], timeout=60).returncode == LOST
        before = open_files(sentry_of(made))
        assert made.run(["/attack/attack", "10"], timeout=60).returncode == LOST
        assert open_files(sentry_of(made)) <= 2 * before + 24
        assert made.run(["/bin/true"], timeout=60).returncode == 0
    assert works()


@ordinary
@every_wall
def test_contexts_are_kept_apart_and_forgotten(walls: str) -> None:
    with box(walls, build(CONTEXTS)) as made:
        done = made.run(["/attack/attack"], timeout=60)
        assert (done.returncode, done.stdout) == (LOST, b"kept=600\n")
        assert made.run(["/attack/attack"], timeout=60).stdout == b"kept=600\n"
        assert open_files(sentry_of(made)) < 3000


@ordinary
@every_wall
def test_a_low_limit_lets_a_command_start(walls: str) -> None:
    """The limit of open files counts for the guest's own, not for how it is started."""
    with box(walls, limits=sandbox.Limits(open_files=16)) as made:
        assert made.run("ulimit -n", shell=True).stdout == b"16\n"
