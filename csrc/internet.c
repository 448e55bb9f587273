#include "internet.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>
#include "loop.h"
#include "mounts.h"
#include "rpc.h"
#include "socket.h"

#define HELD_LOOKS 50 /* a millisecond each */

bool internet_served(void) { return mounts_plan()->network == SBX_NETWORK_SERVED; }

bool internet_is(int socket) {
    int family = internet_served() ? socket_family(socket) : AF_UNSPEC;
    return family == AF_INET || family == AF_INET6;
}

static int64_t ask(struct request *request, const struct sbx_net *question, int socket, struct rpc_answer *answer, bool *denied) {
    loop_leave();
    int error = rpc_ask(SBX_SERVE_NET, 0, question, sizeof *question, socket, &request->service, answer);
    *denied = !error && answer->value == -EACCES;
    return error ? error : answer->value > 0 ? -EIO : answer->value;
}

/* A question about an address, whose answer has no descriptor. */
static int64_t ask_about(struct request *request, enum sbx_net_op op, int socket, const struct socket_name *name, struct rpc_answer *answer, bool *denied) {
    struct sbx_net question = {.op = op, .length = name->length < sizeof question.address ? name->length : sizeof question.address};
    memcpy(question.address, &name->address, question.length); /* what is longer is padding, to the kernel, too */
    int64_t value = ask(request, &question, socket, answer, denied);
    guest_close(&answer->fd);
    return value;
}

/* The same without one. */
static int ask_plainly(struct request *request, const struct sbx_net *question, int socket) {
    struct rpc_answer answer;
    bool denied;
    int64_t value = ask(request, question, socket, &answer, &denied);
    guest_close(&answer.fd);
    return (int)value;
}

/* ---- the calls -------------------------------------------------------------------------------------------------------------- */

struct answer internet_socket(struct request *request) {
    int flags = (int)request->value[1] & (SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct sbx_net question = {.op = SBX_NET_SOCKET, .family = (int)request->value[0], .type = (int)request->value[1] & ~SOCK_CLOEXEC,
                               .protocol = (int)request->value[2]};
    struct rpc_answer answer;
    bool denied = false, gave = true;
    int64_t value = -EMFILE;
    /* As many as may be are held: or one of them is a copy only, that another thread of ours has not closed yet. */
    for (int looks = 0; value == -EMFILE && gave && looks < HELD_LOOKS; looks++) {
        if (looks) poll(NULL, 0, 1);
        gave = answer_gives();
        value = ask(request, &question, -1, &answer, &denied);
    }
    if (value == 0 && answer.fd < 0) value = -EIO;
    if (value == 0) return answer_fd(answer.fd, flags & SOCK_CLOEXEC ? O_CLOEXEC : 0);
    guest_close(&answer.fd);
    return denied ? answer_denied(EACCES) : answer_error((int)-value);
}

int internet_bind(struct request *request, int socket, const struct socket_name *name, bool *denied) {
    struct rpc_answer answer;
    int value = (int)ask_about(request, SBX_NET_BIND, socket, name, &answer, denied);
    if (value == 0) internet_note_bound(socket, name);
    return value;
}

int internet_listen(struct request *request, int socket, int backlog) {
    return ask_plainly(request, &(struct sbx_net){.op = SBX_NET_LISTEN, .family = backlog}, socket);
}

int internet_option(struct request *request, int socket, int name, const void *value, size_t size) {
    struct sbx_net question = {.op = SBX_NET_OPTION, .family = name, .length = (uint32_t)size};
    memcpy(question.address, value, size);
    return ask_plainly(request, &question, socket);
}

/* How long a connect may wait: SO_SNDTIMEO in milliseconds, -1 for ever. */
static int patience(int socket) {
    struct timeval limit = {0};
    socklen_t size = sizeof limit;
    if (getsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &limit, &size) < 0 || (limit.tv_sec == 0 && limit.tv_usec == 0)) return -1;
    return limit.tv_sec > 1000000 ? -1 : (int)(limit.tv_sec * 1000 + (limit.tv_usec + 999) / 1000);
}

/* The error of a connect that is over. EAGAIN: look again. */
static int settled(int socket) {
    int error = 0;
    socklen_t size = sizeof error;
    struct sockaddr_storage peer;
    socklen_t room = sizeof peer;
    if (getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &size) < 0) return -errno;
    return error == 0 && getpeername(socket, (struct sockaddr *)&peer, &room) < 0 ? -EAGAIN : -error;
}

/* A connect that waits is over, to the kernel, when it has failed. This one was begun without waiting: so that the next is not told
 * once more (ECONNABORTED), what is left of it is dissolved. */
static int over(int socket, int error) {
    uint8_t state = TCP_ESTABLISHED;
    socklen_t size = sizeof state;
    if (error < 0 && getsockopt(socket, IPPROTO_TCP, TCP_INFO, &state, &size) == 0 && state == TCP_CLOSE)
        connect(socket, &(struct sockaddr){.sa_family = AF_UNSPEC}, sizeof(struct sockaddr));
    return error;
}

/* A relay's failure takes a socket back and makes it fail anew (services/_relay.py): in between it was reset, or has no error yet and is
 * not connected. A target that nobody relays may itself reset what it has accepted. */
static int wait_connected(int socket, bool relayed) {
    struct pollfd polled = {.fd = socket, .events = POLLOUT};
    int limit = patience(socket);
    bool taken_back = false;
    for (int looks = 0;; looks++) {
        if (!loop_block_enter(0)) return -ENOMEM;
        if (taken_back) poll(NULL, 0, 1);
        int got = poll(&polled, 1, limit);
        bool interrupted = loop_block_leave();
        if (got == 0) return -EINPROGRESS;
        if (got < 0 && interrupted) return -ERESTARTSYS;
        int error = got > 0 ? settled(socket) : -EAGAIN;
        taken_back = taken_back || (relayed && error == -ECONNRESET);
        if (error != -EAGAIN && !(relayed && error == -ECONNRESET)) return over(socket, error);
        if (got > 0 && looks > 8 && polled.revents & POLLHUP) return taken_back ? over(socket, -ECONNREFUSED) : -ECONNABORTED; /* the guest itself has dissolved it */
    }
}

int internet_connect(struct request *request, int socket, const struct socket_name *name, bool *denied) {
    struct rpc_answer answer;
    int value = (int)ask_about(request, SBX_NET_CONNECT, socket, name, &answer, denied);
    bool waits = value == -EINPROGRESS || value == -EALREADY;
    return waits && !(fcntl(socket, F_GETFL) & O_NONBLOCK) ? wait_connected(socket, answer.length > 0) : value;
}

int internet_destination(struct request *request, int socket, struct socket_name *name, bool *denied) {
    struct rpc_answer answer;
    int value = (int)ask_about(request, SBX_NET_SEND, socket, name, &answer, denied);
    if (value < 0) return value;
    socklen_t length = name->address.any.sa_family == AF_INET ? sizeof name->address.in : sizeof name->address.in6;
    bool sourced = answer.length == length + sizeof name->source;
    if (answer.length != length && !sourced) return -EIO;
    memcpy(&name->address, answer.text, length);
    if (sourced) memcpy(&name->source, answer.text + length, sizeof name->source);
    name->length = length;
    return 0;
}

bool internet_admits(struct request *request, int socket, const struct socket_name *peer) {
    if (!internet_served() || internet_in_slice(peer)) return true;
    return ask_plainly(request, &(struct sbx_net){.op = SBX_NET_ADMIT}, socket) == 0;
}

void internet_show_relayed(struct request *request, int socket, enum socket_end end, struct socket_name *name) {
    if (!internet_served()) return;
    struct socket_name peer = {.length = sizeof peer.address};
    if (end == SOCKET_PEER) peer = *name;
    else if (getpeername(socket, &peer.address.any, &peer.length) < 0) return;
    if (!internet_is_relay(&peer)) return;
    struct sbx_net question = {.op = SBX_NET_NAME, .family = end == SOCKET_OWN, .length = peer.length};
    struct rpc_answer answer;
    bool denied;
    memcpy(question.address, &peer.address, question.length);
    int64_t value = ask(request, &question, socket, &answer, &denied);
    guest_close(&answer.fd);
    if (value != 0 || answer.length != peer.length) return;
    memcpy(&name->address, answer.text, answer.length);
    name->length = (socklen_t)answer.length;
}
