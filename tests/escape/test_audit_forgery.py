"""Records that are missing, doubled or made up: names that look like records, calls that die on the way, calls that run beside
each other, and the memory that records go through."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import sandbox._audit
from tests.escape.attack import build, every_wall, inside, ordinary

ATTACK = r"""
/* each thread calls with names of its own, some of which are not text, or end a line and begin another */
static void *run(void *number) {
    char name[300];
    struct stat status;
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "/tmp/%ld-%d\n00:00:00.000000       1 openat           done                1.0us \"/etc/shadow\" [/]\n", (long)number, i);
        stat(name, &status);
        snprintf(name, sizeof name, "/tmp/\x1b]0;title\x07\x1b[2J\xff\xfe%ld-%d", (long)number, i);
        stat(name, &status);
        CALL(SYS_newfstatat, AT_FDCWD, 8, &status, 0); /* cannot be read */
        CALL(0x5b0, 2, i, 0, 0); /* what only the launcher asks */
    }
    return NULL;
}
int main(int argc, char **argv) {
    pthread_t threads[4];
    for (long i = 0; i < 4; i++) pthread_create(&threads[i], NULL, run, (void *)i);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < 100; i++) { /* ends in the middle of a call */
        pid_t child = fork();
        if (child == 0) for (;;) access("/tmp/dying", F_OK);
        for (volatile int n = 0; n < 30000; n++) continue;
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
    int found = 0; /* is the ring, or anything else of the sentry's, in our own memory or descriptors? */
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps && fgets(line, sizeof line, maps)) if (strstr(line, "sandbox") || strstr(line, "trail") || strstr(line, "plan")) found = 1;
    for (int fd = 3; fd < 1024; fd++) if (fd != fileno(maps) && fcntl(fd, F_GETFD) >= 0) found = 1;
    return found ? WON : LOST;
}
"""


@ordinary
@every_wall
def test_every_call_has_one_record_and_no_record_is_another(walls: str, tmp_path: Path) -> None:
    """INVARIANT one-exit. Sequence numbers have no gaps; a line is one event, whatever its name holds."""
    trail = tmp_path / "trail"
    outcome = inside(build(ATTACK), walls=walls, audit=trail)
    assert not outcome.won, outcome
    events = list(sandbox._audit.load(trail))
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert all(event.trusted for event in events)
    own = Counter(path for event in events for path in event.paths if path.startswith("/tmp/") and "dying" not in path)
    assert len(own) == 2400 and set(own.values()) == {1}
    assert not any(path == "/etc/shadow" for event in events for path in event.paths)
    private = [event for event in events if event.call == "sandbox" and event.verdict == "denied"]
    assert len(private) == 1200
    for event in events[:200] + events[-200:]:
        assert "\n" not in str(event) and "\x1b" not in str(event) and str(event).isprintable()
        assert json.loads(event.to_json())["paths"] == list(event.paths)


def test_names_as_they_are_would_forge_lines() -> None:
    """Printed as it is, the attack's name is two lines, the second of which reads like a record."""
    assert len("/tmp/0-0\n00:00:00.000000       1 openat           done\n".splitlines()) == 2
