"""A call whose caller ends while it is carried out, in a guest that ends with it: the file is gone, and so would be the record."""

from __future__ import annotations

from pathlib import Path

import sandbox
from tests.escape.attack import build, ordinary

ROUNDS = 100
ATTACK = r"""
static volatile int begun;
static void *remove_it(void *name) {
    begun = 1;
    unlink(name);
    return NULL;
}
int main(int argc, char **argv) {
    pthread_t thread;
    pthread_create(&thread, NULL, remove_it, argv[1]);
    while (!begun) continue;
    struct timespec from, now;
    clock_gettime(CLOCK_MONOTONIC, &from);
    do clock_gettime(CLOCK_MONOTONIC, &now);
    while ((now.tv_sec - from.tv_sec) * 1000000 + (now.tv_nsec - from.tv_nsec) / 1000 < atoi(argv[2]));
    _exit(LOST);
}
"""


@ordinary
def test_what_was_done_last_is_recorded(tmp_path: Path) -> None:
    """INVARIANT nothing-unrecorded. Some of the calls are carried out, and none of these without its record."""
    program, victim = build(ATTACK), tmp_path / "victim"
    done = 0
    for attempt in range(ROUNDS):
        victim.write_bytes(b"x" * 3_000_000)  # what takes long to be removed
        events: list[sandbox.Event] = []
        command = [f"/attack/{program.name}", "/out/victim", str(attempt % 8 * 15)]
        sandbox.run(command, mounts={"/attack": program.parent}, writable={"/out": tmp_path}, audit=events.append)
        if victim.exists():
            continue
        done += 1
        assert [event.call for event in events if any("victim" in path for path in event.paths)] == ["unlink"], attempt
    assert done
