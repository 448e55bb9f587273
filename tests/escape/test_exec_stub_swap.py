"""Another thread puts a descriptor of its own in the place of the stub's, between the answer and the exec."""

from __future__ import annotations

from tests.escape.attack import build, every_wall, inside, ordinary

ATTACK = r"""
/* /attack/attack mine: the program that must not run */
static int evil;
static void *swap(void *_) {
    while (!race_over) { /* the lowest number is free when the stub comes, and taken away from it */
        dup2(evil, 3);
        for (volatile int i = 0; i < 3000; i++) continue;
        close(3);
        for (volatile int i = 0; i < 3000; i++) continue;
    }
    return NULL;
}
static int shares(void *path) { /* a process of its own with our descriptors */
    char *arguments[] = {"true", NULL}, *environment[] = {NULL};
    execve(path, arguments, environment);
    _exit(3);
}
int main(int argc, char **argv) {
    int counts[4] = {0}, status, in = open("/proc/self/exe", O_RDONLY);
    char *arguments[] = {"true", NULL}, *environment[] = {NULL}, buffer[65536];
    if (strcmp(argv[0], "true") == 0) { write(2, "the wrong program runs\n", 23); return WON; }
    evil = memfd_create("evil", 0); /* ourselves: shows what it is by the name that it is called by */
    for (long got; (got = read(in, buffer, sizeof buffer)) > 0;) write(evil, buffer, got);
    close(in);
    for (int i = 0; i < atoi(argv[1]) && !counts[0]; i++) {
        pid_t child = fork();
        if (child == 0) {
            race(swap);
            if (i % 2) execve("/bin/true", arguments, environment);
            else {
                char *stack = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                pid_t made = clone(shares, stack + 65536, CLONE_FILES | CLONE_VM | SIGCHLD, "/bin/true");
                if (made < 0) _exit(2); /* no table is shared by processes: the filter's answer */
                waitpid(made, &status, 0);
                if (WIFSIGNALED(status)) kill(getpid(), SIGKILL);
                _exit(WEXITSTATUS(status));
            }
            _exit(3);
        }
        waitpid(child, &status, 0);
        int how = WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL ? 1 : 3 : WEXITSTATUS(status) == WON ? 0 : WEXITSTATUS(status) <= 3 ? 2 : 3;
        counts[how]++;
        if (how == 3) printf("status=%d\n", status);
    }
    char *names[] = {"other", "killed", "expected", "unexpected"};
    for (int i = 0; i < 4; i++) printf("%s=%d\n", names[i], counts[i]);
    return counts[0] ? WON : LOST;
}
"""
NAIVE = r"""
/* Without the exec stop: the descriptor is compared, then the call is made. */
static int stub, evil;
static void *swap(void *_) {
    while (!race_over) { dup2(evil, 20); dup2(stub, 20); }
    return NULL;
}
int main(int argc, char **argv) {
    int status, won = 0;
    stub = open("/bin/true", O_RDONLY); evil = open("/bin/false", O_RDONLY);
    for (int i = 0; i < 2000 && !won; i++) {
        pid_t child = fork();
        if (child == 0) {
            char *arguments[] = {"x", NULL}, *environment[] = {NULL};
            struct stat wanted, is;
            race(swap);
            fstat(stub, &wanted);
            do fstat(20, &is); while (is.st_ino != wanted.st_ino);
            CALL(SYS_execveat, 20, "", arguments, environment, AT_EMPTY_PATH);
            _exit(3);
        }
        waitpid(child, &status, 0);
        won = WIFEXITED(status) && WEXITSTATUS(status) == 1;
    }
    return won ? WON : LOST;
}
"""


@ordinary
@every_wall
def test_only_the_stub_runs(walls: str) -> None:
    outcome = inside(build(ATTACK), 150, walls=walls)
    assert not outcome.won and outcome.told["unexpected"] == 0, outcome


def test_a_comparison_before_the_call_is_fooled() -> None:
    from tests.escape.attack import native, wins

    assert wins(lambda: native(build(NAIVE)))
