#include "rpc.h"
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include "flight.h"

static int control = -1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t replied = PTHREAD_COND_INITIALIZER;
static uint64_t last_number;

/* Requests that wait; each stands on the stack of the thread that asked. */
struct waiting {
    struct waiting *next;
    uint64_t number;
    struct rpc_answer *answer;
    bool done;
};
static struct waiting *waiting;

void rpc_setup(int socket) { control = socket; }

int rpc_send(enum sbx_message_type type, uint64_t number, int64_t value, int64_t value2, const void *text, size_t length, int fd) {
    struct sbx_message message = {.type = type, .length = (uint32_t)length, .number = number, .value = value, .value2 = value2};
    if (sizeof message + length > SBX_MESSAGE_MAX) return -EMSGSIZE;
    struct iovec parts[2] = {{&message, sizeof message}, {(void *)text, length}};
    union { struct cmsghdr header; char space[CMSG_SPACE(sizeof(int))]; } rights;
    struct msghdr header = {.msg_iov = parts, .msg_iovlen = length ? 2 : 1};
    if (fd >= 0) {
        header.msg_control = &rights;
        header.msg_controllen = sizeof rights;
        struct cmsghdr *at = CMSG_FIRSTHDR(&header);
        *at = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(at), &fd, sizeof fd);
    }
    ssize_t sent;
    do sent = fd < 0 ? sendmsg(control, &header, MSG_NOSIGNAL) : flight_send_own(control, &header, MSG_NOSIGNAL); while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : 0;
}

int rpc_receive(struct sbx_message *message, char *text, int fds[SBX_MESSAGE_FDS], int *count, int flags) {
    struct iovec parts[2] = {{message, sizeof *message}, {text, SBX_MESSAGE_MAX - sizeof *message}};
    union { struct cmsghdr header; char space[CMSG_SPACE(sizeof(int) * SBX_MESSAGE_FDS)]; } rights;
    struct msghdr header = {.msg_iov = parts, .msg_iovlen = 2, .msg_control = &rights, .msg_controllen = sizeof rights};
    *count = 0;
    ssize_t got;
    do got = recvmsg(control, &header, MSG_CMSG_CLOEXEC | flags); while (got < 0 && errno == EINTR);
    if (got < 0) return -errno;
    for (struct cmsghdr *at = CMSG_FIRSTHDR(&header); at; at = CMSG_NXTHDR(&header, at)) {
        if (at->cmsg_level != SOL_SOCKET || at->cmsg_type != SCM_RIGHTS) continue;
        *count = (int)((at->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(fds, CMSG_DATA(at), (size_t)*count * sizeof(int));
    }
    if (got == 0) return 0;
    if (header.msg_flags & MSG_TRUNC) return -EPROTO;
    /* Our table of descriptors is full: a REPLY without its own is EIO for one call, anything else is no whole message. */
    if ((header.msg_flags & MSG_CTRUNC) && message->type != SBX_MSG_REPLY) return -EPROTO;
    if ((size_t)got < sizeof *message || (size_t)got != sizeof *message + message->length) return -EPROTO;
    return 1;
}

int rpc_ask(enum sbx_serve service, int64_t handle, const void *text, size_t length, int fd, uint64_t *id, struct rpc_answer *answer) {
    *answer = (struct rpc_answer){.fd = -1};
    struct waiting mine = {.answer = answer};
    pthread_mutex_lock(&lock);
    mine.number = *id = ++last_number;
    mine.next = waiting;
    waiting = &mine;
    pthread_mutex_unlock(&lock);
    int error = rpc_send(SBX_MSG_SERVE, mine.number, service, handle, text, length, fd);
    pthread_mutex_lock(&lock);
    while (!error && !mine.done) pthread_cond_wait(&replied, &lock);
    struct waiting **at = &waiting;
    while (*at != &mine) at = &(*at)->next;
    *at = mine.next;
    pthread_mutex_unlock(&lock);
    return error;
}

int rpc_serve(enum sbx_serve service, int64_t handle, const char *name, int fd, uint64_t *id) {
    struct rpc_answer answer;
    int error = rpc_ask(service, handle, name, strlen(name), fd, id, &answer);
    if (!error && answer.value < 0) error = (int)answer.value;
    if (error && answer.fd >= 0) close(answer.fd);
    if (error) return error;
    return answer.fd >= 0 ? answer.fd : -EIO;
}

void rpc_reply(uint64_t number, int64_t value, int fd, const void *text, size_t length) {
    pthread_mutex_lock(&lock);
    for (struct waiting *at = waiting; at; at = at->next) {
        if (at->number != number || at->done) continue;
        at->answer->value = value;
        at->answer->fd = fd;
        at->answer->length = length < sizeof at->answer->text ? length : sizeof at->answer->text;
        memcpy(at->answer->text, text, at->answer->length);
        fd = -1;
        at->done = true;
    }
    pthread_cond_broadcast(&replied);
    pthread_mutex_unlock(&lock);
    if (fd >= 0) close(fd);
}
