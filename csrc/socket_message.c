#include "socket_message.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MANY_SIZE 64 /* sizeof(struct mmsghdr) */

bool socket_message_is_local(int socket) {
    int family = AF_UNIX;
    socklen_t size = sizeof family;
    return getsockopt(socket, SOL_SOCKET, SO_DOMAIN, &family, &size) < 0 || family == AF_UNIX;
}

bool socket_message_waits(const struct socket_message *message) {
    return !(message->flags & MSG_DONTWAIT) && !(fcntl(message->socket, F_GETFL) & O_NONBLOCK);
}

int socket_message_room(struct request *request, struct socket_message *message, size_t size) {
    message->payload = request->buffer;
    message->allocated = size > sizeof request->buffer;
    if (message->allocated && (message->payload = malloc(size)) == NULL) message->allocated = false;
    return message->payload ? 0 : -ENOBUFS;
}

int socket_message_move(const struct request *request, const struct socket_message *message, size_t size, enum socket_message_way way) {
    uint8_t *at = message->payload;
    for (size_t i = 0; size > 0 && i < (size_t)message->head.part_count; i++) {
        size_t length = message->parts[i].iov_len < size ? message->parts[i].iov_len : size;
        uint64_t address = (uint64_t)message->parts[i].iov_base;
        int error = way == TO_GUEST ? guest_write(request->tid, address, at, length) : guest_read(request->tid, address, at, length);
        if (error < 0) return error;
        at += length;
        size -= length;
    }
    return 0;
}

/* ---- reading a message ------------------------------------------------------------------------------------------------------- */

static void begin(struct socket_message *message, uint64_t at) {
    message->at = at;
    message->allocated = false;
    message->passed_count = 0;
    message->control_length = 0;
    message->name.held = message->name.mount = -1;
    message->name.length = message->name.source = 0;
}

static void end(struct socket_message *message) {
    if (message->allocated) free(message->payload);
    for (int i = 0; i < message->passed_count; i++) close(message->passed[i]);
    message->allocated = false;
    message->passed_count = 0;
    guest_close(&message->name.held);
}

static int read_parts(const struct request *request, struct socket_message *message) {
    if (message->head.part_count > PARTS_MAX) return -EMSGSIZE;
    size_t count = (size_t)message->head.part_count;
    if (guest_read(request->tid, message->head.parts, message->parts, count * sizeof *message->parts) < 0) return -EFAULT;
    message->total = 0;
    for (size_t i = 0; i < count; i++) {
        if (message->parts[i].iov_len > SSIZE_MAX) return -EINVAL;
        if (__builtin_add_overflow(message->total, message->parts[i].iov_len, &message->total)) return -EINVAL;
    }
    return 0;
}

static int read_head(const struct request *request, struct socket_message *message, uint64_t at) {
    begin(message, at);
    if (guest_read(request->tid, at, &message->head, sizeof message->head) < 0) return -EFAULT;
    if (message->head.name_length < 0) return -EINVAL;
    return read_parts(request, message);
}

void socket_message_plain(struct socket_message *message, uint64_t buffer, uint64_t size, uint64_t name, int32_t name_length) {
    begin(message, 0);
    memset(&message->head, 0, sizeof message->head);
    message->head.name = name;
    message->head.name_length = name_length;
    message->head.part_count = 1;
    message->total = size < PAYLOAD_MAX ? (size_t)size : PAYLOAD_MAX;
    message->parts[0] = (struct iovec){(void *)buffer, message->total};
}

/* ---- the calls --------------------------------------------------------------------------------------------------------------- */

static int hold_socket(const struct request *request, struct socket_message *message) {
    cleanup_close int fd = guest_borrow_fd(request->tid, request->fd);
    struct stat status;
    if (fd < 0) return fd;
    if (fcntl(fd, F_GETFL) & O_PATH) return -EBADF;
    if (fstat(fd, &status) < 0 || !S_ISSOCK(status.st_mode)) return -ENOTSOCK;
    message->denied = false;
    message->flags = (int)request->flags;
    if (message->flags & MSG_OOB && socket_message_is_local(fd)) return -EOPNOTSUPP; /* hardly anyone sends any, and it has let guests out */
    message->socket = take(&fd);
    message->inode = status.st_ino;
    return 0;
}

static int64_t single(struct request *request, struct socket_message *message, uint64_t at, socket_message_one *one) {
    int64_t did = read_head(request, message, at);
    if (did == 0) did = one(request, message);
    end(message);
    return did;
}

/* sendmmsg, recvmmsg: how many went; the error of one is told only where it is the first. */
static int64_t many(struct request *request, struct socket_message *message, socket_message_one *one) {
    uint64_t count = (uint32_t)request->size < PARTS_MAX ? (uint32_t)request->size : PARTS_MAX, done = 0;
    for (; done < count; done++) {
        if (request->paths > 0 && done > 0) break; /* one address for each record: the caller goes on from here, as where the kernel stops */
        uint64_t at = request->in + done * MANY_SIZE;
        int64_t did = single(request, message, at, one);
        uint32_t length = (uint32_t)did;
        if (did >= 0 && guest_write(request->tid, at + sizeof(struct guest_message), &length, sizeof length) < 0) did = -EFAULT;
        if (did < 0) return done ? (int64_t)done : did;
        if (message->flags & MSG_WAITFORONE) message->flags |= MSG_DONTWAIT;
    }
    return (int64_t)done;
}

struct answer socket_message_serve(struct request *request, socket_message_one *plain, socket_message_one *one) {
    struct socket_message message;
    int64_t did = hold_socket(request, &message);
    if (did < 0) return answer_error((int)-did);
    if (request->nr == SYS_sendmmsg) message.flags &= ~MSG_WAITFORONE;
    if (request->nr == SYS_sendmmsg || request->nr == SYS_recvmmsg) did = many(request, &message, one);
    else if (request->nr == SYS_sendmsg || request->nr == SYS_recvmsg) did = single(request, &message, request->in, one);
    else {
        did = plain(request, &message);
        end(&message);
    }
    close(message.socket);
    struct answer answer = answer_result(did);
    answer.denied = message.denied && did < 0;
    return answer;
}
