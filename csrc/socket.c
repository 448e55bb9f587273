#include "socket.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

int socket_borrow(const struct request *request, struct stat *status) {
    cleanup_close int fd = guest_borrow_fd(request->tid, request->fd);
    if (fd < 0) return fd;
    if (fcntl(fd, F_GETFL) & O_PATH) return -EBADF;
    return fstat(fd, status) == 0 && S_ISSOCK(status->st_mode) ? take(&fd) : -ENOTSOCK;
}

int socket_option(int socket, int name, int unknown) {
    int value = unknown;
    socklen_t size = sizeof value;
    return getsockopt(socket, SOL_SOCKET, name, &value, &size) < 0 ? unknown : value;
}

int socket_family(int socket) { return socket_option(socket, SO_DOMAIN, AF_UNSPEC); }
bool socket_is_stream(int socket) { return socket_option(socket, SO_TYPE, 0) == SOCK_STREAM; }
bool socket_waits(int socket) { return !(fcntl(socket, F_GETFL) & O_NONBLOCK); }
