"""Content by a descriptor that only names a file (O_PATH): the kernel's own texts of /proc, and what a function of the caller's
makes, read through the descriptor itself and by every way from it to what it names."""

from __future__ import annotations

from tests.escape.attack import LOST, box, build, every_wall, inside, native, ordinary

ATTACK = r"""
#include <sys/sendfile.h>
/* argv: names of files, and for each what only the kernel's own text has ("": anything). Won where the descriptor, or what it leads to, shows it */
static int won;
static const char *file, *secret;
static void judge(const char *how, const char *text, long got) {
    if (got <= 0 || (secret[0] && !memmem(text, got, secret, strlen(secret)))) return;
    printf("%s by %s\n", file, how);
    won = 1;
}
static void drain(const char *how, int fd) { /* opened anew: what the view shows is no win */
    static char text[1 << 20];
    long got = 0, more;
    if (fd < 0) return;
    while (got < sizeof text && (more = read(fd, text + got, sizeof text - got)) > 0) got += more;
    if (secret[0]) judge(how, text, got);
    close(fd);
}
static void through(int fd) {
    char text[4096], path[64];
    int ends[2];
    struct iovec part = {text, sizeof text};
    judge("read", text, read(fd, text, sizeof text));
    judge("pread", text, pread(fd, text, sizeof text, 0));
    judge("readv", text, readv(fd, &part, 1));
    void *map = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map != MAP_FAILED) judge("mmap", "mapped", 6);
    pipe2(ends, O_NONBLOCK);
    if (sendfile(ends[1], fd, NULL, 4096) > 0) judge("sendfile", text, read(ends[0], text, sizeof text));
    if (splice(fd, NULL, ends[1], NULL, 4096, 0) > 0) judge("splice", text, read(ends[0], text, sizeof text));
    int memory = memfd_create("m", 0);
    if (copy_file_range(fd, NULL, memory, NULL, 4096, 0) > 0) judge("copy_file_range", text, pread(memory, text, sizeof text, 0));
    if (!(fcntl(fd, F_GETFL) & O_PATH)) judge("flags", secret, strlen(secret));
    static const char *ways[] = {"/proc/self/fd/%d", "/dev/fd/%d", "/proc/thread-self/fd/%d", "/proc/self/task/../fd/%d"};
    for (int i = 0; i < 4; i++) {
        sprintf(path, ways[i], fd);
        drain(path, open(path, O_RDONLY | O_NONBLOCK));
        int again = open(path, O_PATH);
        if (again >= 0) judge("again", text, read(again, text, sizeof text));
        close(again);
    }
    sprintf(path, "/proc/%d/fd/%d", getppid(), fd); /* of the process that we are forked from */
    drain("parent", open(path, O_RDONLY | O_NONBLOCK));
    drain("openat", openat(fd, "", O_RDONLY));
    drain("AT_EMPTY_PATH", openat(fd, "", O_RDONLY | AT_EMPTY_PATH));
    drain("dot", openat(fd, ".", O_RDONLY));
    struct { struct file_handle head; char room[128]; } handle = {{128}};
    int mount;
    if (!name_to_handle_at(fd, "", &handle.head, &mount, AT_EMPTY_PATH)) drain("handle", open_by_handle_at(AT_FDCWD, &handle.head, O_RDONLY));
    if (!linkat(fd, "", AT_FDCWD, "/tmp/linked", AT_EMPTY_PATH) || !linkat(AT_FDCWD, path, AT_FDCWD, "/tmp/linked", AT_SYMLINK_FOLLOW)) drain("link", open("/tmp/linked", O_RDONLY));
    if (!CALL(SYS_execveat, fd, "", 0, 0, AT_EMPTY_PATH)) judge("exec", "", 0);
    close(ends[0]), close(ends[1]), close(memory);
}
static int passed(int fd) { /* by a socket, to a process that has it no other way */
    int ends[2], got;
    socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
    char byte = 0, room[CMSG_SPACE(sizeof fd)] = "";
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    *rights = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    if (sendmsg(ends[0], &message, 0) != 1 || recvmsg(ends[1], &message, 0) != 1 || !CMSG_FIRSTHDR(&message)) return -1;
    memcpy(&got, CMSG_DATA(rights), sizeof got);
    return got;
}
int main(int argc, char **argv) {
    for (int i = 1; i + 1 < argc; i += 2) {
        file = argv[i], secret = argv[i + 1];
        int fd = open(file, O_PATH);
        if (fd < 0) { told(file, -1); continue; }
        printf("named=%s\n", file);
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            through(fd);
            int other = passed(fd);
            if (other >= 0) { close(fd); through(other); }
            fflush(stdout);
            _exit(won);
        }
        int status;
        waitpid(child, &status, 0);
        won |= status != 0;
        close(fd);
    }
    return won ? WON : LOST;
}
"""
TEXTS = ["/proc/self/mountinfo", " - proc proc ", "/proc/self/mounts", "proc /proc proc", "/proc/self/cgroup", "", "/proc/self/maps", "", "/proc/loadavg", "",
         "/proc/self/limits", "", "/proc/self/environ", "", "/proc/self/net/unix", "", "/proc/net/tcp", "", "/proc/sys/kernel/random/uuid", ""]  # fmt: skip


@ordinary
@every_wall
def test_texts_of_proc_are_not_the_kernels(walls: str) -> None:
    """INVARIANT path-only."""
    outcome = inside(build(ATTACK), *TEXTS, walls=walls)
    assert outcome.status == LOST, outcome
    assert outcome.stdout.count(b"named=") == len(TEXTS) // 2


@ordinary
@every_wall
def test_opened_anew_they_are_those_of_the_view(walls: str) -> None:
    script = "import os; f = os.open('/proc/self/mountinfo', os.O_PATH); print(open(f'/proc/self/fd/{f}').read() == open('/proc/self/mountinfo').read(), os.readlink(f'/proc/self/fd/{f}') == f'/proc/{os.getpid()}/mountinfo')"
    with box(walls) as made:
        done = made.run(["python3", "-c", script], check=True, timeout=60)
    assert done.stdout == b"True True\n"


def test_natively_a_name_is_opened_anew() -> None:
    outcome = native(build(ATTACK), "/proc/self/mountinfo", " - ")
    assert outcome.won and b" by read\n" not in outcome.stdout


@ordinary
@every_wall
def test_a_name_of_a_file_that_a_function_makes_calls_nobody(walls: str) -> None:
    calls: list[str] = []

    def made_anew(*_: object) -> bytes:
        calls.append("called")
        return b"secret"

    with box(walls, build(ATTACK), files={"/f": made_anew, "/work/deep/f": made_anew}) as made:
        for path in ("/f", "/work/deep/f"):
            told = made.run(["/attack/attack", path, ""], timeout=60)
            assert told.returncode == LOST, told
            calls.clear()
            done = made.run(["python3", "-c", NAMED, path], timeout=60)
            assert done.stdout == f"9 {path} 0o100444 b'secret'\n".encode(), done
            assert calls == ["called"]


NAMED = """
import os, sys
fd = os.open(sys.argv[1], os.O_PATH)
try: text = os.read(fd, 9)
except OSError as error: text = error.errno
link = f"/proc/self/fd/{fd}"
print(text, os.readlink(link), oct(os.fstat(fd).st_mode), open(link, "rb").read())
"""
