/* recvfrom, recvmsg, recvmmsg: in the guest's place, on its own socket. */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include "borrow.h"
#include "internet.h"
#include "loop.h"
#include "socket_control.h"
#include "sockets.h"

static int64_t receive_in(struct socket_message *message, struct msghdr *header) {
    int flags = message->flags | MSG_CMSG_CLOEXEC;
    bool waits = socket_message_waits(message);
    socklen_t name_room = header->msg_namelen;
    size_t control_room = header->msg_controllen;
    for (bool tried = flags & MSG_WAITALL;; tried = true) {
        header->msg_namelen = name_room;
        header->msg_controllen = control_room;
        if (tried && waits && !loop_block_enter()) return -ENOMEM;
        ssize_t got = recvmsg(message->socket, header, flags | (waits && !tried ? MSG_DONTWAIT : 0));
        int why = errno;
        bool interrupted = tried && waits && loop_block_leave();
        if (got >= 0) return got;
        if ((why == EAGAIN && waits && !tried) || (why == EINTR && waits && !interrupted)) continue;
        return why == EINTR ? -ERESTARTSYS : -why;
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
    int32_t name_length = (int32_t)message->name.length, flags = header->msg_flags & ~MSG_CMSG_CLOEXEC;
    uint64_t control_length = header->msg_controllen;
    if (message->head.name && guest_write(request->tid, message->at + offsetof(struct guest_message, name_length), &name_length, 4) < 0) return -EFAULT;
    if (guest_write(request->tid, message->at + offsetof(struct guest_message, control_length), &control_length, 8) < 0) return -EFAULT;
    return guest_write(request->tid, message->at + offsetof(struct guest_message, flags), &flags, 4);
}

/* Room for what is to come, and nothing in it that was there before. */
static struct msghdr header_of(struct socket_message *message, struct iovec *part) {
    size_t control = message->head.control ? (size_t)message->head.control_length : 0;
    if (control > CONTROL_MAX) control = CONTROL_MAX;
    memset(message->control, 0, control); /* the kernel leaves the padding as it is, and all of it goes to the guest */
    if (message->flags & MSG_TRUNC) memset(part->iov_base, 0, part->iov_len); /* and here it may say more than it has written */
    return (struct msghdr){.msg_name = &message->name.address, .msg_namelen = sizeof message->name.address, .msg_iov = part, .msg_iovlen = 1,
                           .msg_control = message->control, .msg_controllen = control};
}

static int64_t receive_one(struct request *request, struct socket_message *message) {
    size_t size = message->total < PAYLOAD_MAX ? message->total : PAYLOAD_MAX;
    int error = socket_message_room(request, message, size);
    if (error < 0) return error;
    struct iovec part = {message->payload, size};
    struct msghdr header = header_of(message, &part);
    int64_t got = receive_in(message, &header);
    if (got < 0) return got;
    message->name.length = header.msg_namelen;
    internet_show_relayed(request, message->socket, SOCKET_PEER, &message->name);
    socket_name_show(&message->name, SOCKET_PEER);
    socket_control_give(request, message, &header);
    /* INVARIANT still-there: it may have waited long. */
    if (!borrow_stands() && !guest_alive(request->id)) return -ESRCH;
    error = socket_message_move(request, message, (size_t)got < size ? (size_t)got : size, TO_GUEST);
    if (error == 0) error = write_back(request, message, &header);
    return error < 0 ? error : got;
}

/* The room for the address is in the guest, as its length will be. */
static int64_t receive_plain(struct request *request, struct socket_message *message) {
    socket_message_plain(message, request->out, request->size, 0, 0);
    int64_t got = receive_one(request, message);
    if (got < 0 || !request->value[0]) return got;
    int error = socket_name_write(request, &message->name, request->value[0], request->value[1]);
    return error < 0 ? error : got;
}

struct answer sockets_receive(struct request *request) { return socket_message_serve(request, receive_plain, receive_one); }
