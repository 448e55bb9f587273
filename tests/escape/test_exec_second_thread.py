"""Several threads of a process exec different programs at the same moment, while others fork and call."""

from __future__ import annotations

from pathlib import Path

from tests.escape.attack import build, every_wall, inside, native, ordinary
from tests.escape.conftest import Host

PROGRAM = r"""
/* NAME is compiled in: is it what /proc says, and what argv says? */
int main(int argc, char **argv) {
    char exe[256] = "";
    readlink("/proc/self/exe", exe, sizeof exe - 1);
    char *name = strrchr(exe, '/');
    if (!name || strcmp(name + 1, NAME)) { fprintf(stderr, "runs %s, is shown as %s\n", NAME, exe); return WON; }
    if (strcmp(argv[0], NAME)) { fprintf(stderr, "runs %s, was called %s\n", NAME, argv[0]); return WON; }
    if (strncmp(argv[1], NAME, strlen(NAME))) return WON;
    return 0;
}
"""
ATTACK = r"""
static pthread_barrier_t start;
static const char *folder;
static void *run(void *name) {
    char path[256], argument[64];
    snprintf(path, sizeof path, "%s/%s", folder, (char *)name);
    snprintf(argument, sizeof argument, "%s-argument", (char *)name);
    char *arguments[] = {name, argument, NULL}, *environment[] = {NULL};
    pthread_barrier_wait(&start);
    execve(path, arguments, environment);
    return NULL; /* another one was faster, or this thread was too late */
}
static void *disturb(void *_) {
    struct stat status;
    pthread_barrier_wait(&start);
    for (;;) { stat("/", &status); if (fork() == 0) _exit(0); }
    return NULL;
}
int main(int argc, char **argv) {
    int status, bad = 0;
    folder = argv[1];
    for (int i = 0; i < atoi(argv[2]) && !bad; i++) {
        pid_t child = fork();
        if (child == 0) {
            signal(SIGCHLD, SIG_IGN);
            pthread_barrier_init(&start, NULL, 5);
            pthread_t threads[4];
            pthread_create(&threads[0], NULL, run, "one");
            pthread_create(&threads[1], NULL, run, "two");
            pthread_create(&threads[2], NULL, run, "three");
            pthread_create(&threads[3], NULL, disturb, NULL);
            pthread_barrier_wait(&start);
            pthread_join(threads[0], NULL);
            pause();
        }
        waitpid(child, &status, 0);
        if (!WIFEXITED(status) || WEXITSTATUS(status)) { bad = 1; printf("status=%d\n", status); }
    }
    return bad ? WON : LOST;
}
"""


def programs(folder: Path) -> None:
    for name in ("one", "two", "three"):
        path = folder / name
        path.write_bytes(build(PROGRAM, f'-DNAME="{name}"').read_bytes())
        path.chmod(0o755)


@ordinary
@every_wall
def test_one_of_them_runs_and_is_what_it_says(host: Host, walls: str) -> None:
    """One dance at a time in a thread group; program, context and audit belong together."""
    programs(host.granted)
    outcome = inside(build(ATTACK), "/data", 60, mounts={"/data": host.granted}, walls=walls, timeout=60)
    assert not outcome.won, outcome


def test_so_it_is_natively(host: Host) -> None:
    """There is no attack on Linux itself: this shows that the test does not ask for more."""
    programs(host.granted)
    assert not native(build(ATTACK), host.granted, 60).won
