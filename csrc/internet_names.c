/* Which addresses the guest sees for those that its sockets have on the host. */
#include <arpa/inet.h>
#include <pthread.h>
#include <string.h>
#include "internet.h"
#include "mounts.h"

#define SIX_LOOPBACK 2 /* host number in the slice that is the guest's ::1 */
#define RESOLVER 53    /* and the one that is its resolver */
#define INTERFACE 253  /* and the one of the guest's address beside the loopback */
#define RELAYS 254     /* and where the Supervisor's relays are */

static bool in_slice(uint32_t address) { return (address & 0xffffff00u) == mounts_plan()->slice; }

/* The IPv4 address of a name, 0 where it has none. */
static uint32_t address_of(const struct socket_name *name) {
    struct in_addr four = name->address.in.sin_addr;
    if (name->address.any.sa_family == AF_INET6) {
        if (!IN6_IS_ADDR_V4MAPPED(&name->address.in6.sin6_addr)) return 0;
        memcpy(&four, &name->address.in6.sin6_addr.s6_addr[12], sizeof four);
    }
    return ntohl(four.s_addr);
}

static void set_four(struct socket_name *name, uint32_t number) {
    struct in_addr four = {htonl(number)};
    if (name->address.any.sa_family == AF_INET) name->address.in.sin_addr = four;
    else memcpy(&name->address.in6.sin6_addr.s6_addr[12], &four, sizeof four); /* mapped */
}

/* ---- what sockets were bound to where the kernel knows another address: one of the slice, or the published one -------------- */

#define BOUND_MAX 1024 /* the oldest is forgotten, and shows what it was given */
static struct bound { uint64_t cookie; struct in6_addr address; } bound[BOUND_MAX];
static size_t bound_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static uint64_t cookie_of(int socket) {
    uint64_t cookie = 0;
    socklen_t size = sizeof cookie;
    return getsockopt(socket, SOL_SOCKET, SO_COOKIE, &cookie, &size) < 0 ? 0 : cookie;
}

static bool is_wildcard(const struct socket_name *name) {
    if (name->address.any.sa_family == AF_INET) return name->address.in.sin_addr.s_addr == INADDR_ANY;
    return IN6_IS_ADDR_UNSPECIFIED(&name->address.in6.sin6_addr);
}

/* As IPv6; IPv4 is mapped. */
static struct in6_addr as_six(const struct socket_name *name) {
    struct in6_addr mapped = {.s6_addr = {[10] = 0xff, [11] = 0xff}};
    if (name->address.any.sa_family == AF_INET6) return name->address.in6.sin6_addr;
    memcpy(&mapped.s6_addr[12], &name->address.in.sin_addr, 4);
    return mapped;
}

static bool is_published(const struct socket_name *name) {
    const struct sbx_plan *plan = mounts_plan();
    bool found = false;
    for (uint32_t i = 0; i < plan->publish_count; i++) found = found || ntohs(name->address.in.sin_port) == plan->publish[i].guest;
    return found; /* the port is at one place in both */
}

void internet_note_bound(int socket, const struct socket_name *name) {
    bool beside = mounts_plan()->address && address_of(name) == mounts_plan()->address;
    if (!is_wildcard(name) && !is_published(name) && !beside) return;
    pthread_mutex_lock(&lock);
    bound[bound_count++ % BOUND_MAX] = (struct bound){cookie_of(socket), as_six(name)};
    pthread_mutex_unlock(&lock);
}

static bool was_bound(int socket, struct in6_addr *address) {
    uint64_t cookie = cookie_of(socket);
    bool found = false;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < BOUND_MAX && i < bound_count && !found; i++) {
        found = cookie && bound[i].cookie == cookie;
        if (found) *address = bound[i].address;
    }
    pthread_mutex_unlock(&lock);
    return found;
}

bool internet_in_slice(const struct socket_name *name) {
    int family = name->address.any.sa_family;
    return (family != AF_INET && family != AF_INET6) || in_slice(address_of(name));
}

/* ---- addresses and ports ------------------------------------------------------------------------------------------------ */

static void show_port(in_port_t *port, uint32_t number) {
    if (number == RESOLVER && ntohs(*port) == mounts_plan()->resolver) *port = htons(53);
}

static void show_four(struct in_addr *address, in_port_t *port) {
    uint32_t number = ntohl(address->s_addr);
    if (!in_slice(number)) return;
    show_port(port, number & 0xff);
    bool beside = (number & 0xff) == INTERFACE;
    address->s_addr = htonl(beside ? mounts_plan()->address : INADDR_LOOPBACK - 1 + (number & 0xff)); /* 127.0.0.x */
}

static void show_six(struct sockaddr_in6 *name) {
    struct in_addr four;
    if (!IN6_IS_ADDR_V4MAPPED(&name->sin6_addr)) return;
    memcpy(&four, &name->sin6_addr.s6_addr[12], sizeof four);
    uint32_t number = ntohl(four.s_addr);
    if (in_slice(number) && (number & 0xff) == SIX_LOOPBACK) {
        name->sin6_addr = in6addr_loopback;
        return;
    }
    show_four(&four, &name->sin6_port);
    memcpy(&name->sin6_addr.s6_addr[12], &four, sizeof four);
}

static bool is_any(const uint8_t *address) {
    static const uint8_t mapped[16] = {[10] = 0xff, [11] = 0xff};
    return memcmp(address, mapped, 16) == 0 || memcmp(address, &in6addr_any, 16) == 0;
}

/* A published port is the guest's own again. At every address of the host: of an own end, or where it is a loopback. */
static void show_published(struct socket_name *name, enum socket_end end) {
    const struct sbx_plan *plan = mounts_plan();
    struct in6_addr address = as_six(name);
    bool six = name->address.any.sa_family == AF_INET6;
    in_port_t *port = six ? &name->address.in6.sin6_port : &name->address.in.sin_port;
    bool loopback = IN6_IS_ADDR_LOOPBACK(&address) || (IN6_IS_ADDR_V4MAPPED(&address) && address.s6_addr[12] == 127);
    for (uint32_t i = 0; i < plan->publish_count; i++) {
        const struct sbx_publish *rule = &plan->publish[i];
        bool here = memcmp(rule->address, &address, sizeof address) == 0 || (is_any(rule->address) && (end == SOCKET_OWN || loopback));
        if (!here || ntohs(*port) != rule->port) continue;
        *port = htons(rule->guest);
        return;
    }
}

static bool is_internet(const struct socket_name *name) {
    int family = name->address.any.sa_family;
    return (family == AF_INET && name->length >= sizeof name->address.in) || (family == AF_INET6 && name->length >= sizeof name->address.in6);
}

/* What is not of a loopback is of the host's interfaces where it is an own end: the guest has one address beside its loopback. */
static void show_interface(struct socket_name *name, enum socket_end end) {
    uint32_t number = address_of(name);
    if (end == SOCKET_OWN && mounts_plan()->address && number && number >> 24 != 127) set_four(name, mounts_plan()->address);
}

bool internet_is_relay(const struct socket_name *name) { return is_internet(name) && address_of(name) == mounts_plan()->slice + RELAYS; }

void internet_show(struct socket_name *name, enum socket_end end) {
    if (!internet_served()) return;
    if (is_internet(name)) show_published(name, end);
    if (is_internet(name)) show_interface(name, end);
    if (name->address.any.sa_family == AF_INET && name->length >= sizeof name->address.in) show_four(&name->address.in.sin_addr, &name->address.in.sin_port);
    if (name->address.any.sa_family == AF_INET6 && name->length >= sizeof name->address.in6) show_six(&name->address.in6);
}

/* Is the other end ::1, or at the interface? Then this one is, too, though it be a socket of every address at number 1. */
static void show_met(const struct socket_name *other, struct socket_name *name) {
    uint32_t there = is_internet(other) ? address_of(other) - mounts_plan()->slice : 0;
    bool six = name->address.any.sa_family == AF_INET6;
    if (there == SIX_LOOPBACK && six) name->address.in6.sin6_addr = in6addr_loopback;
    if (there == INTERFACE && address_of(name) == INADDR_LOOPBACK) set_four(name, mounts_plan()->address);
}

void internet_show_end(int socket, enum socket_end end, struct socket_name *name) {
    if (!internet_is(socket)) return;
    bool six = name->address.any.sa_family == AF_INET6;
    struct socket_name other = {.length = sizeof other.address};
    int got = end == SOCKET_PEER ? getsockname(socket, &other.address.any, &other.length) : getpeername(socket, &other.address.any, &other.length);
    if (got == 0) show_met(&other, name);
    struct in6_addr asked;
    if (got == 0 || !was_bound(socket, &asked)) return;
    if (six) name->address.in6.sin6_addr = asked;
    else memcpy(&name->address.in.sin_addr, &asked.s6_addr[12], sizeof name->address.in.sin_addr);
}
