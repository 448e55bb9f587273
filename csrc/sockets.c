#include "sockets.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "abstract.h"
#include "interface.h"
#include "internet.h"
#include "loop.h"
#include "mounts.h"
#include "peers.h"
#include "socket.h"
#include "socket_name.h"

int sockets_setup(bool own_network) {
    socket_name_setup(own_network);
    if (!own_network) return abstract_setup();
    peers_setup();
    return 0;
}

/* What does not pass straight: families but AF_UNIX, and where there is a loopback whatever is not TCP or UDP. */
struct answer sockets_socket(struct request *request) {
    int family = (int)request->value[0], type = (int)request->value[1] & 15; /* SOCK_TYPE_MASK */
    bool internet = family == AF_INET || family == AF_INET6;
    if (!internet || !mounts_plan()->network) return answer_denied(EAFNOSUPPORT);
    int protocol = (int)request->value[2];
    bool known = (type == SOCK_STREAM && (protocol == 0 || protocol == IPPROTO_TCP)) || (type == SOCK_DGRAM && (protocol == 0 || protocol == IPPROTO_UDP));
    if (known && request->nr == SYS_socketpair) return answer_error(EOPNOTSUPP);
    if (known && internet_served()) return internet_socket(request);
    if (type == SOCK_RAW) return answer_denied(EPERM);
    return answer_denied(type == SOCK_STREAM || type == SOCK_DGRAM ? EPROTONOSUPPORT : ESOCKTNOSUPPORT);
}

static int borrow_socket(const struct request *request) {
    struct stat status;
    return socket_borrow(request, &status);
}

/* Of what getsockopt tells all passes straight but this, and names that there are not. */
static struct answer peer_of(struct request *request, int socket, int level, int name) {
    struct ucred who;
    socklen_t size = sizeof who;
    int room;
    if (level != SOL_SOCKET || name != SO_PEERCRED) return answer_error(ENOPROTOOPT);
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0) return answer_error(errno);
    pid_t known = who.pid == getpid() ? peers_connector(socket) : peers_is_outside(who.pid) ? peers_listener(socket) : 0;
    if (known) who.pid = known;
    if (guest_read(request->tid, request->value[2], &room, sizeof room) < 0) return answer_error(EFAULT);
    if (room < 0) return answer_error(EINVAL);
    if (room > (int)size) room = (int)size;
    if (guest_write(request->tid, request->out, &who, (size_t)room) < 0) return answer_error(EFAULT);
    return answer_result(guest_write(request->tid, request->value[2], &room, sizeof room));
}

/* What does not pass straight: everything that is not on the list, SO_LINGER, and where sockets are of the host's network a few more. */
struct answer sockets_option(struct request *request) {
    int level = (int)request->value[0], name = (int)request->value[1];
    bool served = name == SO_LINGER || (internet_served() && (name == SO_SNDTIMEO || name == SO_REUSEADDR || name == SO_REUSEPORT));
    uint8_t value[sizeof(struct timeval)] = {0};
    bool asks = request->nr == SYS_getsockopt;
    if (!asks && (level != SOL_SOCKET || !served)) return answer_denied(ENOPROTOOPT);
    cleanup_close int socket = borrow_socket(request);
    if (socket < 0) return answer_error(-socket);
    if (asks) return peer_of(request, socket, level, name);
    size_t size = request->size < sizeof value ? (size_t)request->size : sizeof value;
    if (size < sizeof(int)) return answer_error(EINVAL);
    if (guest_read(request->tid, request->in, value, size) < 0) return answer_error(EFAULT);
    return answer_result(internet_option(request, socket, name, value, size));
}

/* Asked on a socket of the host's network the kernel would tell of its interfaces. */
struct answer sockets_interface(struct request *request) {
    if (!internet_served()) return answer_denied(ENOTTY);
    cleanup_close int socket = borrow_socket(request);
    if (socket < 0) return answer_error(socket == -ENOTSOCK ? ENOTTY : -socket);
    return interface_answer(request);
}

static struct answer named(const struct socket_name *name, int64_t result, bool denied) {
    struct answer answer = place_answer(name->mount, result);
    answer.denied = answer.denied || (denied && result < 0);
    return answer;
}

struct answer sockets_bind(struct request *request) {
    cleanup_close int socket = borrow_socket(request);
    if (socket < 0) return answer_error(-socket);
    struct socket_name name cleanup_name;
    bool denied = false;
    int error = socket_name_read(request, request->in, request->size, &name);
    if (error == 0) error = internet_is(socket) ? internet_bind(request, socket, &name, &denied) : socket_name_bind(request, socket, &name, &denied);
    return named(&name, error, denied);
}

struct answer sockets_connect(struct request *request) {
    cleanup_close int socket = borrow_socket(request);
    if (socket < 0) return answer_error(-socket);
    struct socket_name name cleanup_name;
    bool denied = false;
    int error = socket_name_read(request, request->in, request->size, &name);
    bool apart = error == 0 && name.length >= sizeof(sa_family_t) && name.address.any.sa_family == AF_UNSPEC; /* dissolves an association */
    bool served = error == 0 && !apart && internet_is(socket);
    if (apart && !socket_name_may_part(socket)) return answer_denied(EINVAL);
    if (served) error = internet_connect(request, socket, &name, &denied);
    else if (error == 0 && !apart) error = socket_name_find(request, socket, &name, &denied);
    if (error < 0 || served) return named(&name, error, denied);
    bool waits = socket_waits(socket);
    pid_t before = peers_connects(socket, guest_leader(request->tid));
    for (;;) { /* a full backlog makes it wait */
        error = waits && !loop_block_enter(0) ? -ENOMEM : 0;
        if (error < 0) break;
        error = connect(socket, &name.address.any, name.length) < 0 ? -errno : 0;
        bool interrupted = waits && loop_block_leave();
        if (error != -EINTR || !waits) break;
        if (interrupted) error = -ERESTARTSYS;
        if (interrupted) break;
    }
    if (error < 0) peers_connects(socket, before);
    return named(&name, error, denied);
}

/* Of a local socket, too: a sentry must not be able to, or a socket of the host's network would choose an address there. */
struct answer sockets_listen(struct request *request) {
    cleanup_close int socket = borrow_socket(request);
    if (socket < 0) return answer_error(-socket);
    peers_listens(socket, guest_leader(request->tid));
    return answer_result(internet_listen(request, socket, (int)request->value[0]));
}

struct answer sockets_name(struct request *request) {
    cleanup_close int socket = borrow_socket(request);
    if (socket < 0) return answer_error(-socket);
    struct socket_name name = {.length = sizeof name.address, .held = -1, .mount = -1};
    int did = request->nr == SYS_getsockname ? getsockname(socket, &name.address.any, &name.length) : getpeername(socket, &name.address.any, &name.length);
    if (did < 0) return answer_error(errno);
    enum socket_end end = request->nr == SYS_getsockname ? SOCKET_OWN : SOCKET_PEER;
    internet_show_relayed(request, socket, end, &name);
    socket_name_show(&name, end);
    internet_show_end(socket, end, &name);
    return answer_result(socket_name_write(request, &name, request->out, request->value[0]));
}

struct answer sockets_accept(struct request *request) {
    unsigned flags = request->flags;
    if (flags & ~(unsigned)(SOCK_CLOEXEC | SOCK_NONBLOCK)) return answer_error(EINVAL);
    cleanup_close int socket = borrow_socket(request);
    if (socket < 0) return answer_error(-socket);
    struct socket_name name = {.held = -1, .mount = -1};
    bool waits = socket_waits(socket);
    cleanup_close int fd = -1;
    for (;;) {
        name.length = sizeof name.address;
        if (waits && !loop_block_enter(0)) return answer_error(ENOMEM);
        fd = accept4(socket, &name.address.any, &name.length, (int)(flags | SOCK_CLOEXEC));
        int why = errno;
        bool interrupted = waits && loop_block_leave(), stranger = fd >= 0 && !(internet_admits(request, fd, &name) && abstract_admits(fd));
        if (fd >= 0 && !stranger) break;
        guest_close(&fd);
        if (stranger) continue;
        if (why != EINTR || !waits) return answer_error(why);
        if (interrupted) return answer_error(ERESTARTSYS);
    }
    internet_show_relayed(request, fd, SOCKET_PEER, &name);
    socket_name_show(&name, SOCKET_PEER);
    int error = request->out ? socket_name_write(request, &name, request->out, request->value[0]) : 0;
    if (error < 0) return answer_error(-error);
    return answer_fd(take(&fd), flags & SOCK_CLOEXEC ? O_CLOEXEC : 0);
}
