"""The arguments of an exec are swapped while it is served: pointers, strings, and what a script's first line adds."""

from __future__ import annotations

from tests.escape.attack import build, every_wall, inside, ordinary, wins
from tests.escape.conftest import Host
from tests.escape.naive import naively

SHOW = r"""
/* the interpreter of a script: it must be given the path of the script that was checked, whatever argv said */
int main(int argc, char **argv) {
    return argc >= 3 && !strcmp(argv[1], "-first") && !strcmp(argv[2], "/data/script") ? 0 : WON;
}
"""
ATTACK = r"""
static char text[4][64] = {"/data/script", "second", "third", "/proc/self/exe"};
static char *arguments[] = {text[0], text[1], text[2], NULL}, *environment[] = {NULL};
static void *swap(void *_) {
    while (!race_over) {
        arguments[0] = text[3]; strcpy(text[0], "/data/other"); BARRIER; arguments[1] = (char *)8; arguments[2] = text[0]; BARRIER;
        arguments[0] = text[0]; strcpy(text[0], "/data/script"); BARRIER; arguments[1] = text[1]; arguments[2] = NULL; BARRIER;
    }
    return NULL;
}
int main(int argc, char **argv) {
    int status, good = 0, won = 0;
    for (int i = 0; i < 150 && !won; i++) {
        pid_t child = fork();
        if (child == 0) { race(swap); execve("/data/script", arguments, environment); _exit(errno == EFAULT ? 3 : 4); }
        waitpid(child, &status, 0);
        won = WIFEXITED(status) ? WEXITSTATUS(status) == WON : WTERMSIG(status) != SIGKILL;
        good += WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }
    printf("good=%d\n", good);
    return won ? WON : LOST;
}
"""
CHECKED = r"""
/* a supervisor that refuses an argument, and lets the kernel read it again */
static char word[16] = "good";
static char *arguments[] = {word, NULL}, *environment[] = {NULL};
static void *swap(void *_) {
    while (!race_over) { strcpy(word, "evil"); BARRIER; strcpy(word, "good"); BARRIER; }
    return NULL;
}
int main(int argc, char **argv) {
    int status, won = 0;
    if (!strcmp(argv[0], "evil")) return WON;
    if (!strcmp(argv[0], "good")) return 0;
    for (int i = 0; i < 200 && !won; i++) {
        pid_t child = fork();
        if (child == 0) { race(swap); CALL(SYS_execve, "/proc/self/exe", arguments, environment, word); _exit(1); }
        waitpid(child, &status, 0);
        won = WIFEXITED(status) && WEXITSTATUS(status) == WON;
    }
    return won ? WON : LOST;
}
"""


@ordinary
@every_wall
def test_a_script_is_given_its_own_path(host: Host, walls: str) -> None:
    """No decision rests on argv, and what the sentry adds to it never was in memory of the guest."""
    (host.granted / "show").write_bytes(build(SHOW).read_bytes())
    (host.granted / "script").write_text("#!/data/show -first\n")
    for name in ("show", "script"):
        (host.granted / name).chmod(0o755)
    outcome = inside(build(ATTACK), walls=walls, mounts={"/data": host.granted})
    assert not outcome.won and outcome.told["good"] > 0


def test_who_judges_arguments_in_place_is_fooled() -> None:
    assert wins(lambda: naively(59, 3, "evil", build(CHECKED)))
