/* internet.h: TCP and UDP of a guest whose network is served. Its sockets are of the host's network, made by the Supervisor
 * and chosen an address by it; the guest's loopback is a slice of the host's (core.h). Data moves natively. */
#ifndef SBX_INTERNET_H
#define SBX_INTERNET_H
#include "socket_name.h"

bool internet_served(void);
bool internet_is(int socket); /* TCP or UDP, where they are served */
struct answer internet_socket(struct request *request);
/* 0 or -errno; *denied where we refuse. `connect` waits as the call would. */
int internet_bind(struct request *request, int socket, const struct socket_name *name, bool *denied);
int internet_connect(struct request *request, int socket, const struct socket_name *name, bool *denied);
int internet_listen(struct request *request, int socket, int backlog);
/* An option of SOL_SOCKET that would have its effect on the host: the Supervisor sets it, or not. */
int internet_option(struct request *request, int socket, int name, const void *value, size_t size);
/* The address to send to, in place of the guest's, and where it is to come from. */
int internet_destination(struct request *request, int socket, struct socket_name *name, bool *denied);
/* May the connection that was accepted from `peer` stand? Anybody of the host's can reach the slice and a published port; a filter on
 * the listener keeps others out only where the caller may put one on a TCP socket (CAP_NET_ADMIN, some kernels). */
bool internet_admits(struct request *request, int socket, const struct socket_name *peer);
bool internet_in_slice(const struct socket_name *name); /* or of another family than IPv4 and IPv6 */
/* Remembers what was asked where the kernel knows another address. */
void internet_note_bound(int socket, const struct socket_name *name);
/* A relay of the Supervisor's stands for another: of a socket's own end or its peer's, the name that the guest is to see, in place
 * of the kernel's. */
void internet_show_relayed(struct request *request, int socket, enum socket_end end, struct socket_name *name);
bool internet_is_relay(const struct socket_name *name);
/* The host's address becomes the guest's. The second: of a socket's own end or its peer's, where the other end tells more. */
void internet_show(struct socket_name *name, enum socket_end end);
void internet_show_end(int socket, enum socket_end end, struct socket_name *name);
#endif
