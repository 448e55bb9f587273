"""The bytes of an exec's path are swapped while it is served: also those right behind the path, which are the empty string
that the stub is executed with."""

from __future__ import annotations

from pathlib import Path

from tests.escape.attack import Outcome, build, every_wall, inside, ordinary, wins
from tests.escape.conftest import Host
from tests.escape.naive import naively

EXECVE = 59
OTHER = 'int main(void) { write(2, "other", 5); return WON; }'
ATTACK = r"""
/* argv[1]: a program that may run; argv[2]: one that may not; argv[3]: 1 swaps the name itself, 2 what stands behind it */
static char path[1024];
static const char *good, *bad;
static int behind;
static void *swap(void *_) {
    size_t length = strlen(good);
    while (!race_over) {
        if (behind) { memcpy(path + length, bad, strlen(bad) + 1); memset(path + length, 0, strlen(bad)); }
        else { strcpy(path, bad); strcpy(path, good); }
    }
    return NULL;
}
int main(int argc, char **argv) {
    int counts[4] = {0}, status;
    good = argv[1]; bad = argv[2]; behind = atoi(argv[3]) == 2;
    char *arguments[] = {"x", NULL}, *environment[] = {NULL};
    for (int i = 0; i < atoi(argv[4]) && !counts[0]; i++) {
        pid_t child = fork();
        if (child == 0) {
            strcpy(path, good);
            race(swap);
            execve(path, arguments, environment);
            _exit(errno == ENOENT || errno == EPERM || errno == ENOTDIR ? 3 : 4);
        }
        waitpid(child, &status, 0);
        counts[WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL ? 1 : 3 : WEXITSTATUS(status) == WON ? 0 : WEXITSTATUS(status) <= 3 ? 2 : 3]++;
    }
    race_over = 1;
    char *names[] = {"other", "killed", "expected", "unexpected"};
    for (int i = 0; i < 4; i++) printf("%s=%d\n", names[i], counts[i]);
    return counts[0] ? WON : LOST;
}
"""


def others(host: Host) -> tuple[Path, Path]:
    """A program in a place that no guest is given, and one in a read-only grant, with names of one length."""
    places = host.secret / "prog", host.granted / "good"
    places[0].write_bytes(build(OTHER).read_bytes())
    places[1].write_bytes(build("int main(void) { return 0; }").read_bytes())
    for place in places:
        place.chmod(0o755)
    return places


def attempt(host: Host, walls: str, how: int) -> Outcome:
    secret, _ = others(host)
    return inside(build(ATTACK), "/data/good", secret, how, 150, mounts={"/data": host.granted}, walls=walls)


@ordinary
@every_wall
def test_no_program_of_the_host_runs(host: Host, walls: str) -> None:
    """INVARIANT no-continue: what runs at the exec stop is the stub, or it is killed before its first instruction."""
    for how in (1, 2):
        outcome = attempt(host, walls, how)
        assert not outcome.won and outcome.told["unexpected"] == 0 and outcome.told["expected"] > 0


def test_it_runs_where_the_path_is_read_again(host: Host) -> None:
    secret, _ = others(host)
    good = host.secret / "good"
    good.write_bytes(build("int main(void) { return 0; }").read_bytes())
    good.chmod(0o755)
    assert wins(lambda: naively(EXECVE, 0, str(secret), build(ATTACK), good, secret, 1, 100))
