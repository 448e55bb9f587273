/* interface.h: network interfaces of the guest. In a network namespace of its own it has `eth0` beside the loopback where its
 * network is served: an address of its own for programs that look for one, and no way anywhere. */
#ifndef SBX_INTERFACE_H
#define SBX_INTERFACE_H
#include "answer.h"

/* We are in a network namespace of the guest's own: make eth0 with this address (0: none). No guard, so what the kernel does not
 * have is left out; it is not made to load a module. Before privileges are given up. */
void interface_setup(uint32_t address);
bool interface_is_own(void); /* are the interfaces that the kernel tells of the guest's own? */
/* What ioctl asks of interfaces, and the answer where the kernel would tell of the host's. */
bool interface_asks(uint32_t number);
struct answer interface_answer(struct request *request);
#endif
