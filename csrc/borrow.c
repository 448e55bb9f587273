#include "borrow.h"
#include <errno.h>
#include <stdlib.h>
#include <stdio.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "flight.h"
#include "loop.h"
#include "private.h"
#include "trace.h"

/* A thread of ours and the guest thread that it holds. */
struct holding {
    struct holding *next;
    struct trace trace;
    bool stands;
    pid_t tid;            /* 0: no call of ours is under way */
    uint64_t nr, args[2]; /* of that call */
    int theirs;           /* the guest's descriptor of the channel */
    int give;             /* descriptor that PRIVATE_TAKE is answered with */
    bool close_on_exec;
};
static _Thread_local struct holding mine;
static struct holding *holders;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* What the guest thread hands to sendmsg: written to a page of its own that it has just mapped for us. */
struct sending {
    struct msghdr header;
    struct iovec part;
    char byte;
    _Alignas(8) char control[CMSG_SPACE(sizeof(int))];
};

bool borrow_stands(void) { return mine.stands; }

bool borrow_caller_is_there(const struct request *request) { return mine.stands || guest_alive(request->id); }

static void expect(pid_t tid, uint64_t nr, uint64_t first, uint64_t second) {
    pthread_mutex_lock(&lock);
    mine.nr = nr;
    mine.args[0] = first;
    mine.args[1] = second;
    mine.tid = tid;
    pthread_mutex_unlock(&lock);
}

struct answer borrow_expected(const struct request *request) {
    struct answer answer = {0};
    if (__atomic_load_n(&holders, __ATOMIC_ACQUIRE) == NULL) return answer; /* whom we let call has been there since before */
    pthread_mutex_lock(&lock);
    for (struct holding *at = holders; at; at = at->next) {
        if (at->tid != request->tid || at->nr != request->nr) continue;
        if (request->args[0] != at->args[0] || request->args[1] != at->args[1]) continue;
        at->tid = 0;
        if (request->nr == SBX_PRIVATE_CALL) answer = answer_fd(dup(at->give), at->close_on_exec ? O_CLOEXEC : 0);
        else answer = (struct answer){ANSWER_CONTINUE, .mount = -1};
        if (answer.kind == ANSWER_FD && answer.fd < 0) answer = answer_error(EMFILE);
        answer.silent = true;
        break;
    }
    pthread_mutex_unlock(&lock);
    return answer;
}

static int call_in(struct trace *trace, long nr, const uint64_t args[6], int64_t *result) {
    enum trace_end end = trace_call(trace, nr, args, result);
    return end == TRACE_RETURNED ? *result < 0 && *result >= -4095 ? (int)*result : 0 : -ESRCH;
}

static int call(long nr, const uint64_t args[6], int64_t *result) { return call_in(&mine.trace, nr, args, result); }

static int channels[2] = {-1, -1};     /* ours and the one that is given to guests for the moment */
static pthread_mutex_t channel_lock = PTHREAD_MUTEX_INITIALIZER;

int borrow_setup(void) {
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channels) < 0 ? -errno : 0;
}

/* Answer the notification and hold the thread before its next instruction. */
static int hold(uint64_t id, pid_t tid) {
    pid_t leader = guest_leader(tid);
    if (leader < 0) return leader;
    if (!loop_leave()) return -ENOMEM;
    mine.theirs = guest_inject(id, channels[1], true);
    if (mine.theirs < 0) return mine.theirs;
    int error = trace_attach(&mine.trace, tid, leader);
    if (!error && !guest_alive(id)) error = -ESRCH;
    if (!error) error = trace_interrupt(&mine.trace);
    if (error) {
        if (mine.trace.attached) trace_kill(&mine.trace);
        return error;
    }
    struct seccomp_notif_resp response = {.id = id};
    guest_notify(SECCOMP_IOCTL_NOTIF_SEND, &response); /* its value is replaced by borrow_finish */
    if (trace_stop(&mine.trace) != TRACE_RETURNED) return -ESRCH;
    mine.stands = true;
    pthread_mutex_lock(&lock);
    mine.next = holders;
    __atomic_store_n(&holders, &mine, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&lock);
    return 0;
}

static int receive(void) {
    char byte;
    struct iovec part = {&byte, 1};
    union { struct cmsghdr header; char space[CMSG_SPACE(sizeof(int))]; } rights;
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &rights,
                            .msg_controllen = CMSG_LEN(sizeof(int))}; /* the padding would hold a second one */
    if (recvmsg(channels[0], &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) <= 0) return -EBADF;
    struct cmsghdr *at = CMSG_FIRSTHDR(&header);
    int fd = -EBADF;
    if (at && at->cmsg_type == SCM_RIGHTS && at->cmsg_len == CMSG_LEN(sizeof fd)) memcpy(&fd, CMSG_DATA(at), sizeof fd);
    return fd;
}

/* Others of its user have more descriptors in flight than its own soft limit (flight.h): no errno of the call that needs it. */
static int send_in(struct trace *trace, const uint64_t send[6]) {
    int64_t result;
    expect(trace->tid, SYS_sendmsg, send[0], send[1]);
    int error = call_in(trace, SYS_sendmsg, send, &result);
    struct rlimit64 files;
    if (error == -ETOOMANYREFS && guest_extend_files(trace->tid, &files)) {
        expect(trace->tid, SYS_sendmsg, send[0], send[1]);
        error = call_in(trace, SYS_sendmsg, send, &result);
        guest_limit_files(trace->tid, &files);
    }
    return error == -ETOOMANYREFS ? -ENOMEM : error;
}

static int send_by(struct trace *trace, int fd) {
    int64_t page = 0, result = 0;
    const uint64_t map[6] = {0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, (uint64_t)-1, 0};
    int error = call_in(trace, SYS_mmap, map, &page);
    if (error) return error;
    struct sending sending;
    memset(&sending, 0, sizeof sending);
    uint64_t base = (uint64_t)page;
    sending.part = (struct iovec){(void *)(base + offsetof(struct sending, byte)), 1};
    sending.header = (struct msghdr){.msg_iov = (void *)(base + offsetof(struct sending, part)), .msg_iovlen = 1,
                                     .msg_control = (void *)(base + offsetof(struct sending, control)),
                                     .msg_controllen = sizeof sending.control};
    struct cmsghdr *rights = (struct cmsghdr *)(void *)sending.control;
    *rights = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    error = guest_write_held(trace->tid, base, &sending, sizeof sending);
    const uint64_t send[6] = {(uint64_t)mine.theirs, base, 0, 0, 0, 0};
    if (!error) error = send_in(trace, send);
    int got = error == -ESRCH ? -ESRCH : receive(); /* whatever came: the guest chose among its own */
    const uint64_t unmap[6] = {base, 4096, 0, 0, 0, 0};
    if (error != -ESRCH) call_in(trace, SYS_munmap, unmap, &result);
    return error && got < 0 ? error : got;
}

/* Does nobody share the descriptors of the thread's process, which stands still? (rules_guest.h: only threads share them.) */
static bool is_alone(pid_t leader) {
    char path[32], text[2048];
    snprintf(path, sizeof path, "%d/status", leader);
    guest_text(guest_proc(), path, text, sizeof text);
    const char *threads = strstr(text, "\nThreads:");
    return threads && atoi(threads + 9) == 1;
}

/* INVARIANT no-continue: the kernel reads the message itself. Where nobody else can put another socket in the place of the
 * channel, an address in it means nothing (SOCK_SEQPACKET). Else a process of its own sends, whose memory nobody else has. */
static int send_from(int fd) {
    if (is_alone(mine.trace.tgid)) return send_by(&mine.trace, fd);
    struct trace child;
    int error = trace_split(&mine.trace, &child);
    if (error) return error;
    int got = send_by(&child, fd);
    trace_join(&mine.trace, &child);
    if (!mine.trace.attached && got >= 0) close(got);
    return mine.trace.attached ? got == -ESRCH ? -EAGAIN : got : -ESRCH;
}

int borrow_fd(uint64_t id, pid_t tid, int fd) {
    int error = mine.stands ? 0 : hold(id, tid);
    if (error) return error;
    pthread_mutex_lock(&channel_lock); /* one channel: what comes out is what this thread sent */
    int got = send_from(fd);
    pthread_mutex_unlock(&channel_lock);
    return got;
}

int borrow_inject(int fd, bool close_on_exec) {
    int64_t number = 0;
    mine.give = fd;
    mine.close_on_exec = close_on_exec;
    const uint64_t take[6] = {PRIVATE_TAKE, (uint64_t)fd, 0, 0, 0, 0};
    expect(mine.trace.tid, SBX_PRIVATE_CALL, take[0], take[1]);
    int error = call(SBX_PRIVATE_CALL, take, &number);
    return error ? error : (int)number;
}

/* The channel stood where the descriptor belongs: at the lowest number that is free. */
static int lowest(int number, bool close_on_exec) {
    int64_t result = 0, ignored;
    if (number < mine.theirs) return number;
    const uint64_t close_theirs[6] = {(uint64_t)mine.theirs}, close_first[6] = {(uint64_t)number};
    const uint64_t copy[6] = {(uint64_t)number, close_on_exec ? F_DUPFD_CLOEXEC : F_DUPFD, 0};
    int error = call(SYS_close, close_theirs, &ignored);
    mine.theirs = -1;
    if (!error) error = call(SYS_fcntl, copy, &result);
    if (error) return error == -ESRCH ? error : number;
    call(SYS_close, close_first, &ignored);
    return (int)result;
}

static int receive_into(pid_t tid, bool close_on_exec) {
    int64_t page = 0, result = 0;
    const uint64_t map[6] = {0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, (uint64_t)-1, 0};
    int error = call(SYS_mmap, map, &page);
    if (error) return error;
    struct sending room;
    memset(&room, 0, sizeof room);
    uint64_t base = (uint64_t)page;
    room.part = (struct iovec){(void *)(base + offsetof(struct sending, byte)), 1};
    room.header = (struct msghdr){.msg_iov = (void *)(base + offsetof(struct sending, part)), .msg_iovlen = 1,
                                  .msg_control = (void *)(base + offsetof(struct sending, control)), .msg_controllen = sizeof room.control};
    error = guest_write_held(tid, base, &room, sizeof room);
    const uint64_t take[6] = {(uint64_t)mine.theirs, base, MSG_DONTWAIT | (close_on_exec ? MSG_CMSG_CLOEXEC : 0), 0, 0, 0};
    if (!error) {
        expect(mine.trace.tid, SYS_recvmsg, take[0], take[1]);
        error = call(SYS_recvmsg, take, &result);
    }
    int number = -EMFILE; /* where its table is full nothing comes. The guest may write here too: to its own harm */
    struct cmsghdr *rights = (struct cmsghdr *)(void *)room.control;
    if (!error && (error = guest_read(tid, base, &room, sizeof room)) == 0 && rights->cmsg_len == CMSG_LEN(sizeof number))
        memcpy(&number, CMSG_DATA(rights), sizeof number);
    const uint64_t unmap[6] = {base, 4096, 0, 0, 0, 0};
    if (error != -ESRCH) call(SYS_munmap, unmap, &result);
    return error ? error : number;
}

int borrow_give_path(uint64_t id, pid_t tid, int fd, bool close_on_exec) {
    int error = mine.stands ? 0 : hold(id, tid);
    if (error) return error;
    char byte = 0;
    struct iovec part = {&byte, 1};
    union { struct cmsghdr header; char space[CMSG_SPACE(sizeof(int))]; } rights = {.header = {.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    memcpy(CMSG_DATA(&rights.header), &fd, sizeof fd);
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &rights, .msg_controllen = sizeof rights};
    pthread_mutex_lock(&channel_lock);
    error = flight_send_own(channels[0], &header, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
    int number = error ? error : receive_into(tid, close_on_exec);
    struct msghdr left = {.msg_iov = &part, .msg_iovlen = 1}; /* what was not taken must not come to the next */
    while (recvmsg(channels[1], &left, MSG_DONTWAIT) > 0) continue;
    pthread_mutex_unlock(&channel_lock);
    return number < 0 ? number : lowest(number, close_on_exec);
}

void borrow_finish(const struct request *request, int64_t result) {
    int64_t ignored;
    const uint64_t close_theirs[6] = {(uint64_t)mine.theirs, 0, 0, 0, 0, 0};
    if (mine.theirs >= 0) call(SYS_close, close_theirs, &ignored);
    pthread_mutex_lock(&lock);
    struct holding **at = &holders;
    while (*at != &mine) at = &(*at)->next;
    __atomic_store_n(at, mine.next, __ATOMIC_RELEASE);
    mine.stands = false;
    mine.tid = 0;
    pthread_mutex_unlock(&lock);
    if (!mine.trace.attached) return;
    if (result == -ERESTARTSYS) trace_again(&mine.trace, (long)request->nr);
    else trace_return(&mine.trace, result);
}
