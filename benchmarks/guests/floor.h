/* floor.h: the floor of the network (floor_network.c) beside that of files (floor.c). */
#ifndef BENCHMARK_FLOOR_H
#define BENCHMARK_FLOOR_H
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <sys/types.h>

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define EQUAL(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, yes, no)
void fail(const char *what);
/* A byte that brings a descriptor. */
void pass(int socket, int *fd, bool give);

/* Calls that take an address, served here; with `asks` also those that make TCP and UDP sockets, accept and set options, and
 * each but accept asks another process, which does it with the guest's socket. */
struct sock_fprog network_filter(bool asks);
void network_begin(bool asks); /* before the guest is started */
void network_serve(int listener, const struct seccomp_notif *call);
#endif
