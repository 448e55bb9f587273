/* socket_control.h: control data of messages. Descriptors and who sends are the guest's on one side and ours on the other. */
#ifndef SBX_SOCKET_CONTROL_H
#define SBX_SOCKET_CONTROL_H
#include "socket_message.h"

/* Copy what the guest sends; its descriptors become ours. 0 or -errno. */
int socket_control_read(const struct request *request, struct socket_message *message);
/* A socket bound to every address would send to the guest's loopback from the host's. */
void socket_control_set_source(struct socket_message *message);
/* Who has sent what we sent, and the descriptors that have come, become the guest's. */
void socket_control_give(const struct request *request, struct socket_message *message, struct msghdr *header);
#endif
