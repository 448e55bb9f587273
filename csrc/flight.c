#include "flight.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/time.h>
#include "answer.h"

#define STEP_MIN 256     /* a message has 253 descriptors at most: the last one that is let through ends below the next limit */
#define LOOK_MS 50       /* room in a socket is not told to whoever polls it for as little as a message needs */
#define PAUSE_MS 2       /* by an address the socket is writable and the receiver full */
#define OWN_WAITS_MS 10000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct rlimit usual, raised;

void flight_setup(void) {
    getrlimit(RLIMIT_NOFILE, &raised);
    rlim_t least = raised.rlim_max / 4 < STEP_MIN ? raised.rlim_max / 4 : STEP_MIN;
    rlim_t step = raised.rlim_max / 16 < least ? least : raised.rlim_max / 16;
    raised.rlim_max -= step;
    raised.rlim_cur = raised.rlim_max;
    usual = (struct rlimit){raised.rlim_max - step, raised.rlim_max};
    setrlimit(RLIMIT_NOFILE, &usual);
}

uint64_t flight_patience(int socket) {
    struct timeval limit = {0};
    socklen_t size = sizeof limit;
    getsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &limit, &size);
    return (uint64_t)limit.tv_sec * 1000000000 + (uint64_t)limit.tv_usec * 1000;
}

/* INVARIANT in-flight: the kernel looks at the count before a message is queued and adds to it afterwards, and whoever waits for room in
 * between is not counted. So the guest's messages go one after the other, and none waits inside. */
ssize_t flight_send_guests(int socket, const struct msghdr *header, int flags, bool waits) {
    uint64_t most = flight_patience(socket), begun = answer_now();
    for (bool polled = false;;) {
        pthread_mutex_lock(&lock);
        ssize_t sent = sendmsg(socket, header, flags | MSG_DONTWAIT);
        int why = errno;
        pthread_mutex_unlock(&lock);
        errno = why;
        if (sent >= 0 || why != EAGAIN || !waits || (most && answer_now() - begun > most)) return sent;
        struct pollfd room = {.fd = polled ? -1 : socket, .events = POLLOUT};
        int got = poll(&room, 1, polled ? PAUSE_MS : LOOK_MS);
        if (got < 0) return -1;
        polled = got > 0;
    }
}

static ssize_t send_raised(int socket, const struct msghdr *header, int flags) {
    pthread_mutex_lock(&lock); /* no message of the guest's under this limit */
    setrlimit(RLIMIT_NOFILE, &raised);
    ssize_t sent = sendmsg(socket, header, flags);
    int why = errno;
    setrlimit(RLIMIT_NOFILE, &usual);
    pthread_mutex_unlock(&lock);
    errno = why;
    return sent;
}

ssize_t flight_send_own(int socket, const struct msghdr *header, int flags) {
    ssize_t sent = sendmsg(socket, header, flags);
    for (int waited = 0; sent < 0 && errno == ETOOMANYREFS; waited += LOOK_MS) {
        sent = send_raised(socket, header, flags);
        if (sent >= 0 || errno != ETOOMANYREFS) break;
        if (waited >= OWN_WAITS_MS) {
            errno = ENOMEM;
            break;
        }
        poll(NULL, 0, LOOK_MS);
        errno = ETOOMANYREFS;
    }
    return sent;
}
