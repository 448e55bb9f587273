/* sendto, sendmsg, sendmmsg: in the guest's place, on its own socket. */
#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "borrow.h"
#include "flight.h"
#include "loop.h"
#include "peers.h"
#include "socket.h"
#include "socket_control.h"
#include "sockets.h"

#define PIECE_MAX sizeof((struct request *)0)->buffer

/* SIGPIPE would be ours: it is the guest's. */
static void broken_pipe(const struct request *request) {
    pid_t leader = guest_leader(request->tid);
    /* INVARIANT still-there: else both numbers may be others' by now. */
    if (!borrow_caller_is_there(request)) return;
    if (leader > 0) syscall(SYS_tgkill, leader, request->tid, SIGPIPE);
}

static ssize_t send_piece(struct socket_message *message, size_t sent, size_t size, bool waits) {
    struct iovec part = {message->payload, size};
    bool first = sent == 0, last = sent + size == message->total; /* control data goes with the first byte */
    struct msghdr header = {.msg_name = message->name.length ? &message->name.address : NULL, .msg_namelen = message->name.length,
                            .msg_iov = &part, .msg_iovlen = 1, .msg_control = first && message->control_length ? message->control : NULL,
                            .msg_controllen = first ? message->control_length : 0};
    int flags = (message->flags & ~(MSG_ZEROCOPY | MSG_FASTOPEN | (last ? 0 : MSG_EOR | MSG_OOB))) | MSG_NOSIGNAL; /* AF_UNIX knows neither of the first two */
    if (header.msg_control && message->passed_count > 0) return flight_send_guests(message->socket, &header, flags, waits);
    return sendmsg(message->socket, &header, flags | (waits ? 0 : MSG_DONTWAIT));
}

/* What is sent next is copied when its turn comes. INVARIANT still-there: that may be late. */
static int take_piece(const struct request *request, const struct socket_message *message, size_t sent, size_t size, bool late) {
    int error = socket_message_move(request, message, sent, size, FROM_GUEST);
    bool gone = late && error == 0 && !borrow_caller_is_there(request);
    return gone ? -ESRCH : error;
}

static int64_t failed(const struct request *request, const struct socket_message *message, int why) {
    if (why == EPIPE && !(message->flags & MSG_NOSIGNAL)) broken_pipe(request);
    return why == EINTR ? -ERESTARTSYS : -why;
}

/* A stream takes a message in pieces, and who waits for room there holds a page of it; any other takes it as a whole. */
static int64_t send_out(struct request *request, struct socket_message *message, bool stream) {
    bool may_wait = socket_message_waits(message), wait = false;
    uint64_t limit = 0, begun = 0;
    for (size_t sent = 0;;) {
        size_t left = message->total - sent, most = !stream ? left : wait ? WAITS_WITH : PIECE_MAX, size = left < most ? left : most;
        int error = stream || !wait ? take_piece(request, message, sent, size, sent || begun) : socket_message_hold(message, size);
        if (sent) loop_leave(); /* it may take long */
        if (error == 0 && wait && !loop_block_enter(message->mapped ? 0 : size)) error = -ENOMEM;
        if (error < 0) return sent ? (int64_t)sent : error;
        ssize_t did = send_piece(message, sent, size, wait);
        int why = errno;
        bool interrupted = wait && loop_block_leave(), late = wait && limit && answer_now() - begun >= limit;
        if (did < 0 && why == EAGAIN && may_wait && !wait) {
            if (!begun) limit = flight_patience(message->socket);
            if (!begun) begun = answer_now();
            wait = true;
        } else if (did < 0 && (why != EINTR || interrupted)) return sent ? (int64_t)sent : failed(request, message, why);
        if (did < 0) continue;
        sent += (size_t)did;
        wait = false;
        if (!stream || sent == message->total || late || ((size_t)did < size && !may_wait)) return (int64_t)sent;
    }
}

static int64_t send_it(struct request *request, struct socket_message *message, int error) {
    bool stream = socket_is_stream(message->socket);
    if (error == 0) error = socket_control_read(request, message);
    if (error == 0 && message->name.length) error = socket_name_find(request, message->socket, &message->name, &message->denied);
    if (error == 0 && message->name.source && message->control_length == 0) socket_control_set_source(message);
    if (error == 0 && !stream && message->total > PAYLOAD_MAX) error = -EMSGSIZE;
    if (error == 0) error = socket_message_room(request, message, stream ? 0 : message->total);
    if (error == 0) peers_sends(message->inode, request->tid); /* before it can be received */
    return error < 0 ? error : send_out(request, message, stream);
}

static int read_name(struct request *request, struct socket_message *message) {
    if (message->flags & MSG_FASTOPEN && socket_family(message->socket) != AF_UNIX) return -EOPNOTSUPP; /* a connect that nobody has judged */
    if (!message->head.name || !message->head.name_length) return 0;
    return socket_name_read(request, message->head.name, (uint64_t)message->head.name_length, &message->name);
}

static int64_t send_one(struct request *request, struct socket_message *message) {
    int error = read_name(request, message);
    if (error == 0) error = socket_message_parts(request, message);
    return send_it(request, message, error);
}

static int64_t send_plain(struct request *request, struct socket_message *message) {
    socket_message_plain(message, request->in, request->size, request->value[0], (int32_t)request->value[1]);
    return send_it(request, message, read_name(request, message));
}

struct answer sockets_send(struct request *request) { return socket_message_serve(request, send_plain, send_one); }
