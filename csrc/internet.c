#include "internet.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>
#include "loop.h"
#include "mounts.h"
#include "rpc.h"

#define SIX_LOOPBACK 2 /* host number in the slice that is the guest's ::1 */
#define RESOLVER 53    /* and the one that is its resolver */

bool internet_served(void) { return mounts_plan()->network == SBX_NETWORK_SERVED; }

bool internet_is(int socket) {
    int family = AF_UNSPEC;
    socklen_t size = sizeof family;
    return internet_served() && getsockopt(socket, SOL_SOCKET, SO_DOMAIN, &family, &size) == 0 && (family == AF_INET || family == AF_INET6);
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

/* ---- sockets that were bound to every address: the kernel knows one of the slice ------------------------------------------ */

#define WILDCARDS_MAX 1024 /* the oldest is forgotten, and shows what it was given */
static uint64_t wildcards[WILDCARDS_MAX];
static size_t wildcard_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static uint64_t cookie_of(int socket) {
    uint64_t cookie = 0;
    socklen_t size = sizeof cookie;
    return getsockopt(socket, SOL_SOCKET, SO_COOKIE, &cookie, &size) < 0 ? 0 : cookie;
}

static bool is_wildcard(const struct socket_name *name) {
    if (name->address.any.sa_family == AF_INET) return name->address.in.sin_addr.s_addr == INADDR_ANY;
    return IN6_IS_ADDR_UNSPECIFIED(&name->address.in6.sin6_addr);
}

static void note_wildcard(int socket) {
    pthread_mutex_lock(&lock);
    wildcards[wildcard_count++ % WILDCARDS_MAX] = cookie_of(socket);
    pthread_mutex_unlock(&lock);
}

static bool was_wildcard(int socket) {
    uint64_t cookie = cookie_of(socket);
    bool found = false;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < WILDCARDS_MAX && i < wildcard_count && !found; i++) found = cookie && wildcards[i] == cookie;
    pthread_mutex_unlock(&lock);
    return found;
}

/* ---- the calls -------------------------------------------------------------------------------------------------------------- */

struct answer internet_socket(struct request *request) {
    int flags = (int)request->value[1] & (SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct sbx_net question = {.op = SBX_NET_SOCKET, .family = (int)request->value[0], .type = (int)request->value[1] & ~SOCK_CLOEXEC,
                               .protocol = (int)request->value[2]};
    struct rpc_answer answer;
    bool denied = false;
    int64_t value = ask(request, &question, -1, &answer, &denied);
    if (value == 0 && answer.fd < 0) value = -EIO;
    if (value == 0) return answer_fd(answer.fd, flags & SOCK_CLOEXEC ? O_CLOEXEC : 0);
    guest_close(&answer.fd);
    return denied ? answer_denied(EACCES) : answer_error((int)-value);
}

int internet_bind(struct request *request, int socket, const struct socket_name *name, bool *denied) {
    struct rpc_answer answer;
    int value = (int)ask_about(request, SBX_NET_BIND, socket, name, &answer, denied);
    if (value == 0 && is_wildcard(name)) note_wildcard(socket);
    return value;
}

int internet_listen(struct request *request, int socket, int backlog) {
    struct sbx_net question = {.op = SBX_NET_LISTEN, .family = backlog};
    struct rpc_answer answer;
    bool denied;
    int64_t value = ask(request, &question, socket, &answer, &denied);
    guest_close(&answer.fd);
    return (int)value;
}

int internet_option(struct request *request, int socket, int name, const void *value, size_t size) {
    struct sbx_net question = {.op = SBX_NET_OPTION, .family = name, .length = (uint32_t)size};
    struct rpc_answer answer;
    bool denied;
    memcpy(question.address, value, size);
    int64_t did = ask(request, &question, socket, &answer, &denied);
    guest_close(&answer.fd);
    return (int)did;
}

/* How long a connect may wait: SO_SNDTIMEO in milliseconds, -1 for ever. */
static int patience(int socket) {
    struct timeval limit = {0};
    socklen_t size = sizeof limit;
    if (getsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &limit, &size) < 0 || (limit.tv_sec == 0 && limit.tv_usec == 0)) return -1;
    return limit.tv_sec > 1000000 ? -1 : (int)(limit.tv_sec * 1000 + (limit.tv_usec + 999) / 1000);
}

static int wait_connected(int socket) {
    struct pollfd polled = {.fd = socket, .events = POLLOUT};
    int error = 0, limit = patience(socket);
    socklen_t size = sizeof error;
    for (;;) {
        if (!loop_block_enter()) return -ENOMEM;
        int got = poll(&polled, 1, limit);
        bool interrupted = loop_block_leave();
        if (got == 0) return -EINPROGRESS;
        if (got > 0) break;
        if (interrupted) return -ERESTARTSYS;
    }
    return getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &size) < 0 ? -errno : -error;
}

int internet_connect(struct request *request, int socket, const struct socket_name *name, bool *denied) {
    struct rpc_answer answer;
    int value = (int)ask_about(request, SBX_NET_CONNECT, socket, name, &answer, denied);
    bool waits = value == -EINPROGRESS || value == -EALREADY;
    return waits && !(fcntl(socket, F_GETFL) & O_NONBLOCK) ? wait_connected(socket) : value;
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

/* ---- what the guest sees ------------------------------------------------------------------------------------------------- */

static bool in_slice(uint32_t address) { return (address & 0xffffff00u) == mounts_plan()->slice; }

bool internet_admits(const struct socket_name *peer) {
    struct in_addr four = peer->address.in.sin_addr;
    int family = peer->address.any.sa_family;
    if (!internet_served() || (family != AF_INET && family != AF_INET6)) return true;
    if (family == AF_INET6 && !IN6_IS_ADDR_V4MAPPED(&peer->address.in6.sin6_addr)) return false;
    if (family == AF_INET6) memcpy(&four, &peer->address.in6.sin6_addr.s6_addr[12], sizeof four);
    return in_slice(ntohl(four.s_addr));
}

static void show_port(in_port_t *port, uint32_t number) {
    if (number == RESOLVER && ntohs(*port) == mounts_plan()->resolver) *port = htons(53);
}

static void show_four(struct in_addr *address, in_port_t *port) {
    uint32_t number = ntohl(address->s_addr);
    if (!in_slice(number)) return;
    show_port(port, number & 0xff);
    address->s_addr = htonl(INADDR_LOOPBACK - 1 + (number & 0xff)); /* 127.0.0.x */
}

static void show_six(struct sockaddr_in6 *name) {
    struct in_addr four;
    if (!IN6_IS_ADDR_V4MAPPED(&name->sin6_addr)) return;
    memcpy(&four, &name->sin6_addr.s6_addr[12], sizeof four);
    uint32_t number = ntohl(four.s_addr);
    if (in_slice(number) && (number & 0xff) == SIX_LOOPBACK) {
        name->sin6_addr = in6addr_loopback;
        return;
    }
    show_four(&four, &name->sin6_port);
    memcpy(&name->sin6_addr.s6_addr[12], &four, sizeof four);
}

void internet_show(struct socket_name *name) {
    if (!internet_served()) return;
    if (name->address.any.sa_family == AF_INET && name->length >= sizeof name->address.in) show_four(&name->address.in.sin_addr, &name->address.in.sin_port);
    if (name->address.any.sa_family == AF_INET6 && name->length >= sizeof name->address.in6) show_six(&name->address.in6);
}

/* Is the other end ::1? Then this one is, too, though it be a socket of both families at number 1. */
static bool meets_six(const struct sockaddr_in6 *other) {
    struct in_addr four;
    if (other->sin6_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&other->sin6_addr)) return false;
    memcpy(&four, &other->sin6_addr.s6_addr[12], sizeof four);
    return ntohl(four.s_addr) == mounts_plan()->slice + SIX_LOOPBACK;
}

void internet_show_end(int socket, bool peer, struct socket_name *name) {
    if (!internet_is(socket)) return;
    bool six = name->address.any.sa_family == AF_INET6;
    struct sockaddr_in6 other = {0};
    socklen_t size = sizeof other;
    int got = peer ? getsockname(socket, (struct sockaddr *)&other, &size) : getpeername(socket, (struct sockaddr *)&other, &size);
    if (got == 0 && six && meets_six(&other)) name->address.in6.sin6_addr = in6addr_loopback;
    if (got == 0 || !was_wildcard(socket)) return;
    if (six) name->address.in6.sin6_addr = in6addr_any;
    else name->address.in.sin_addr.s_addr = INADDR_ANY;
}
