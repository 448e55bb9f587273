#include "socket_message.h"
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "borrow.h"
#include "socket.h"
#include "socket_time.h"

#define MANY_SIZE 64 /* sizeof(struct mmsghdr) */
#define ADDRESS_MAX (1ull << 56)

bool socket_message_waits(const struct socket_message *message) { return !(message->flags & MSG_DONTWAIT) && socket_waits(message->socket); }

/* ---- payload ----------------------------------------------------------------------------------------------------------------- */

static _Atomic size_t held; /* by all messages */

/* INVARIANT waits-light: what our calls hold of messages, while they wait above all, has one bound for the whole guest, and is counted before it
 * is taken. */
int socket_message_hold(struct socket_message *message, size_t size) {
    if (size <= message->held || size <= WAITS_WITH) return 0;
    size_t more = size - message->held;
    if (atomic_fetch_add(&held, more) > HELD_MAX - more) {
        atomic_fetch_sub(&held, more);
        return -ENOBUFS;
    }
    message->held = size;
    return 0;
}

void socket_message_release(struct socket_message *message) {
    if (message->mapped) munmap(message->payload, message->mapped);
    atomic_fetch_sub(&held, message->held);
    message->mapped = message->held = 0;
}

/* Large ones are mapped, not allocated: an allocator keeps what it is given back. */
int socket_message_room(struct request *request, struct socket_message *message, size_t size) {
    socket_message_release(message);
    message->payload = request->buffer;
    if (size <= sizeof request->buffer) return 0;
    int error = socket_message_hold(message, size);
    if (error < 0) return error;
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) return -ENOBUFS;
    message->payload = at;
    message->mapped = size;
    return 0;
}

int socket_message_move(const struct request *request, const struct socket_message *message, size_t done, size_t size, enum socket_message_way way) {
    uint8_t *at = message->payload;
    for (size_t i = 0; size > 0 && i < (size_t)message->head.part_count; i++) {
        size_t skipped = done < message->parts[i].iov_len ? done : message->parts[i].iov_len;
        size_t length = message->parts[i].iov_len - skipped;
        done -= skipped;
        if (length > size) length = size;
        uint64_t address = (uint64_t)message->parts[i].iov_base + skipped;
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
    message->mapped = message->held = 0;
    message->passed_count = 0;
    message->control_length = 0;
    message->name.held = message->name.mount = -1;
    message->name.length = message->name.source = 0;
}

static void end(struct socket_message *message) {
    socket_message_release(message);
    for (int i = 0; i < message->passed_count; i++) close(message->passed[i]);
    message->passed_count = 0;
    guest_close(&message->name.held);
}

/* As Linux looks at them: what is more than BYTES_MAX is left out. */
int socket_message_parts(const struct request *request, struct socket_message *message) {
    if (message->head.part_count > PARTS_MAX) return -EMSGSIZE;
    size_t count = (size_t)message->head.part_count;
    struct iovec *parts = message->parts;
    if (guest_read(request->tid, message->head.parts, parts, count * sizeof *parts) < 0) return -EFAULT;
    for (size_t i = 0; i < count; i++)
        if (parts[i].iov_len > SSIZE_MAX) return -EINVAL;
    message->total = 0;
    for (size_t i = 0; i < count; i++) {
        if (count > 1 && ((uint64_t)parts[i].iov_base > ADDRESS_MAX || parts[i].iov_len > ADDRESS_MAX)) return -EFAULT;
        if (parts[i].iov_len > BYTES_MAX - message->total) parts[i].iov_len = BYTES_MAX - message->total;
        message->total += parts[i].iov_len;
    }
    return 0;
}

static int read_head(const struct request *request, struct socket_message *message, uint64_t at) {
    begin(message, at);
    if (guest_read(request->tid, at, &message->head, sizeof message->head) < 0) return -EFAULT;
    if (message->head.name == 0) message->head.name_length = 0;
    if (message->head.name_length < 0) return -EINVAL;
    if (message->head.name_length > (int)sizeof message->name.address.space) message->head.name_length = (int)sizeof message->name.address.space;
    return 0;
}

void socket_message_plain(struct socket_message *message, uint64_t buffer, uint64_t size, uint64_t name, int32_t name_length) {
    begin(message, 0);
    memset(&message->head, 0, sizeof message->head);
    message->head.name = name;
    message->head.name_length = name_length;
    message->head.part_count = 1;
    message->total = size < BYTES_MAX ? (size_t)size : BYTES_MAX;
    message->parts[0] = (struct iovec){(void *)buffer, message->total};
}

/* ---- the calls --------------------------------------------------------------------------------------------------------------- */

static int hold_socket(const struct request *request, struct socket_message *message) {
    struct stat status;
    cleanup_close int fd = socket_borrow(request, &status);
    if (fd < 0) return fd;
    message->denied = false;
    message->flags = (int)request->flags;
    int family = message->flags & MSG_OOB ? socket_family(fd) : AF_INET;
    if (family != AF_INET && family != AF_INET6) return -EOPNOTSUPP; /* of AF_UNIX: hardly anyone sends any, and it has let guests out */
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
static int64_t many(struct request *request, struct socket_message *message, socket_message_one *one, struct socket_time *time) {
    uint64_t count = (uint32_t)request->size < PARTS_MAX ? (uint32_t)request->size : PARTS_MAX, done = 0;
    while (done < count) {
        if (request->paths > 0 && done > 0) break; /* one address for each record: the caller goes on from here, as where the kernel stops */
        uint64_t at = request->in + done * MANY_SIZE;
        int64_t did = single(request, message, at, one);
        uint32_t length = (uint32_t)did;
        if (did >= 0 && !borrow_caller_is_there(request)) return -ESRCH; /* INVARIANT still-there: a message may have waited long */
        if (did >= 0 && guest_write(request->tid, at + sizeof(struct guest_message), &length, sizeof length) < 0) did = -EFAULT;
        if (did < 0 && done == 0) return did;
        if (did < 0) break;
        done++;
        if (request->nr == SYS_sendmmsg && (size_t)did < message->total) break; /* no other goes behind a part of one */
        if (message->flags & MSG_WAITFORONE) message->flags |= MSG_DONTWAIT;
        if (socket_time_is_over(time)) break;
    }
    if (!borrow_caller_is_there(request)) return -ESRCH;
    int error = done > 0 ? socket_time_tell(request, time) : 0;
    return error < 0 ? error : (int64_t)done;
}

struct answer socket_message_serve(struct request *request, socket_message_one *plain, socket_message_one *one) {
    struct socket_message message;
    struct socket_time time;
    int64_t did = socket_time_read(request, &time);
    if (did == 0) did = hold_socket(request, &message);
    if (did < 0) return answer_error((int)-did);
    if (request->nr == SYS_sendmmsg) message.flags &= ~MSG_WAITFORONE;
    if (request->nr == SYS_sendmmsg || request->nr == SYS_recvmmsg) did = many(request, &message, one, &time);
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
