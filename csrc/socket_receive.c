/* recvfrom, recvmsg, recvmmsg: in the guest's place, on its own socket. */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include "borrow.h"
#include "internet.h"
#include "loop.h"
#include "socket.h"
#include "socket_control.h"
#include "sockets.h"

/* Can it wait for a message without room for it, by looking at nothing of the next? */
static bool can_look(const struct socket_message *message) {
    bool own = message->flags & (MSG_WAITALL | MSG_OOB | MSG_ERRQUEUE); /* waits for something else, or for nothing */
    return !own && socket_option(message->socket, SO_PEEK_OFF, -1) < 0 && socket_option(message->socket, SO_RCVLOWAT, 1) <= 1;
}

/* Room for what is to come, and nothing in it that was there before. */
static int make_room(struct request *request, struct socket_message *message, struct iovec *part, struct msghdr *header) {
    size_t size = message->total < PAYLOAD_MAX ? message->total : PAYLOAD_MAX;
    size_t control = message->head.control ? (size_t)message->head.control_length : 0;
    int error = socket_message_room(request, message, size);
    if (error < 0) return error;
    if (control > CONTROL_MAX) control = CONTROL_MAX;
    memset(message->control, 0, control); /* the kernel leaves the padding as it is, and all of it goes to the guest */
    if (message->flags & MSG_TRUNC && !message->mapped) memset(message->payload, 0, size); /* and here it may say more than it has written */
    *part = (struct iovec){message->payload, size};
    *header = (struct msghdr){.msg_name = &message->name.address, .msg_namelen = sizeof message->name.address, .msg_iov = part, .msg_iovlen = 1,
                              .msg_control = message->control, .msg_controllen = control};
    return 0;
}

static int64_t receive_in(struct request *request, struct socket_message *message, struct iovec *part, struct msghdr *header) {
    bool waits = socket_message_waits(message), look = message->total > sizeof request->buffer && waits && can_look(message);
    int flags = message->flags | MSG_CMSG_CLOEXEC;
    for (bool wait = waits && flags & MSG_WAITALL;;) {
        bool looks = wait && look;
        int error = looks ? 0 : make_room(request, message, part, header);
        if (error == 0 && wait && !looks && flags & MSG_WAITALL) error = socket_message_hold(message, part->iov_len);
        if (error == 0 && wait && !loop_block_enter(0)) error = -ENOMEM;
        if (error < 0) return error;
        ssize_t got = looks ? recvmsg(message->socket, &(struct msghdr){0}, MSG_PEEK) : recvmsg(message->socket, header, flags | (waits && !wait ? MSG_DONTWAIT : 0));
        int why = errno;
        bool interrupted = wait && loop_block_leave();
        if (got >= 0 && !looks) return got;
        if (got < 0 && !(why == EAGAIN && waits && !wait) && !(why == EINTR && waits && !interrupted)) return why == EINTR ? -ERESTARTSYS : -why;
        wait = got < 0;
        if (look) socket_message_release(message);
    }
}

static int write_back(const struct request *request, struct socket_message *message, const struct msghdr *header) {
    if (message->head.name) {
        size_t room = (size_t)message->head.name_length;
        size_t size = message->name.length < room ? message->name.length : room;
        if (guest_write(request->tid, message->head.name, &message->name.address, size) < 0) return -EFAULT;
    }
    if (guest_write(request->tid, message->head.control, message->control, header->msg_controllen) < 0) return -EFAULT;
    if (!message->at) return 0;
    int32_t name_length = (int32_t)message->name.length, flags = (header->msg_flags & ~MSG_CMSG_CLOEXEC) | (message->flags & MSG_CMSG_CLOEXEC);
    uint64_t control_length = header->msg_controllen;
    if (message->head.name && guest_write(request->tid, message->at + offsetof(struct guest_message, name_length), &name_length, 4) < 0) return -EFAULT;
    if (guest_write(request->tid, message->at + offsetof(struct guest_message, control_length), &control_length, 8) < 0) return -EFAULT;
    return guest_write(request->tid, message->at + offsetof(struct guest_message, flags), &flags, 4);
}

static int64_t receive_one(struct request *request, struct socket_message *message) {
    struct iovec part;
    struct msghdr header;
    int64_t got = receive_in(request, message, &part, &header);
    if (got < 0) return got;
    message->name.length = header.msg_namelen;
    internet_show_relayed(request, message->socket, SOCKET_PEER, &message->name);
    socket_name_show(&message->name, SOCKET_PEER);
    socket_control_give(request, message, &header);
    /* INVARIANT still-there: it may have waited long. */
    if (!borrow_caller_is_there(request)) return -ESRCH;
    int error = socket_message_move(request, message, 0, (size_t)got < part.iov_len ? (size_t)got : part.iov_len, TO_GUEST);
    if (error == 0) error = write_back(request, message, &header);
    return error < 0 ? error : got;
}

static int64_t receive_message(struct request *request, struct socket_message *message) {
    int error = socket_message_parts(request, message);
    return error < 0 ? error : receive_one(request, message);
}

/* The room for the address is in the guest, as its length will be. */
static int64_t receive_plain(struct request *request, struct socket_message *message) {
    socket_message_plain(message, request->out, request->size, 0, 0);
    int64_t got = receive_one(request, message);
    if (got < 0 || !request->value[0]) return got;
    int error = socket_name_write(request, &message->name, request->value[0], request->value[1]);
    return error < 0 ? error : got;
}

struct answer sockets_receive(struct request *request) { return socket_message_serve(request, receive_plain, receive_message); }
