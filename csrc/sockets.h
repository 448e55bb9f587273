/* sockets.h: AF_UNIX sockets, and TCP and UDP where the guest has a loopback of its own. Made by the guest itself; bound,
 * connected and, where an address or descriptors go along, spoken through from here, on the guest's own descriptor. Other
 * families are refused.
 *
 * Not as on Linux: a peer sees the sentry's process id (never another user's) where the sentry made the call: SO_PEERCRED
 * after connect, SCM_CREDENTIALS of sendmsg and sendto with an address. */
#ifndef SBX_SOCKETS_H
#define SBX_SOCKETS_H
#include "answer.h"
void sockets_setup(bool own_network);
struct answer sockets_socket(struct request *);
struct answer sockets_bind(struct request *);
struct answer sockets_connect(struct request *);
struct answer sockets_listen(struct request *);
struct answer sockets_name(struct request *);   /* getsockname, getpeername */
struct answer sockets_accept(struct request *);
struct answer sockets_option(struct request *);
struct answer sockets_interface(struct request *); /* ioctl: an interface by name or number */
struct answer sockets_send(struct request *);   /* sendto, sendmsg, sendmmsg */
struct answer sockets_receive(struct request *); /* recvfrom, recvmsg, recvmmsg */
#endif
