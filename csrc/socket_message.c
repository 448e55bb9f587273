/* Messages that carry an address or control data: copied in, sent on the guest's own socket, and back. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include "borrow.h"
#include "flight.h"
#include "internet.h"
#include "loop.h"
#include "peers.h"
#include "socket_name.h"
#include "sockets.h"

#define PARTS_MAX 1024             /* UIO_MAXIOV */
#define PAYLOAD_MAX (8u << 20)     /* of one message */
#define CONTROL_MAX 16384
#define PASSED_MAX 253             /* SCM_MAX_FD */
#ifndef SCM_PIDFD
#define SCM_PIDFD 4
#endif

/* struct user_msghdr, and what mmsghdr adds. */
struct guest_message {
    uint64_t name;
    int32_t name_length;
    uint32_t padding;
    uint64_t parts, part_count, control, control_length;
    int32_t flags;
    uint32_t padding2;
};
_Static_assert(sizeof(struct guest_message) == sizeof(struct msghdr), "as the kernel has it");
#define MANY_SIZE 64 /* sizeof(struct mmsghdr) */

/* One message on its way. */
struct passage {
    struct guest_message head;
    uint64_t at;               /* of head in the guest; 0: sendto, recvfrom */
    struct iovec parts[PARTS_MAX];
    size_t total;
    uint8_t *payload;          /* request->buffer, or allocated where it is too small */
    bool allocated;
    struct socket_name name;
    int socket;
    uint64_t inode;
    int flags;
    int passed[PASSED_MAX];
    int passed_count;
    _Alignas(struct cmsghdr) uint8_t control[CONTROL_MAX];
    size_t control_length;
};

static void passage_done(struct passage *passage) {
    if (passage->allocated) free(passage->payload);
    for (int i = 0; i < passage->passed_count; i++) close(passage->passed[i]);
    passage->allocated = false;
    passage->passed_count = 0;
    guest_close(&passage->name.held);
}

static int read_parts(const struct request *request, struct passage *passage) {
    if (passage->head.part_count > PARTS_MAX) return -EMSGSIZE;
    size_t count = (size_t)passage->head.part_count;
    if (guest_read(request->tid, passage->head.parts, passage->parts, count * sizeof *passage->parts) < 0) return -EFAULT;
    passage->total = 0;
    for (size_t i = 0; i < count; i++) {
        if (passage->parts[i].iov_len > SSIZE_MAX) return -EINVAL;
        if (__builtin_add_overflow(passage->total, passage->parts[i].iov_len, &passage->total)) return -EINVAL;
    }
    return 0;
}

static int take_room(struct request *request, struct passage *passage, size_t size) {
    passage->payload = request->buffer;
    passage->allocated = size > sizeof request->buffer;
    if (passage->allocated && (passage->payload = malloc(size)) == NULL) passage->allocated = false;
    return passage->payload ? 0 : -ENOBUFS;
}

static int begin(struct request *request, struct passage *passage, uint64_t at) {
    passage->at = at;
    passage->allocated = false;
    passage->passed_count = 0;
    passage->control_length = 0;
    passage->name.held = passage->name.mount = -1;
    passage->name.length = passage->name.source = 0;
    if (guest_read(request->tid, at, &passage->head, sizeof passage->head) < 0) return -EFAULT;
    if (passage->head.name_length < 0) return -EINVAL;
    return read_parts(request, passage);
}

/* sendto and recvfrom as a message of one part. */
static void begin_plain(struct passage *passage, uint64_t buffer, uint64_t size, uint64_t name, int32_t name_length) {
    memset(&passage->head, 0, sizeof passage->head);
    passage->head.name = name;
    passage->head.name_length = name_length;
    passage->head.part_count = 1;
    passage->at = 0;
    passage->allocated = false;
    passage->passed_count = 0;
    passage->control_length = 0;
    passage->name.held = passage->name.mount = -1;
    passage->name.length = passage->name.source = 0;
    passage->total = size < PAYLOAD_MAX ? (size_t)size : PAYLOAD_MAX;
    passage->parts[0] = (struct iovec){(void *)buffer, passage->total};
}

/* The kernel's way through control data, to the letter: what we do not see, it would still take, and a number that was not
 * translated is one of our own descriptors. (CMSG_NXTHDR of the C library leaves out a last entry without its padding in some
 * versions.) NULL at the end, or where the entry before is cut. */
static struct cmsghdr *control_first(const struct msghdr *header) {
    return header->msg_controllen >= sizeof(struct cmsghdr) ? header->msg_control : NULL;
}

static struct cmsghdr *control_next(const struct msghdr *header, const struct cmsghdr *at) {
    size_t offset = (size_t)((const uint8_t *)at - (const uint8_t *)header->msg_control), room = header->msg_controllen;
    if (offset > room || at->cmsg_len < sizeof *at || at->cmsg_len > room - offset) return NULL;
    size_t next = offset + CMSG_ALIGN(at->cmsg_len);
    if (next > room || room - next < sizeof *at) return NULL;
    return (struct cmsghdr *)(void *)((uint8_t *)header->msg_control + next);
}

/* Payload between our copy and the guest's parts; `size` bytes of it. */
static int move_payload(const struct request *request, const struct passage *passage, size_t size, bool to_guest) {
    uint8_t *at = passage->payload;
    for (size_t i = 0; size > 0 && i < (size_t)passage->head.part_count; i++) {
        size_t length = passage->parts[i].iov_len < size ? passage->parts[i].iov_len : size;
        uint64_t address = (uint64_t)passage->parts[i].iov_base;
        int error = to_guest ? guest_write(request->tid, address, at, length) : guest_read(request->tid, address, at, length);
        if (error < 0) return error;
        at += length;
        size -= length;
    }
    return 0;
}

/* ---- sending ----------------------------------------------------------------------------------------------------------------- */

static bool is_local(int socket) {
    int family = AF_UNIX;
    socklen_t size = sizeof family;
    return getsockopt(socket, SOL_SOCKET, SO_DOMAIN, &family, &size) < 0 || family == AF_UNIX;
}

/* On the host's network others would choose where a packet comes from, or goes through. */
static bool is_harmless(const struct cmsghdr *at) {
    if (at->cmsg_level == IPPROTO_IP) return at->cmsg_type == IP_TTL || at->cmsg_type == IP_TOS;
    if (at->cmsg_level == IPPROTO_IPV6) return at->cmsg_type == IPV6_HOPLIMIT || at->cmsg_type == IPV6_TCLASS;
    return at->cmsg_level == IPPROTO_UDP;
}

/* INVARIANT own-network: one that was handed in, too, whatever network the guest has. */
static bool is_of_the_host(int socket) { return !is_local(socket) && !socket_name_is_private(socket); }

/* Descriptors of the guest become ours; who it says it is becomes who we are, once it is true. */
static int translate_control(const struct request *request, struct passage *passage) {
    struct msghdr header = {.msg_control = passage->control, .msg_controllen = passage->control_length};
    for (struct cmsghdr *at = control_first(&header); at; at = control_next(&header, at)) {
        size_t room = passage->control_length - (size_t)((uint8_t *)at - passage->control);
        if (at->cmsg_len < sizeof *at || at->cmsg_len > room) return -EINVAL;
        size_t size = at->cmsg_len - CMSG_LEN(0);
        if (at->cmsg_level != SOL_SOCKET && is_of_the_host(passage->socket) && !is_harmless(at)) return -EINVAL;
        if (at->cmsg_level != SOL_SOCKET) continue; /* AF_UNIX passes these over */
        if (at->cmsg_type == SCM_CREDENTIALS) {
            struct ucred who;
            if (size != sizeof who) return -EINVAL;
            memcpy(&who, CMSG_DATA(at), sizeof who);
            if (who.pid != guest_leader(request->tid) || who.uid != getuid() || who.gid != getgid()) return -EPERM;
            who.pid = getpid();
            memcpy(CMSG_DATA(at), &who, sizeof who);
            continue;
        }
        if (at->cmsg_type != SCM_RIGHTS) return -EINVAL;
        size_t count = size / sizeof(int);
        if (passage->passed_count + count > PASSED_MAX) return -EINVAL;
        int *fds = (int *)(void *)CMSG_DATA(at);
        for (size_t i = 0; i < count; i++) {
            int fd = guest_borrow_fd(request->tid, fds[i]);
            if (fd < 0) return fd;
            fds[i] = passage->passed[passage->passed_count++] = fd;
        }
    }
    return 0;
}

static int read_control(const struct request *request, struct passage *passage) {
    if (passage->head.control_length == 0 || passage->head.control == 0) return 0;
    if (passage->head.control_length > CONTROL_MAX) return -ENOBUFS;
    passage->control_length = (size_t)passage->head.control_length;
    if (guest_read(request->tid, passage->head.control, passage->control, passage->control_length) < 0) return -EFAULT;
    return translate_control(request, passage);
}

/* SIGPIPE would be ours: it is the guest's. */
static void broken_pipe(const struct request *request) {
    pid_t leader = guest_leader(request->tid);
    if (leader > 0) syscall(SYS_tgkill, leader, request->tid, SIGPIPE);
}

/* A socket bound to every address would send to the guest's loopback from the host's. */
static void set_source(struct passage *passage) {
    bool six = passage->name.address.any.sa_family == AF_INET6;
    struct in_pktinfo four = {.ipi_spec_dst.s_addr = passage->name.source};
    struct in6_pktinfo mapped = {.ipi6_addr.s6_addr = {[10] = 0xff, [11] = 0xff}};
    memcpy(&mapped.ipi6_addr.s6_addr[12], &passage->name.source, sizeof passage->name.source);
    struct cmsghdr head = {six ? CMSG_LEN(sizeof mapped) : CMSG_LEN(sizeof four), six ? IPPROTO_IPV6 : IPPROTO_IP, six ? IPV6_PKTINFO : IP_PKTINFO};
    memcpy(passage->control, &head, sizeof head);
    memcpy(CMSG_DATA((struct cmsghdr *)(void *)passage->control), six ? (void *)&mapped : (void *)&four, six ? sizeof mapped : sizeof four);
    passage->control_length = six ? CMSG_SPACE(sizeof mapped) : CMSG_SPACE(sizeof four);
}

static int64_t send_out(struct request *request, struct passage *passage) {
    struct iovec part = {passage->payload, passage->total};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = passage->control_length ? passage->control : NULL,
                            .msg_controllen = passage->control_length};
    if (passage->name.length) {
        header.msg_name = &passage->name.address;
        header.msg_namelen = passage->name.length;
    }
    int flags = (passage->flags & ~(MSG_ZEROCOPY | MSG_FASTOPEN)) | MSG_NOSIGNAL; /* AF_UNIX knows neither */
    bool waits = !(flags & MSG_DONTWAIT) && !(fcntl(passage->socket, F_GETFL) & O_NONBLOCK);
    int64_t sent = 0;
    for (bool tried = false;; tried = true) {
        if (tried && !loop_block_enter()) return sent ? sent : -ENOMEM;
        bool carries = header.msg_control && passage->passed_count > 0;
        ssize_t did = carries ? flight_send_guests(passage->socket, &header, flags, waits && tried)
                              : sendmsg(passage->socket, &header, flags | (waits && !tried ? MSG_DONTWAIT : 0));
        int why = errno;
        bool interrupted = tried && loop_block_leave();
        if (did >= 0) {
            sent += did;
            part.iov_base = (uint8_t *)part.iov_base + did;
            part.iov_len -= (size_t)did;
            if (part.iov_len == 0 || !waits) return sent;
            header.msg_control = NULL; /* went with the first byte */
            header.msg_controllen = 0;
            continue;
        }
        if ((why == EAGAIN && waits && !tried) || (why == EINTR && !interrupted)) continue;
        if (sent) return sent;
        if (why == EPIPE && !(passage->flags & MSG_NOSIGNAL)) broken_pipe(request);
        return why == EINTR ? -ERESTARTSYS : -why;
    }
}

static int64_t send_one(struct request *request, struct passage *passage, bool *denied) {
    int error = 0;
    if (passage->flags & MSG_FASTOPEN && !is_local(passage->socket)) return -EOPNOTSUPP; /* a connect that nobody has judged */
    if (passage->head.name && passage->head.name_length) {
        error = socket_name_read(request, passage->head.name, (uint64_t)passage->head.name_length, &passage->name);
        if (error == 0) error = socket_name_find(request, passage->socket, &passage->name, denied);
    }
    if (error == 0) error = read_control(request, passage);
    if (error == 0 && passage->name.source && passage->control_length == 0) set_source(passage);
    if (error == 0 && passage->total > PAYLOAD_MAX) error = -EMSGSIZE;
    if (error == 0) error = take_room(request, passage, passage->total);
    if (error == 0) error = move_payload(request, passage, passage->total, false);
    if (error == 0) peers_sends(passage->inode, request->tid); /* before it can be received */
    return error < 0 ? error : send_out(request, passage);
}

/* ---- receiving --------------------------------------------------------------------------------------------------------------- */

static int inject(const struct request *request, int fd, bool close_on_exec) {
    bool path_only = fcntl(fd, F_GETFL) & O_PATH; /* the kernel's own way does not take it */
    if (path_only) return borrow_give_path(request->id, request->tid, fd, close_on_exec);
    return borrow_stands() ? borrow_inject(fd, close_on_exec) : guest_inject(request->id, fd, close_on_exec);
}

/* A datagram socket with a name hears from others than it is connected to: by whom a message is, nobody tells. */
static bool hears_many(int socket) {
    int type = SOCK_DGRAM;
    struct sockaddr_un own;
    socklen_t room = sizeof type, size = sizeof own;
    getsockopt(socket, SOL_SOCKET, SO_TYPE, &type, &room);
    return type == SOCK_DGRAM && (getsockname(socket, (struct sockaddr *)&own, &size) < 0 || size > sizeof own.sun_family);
}

/* Who has sent what we sent. */
static void name_sender(const struct passage *passage, const struct msghdr *header) {
    if (hears_many(passage->socket)) return;
    for (struct cmsghdr *at = control_first(header); at; at = control_next(header, at)) {
        struct ucred who;
        if (at->cmsg_level != SOL_SOCKET || at->cmsg_type != SCM_CREDENTIALS || at->cmsg_len < CMSG_LEN(sizeof who)) continue;
        memcpy(&who, CMSG_DATA(at), sizeof who);
        pid_t sender = who.pid == getpid() ? peers_sender(passage->socket) : 0;
        if (sender) memcpy(CMSG_DATA(at), &sender, sizeof sender); /* the first of a ucred */
    }
}

/* Give the guest the descriptors that have come for it; as on Linux, what finds no place is dropped and said so. */
static void hand_over(const struct request *request, struct passage *passage, struct msghdr *header) {
    bool full = false;
    for (struct cmsghdr *at = control_first(header); at; at = control_next(header, at)) {
        if (at->cmsg_level != SOL_SOCKET || (at->cmsg_type != SCM_RIGHTS && at->cmsg_type != SCM_PIDFD)) continue;
        int *fds = (int *)(void *)CMSG_DATA(at);
        size_t count = (at->cmsg_len - CMSG_LEN(0)) / sizeof(int), given = 0;
        for (size_t i = 0; i < count; i++) {
            int number = full ? -EMFILE : inject(request, fds[i], passage->flags & MSG_CMSG_CLOEXEC || at->cmsg_type == SCM_PIDFD);
            close(fds[i]);
            full = full || number < 0;
            if (number >= 0) fds[given++] = number;
        }
        if (given < count) {
            header->msg_flags |= MSG_CTRUNC;
            at->cmsg_len = CMSG_LEN(given * sizeof(int));
            header->msg_controllen = (size_t)((uint8_t *)at - passage->control) + (given ? CMSG_SPACE(given * sizeof(int)) : 0);
            if (!given) return;
        }
    }
}

static int64_t receive_in(struct passage *passage, struct msghdr *header) {
    int flags = passage->flags | MSG_CMSG_CLOEXEC;
    bool waits = !(flags & MSG_DONTWAIT) && !(fcntl(passage->socket, F_GETFL) & O_NONBLOCK);
    socklen_t name_room = header->msg_namelen;
    size_t control_room = header->msg_controllen;
    for (bool tried = flags & MSG_WAITALL;; tried = true) {
        header->msg_namelen = name_room;
        header->msg_controllen = control_room;
        if (tried && waits && !loop_block_enter()) return -ENOMEM;
        ssize_t got = recvmsg(passage->socket, header, flags | (waits && !tried ? MSG_DONTWAIT : 0));
        int why = errno;
        bool interrupted = tried && waits && loop_block_leave();
        if (got >= 0) return got;
        if ((why == EAGAIN && waits && !tried) || (why == EINTR && waits && !interrupted)) continue;
        return why == EINTR ? -ERESTARTSYS : -why;
    }
}

static int write_back(const struct request *request, struct passage *passage, const struct msghdr *header) {
    if (passage->head.name) {
        size_t room = (size_t)passage->head.name_length;
        size_t size = passage->name.length < room ? passage->name.length : room;
        if (guest_write(request->tid, passage->head.name, &passage->name.address, size) < 0) return -EFAULT;
    }
    if (guest_write(request->tid, passage->head.control, passage->control, header->msg_controllen) < 0) return -EFAULT;
    if (!passage->at) return 0;
    int32_t name_length = (int32_t)passage->name.length, flags = header->msg_flags & ~MSG_CMSG_CLOEXEC;
    uint64_t control_length = header->msg_controllen;
    if (passage->head.name && guest_write(request->tid, passage->at + offsetof(struct guest_message, name_length), &name_length, 4) < 0) return -EFAULT;
    if (guest_write(request->tid, passage->at + offsetof(struct guest_message, control_length), &control_length, 8) < 0) return -EFAULT;
    return guest_write(request->tid, passage->at + offsetof(struct guest_message, flags), &flags, 4);
}

static int64_t receive_one(struct request *request, struct passage *passage) {
    size_t size = passage->total < PAYLOAD_MAX ? passage->total : PAYLOAD_MAX;
    int error = take_room(request, passage, size);
    if (error < 0) return error;
    struct iovec part = {passage->payload, size};
    size_t control = passage->head.control ? (size_t)passage->head.control_length : 0;
    if (control > CONTROL_MAX) control = CONTROL_MAX;
    memset(passage->control, 0, control); /* the kernel leaves the padding as it is, and all of it goes to the guest */
    if (passage->flags & MSG_TRUNC) memset(passage->payload, 0, size); /* and here it may say more than it has written */
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1, .msg_name = &passage->name.address, .msg_namelen = sizeof passage->name.address,
                            .msg_control = passage->control, .msg_controllen = control};
    int64_t got = receive_in(passage, &header);
    if (got < 0) return got;
    passage->name.length = header.msg_namelen;
    internet_show_relayed(request, passage->socket, SOCKET_PEER, &passage->name);
    socket_name_show(&passage->name, SOCKET_PEER);
    name_sender(passage, &header);
    hand_over(request, passage, &header);
    /* INVARIANT still-there: it may have waited long. */
    if (!borrow_stands() && !guest_alive(request->id)) return -ESRCH;
    error = move_payload(request, passage, (size_t)got < size ? (size_t)got : size, true);
    if (error == 0) error = write_back(request, passage, &header);
    return error < 0 ? error : got;
}

/* ---- the calls --------------------------------------------------------------------------------------------------------------- */

static int begin_call(const struct request *request, struct passage *passage) {
    cleanup_close int fd = guest_borrow_fd(request->tid, request->fd);
    struct stat status;
    if (fd < 0) return fd;
    if (fcntl(fd, F_GETFL) & O_PATH) return -EBADF;
    if (fstat(fd, &status) < 0 || !S_ISSOCK(status.st_mode)) return -ENOTSOCK;
    passage->flags = (int)request->flags;
    if (passage->flags & MSG_OOB && is_local(fd)) return -EOPNOTSUPP; /* hardly anyone sends any, and it has let guests out */
    passage->socket = take(&fd);
    passage->inode = status.st_ino;
    return 0;
}

/* sendmmsg, recvmmsg: how many went; the error of one is told only where it is the first. */
static int64_t many(struct request *request, struct passage *passage, int64_t (*one)(struct request *, struct passage *, bool *), bool *denied) {
    uint64_t count = (uint32_t)request->size < PARTS_MAX ? (uint32_t)request->size : PARTS_MAX, done = 0;
    for (; done < count; done++) {
        uint64_t at = request->in + done * MANY_SIZE;
        bool named = request->paths > 0;
        int64_t did = begin(request, passage, at);
        if (request->paths > 0 && done > 0) { /* one address for each record: the caller goes on from here, as where the kernel stops */
            if (!named) request->paths = 0;
            passage_done(passage);
            return (int64_t)done;
        }
        if (did == 0) did = one(request, passage, denied);
        passage_done(passage);
        uint32_t length = (uint32_t)did;
        if (did >= 0 && guest_write(request->tid, at + sizeof(struct guest_message), &length, sizeof length) < 0) did = -EFAULT;
        if (did < 0) return done ? (int64_t)done : did;
        if (passage->flags & MSG_WAITFORONE) passage->flags |= MSG_DONTWAIT;
    }
    return (int64_t)done;
}

static int64_t receive_message(struct request *request, struct passage *passage, bool *denied) {
    (void)denied;
    return receive_one(request, passage);
}

struct answer sockets_send(struct request *request) {
    struct passage passage;
    bool denied = false;
    int64_t did = begin_call(request, &passage);
    if (did < 0) return answer_error((int)-did);
    if (request->nr == SYS_sendmmsg) {
        passage.flags &= ~MSG_WAITFORONE;
        did = many(request, &passage, send_one, &denied);
    } else {
        if (request->nr == SYS_sendto) begin_plain(&passage, request->in, request->size, request->value[0], (int32_t)request->value[1]);
        else did = begin(request, &passage, request->in);
        if (did == 0) did = send_one(request, &passage, &denied);
        passage_done(&passage);
    }
    close(passage.socket);
    struct answer answer = answer_result(did);
    answer.denied = denied && did < 0;
    return answer;
}

struct answer sockets_receive(struct request *request) {
    struct passage passage;
    bool denied = false;
    int64_t did = begin_call(request, &passage);
    if (did < 0) return answer_error((int)-did);
    if (request->nr == SYS_recvmmsg) did = many(request, &passage, receive_message, &denied);
    else if (request->nr == SYS_recvmsg) {
        if ((did = begin(request, &passage, request->in)) == 0) did = receive_one(request, &passage);
        passage_done(&passage);
    } else {
        begin_plain(&passage, request->out, request->size, request->value[0], (int32_t)sizeof passage.name.address);
        /* the room for the address is in the guest, as its length will be */
        struct socket_name *name = &passage.name;
        uint64_t address = passage.head.name;
        passage.head.name = 0;
        did = receive_one(request, &passage);
        if (did >= 0 && address) {
            int error = socket_name_write(request, name, address, request->value[1]);
            if (error < 0) did = error;
        }
        passage_done(&passage);
    }
    close(passage.socket);
    return answer_result(did);
}
