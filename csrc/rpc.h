/* rpc.h: messages to and from the Supervisor. Alone may touch the control socket. */
#ifndef SBX_RPC_H
#define SBX_RPC_H
#include <stdbool.h>
#include <stddef.h>
#include "core.h"

void rpc_setup(int socket);
/* 0 or -errno. */
int rpc_send(enum sbx_message_type type, uint64_t number, int64_t value, int64_t value2, const void *text, size_t length, int fd);
/* The next message: its text at most SBX_MESSAGE_MAX bytes; descriptors in fds (close-on-exec), *count how many. 1, 0 when the
 * Supervisor is gone, or -errno (-EAGAIN: nothing there). */
int rpc_receive(struct sbx_message *message, char *text, int fds[SBX_MESSAGE_FDS], int *count, int flags);
/* What a service said. `fd` is whoever asked's, -1 where there is none. */
struct rpc_answer { int64_t value; int fd; uint8_t text[32]; size_t length; };
/* Ask a service: sends SERVE and waits for its REPLY. `fd` (or -1) goes along. *id gets the request's number, for the audit
 * record. Any thread but the one that receives. 0, or -errno where nobody could be asked. */
int rpc_ask(enum sbx_serve service, int64_t handle, const void *text, size_t length, int fd, uint64_t *id, struct rpc_answer *answer);
/* The same for a file's content: a descriptor, or -errno. */
int rpc_serve(enum sbx_serve service, int64_t handle, const char *name, int fd, uint64_t *id);
/* The thread that receives hands REPLY messages here. Takes fd. */
void rpc_reply(uint64_t number, int64_t value, int fd, const void *text, size_t length);
#endif
