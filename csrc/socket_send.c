/* sendto, sendmsg, sendmmsg: in the guest's place, on its own socket. */
#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "flight.h"
#include "loop.h"
#include "peers.h"
#include "socket_control.h"
#include "sockets.h"

/* SIGPIPE would be ours: it is the guest's. */
static void broken_pipe(const struct request *request) {
    pid_t leader = guest_leader(request->tid);
    if (leader > 0) syscall(SYS_tgkill, leader, request->tid, SIGPIPE);
}

static struct msghdr header_of(struct socket_message *message, struct iovec *part) {
    return (struct msghdr){.msg_name = message->name.length ? &message->name.address : NULL, .msg_namelen = message->name.length,
                           .msg_iov = part, .msg_iovlen = 1, .msg_control = message->control_length ? message->control : NULL,
                           .msg_controllen = message->control_length};
}

static int64_t send_out(struct request *request, struct socket_message *message) {
    struct iovec part = {message->payload, message->total};
    struct msghdr header = header_of(message, &part);
    int flags = (message->flags & ~(MSG_ZEROCOPY | MSG_FASTOPEN)) | MSG_NOSIGNAL; /* AF_UNIX knows neither */
    bool waits = socket_message_waits(message);
    int64_t sent = 0;
    for (bool tried = false;; tried = true) {
        if (tried && !loop_block_enter()) return sent ? sent : -ENOMEM;
        bool carries = header.msg_control && message->passed_count > 0;
        ssize_t did = carries ? flight_send_guests(message->socket, &header, flags, waits && tried)
                              : sendmsg(message->socket, &header, flags | (waits && !tried ? MSG_DONTWAIT : 0));
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
        if (why == EPIPE && !(message->flags & MSG_NOSIGNAL)) broken_pipe(request);
        return why == EINTR ? -ERESTARTSYS : -why;
    }
}

static int64_t send_one(struct request *request, struct socket_message *message) {
    int error = 0;
    if (message->flags & MSG_FASTOPEN && !socket_message_is_local(message->socket)) return -EOPNOTSUPP; /* a connect that nobody has judged */
    if (message->head.name && message->head.name_length) {
        error = socket_name_read(request, message->head.name, (uint64_t)message->head.name_length, &message->name);
        if (error == 0) error = socket_name_find(request, message->socket, &message->name, &message->denied);
    }
    if (error == 0) error = socket_control_read(request, message);
    if (error == 0 && message->name.source && message->control_length == 0) socket_control_set_source(message);
    if (error == 0 && message->total > PAYLOAD_MAX) error = -EMSGSIZE;
    if (error == 0) error = socket_message_room(request, message, message->total);
    if (error == 0) error = socket_message_move(request, message, message->total, FROM_GUEST);
    if (error == 0) peers_sends(message->inode, request->tid); /* before it can be received */
    return error < 0 ? error : send_out(request, message);
}

static int64_t send_plain(struct request *request, struct socket_message *message) {
    socket_message_plain(message, request->in, request->size, request->value[0], (int32_t)request->value[1]);
    return send_one(request, message);
}

struct answer sockets_send(struct request *request) { return socket_message_serve(request, send_plain, send_one); }
