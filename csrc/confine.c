#include "confine.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/ipv6.h>
#include <linux/landlock.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "mounts.h"

/* linux/landlock.h of the build host may be older than the kernel that runs us. */
#define RIGHT_EXECUTE (1u << 0)
#define RIGHT_WRITE_FILE (1u << 1)
#define RIGHT_READ_FILE (1u << 2)
#define RIGHT_READ_DIR (1u << 3)
#define RIGHT_REFER (1u << 13)     /* ABI 2 */
#define RIGHT_TRUNCATE (1u << 14)  /* ABI 3 */
#define RIGHT_IOCTL_DEV (1u << 15) /* ABI 5 */
#define RIGHTS_ABI_1 ((1u << 13) - 1)
#define RIGHTS_FILE (RIGHT_EXECUTE | RIGHT_WRITE_FILE | RIGHT_READ_FILE | RIGHT_TRUNCATE | RIGHT_IOCTL_DEV)
#define RIGHTS_TCP 3u               /* ABI 4: bind and connect */
#define SCOPES 3u                  /* ABI 6: abstract UNIX sockets and signals */

struct ruleset { uint64_t fs, net, scoped; };

static const struct { enum sbx_wall wall; int flag; } namespaces[] = {
    {SBX_WALL_MOUNTNS, CLONE_NEWNS},   {SBX_WALL_IPCNS, CLONE_NEWIPC}, {SBX_WALL_UTSNS, CLONE_NEWUTS},
    {SBX_WALL_NETNS, CLONE_NEWNET},
};

/* INVARIANT own-mounts: no mount is touched in the namespace of the caller. Neither a success of unshare (a filter can answer
 * it) nor what spawn.c was to do is taken for it: the kernel is asked where we are. */
static int own_mounts(uint64_t caller_mounts) {
    struct stat here;
    if (stat("/proc/self/ns/mnt", &here) < 0) return errno;
    return caller_mounts == 0 || here.st_ino == caller_mounts ? EPERM : 0;
}

static ino_t namespace_of(enum sbx_wall wall) {
    static const char *const links[SBX_WALL_COUNT] = {
        [SBX_WALL_NETNS] = "/proc/self/ns/net", [SBX_WALL_IPCNS] = "/proc/self/ns/ipc", [SBX_WALL_UTSNS] = "/proc/self/ns/uts"};
    struct stat here;
    return links[wall] && stat(links[wall], &here) == 0 ? here.st_ino : 0;
}

static int leave(int flag, enum sbx_wall wall, uint64_t caller_mounts) {
    if (wall != SBX_WALL_MOUNTNS) {
        ino_t before = namespace_of(wall);
        if (unshare(flag) < 0) return errno;
        return before && namespace_of(wall) && namespace_of(wall) != before ? 0 : EPERM;
    }
    if (own_mounts(caller_mounts) == 0) return 0; /* made with the pid namespace, and tried (spawn.c) */
    if (unshare(flag) < 0) return errno;
    int error = own_mounts(caller_mounts);
    return error ? error : -mounts_possible();
}

uint32_t confine_namespaces(uint32_t walls, uint64_t caller_mounts, struct sbx_ready *ready) {
    uint32_t stand = 0;
    for (size_t i = 0; i < sizeof namespaces / sizeof *namespaces; i++) {
        if (!(walls & (1u << namespaces[i].wall))) continue;
        int error = leave(namespaces[i].flag, namespaces[i].wall, caller_mounts);
        ready->wall_error[namespaces[i].wall] = error;
        if (!error) stand |= 1u << namespaces[i].wall;
    }
    return stand;
}

int confine_privileges(void) {
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return -errno;
    syscall(SYS_setgroups, 0, NULL); /* needs a privilege; a user namespace shows the groups as nobody's, but keeps them */
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    for (int capability = 0; prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0; capability++) continue; /* until there are no more */
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct none[2];
    memset(none, 0, sizeof none);
    if (syscall(SYS_capset, &header, none) < 0) return -errno;
    return 0;
}

/* Addresses beside the first: C libraries call a machine that has 127.0.0.1 and ::1 only one without IPv4 and IPv6, and resolve no
 * name where they are asked for what is configured (AI_ADDRCONFIG). These can be bound in every guest that has a network. */
static void add_addresses(int any) {
    struct ifreq four = {.ifr_name = "lo:2"};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1)};
    memcpy(&four.ifr_addr, &address, sizeof address);
    ioctl(any, SIOCSIFADDR, &four);
    struct in6_ifreq six = {.ifr6_addr.s6_addr = {[10] = 0xff, [11] = 0xff, 127, 0, 0, 2}, .ifr6_prefixlen = 128, .ifr6_ifindex = 1};
    int other = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (other < 0) return; /* a kernel without IPv6 */
    ioctl(other, SIOCSIFADDR, &six);
    close(other);
}

int confine_loopback(void) {
    int ports = open("/proc/sys/net/ipv4/ip_unprivileged_port_start", O_WRONLY | O_CLOEXEC);
    if (ports >= 0 && write(ports, "0", 1) < 0) return -errno;
    if (ports >= 0) close(ports);
    struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int any = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (any < 0) return -errno;
    int error = ioctl(any, SIOCSIFFLAGS, &loopback) < 0 ? -errno : 0;
    add_addresses(any);
    close(any);
    return error;
}

static int supported(void) {
    int abi = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    return abi < 0 ? -errno : abi;
}

static struct ruleset handled(int abi) {
    struct ruleset rules = {.fs = RIGHTS_ABI_1};
    if (abi >= 2) rules.fs |= RIGHT_REFER;
    if (abi >= 3) rules.fs |= RIGHT_TRUNCATE;
    if (abi >= 5) rules.fs |= RIGHT_IOCTL_DEV;
    if (abi >= 4 && mounts_plan()->network == SBX_NETWORK_SERVED) rules.net = RIGHTS_TCP; /* the Supervisor's to use */
    if (abi >= 6) rules.scoped = SCOPES;
    return rules;
}

static int create(const struct ruleset *rules, int abi) {
    size_t size = abi >= 6 ? sizeof *rules : abi >= 4 ? 16 : 8;
    int fd = (int)syscall(SYS_landlock_create_ruleset, rules, size, 0);
    return fd < 0 ? -errno : fd;
}

static int allow(int ruleset, int fd, uint64_t rights) {
    struct stat status;
    if (fstat(fd, &status) < 0) return -errno;
    if (!S_ISDIR(status.st_mode)) rights &= RIGHTS_FILE;
    struct landlock_path_beneath_attr rule = {.allowed_access = rights, .parent_fd = fd};
    return syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0 ? -errno : 0;
}

static int restrict_self(int ruleset) {
    int error = syscall(SYS_landlock_restrict_self, ruleset, 0) < 0 ? -errno : 0;
    close(ruleset);
    return error;
}

static int add_grants(int ruleset, uint64_t all, int stub, bool memory_by_proc) {
    const struct sbx_plan *plan = mounts_plan();
    for (uint32_t i = 0; i < plan->mount_count; i++) {
        int fd = mounts_fd((int)i);
        if (fd < 0) continue;
        const struct sbx_mount *mount = plan_mount(plan, i);
        bool writes = mount->flags & (SBX_MOUNT_WRITABLE | SBX_MOUNT_DEVICE) || mount->kind == SBX_MOUNT_PTS;
        uint64_t rights = writes ? all & ~(uint64_t)RIGHT_EXECUTE : RIGHT_READ_FILE | RIGHT_READ_DIR;
        if (mount->flags & SBX_MOUNT_EXEC) rights |= RIGHT_EXECUTE; /* to ask with AT_EXECVE_CHECK; its filter knows no exec */
        int error = allow(ruleset, fd, all & rights);
        if (error < 0) return error;
    }
    int error = allow(ruleset, stub, RIGHT_EXECUTE | RIGHT_READ_FILE);
    if (!error && mounts_scratch() >= 0) error = allow(ruleset, mounts_scratch(), all & RIGHT_READ_DIR); /* measured by listing (quota.c) */
    if (!error && mounts_multiplexer() >= 0) error = allow(ruleset, mounts_multiplexer(), all & (RIGHTS_FILE & ~RIGHT_EXECUTE));
    if (error < 0) return error;
    uint64_t proc = RIGHT_READ_FILE | RIGHT_READ_DIR | (memory_by_proc ? RIGHT_WRITE_FILE : 0);
    return allow(ruleset, mounts_proc(), all & proc);
}

uint32_t confine_sentry(uint32_t walls, int stub, bool memory_by_proc, struct sbx_ready *ready) {
    int abi = supported();
    ready->landlock_abi = abi > 0 ? abi : 0;
    int error = abi > 0 ? 0 : -abi;
    if (!(walls & (1u << SBX_WALL_LANDLOCK))) error = EPERM;
    struct ruleset rules = handled(abi);
    if (!(walls & (1u << SBX_WALL_LANDLOCK_SCOPE))) rules.scoped = 0;
    int ruleset = error ? -error : create(&rules, abi);
    if (ruleset >= 0) {
        error = -add_grants(ruleset, rules.fs, stub, memory_by_proc);
        if (error) close(ruleset);
        else error = -restrict_self(ruleset);
    } else error = -ruleset;
    ready->wall_error[SBX_WALL_LANDLOCK] = error;
    ready->wall_error[SBX_WALL_LANDLOCK_SCOPE] = error ? error : rules.scoped ? 0 : ENOSYS;
    if (error) ready->landlock_abi = 0;
    return error ? 0 : (1u << SBX_WALL_LANDLOCK) | (rules.scoped ? 1u << SBX_WALL_LANDLOCK_SCOPE : 0);
}

int confine_guest(int stub, int abi) {
    if (abi <= 0) return 0;
    struct ruleset rules = handled(abi);
    int ruleset = create(&rules, abi);
    if (ruleset < 0) return ruleset;
    int error = allow(ruleset, stub, RIGHT_EXECUTE | RIGHT_READ_FILE);
    if (error < 0) {
        close(ruleset);
        return error;
    }
    return restrict_self(ruleset);
}

static int limit(int resource, uint64_t soft, uint64_t hard) {
    struct rlimit64 now, wanted = {soft, hard};
    if (syscall(SYS_prlimit64, 0, resource, NULL, &now) < 0) return -errno;
    if (wanted.rlim_max > now.rlim_max) wanted.rlim_max = now.rlim_max;
    if (wanted.rlim_cur > wanted.rlim_max) wanted.rlim_cur = wanted.rlim_max;
    return syscall(SYS_prlimit64, 0, resource, &wanted, NULL) < 0 ? -errno : 0;
}

int confine_files(uint64_t open_files) { return open_files ? limit(RLIMIT_NOFILE, open_files, open_files) : 0; }

int confine_limits(const struct sbx_limits *limits, uint64_t tag, bool own_users) {
    /* 1, not 0: a core_pattern that is a pipe is run for 0, too; 1 it refuses. */
    int error = limit(RLIMIT_CORE, 1, 1);
    if (!error && limits->file_size) error = limit(RLIMIT_FSIZE, limits->file_size, limits->file_size);
    if (!error && limits->cpu_seconds) error = limit(RLIMIT_CPU, limits->cpu_seconds, limits->cpu_seconds + 1);
    if (!error && limits->memory) error = limit(RLIMIT_DATA, limits->memory, limits->memory);
    /* Counted by user and user namespace, so only in one of our own; the sentry's threads and the launcher count, too. */
    if (!error && limits->processes && own_users) error = limit(RLIMIT_NPROC, limits->processes + 64, limits->processes + 64);
    if (error) return error;
    struct rlimit64 locks = {tag | 0, tag | 0xffffffffu};
    return syscall(SYS_prlimit64, 0, RLIMIT_LOCKS, &locks, NULL) < 0 ? -errno : 0;
}
