"""Another thread swaps the bytes of a path while the open is served."""

from __future__ import annotations

import sandbox
from tests.escape.attack import build, every_wall, inside, ordinary, wins
from tests.escape.conftest import Host
from tests.escape.naive import naively

OPENAT = 257
ATTACK = r"""
static char path[256];
static const char *good, *bad;
static void *swap(void *_) {
    while (!race_over) { strcpy(path, bad); strcpy(path, good); }
    return NULL;
}
int main(int argc, char **argv) {
    char text[64] = "";
    int opened = 0;
    good = argv[1]; bad = argv[2];
    if (strlen(good) != strlen(bad)) return UNFIT;
    strcpy(path, good);
    pthread_t thread = race(swap);
    for (int i = 0; i < atoi(argv[3]) && !strstr(text, "secret"); i++) {
        int fd = openat(AT_FDCWD, path, O_RDONLY);
        if (fd < 0) continue;
        opened++;
        memset(text, 0, sizeof text);
        read(fd, text, sizeof text - 1);
        close(fd);
    }
    race_over = 1;
    printf("opened=%d\n", opened);
    pthread_join(thread, NULL);
    return strstr(text, "secret") ? WON : LOST;
}
"""


@ordinary
@every_wall
def test_what_was_checked_is_what_is_opened(host: Host, walls: str) -> None:
    """INVARIANT read-once: the bytes that were judged are those that are used."""
    (host.granted / "open").write_bytes(b"harmless")
    (host.granted / "hide").write_bytes(b"secret")
    policy = sandbox.Policy(mounts=[sandbox.Mount("/data", host.granted, hide=["hide"])])
    outcome = inside(build(ATTACK), "/data/open", "/data/hide", 8000, policy=policy, walls=walls)
    assert not outcome.won and outcome.told["opened"] > 0


def test_the_attack_works_where_memory_is_read_again(host: Host) -> None:
    good, bad = host.granted / "open", host.granted / "hide"
    good.write_bytes(b"harmless")
    bad.write_bytes(b"secret")
    program = build(ATTACK)
    assert wins(lambda: naively(OPENAT, 1, str(bad), program, good, bad, 5000))


def test_the_naive_way_refuses_without_the_race(host: Host) -> None:
    bad = str(host.granted / "file")
    assert not naively(OPENAT, 1, bad, build(ATTACK), bad, bad, 10).won
