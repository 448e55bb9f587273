/* peers.h: which process of the guest is at the other end of a local socket, where the sentry made the connect, or sent the
 * message, and the kernel therefore names the sentry. Remembered by the inode of the end that it did so on; the kernel is asked
 * which end a socket's other one is. That is asked in the guest's own network namespace only: where there is none, in
 * that of all, nobody is known. */
#ifndef SBX_PEERS_H
#define SBX_PEERS_H
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

bool peers_is_outside(pid_t pid); /* of no process of the guest's pid namespace, or our parent's */
void peers_setup(void); /* in a network namespace of the guest's own, before the sentry's own filter stands */
/* A process connects the socket: before it does, so that whoever accepts it knows. Returns who was said to before, to be said
 * again where it fails. */
pid_t peers_connects(int socket, pid_t process);
/* A thread sends by the socket with this inode, and a process listens at the name of one (which the Supervisor lets it). */
void peers_sends(uint64_t inode, pid_t tid);
void peers_listens(int socket, pid_t process);
/* The process that has connected the other end; that listened where this one was connected to; that has sent by the other, if only
 * one has. 0: not known. */
pid_t peers_connector(int socket);
pid_t peers_listener(int socket);
pid_t peers_sender(int socket);
#endif
