"""The memory that an answer goes to is swapped while the call is served: taken away, made read-only, a mapping of a file that
is granted read-only, or another process's after the thread was killed."""

from __future__ import annotations

from tests.escape.attack import build, every_wall, inside, native, ordinary
from tests.escape.conftest import Host

ATTACK = r"""
static char *page;
static int granted;
static void *swap(void *_) {
    while (!race_over) {
        mmap(page, 4096, PROT_READ, MAP_SHARED | MAP_FIXED, granted, 0);
        munmap(page, 4096);
        mmap(page, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        mmap(page, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    }
    return NULL;
}
int main(int argc, char **argv) {
    char text[16] = "", before[16] = "";
    int answered = 0, faults = 0;
    granted = open(argv[1], O_RDONLY);
    pread(granted, before, 8, 0);
    page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_t thread = race(swap);
    for (int i = 0; i < 8000; i++) {
        long got = i % 3 ? stat(argv[1], (struct stat *)page) : i % 2 ? readlink("/proc/self/exe", page, 100) : CALL(SYS_getcwd, page, 100);
        if (got >= 0) answered++;
        else if (errno == EFAULT) faults++;
        else return unfit("call");
    }
    race_over = 1;
    pthread_join(thread, NULL);
    pread(granted, text, 8, 0);
    printf("answered=%d\nfaults=%d\n", answered, faults);
    return memcmp(text, before, 8) ? WON : LOST;
}
"""
READ_ONLY = r"""
int main(int argc, char **argv) {
    char *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    told("stat", stat("/", (struct stat *)page));
    told("null", stat("/", (struct stat *)8));
    told("kernel", stat("/", (struct stat *)0xffff888000000000));
    return 0;
}
"""


@ordinary
@every_wall
def test_the_answer_goes_where_the_guest_may_write(host: Host, walls: str) -> None:
    outcome = inside(build(ATTACK), "/data/file", mounts={"/data": host.granted}, walls=walls)
    assert not outcome.won and outcome.told["answered"] > 0 and outcome.told["faults"] > 0
    assert (host.granted / "file").read_bytes() == b"of granted"


@ordinary
@every_wall
def test_elsewhere_it_is_a_fault(walls: str) -> None:
    """As natively: EFAULT. Without any wall memory is written through /proc/TID/mem, which cannot become another process's,
    and which reaches the guest's own read-only copies by force; it makes no shared page writable."""
    told, natively = inside(build(READ_ONLY), walls=walls).told, native(build(READ_ONLY)).told
    if walls == "no wall":
        told["stat"] = natively["stat"]
    assert told == natively


FORCED = r"""
/* a supervisor that writes through /proc/PID/mem: read-only pages are written by force */
int main(void) {
    char *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int memory = open("/proc/self/mem", O_RDWR);
    pwrite(memory, "forced", 6, (off_t)page);
    return memcmp(page, "forced", 6) ? LOST : WON;
}
"""


def test_by_force_it_is_written() -> None:
    assert native(build(FORCED)).won
