/* with: socket.c socket_time.c socket_message.c socket_control.c socket_send.c socket_receive.c flight.c wrap: syscall
 *
 * sendmsg, sendmmsg, sendto, recvmsg, recvmmsg and recvfrom with whatever the guest has put into its memory. What must hold:
 * every descriptor that goes over a socket is one of the guest's own, never of ours; nothing is written but where the guest
 * has asked for it; no descriptor of ours stays open; no signal goes to whoever has the numbers of a caller that is gone. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include "borrow.h"
#include "fuzz.h"
#include "loop.h"
#include "peers.h"
#include "socket.h"
#include "socket_name.h"
#include "sockets.h"

uint64_t answer_now(void) { return 1; }

#define BASE 0x10000u
#define MEMORY 65536u
#define FILES 4      /* the guest's descriptors 0 to 3 are files; then a socket and its peer */
#define OURS FILES
#define PEER (FILES + 1)
#define RANGES_MAX 4200

static uint8_t memory[MEMORY]; /* the guest's, at BASE */
static uint32_t used;
static int guest_fds[FILES + 2];
static ino_t guest_files[FILES];
static struct { uint64_t at, size; } ranges[RANGES_MAX]; /* where the guest wants to be written to */
static int range_count, injected;
static uint64_t heads_at; /* the messages of a call that receives; 0: there are none */
static int head_count;

/* ---- what is not linked ---- */

static bool inside(uint64_t address, size_t size) { return address >= BASE && size <= MEMORY && address - BASE <= MEMORY - size; }

int guest_read(pid_t tid, uint64_t address, void *to, size_t size) {
    CHECK(tid == 77);
    if (size == 0) return 0;
    if (!inside(address, size)) return -EFAULT;
    memcpy(to, memory + (address - BASE), size);
    return 0;
}

static void may_write(uint64_t at, uint64_t size) {
    for (int i = 0; i < range_count; i++)
        if (ranges[i].at == at && ranges[i].size == size) return;
    if (range_count < RANGES_MAX) ranges[range_count].at = at, ranges[range_count++].size = size;
}

/* What one message brings may lie over the parts of the next: these are read after it. */
static void look_again(void) {
    for (int i = 0; i < head_count && heads_at; i++) {
        struct msghdr head;
        struct iovec part;
        memcpy(&head, memory + (heads_at - BASE) + (size_t)i * sizeof(struct mmsghdr), sizeof head);
        may_write((uint64_t)head.msg_name, head.msg_namelen);
        may_write((uint64_t)head.msg_control, head.msg_controllen);
        for (size_t j = 0; j < head.msg_iovlen && j < 1024 && inside((uint64_t)head.msg_iov + j * sizeof part, sizeof part); j++) {
            memcpy(&part, memory + ((uint64_t)head.msg_iov + j * sizeof part - BASE), sizeof part);
            may_write((uint64_t)part.iov_base, part.iov_len);
        }
    }
}

int guest_write(pid_t tid, uint64_t address, const void *from, size_t size) {
    CHECK(tid == 77);
    if (size == 0) return 0;
    bool wanted = false;
    for (int i = 0; i < range_count && !wanted; i++)
        wanted = address >= ranges[i].at && address - ranges[i].at <= ranges[i].size && size <= ranges[i].size - (address - ranges[i].at);
    CHECK(wanted);
    if (!inside(address, size)) return -EFAULT;
    memcpy(memory + (address - BASE), from, size);
    look_again();
    return 0;
}

void guest_close(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}
pid_t guest_leader(pid_t tid) { return tid; }
static bool gone; /* the caller is */
static int signals;
bool guest_alive(uint64_t id) { return id == 9 && !gone; }
long __wrap_syscall(long nr, ...) {
    CHECK(nr == SYS_tgkill && !gone);
    signals++;
    return 0;
}
void peers_sends(uint64_t inode, pid_t tid) { CHECK(inode && tid == 77); }
pid_t peers_sender(int socket) { return socket < 0 ? 0 : 78; }
int guest_borrow_fd(pid_t tid, int fd) {
    CHECK(tid == 77);
    return fd < 0 || fd >= FILES + 2 ? -EBADF : fcntl(guest_fds[fd], F_DUPFD_CLOEXEC, 0);
}

static bool is_guests(int fd) {
    struct stat status;
    CHECK(fstat(fd, &status) == 0);
    for (int i = 0; i < FILES; i++)
        if (status.st_ino == guest_files[i]) return true;
    return S_ISSOCK(status.st_mode); /* the two that it has: we have no others */
}

int guest_inject(uint64_t id, int fd, bool close_on_exec) {
    (void)close_on_exec;
    CHECK(id == 9 && is_guests(fd));
    return ++injected % 7 == 0 ? -EMFILE : 100 + injected;
}
bool borrow_stands(void) { return false; }
bool borrow_caller_is_there(const struct request *request) { return guest_alive(request->id); }
int borrow_inject(int fd, bool close_on_exec) { return guest_inject(9, fd, close_on_exec); }
int borrow_give_path(uint64_t id, pid_t tid, int fd, bool close_on_exec) {
    CHECK(tid == 77);
    return guest_inject(id, fd, close_on_exec);
}
bool loop_leave(void) { return true; }
bool loop_block_enter(size_t kept) {
    (void)kept;
    return true;
}
bool loop_block_leave(void) { return true; }
int socket_name_read(struct request *request, uint64_t address, uint64_t length, struct socket_name *name) {
    (void)request, (void)address;
    name->held = name->mount = -1;
    name->length = 0;
    return length > sizeof name->address.space ? -EINVAL : 0;
}
int socket_name_find(struct request *request, int socket, struct socket_name *name, bool *denied) {
    (void)request, (void)socket, (void)name;
    *denied = true;
    return -EACCES;
}
void socket_name_show(struct socket_name *name, enum socket_end end) {
    (void)end;
    CHECK(name->length <= sizeof name->address.space);
}
void internet_show_relayed(struct request *request, int socket, enum socket_end end, struct socket_name *name) {
    (void)request, (void)socket, (void)end;
    CHECK(name->length <= sizeof name->address.space);
}
bool socket_name_is_private(int socket) { return socket < 0; }
int socket_name_write(const struct request *request, const struct socket_name *name, uint64_t address, uint64_t length_at) {
    (void)request, (void)name, (void)address, (void)length_at;
    return 0;
}

/* ---- the guest's memory ---- */

static uint64_t put(const void *data, size_t size) {
    if (size > MEMORY - used) return BASE + used;
    uint64_t at = BASE + used;
    if (data) memcpy(memory + used, data, size);
    used = (used + (uint32_t)size + 7) & ~7u;
    return at;
}

static uint64_t length_of(struct input *input) {
    static const uint64_t odd[] = {0, 1, INT_MAX, SSIZE_MAX, UINT64_MAX, 8 << 20, (8 << 20) + 1, 65536, 65537};
    uint8_t how = input_byte(input);
    return how < 200 ? how : odd[how % (sizeof odd / sizeof *odd)];
}

/* Control data: entries as they should be, and what the input makes of their lengths. */
static size_t make_control(struct input *input, uint8_t *to, size_t room) {
    size_t size = 0;
    for (int entries = input_byte(input) % 5; entries > 0 && room - size > 600; entries--) {
        uint8_t what = input_byte(input), count = what & 32 ? input_byte(input) : what >> 6;
        struct cmsghdr head = {.cmsg_level = what & 16 ? 41 : SOL_SOCKET, .cmsg_type = what & 8 ? SCM_CREDENTIALS : SCM_RIGHTS};
        struct ucred who = {77, getuid(), getgid()};
        int fd[128] = {0};
        if (what & 4) head.cmsg_type = input_byte(input);
        for (int i = 0; i < count && i < 128; i++) fd[i] = (int8_t)input_byte(input);
        size_t data = head.cmsg_type == SCM_CREDENTIALS ? sizeof who : (size_t)(count < 128 ? count : 128) * sizeof(int);
        head.cmsg_len = CMSG_LEN(data) + (what & 2 ? (size_t)(int8_t)input_byte(input) : 0);
        memcpy(to + size, &head, sizeof head);
        memcpy(to + size + sizeof head, head.cmsg_type == SCM_CREDENTIALS ? (void *)&who : (void *)fd, data);
        size += what & 1 ? CMSG_LEN(data) : CMSG_SPACE(data);
    }
    return size;
}

static struct msghdr make_message(struct input *input, bool receives) {
    static uint8_t control[16384];
    static struct iovec parts[2000];
    struct msghdr head = {0};
    uint8_t how = input_byte(input);
    size_t count = how & 1 ? length_of(input) : how >> 5;
    for (size_t i = 0; i < count && i < 2000; i++) {
        uint64_t size = length_of(input), at = put(NULL, size < 4096 ? size : 4096);
        parts[i] = (struct iovec){(void *)at, size};
        if (receives) may_write(at, size);
    }
    head.msg_iovlen = count;
    head.msg_iov = (void *)put(parts, (count < 2000 ? count : 2000) * sizeof *parts);
    memset(control, 0, sizeof control);
    size_t length = make_control(input, control, sizeof control);
    if (how & 2) length = length_of(input);
    head.msg_control = (void *)put(control, length < sizeof control ? length : sizeof control);
    head.msg_controllen = length;
    if (receives) may_write((uint64_t)head.msg_control, length);
    if (how & 4) head.msg_control = NULL;
    if (how & 8) head.msg_name = (void *)put(NULL, 128);
    head.msg_namelen = how & 16 ? (socklen_t)length_of(input) : 16;
    if (receives) may_write((uint64_t)head.msg_name, head.msg_namelen);
    return head;
}

/* One call with one message, or with several. */
static void call(struct input *input, bool receives) {
    static struct request request;
    uint8_t how = input_byte(input);
    int count = how & 1 ? 1 + (how >> 5) : 1;
    struct mmsghdr many[8] = {0};
    used = 0;
    range_count = 0;
    for (int i = 0; i < count; i++) many[i].msg_hdr = make_message(input, receives);
    request.id = 9;
    request.tid = 77;
    request.nr = receives ? (how & 1 ? SYS_recvmmsg : SYS_recvmsg) : how & 1 ? SYS_sendmmsg : SYS_sendmsg;
    request.fd = how & 16 ? input_byte(input) % 8 : receives ? PEER : OURS;
    request.flags = (uint32_t)(how & 8 ? input_number(input, 4) : 0) | MSG_DONTWAIT;
    request.in = put(many, sizeof many);
    request.size = how & 1 ? (how & 4 ? length_of(input) : (uint64_t)count) : 0;
    request.value[0] = request.value[1] = 0;
    if (receives && (how & 3) == 3) { /* recvmmsg's time, of which the rest is told */
        struct timespec time = {input_byte(input), (long)input_number(input, 4)};
        request.value[0] = put(&time, sizeof time);
        may_write(request.value[0], sizeof time);
    }
    memset(memory + used, 0x41, MEMORY - used); /* what lies behind is no message */
    may_write(request.in, request.nr == SYS_sendmmsg || request.nr == SYS_recvmmsg ? MEMORY : sizeof many[0].msg_hdr);
    if ((how & 3) == 2) { /* sendto, recvfrom */
        request.nr = receives ? SYS_recvfrom : SYS_sendto;
        request.out = request.in = put(NULL, 4096);
        request.size = length_of(input);
        request.value[0] = how & 4 ? put(NULL, 16) : 0;
        request.value[1] = length_of(input);
        may_write(request.out, request.size);
    }
    heads_at = request.nr == SYS_recvmmsg ? request.in : 0;
    head_count = count;
    struct answer answer = receives ? sockets_receive(&request) : sockets_send(&request);
    CHECK(answer.kind == ANSWER_VALUE && answer.error >= 0 && answer.error < 4096);
}

/* What has come out of the other end, as any peer would see it. */
static void look(int socket) {
    uint8_t data[256];
    union { struct cmsghdr head; char space[4096]; } control;
    for (;;) {
        struct iovec part = {data, sizeof data};
        struct msghdr head = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
        ssize_t got = recvmsg(socket, &head, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (got < 0) return;
        for (struct cmsghdr *at = CMSG_FIRSTHDR(&head); at; at = CMSG_NXTHDR(&head, at)) {
            if (at->cmsg_level != SOL_SOCKET || at->cmsg_type != SCM_RIGHTS) continue;
            int *fds = (int *)(void *)CMSG_DATA(at);
            for (size_t i = 0; i < (at->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
                CHECK(is_guests(fds[i]));
                close(fds[i]);
            }
        }
        if (got == 0 && head.msg_controllen == 0) return;
    }
}

/* The guest sends to itself, natively, what it may. */
static void send_native(struct input *input) {
    uint8_t data[64] = {1}, how = input_byte(input);
    union { struct cmsghdr head; char space[CMSG_SPACE(sizeof(int) * 8)]; } control = {0};
    struct iovec part = {data, 1 + (how & 63)};
    struct msghdr head = {.msg_iov = &part, .msg_iovlen = 1};
    int count = 1 + input_byte(input) % 8;
    if (how & 64) {
        head.msg_control = &control;
        head.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)count);
        control.head = (struct cmsghdr){CMSG_LEN(sizeof(int) * (size_t)count), SOL_SOCKET, SCM_RIGHTS};
        for (int i = 0; i < count; i++) memcpy(CMSG_DATA(&control.head) + sizeof(int) * (size_t)i, &guest_fds[i % FILES], sizeof(int));
    }
    if (sendmsg(guest_fds[OURS], &head, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) return;
}

/* Nobody reads any more: SIGPIPE is the caller's, while there is one. */
static void send_to_nobody(bool caller_is_gone) {
    static struct request request;
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    guest_fds[OURS] = pair[0];
    close(pair[1]);
    request = (struct request){.id = 9, .tid = 77, .nr = SYS_sendto, .fd = OURS, .in = BASE, .size = 1};
    gone = caller_is_gone;
    signals = 0;
    CHECK(sockets_send(&request).error == EPIPE && signals == !caller_is_gone);
    gone = false;
    close(pair[0]);
}

/* A kind that the kernel does not tell is none that more is allowed to. */
static void ask_of_no_socket(void) {
    CHECK(socket_family(-1) == AF_UNSPEC && !socket_is_stream(-1));
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    for (int i = 0; i < FILES; i++) {
        struct stat status;
        guest_fds[i] = memfd_create("guest", MFD_CLOEXEC);
        CHECK(guest_fds[i] >= 0 && fstat(guest_fds[i], &status) == 0);
        guest_files[i] = status.st_ino;
    }
    for (int i = 0; i < 40; i++) CHECK(memfd_create("ours", MFD_CLOEXEC) >= 0); /* what a missed number would give away */
    send_to_nobody(false);
    send_to_nobody(true);
    ask_of_no_socket();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input input = {data, size};
    uint8_t how = input_byte(&input);
    int floor_fd = lowest_free(), pair[2], on = 1;
    CHECK(socketpair(AF_UNIX, (int[]){SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET}[how % 3] | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
    guest_fds[OURS] = pair[0];
    guest_fds[PEER] = pair[1];
    if (how & 128) setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
    injected = how & 64 ? 4 : 0;
    memset(memory, 0x41, sizeof memory);
    for (int i = 0; i < 8 && input.left; i++) {
        uint8_t what = input_byte(&input);
        if (what % 3 == 0) call(&input, false);
        else if (what % 3 == 1) send_native(&input);
        else call(&input, true);
        if (what & 128) look(pair[1]);
    }
    look(pair[1]);
    look(pair[0]);
    close(pair[0]);
    close(pair[1]);
    CHECK(lowest_free() == floor_fd);
    return 0;
}
