"""A directory is moved while a path with `..` is walked through it."""

from __future__ import annotations

from tests.escape.attack import build, every_wall, inside, native, ordinary
from tests.escape.conftest import Host

ATTACK = r"""
/* top/a/b/c moves to top/c and back: a/b/c/../../file is top/../file for who walks step by step */
static int step_by_step(const char *top, const char *path) {
    char copy[256], *rest = copy;
    int at = open(top, O_PATH);
    strcpy(copy, path);
    for (char *name; at >= 0 && (name = strsep(&rest, "/"));) {
        int next = openat(at, name, rest ? O_PATH | O_NOFOLLOW : O_RDONLY | O_NOFOLLOW);
        close(at);
        at = next;
    }
    return at;
}
static char deep[256], flat[256];
static void *swap(void *_) {
    while (!race_over) { rename(deep, flat); rename(flat, deep); }
    return NULL;
}
int main(int argc, char **argv) {
    char path[256], text[64] = "";
    int opened = 0;
    for (int i = 0; i < 3; i++) {
        sprintf(path, "%s/%s", argv[1], (char *[]){"a", "a/b", "a/b/c"}[i]);
        if (mkdir(path, 0700)) return unfit("mkdir");
    }
    sprintf(path, "%s/a/file", argv[1]);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    sprintf(deep, "%s/a/b/c", argv[1]); sprintf(flat, "%s/c", argv[1]);
    int naive = atoi(argv[4]);
    sprintf(path, "%s%sa/b/c/../../%s", naive ? "" : argv[1], naive ? "" : "/", argv[2]);
    pthread_t thread = race(swap);
    for (int i = 0; i < atoi(argv[3]) && !strstr(text, "secret"); i++) {
        int fd = naive ? step_by_step(argv[1], path) : open(path, O_RDONLY);
        if (fd < 0) continue;
        opened++;
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
def test_dotdot_of_a_moving_directory_stays_below_the_mount(host: Host, walls: str) -> None:
    """`..` is resolved as text and each step by the kernel below the mount's own descriptor."""
    (host.writable.parent / "file").write_bytes(b"secret")
    outcome = inside(build(ATTACK), "/out", "file", 8000, 0, writable={"/out": host.writable}, walls=walls)
    assert not outcome.won and outcome.told["opened"] > 0


def test_a_walk_step_by_step_is_fooled(host: Host) -> None:
    (host.writable.parent / "file").write_bytes(b"secret")
    assert native(build(ATTACK), host.writable, "file", 800000, 1).won
