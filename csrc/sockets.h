/* sockets.h: AF_UNIX sockets, and TCP and UDP where the guest has a loopback of its own. Made by the guest itself; bound,
 * connected and, where an address or descriptors go along, spoken through from here, on the guest's own descriptor. Other
 * families are refused.
 *
 * Who connected or sent is told as on Linux where that is known (peers.h). Else, and to whoever is outside, it is the sentry's
 * process (never another user's): of datagrams, of an end by which several processes have sent. */
#ifndef SBX_SOCKETS_H
#define SBX_SOCKETS_H
#include "answer.h"
int sockets_setup(bool own_network);
struct answer sockets_socket(struct request *);
struct answer sockets_bind(struct request *);
struct answer sockets_connect(struct request *);
struct answer sockets_listen(struct request *);
struct answer sockets_name(struct request *);   /* getsockname, getpeername */
struct answer sockets_accept(struct request *);
struct answer sockets_option(struct request *); /* setsockopt, getsockopt */
struct answer sockets_interface(struct request *); /* ioctl: of interfaces */
struct answer sockets_send(struct request *);   /* sendto, sendmsg, sendmmsg */
struct answer sockets_receive(struct request *); /* recvfrom, recvmsg, recvmmsg */
#endif
