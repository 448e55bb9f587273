#include "socket_control.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "borrow.h"
#include "peers.h"
#include "socket.h"

#define OPTION_MEMORY 131072 /* net.core.optmem_max: without it the kernel looks at none */
#ifndef SCM_PIDFD
#define SCM_PIDFD 4
#endif

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

/* ---- sending ----------------------------------------------------------------------------------------------------------------- */

/* On the host's network others would choose where a packet comes from, or goes through. */
static bool is_harmless(const struct cmsghdr *at) {
    if (at->cmsg_level == IPPROTO_IP) return at->cmsg_type == IP_TTL || at->cmsg_type == IP_TOS;
    if (at->cmsg_level == IPPROTO_IPV6) return at->cmsg_type == IPV6_HOPLIMIT || at->cmsg_type == IPV6_TCLASS;
    return at->cmsg_level == IPPROTO_UDP;
}

/* INVARIANT own-network: one that was handed in, too, whatever network the guest has. */
static bool is_of_the_host(int socket) { return socket_family(socket) != AF_UNIX && !socket_name_is_private(socket); }

static int translate_credentials(const struct request *request, struct cmsghdr *at) {
    struct ucred who;
    if (at->cmsg_len != CMSG_LEN(sizeof who)) return -EINVAL;
    memcpy(&who, CMSG_DATA(at), sizeof who);
    if (who.pid != guest_leader(request->tid) || who.uid != getuid() || who.gid != getgid()) return -EPERM;
    who.pid = getpid();
    memcpy(CMSG_DATA(at), &who, sizeof who);
    return 0;
}

static int translate_rights(const struct request *request, struct socket_message *message, struct cmsghdr *at) {
    size_t count = (at->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    if (message->passed_count + count > PASSED_MAX) return -EINVAL;
    int *fds = (int *)(void *)CMSG_DATA(at);
    for (size_t i = 0; i < count; i++) {
        int fd = guest_borrow_fd(request->tid, fds[i]);
        if (fd < 0) return fd;
        fds[i] = message->passed[message->passed_count++] = fd;
    }
    return 0;
}

/* Descriptors of the guest become ours; who it says it is becomes who we are, once it is true. */
static int translate(const struct request *request, struct socket_message *message, struct cmsghdr *at) {
    size_t room = message->control_length - (size_t)((uint8_t *)at - message->control);
    if (at->cmsg_len < sizeof *at || at->cmsg_len > room) return -EINVAL;
    if (at->cmsg_level != SOL_SOCKET) /* AF_UNIX passes these over */
        return is_of_the_host(message->socket) && !is_harmless(at) ? -EINVAL : 0;
    if (at->cmsg_type == SCM_CREDENTIALS) return translate_credentials(request, at);
    return at->cmsg_type == SCM_RIGHTS ? translate_rights(request, message, at) : -EINVAL;
}

int socket_control_read(const struct request *request, struct socket_message *message) {
    uint64_t length = message->head.control_length;
    if (length > OPTION_MEMORY) return -ENOBUFS;
    message->control_length = (size_t)(length < CONTROL_MAX ? length : CONTROL_MAX);
    if (guest_read(request->tid, message->head.control, message->control, message->control_length) < 0) return -EFAULT;
    if (length > CONTROL_MAX) return -ENOBUFS;
    struct msghdr header = {.msg_control = message->control, .msg_controllen = message->control_length};
    int error = 0;
    for (struct cmsghdr *at = control_first(&header); at && !error; at = control_next(&header, at)) error = translate(request, message, at);
    return error;
}

void socket_control_set_source(struct socket_message *message) {
    bool six = message->name.address.any.sa_family == AF_INET6;
    struct in_pktinfo four = {.ipi_spec_dst.s_addr = message->name.source};
    struct in6_pktinfo mapped = {.ipi6_addr.s6_addr = {[10] = 0xff, [11] = 0xff}};
    memcpy(&mapped.ipi6_addr.s6_addr[12], &message->name.source, sizeof message->name.source);
    struct cmsghdr head = {six ? CMSG_LEN(sizeof mapped) : CMSG_LEN(sizeof four), six ? IPPROTO_IPV6 : IPPROTO_IP, six ? IPV6_PKTINFO : IP_PKTINFO};
    memcpy(message->control, &head, sizeof head);
    memcpy(CMSG_DATA((struct cmsghdr *)(void *)message->control), six ? (void *)&mapped : (void *)&four, six ? sizeof mapped : sizeof four);
    message->control_length = six ? CMSG_SPACE(sizeof mapped) : CMSG_SPACE(sizeof four);
}

/* ---- receiving --------------------------------------------------------------------------------------------------------------- */

/* A datagram socket with a name hears from others than it is connected to: by whom a message is, nobody tells. */
static bool hears_many(int socket) {
    struct sockaddr_un own;
    socklen_t size = sizeof own;
    return socket_option(socket, SO_TYPE, SOCK_DGRAM) == SOCK_DGRAM && (getsockname(socket, (struct sockaddr *)&own, &size) < 0 || size > sizeof own.sun_family);
}

/* Who has sent what we sent. */
static void name_sender(const struct socket_message *message, const struct msghdr *header) {
    if (hears_many(message->socket)) return;
    for (struct cmsghdr *at = control_first(header); at; at = control_next(header, at)) {
        struct ucred who;
        if (at->cmsg_level != SOL_SOCKET || at->cmsg_type != SCM_CREDENTIALS || at->cmsg_len < CMSG_LEN(sizeof who)) continue;
        memcpy(&who, CMSG_DATA(at), sizeof who);
        pid_t sender = who.pid == getpid() ? peers_sender(message->socket) : 0;
        if (sender) memcpy(CMSG_DATA(at), &sender, sizeof sender); /* the first of a ucred */
    }
}

static int inject(const struct request *request, int fd, bool close_on_exec) {
    bool path_only = fcntl(fd, F_GETFL) & O_PATH; /* the kernel's own way does not take it */
    if (path_only) return borrow_give_path(request->id, request->tid, fd, close_on_exec);
    return borrow_stands() ? borrow_inject(fd, close_on_exec) : guest_inject(request->id, fd, close_on_exec);
}

/* Descriptors that have come get numbers of the guest's, as far as these find a place. How many did. */
static size_t give(const struct request *request, int *fds, size_t count, bool close_on_exec, bool *full) {
    size_t given = 0;
    for (size_t i = 0; i < count; i++) {
        int number = *full ? -EMFILE : inject(request, fds[i], close_on_exec);
        close(fds[i]);
        *full = *full || number < 0;
        if (number >= 0) fds[given++] = number;
    }
    return given;
}

/* As on Linux, what finds no place is dropped and said so. */
static void hand_over(const struct request *request, struct socket_message *message, struct msghdr *header) {
    const struct msghdr came = *header;
    bool full = false;
    for (struct cmsghdr *at = control_first(&came), *next; at; at = next) {
        next = control_next(&came, at); /* what is behind a cut is closed, too */
        if (at->cmsg_level != SOL_SOCKET || (at->cmsg_type != SCM_RIGHTS && at->cmsg_type != SCM_PIDFD)) continue;
        size_t count = (at->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        size_t given = give(request, (int *)(void *)CMSG_DATA(at), count, message->flags & MSG_CMSG_CLOEXEC || at->cmsg_type == SCM_PIDFD, &full);
        if (given == count || header->msg_controllen < came.msg_controllen) continue;
        header->msg_flags |= MSG_CTRUNC;
        memset(CMSG_DATA(at) + given * sizeof(int), 0, (count - given) * sizeof(int)); /* numbers of ours, of which padding would show one */
        at->cmsg_len = CMSG_LEN(given * sizeof(int));
        header->msg_controllen = (size_t)((uint8_t *)at - message->control) + (given ? CMSG_SPACE(given * sizeof(int)) : 0);
    }
}

void socket_control_give(const struct request *request, struct socket_message *message, struct msghdr *header) {
    name_sender(message, header);
    hand_over(request, message, header);
}
