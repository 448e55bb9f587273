#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

/* Descriptors in messages that nobody has received yet. The kernel counts them by user, whatever process, namespace or guest they are
 * of, and refuses the next message (ETOOMANYREFS) of a process whose own soft RLIMIT_NOFILE is below the count. So all guests share the
 * count, and a guest that fills it must meet its end before a sentry does, and a sentry before the Supervisor: three limits, one below the
 * other. */

/* Set the limits of this process. What was cloned before keeps its own. */
void flight_setup(void);
/* SO_SNDTIMEO in nanoseconds; 0: none. */
uint64_t flight_patience(int socket);
/* sendmsg of descriptors that are the guest's. Like it returns -1 and errno; waits where the socket and `waits` do, EINTR. */
ssize_t flight_send_guests(int socket, const struct msghdr *header, int flags, bool waits);
/* sendmsg of one of ours, on a socket that waits. Where the count is past our limit, too, it waits; ENOMEM after long. */
ssize_t flight_send_own(int socket, const struct msghdr *header, int flags);
