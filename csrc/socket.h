/* socket.h: a socket of the guest's in our hands, and what kind it is. */
#ifndef SBX_SOCKET_H
#define SBX_SOCKET_H
#include <sys/stat.h>
#include "decode.h"

/* A descriptor of ours for the socket that the call is about, and what fstat tells of it. -errno: none. */
int socket_borrow(const struct request *request, struct stat *status);
int socket_option(int socket, int name, int unknown); /* of SOL_SOCKET: an int */
int socket_family(int socket);     /* AF_UNSPEC where the kernel does not tell: nobody is to allow anything for that */
bool socket_is_stream(int socket); /* false where it does not tell */
bool socket_waits(int socket);     /* no O_NONBLOCK */
#endif
