/* socket_name.h: addresses of sockets. Those of the network mean the guest's own namespace; those of AF_UNIX go between the guest's view and the kernel's. The kernel is given a path through
 * a descriptor of ours, and keeps that text as the socket's name; here is what the guest called it. */
#ifndef SBX_SOCKET_NAME_H
#define SBX_SOCKET_NAME_H
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "fs_place.h"

struct socket_name {
    union { struct sockaddr any; struct sockaddr_un path; struct sockaddr_in in; struct sockaddr_in6 in6; struct sockaddr_storage space; } address;
    socklen_t length;
    uint32_t source; /* IPv4 address, in network order, that a datagram is to come from; 0: the kernel's choice */
    int held;  /* descriptor that the text goes through */
    int mount; /* that decided, or -1 */
};
void socket_name_done(struct socket_name *name);
#define cleanup_name __attribute__((cleanup(socket_name_done)))

void socket_name_setup(bool own_network); /* before the sentry's own filter stands */
/* May an association be dissolved? A connection that the caller handed in would become a socket that can listen. */
bool socket_name_may_part(int socket);

/* Is it of a network namespace that is the guest's alone? */
bool socket_name_is_private(int socket);
/* Copy an address of the guest's; one of the network is noted for the record. 0 or -errno. */
int socket_name_read(struct request *request, uint64_t address, uint64_t length, struct socket_name *name);
/* Make it one that the kernel may be given, to reach from `socket` one that is there. 0 or -errno; *denied where we refuse. */
int socket_name_find(struct request *request, int socket, struct socket_name *name, bool *denied);
/* The same to bind `socket` to it. Does so. */
int socket_name_bind(struct request *request, int socket, struct socket_name *name, bool *denied);
/* What the kernel says becomes what the guest shall read: of a socket's own end, or of another. */
enum socket_end { SOCKET_OWN, SOCKET_PEER };
void socket_name_show(struct socket_name *name, enum socket_end end);
/* Write it with its length where the guest wants them: 0 or -EFAULT, -EINVAL; -ESRCH where the caller is gone. */
int socket_name_write(const struct request *request, const struct socket_name *name, uint64_t address, uint64_t length_at);
#endif
