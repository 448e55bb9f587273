/* Argument rules: under which arguments a call passes a filter. A rule may only widen what its row allows, so what is
 * forgotten here is served or refused, never passed. INVARIANT int-is-32-bits: an int argument is compared by its low
 * half, because the kernel reads only that and some callers (musl) leave sign bits above it. */
#include "syscalls.h"
#include <asm/termbits.h>
#include <linux/fcntl.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ioprio.h>
#include <linux/netlink.h>
#include <linux/prctl.h>
#include <linux/resource.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <linux/stat.h>
#include <linux/tcp.h>
#include <asm/ioctls.h>
#include <asm/socket.h>
#include <signal.h>
#include <stddef.h>
#include <sys/syscall.h>

#define NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64) /* Linux 6.6; the headers may be older */

#define INT 0xffffffffu
#define ALL UINT64_MAX
#define RULE(call, options, ...) \
    {__NR_##call, options, sizeof((struct sbx_compare[]){__VA_ARGS__}) / sizeof(struct sbx_compare), {__VA_ARGS__}}
#define ALWAYS(call, options) {__NR_##call, options, 0, {{0, 0, 0}}}
#define IS(argument, number) {argument, INT, (uint32_t)(number)}         /* the int is this */
#define NULLED(argument) {argument, ALL, 0}                                /* the pointer is NULL */
#define NOT_NEGATIVE(argument) {argument, 0x80000000u, 0}
#define WITHOUT(argument, bits) {argument, (uint32_t)(bits), 0}          /* none of these bits */
#define ONLY(argument, bits) {argument, INT & ~(uint32_t)(bits), 0}      /* no bits but these */
#define BITS(argument, mask, bits) {argument, (uint32_t)(mask), (uint32_t)(bits)}

/* What linux-libc-dev of Debian 12 does not have, or keeps for the kernel. */
#define MSG_FASTOPEN 0x20000000u
#define MSG_OOB 1
#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define AF_NETLINK 16
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define SOCK_RAW 3
#define AT_EMPTY_PATH 0x1000
#define AT_EXECVE_CHECK 0x10000
#define O_ASYNC 020000
#define O_NOTIFICATION_PIPE 0200
#ifndef F_DUPFD_QUERY
#define F_DUPFD_QUERY 1027
#endif
#ifndef PR_GET_MDWE
#define PR_GET_MDWE 66
#endif
#define PR_GET_AUXV_NUMBER 0x41555856
#define ADDR_NO_RANDOMIZE 0x0040000
#ifndef __NR_fchmodat2
#define __NR_fchmodat2 452
#endif

/* Flags that clone must never have: another namespace, another tracer, another parent. */
#define CLONE_FORBIDDEN (CLONE_PTRACE | CLONE_PARENT | CLONE_NEWNS | CLONE_UNTRACED | CLONE_NEWCGROUP | CLONE_NEWUTS | \
                         CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)
#define THREAD_FLAGS (CLONE_THREAD | CLONE_VM | CLONE_SIGHAND | CLONE_FILES)

#define IOCTL(request) RULE(ioctl, 0, IS(1, request))
#define FCNTL(command) RULE(fcntl, 0, IS(1, command))
#define PRCTL(option) RULE(prctl, 0, IS(0, option))
#define SOCKOPT(name) RULE(setsockopt, 0, IS(1, SOL_SOCKET), IS(2, name))
/* TCP and UDP, in a network namespace of the guest's own. */
#define INTERNET(family, type, protocol) RULE(socket, SBX_OPTION_LOOPBACK, IS(0, family), BITS(1, 15, type), IS(2, protocol))
/* The list of interfaces: to change one needs a capability over the namespace, and the other protocols reach deep. */
#define INTERFACES(type) \
    RULE(socket, SBX_OPTION_NETWORK | SBX_OPTION_NETWORK_NAMESPACE, IS(0, AF_NETLINK), BITS(1, 15, type), IS(2, NETLINK_ROUTE))
#define OWN_SOCKOPT(level, name) RULE(setsockopt, SBX_OPTION_NETWORK, IS(1, level), IS(2, name))
#define PLAIN_SOCKOPT(name) RULE(setsockopt, SBX_OPTION_PLAIN_LISTEN, IS(1, SOL_SOCKET), IS(2, name))
/* Whatever is not SOL_SOCKET (1), and its options but SO_PEERCRED (17), and SO_GET_FILTER (26) and SO_PEERNAME (28), which know
 * names that are not the guest's. */
#define GETSOCKOPT \
    RULE(getsockopt, 0, IS(1, 0)), RULE(getsockopt, 0, BITS(1, ~1u, 2)), RULE(getsockopt, 0, BITS(1, ~3u, 4)), \
    RULE(getsockopt, 0, BITS(1, ~7u, 8)), RULE(getsockopt, 0, BITS(1, ~15u, 16)), RULE(getsockopt, 0, BITS(1, ~31u, 32)), \
    RULE(getsockopt, 0, BITS(1, ~63u, 64)), RULE(getsockopt, 0, BITS(1, ~127u, 128)), RULE(getsockopt, 0, BITS(1, ~255u, 256)), \
    GET(15, 0), GET(0, 16), GET(1, 18), GET(3, 20), GET(1, 24), GET(0, 27), GET(0, 29), GET(1, 30), GET(31, 32), GET(63, 64)
#define GET(below, name) RULE(getsockopt, 0, IS(1, SOL_SOCKET), BITS(2, ~(uint32_t)(below), name))
#define OWN_IOCTL(request) RULE(ioctl, SBX_OPTION_LOOPBACK, IS(1, request))
#define CLOCK(call) /* 0 and up, and the caller's own (a process of 0): not those of other processes */ \
    RULE(call, 0, NOT_NEGATIVE(0)), RULE(call, 0, BITS(0, ~7u, ~7u))
/* Every limit but RLIMIT_CORE (4) and RLIMIT_LOCKS (10). */
#define LIMIT(call, argument, ...) \
    RULE(call, 0, BITS(argument, ~3u, 0) __VA_ARGS__), RULE(call, 0, IS(argument, 5) __VA_ARGS__), \
    RULE(call, 0, BITS(argument, ~1u, 6) __VA_ARGS__), RULE(call, 0, BITS(argument, ~1u, 8) __VA_ARGS__), \
    RULE(call, 0, IS(argument, 11) __VA_ARGS__), RULE(call, 0, BITS(argument, ~3u, 12) __VA_ARGS__)

static const struct sbx_argument_rule guest[] = {
#include "rules_guest.h"
};

static const struct sbx_argument_rule sentry[] = {
#include "rules_sentry.h"
};

const struct sbx_argument_rule *sbx_argument_rules(uint32_t *count) {
    *count = sizeof guest / sizeof *guest;
    return guest;
}

const struct sbx_argument_rule *sbx_sentry_rules(uint32_t *count) {
    *count = sizeof sentry / sizeof *sentry;
    return sentry;
}
