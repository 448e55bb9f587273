"""A component is a directory when it is looked at and a link when it is used."""

from __future__ import annotations

from itertools import count

from tests.escape.attack import Outcome, build, every_wall, inside, native, ordinary, wins
from tests.escape.conftest import Host

ATTACK = r"""
/* top: a writable directory; target: what the link leads to; slow: look first, then open, as a checker would */
static char folder[256], away[256], link_[256];
static void *swap(void *_) {
    while (!race_over) { rename(folder, away); rename(link_, folder); rename(folder, link_); rename(away, folder); }
    return NULL;
}
int main(int argc, char **argv) {
    char file[300], text[64] = "";
    int opened = 0, naive = atoi(argv[3]);
    sprintf(folder, "%s/a", argv[1]); sprintf(away, "%s/b", argv[1]); sprintf(link_, "%s/l", argv[1]);
    sprintf(file, "%s/file", folder);
    if (mkdir(folder, 0700) || symlink(argv[2], link_)) return unfit("setup");
    int fd = open(file, O_CREAT | O_WRONLY, 0600);
    write(fd, "harmless", 8); close(fd);
    pthread_t thread = race(swap);
    for (int i = 0; i < atoi(argv[4]) && !strstr(text, "secret"); i++) {
        struct stat status;
        if (naive && (lstat(folder, &status) || S_ISLNK(status.st_mode))) continue; /* "no link": go on */
        if ((fd = open(file, O_RDONLY)) < 0) continue;
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
def test_a_link_never_leads_out_of_a_mount(host: Host, walls: str) -> None:
    """INVARIANT below-root: the kernel resolves every component below the mount and refuses links on the way."""
    outcome = inside(build(ATTACK), "/out", host.secret, 0, 8000, writable={"/out": host.writable}, walls=walls)
    assert not outcome.won and outcome.told["opened"] > 0


def test_the_attack_works_against_a_look_before_the_open(host: Host) -> None:
    turns = count()

    def attempt() -> Outcome:
        place = host.writable / str(next(turns))
        place.mkdir(mode=0o777)
        return native(build(ATTACK), place, host.secret, 1, 100000)

    assert wins(attempt)
