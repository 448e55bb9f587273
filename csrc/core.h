/* core.h: the contract between the Supervisor (Python) and the sentry (C).
 *
 * Every type, message and function that both sides see stands here. `ffi_build.py` feeds this very file to cffi, so it
 * holds plain declarations only: no conditionals, no includes but <stdint.h>, and `#define NAME number`.
 * INVARIANT zero-refuses: in every enum below 0 is the refusing or empty value.
 */
#ifndef SBX_CORE_H
#define SBX_CORE_H
#include <stdint.h>

#define SBX_VERSION 3
#define SBX_PATH_MAX 4096      /* bytes of a path with its NUL, as the kernel's PATH_MAX */
#define SBX_MESSAGE_MAX 8192   /* bytes of one message with its header */
#define SBX_MESSAGE_FDS 16     /* descriptors that one message may carry */
#define SBX_COMMAND_FDS 64     /* descriptors that one command may be given */
#define SBX_MOUNTS_MAX 1024
#define SBX_PUBLISH_MAX 64     /* ports of a guest on the host */
#define SBX_PLAN_MAX 4194304   /* bytes of a plan */
#define SBX_FILTER_MAX 4096    /* instructions of a filter program (BPF_MAXINSNS) */
#define SBX_PRIVATE_CALL 0x5b0 /* number of the call that only our own stub and launcher make */

/* ---- the syscall table (syscalls.c) ------------------------------------------------------------------------------ */

enum sbx_route { SBX_REFUSED, SBX_NATIVE, SBX_SERVED };

/* What an argument of a served call is. The decoder copies paths and small structs; the rest it only names. */
enum sbx_role {
    SBX_ROLE_NONE,   /* ignored */
    SBX_ROLE_DIRFD,  /* directory descriptor of the path that follows */
    SBX_ROLE_PATH,   /* NUL-terminated path; the first is path[0], the second path[1] */
    SBX_ROLE_FD,     /* descriptor acted on */
    SBX_ROLE_FLAGS,  /* AT_*, O_*, ... flags; or'ed with the row's preset */
    SBX_ROLE_MODE,   /* mode_t, mask or access mode */
    SBX_ROLE_OUT,    /* guest address that the answer is written to */
    SBX_ROLE_IN,     /* guest address that the handler reads a struct from */
    SBX_ROLE_SIZE,   /* bytes at OUT or IN */
    SBX_ROLE_NAME,   /* NUL-terminated name that is not a path (xattr name) */
    SBX_ROLE_TEXT,   /* NUL-terminated text that is not resolved (symlink target) */
    SBX_ROLE_VALUE,  /* plain number: value[0], value[1], ... in order */
    SBX_ROLE_PID     /* a process or thread of the guest */
};

/* One handler of the sentry each. Several calls share one: stat, lstat, newfstatat and fstat are SBX_OP_STAT. */
enum sbx_op {
    SBX_OP_NONE,
    SBX_OP_DENY,       /* always answered with the row's error, and recorded */
    SBX_OP_OPEN, SBX_OP_STAT, SBX_OP_STATX, SBX_OP_ACCESS, SBX_OP_READLINK, SBX_OP_GETDENTS, SBX_OP_STATFS,
    SBX_OP_CHDIR, SBX_OP_FCHDIR, SBX_OP_GETCWD, SBX_OP_UMASK,
    SBX_OP_MKDIR, SBX_OP_UNLINK, SBX_OP_RENAME, SBX_OP_LINK, SBX_OP_SYMLINK, SBX_OP_MKNOD,
    SBX_OP_CHMOD, SBX_OP_FCHMOD, SBX_OP_CHOWN, SBX_OP_FCHOWN, SBX_OP_TRUNCATE, SBX_OP_UTIMES,
    SBX_OP_GETXATTR, SBX_OP_SETXATTR, SBX_OP_LISTXATTR, SBX_OP_REMOVEXATTR,
    SBX_OP_INOTIFY_ADD, SBX_OP_FLOCK, SBX_OP_LOCK, SBX_OP_FALLOCATE,
    SBX_OP_EXEC, SBX_OP_PRIVATE,
    SBX_OP_SOCKET, SBX_OP_BIND, SBX_OP_CONNECT, SBX_OP_SENDMSG, SBX_OP_RECVMSG, SBX_OP_SOCKNAME, SBX_OP_ACCEPT,
    SBX_OP_SOCKOPT, SBX_OP_LISTEN,
    SBX_OP_KILL, SBX_OP_PRLIMIT, SBX_OP_PRIORITY, SBX_OP_SCHED, SBX_OP_GETPGID, SBX_OP_PIDFD_OPEN, SBX_OP_CLOCK,
    SBX_OP_SETID, SBX_OP_CAPGET, SBX_OP_PRCTL, SBX_OP_FCNTL, SBX_OP_IOCTL, SBX_OP_MEMFD,
    SBX_OP_COUNT
};

struct sbx_syscall {
    uint32_t nr;
    uint8_t route;      /* enum sbx_route; SBX_NATIVE with rows in the argument rules is native only where one matches */
    uint8_t op;         /* enum sbx_op: who serves it when it is not native */
    uint8_t sentry;     /* 1: a sentry may make this call after its own filter stands */
    uint16_t error;     /* errno of a refusal (REFUSED, or SBX_OP_DENY) */
    uint8_t role[6];    /* enum sbx_role */
    uint32_t preset;    /* flags that the call implies: lstat has AT_SYMLINK_NOFOLLOW, rmdir AT_REMOVEDIR */
    const char *name;
    const char *reason; /* why the route is safe, or why it is refused; never NULL */
};

/* One alternative under which a native call passes straight: every comparison must hold. */
struct sbx_compare { uint8_t arg; uint64_t mask; uint64_t value; }; /* (argument & mask) == value */
struct sbx_argument_rule {
    uint32_t nr;
    uint8_t options;    /* bits of enum sbx_option that must all stand */
    uint8_t count;      /* comparisons used */
    struct sbx_compare compare[3];
};
enum sbx_option {
    SBX_OPTION_EMPTY_ROOT = 1, /* the guest's kernel root is empty and every mount is whole: fstat by AT_EMPTY_PATH */
    SBX_OPTION_PID_NAMESPACE = 2, /* ids of processes mean the guest's own only: kill and friends native */
    SBX_OPTION_IPC_NAMESPACE = 4, /* SysV keys and ids mean the guest's own only */
    SBX_OPTION_LOOPBACK = 8,      /* the guest has a network namespace with a loopback: TCP and UDP sockets are made there */
    SBX_OPTION_NETWORK = 16,      /* it has TCP and UDP sockets at all: their options */
    SBX_OPTION_PLAIN_LISTEN = 32, /* none of its sockets is of the host's network: listen chooses no address there */
    SBX_OPTION_NETWORK_NAMESPACE = 64 /* it is where the host's interfaces are not: it may list those that are */
};

/* ---- the plan (plan.c): a policy, compiled -------------------------------------------------------------------------- */

enum sbx_mount_kind {
    SBX_MOUNT_NONE,
    SBX_MOUNT_SKELETON, /* read-only directory made of the mount points below: "/" where no other root was given, and what
                           lies above a mount point and is not there in a host directory */
    SBX_MOUNT_HOST,     /* host directory or single file, at `source` */
    SBX_MOUNT_SCRATCH,  /* private writable directory */
    SBX_MOUNT_BYTES,    /* file with fixed content: descriptor number `handle` of the plan */
    SBX_MOUNT_SERVICE,  /* file whose content the Supervisor makes at each open: service number `handle` */
    SBX_MOUNT_LINK,     /* symbolic link in the skeleton, to `source` */
    SBX_MOUNT_PROC,     /* /proc, own processes only */
    SBX_MOUNT_PTS,      /* /dev/pts */
    SBX_MOUNT_TTY       /* /dev/tty */
};
enum sbx_mount_flag {
    SBX_MOUNT_WRITABLE = 1, /* zero is read-only */
    SBX_MOUNT_EXEC = 2,     /* zero is noexec */
    SBX_MOUNT_DEVICE = 4,   /* zero is nodev: only for granted character devices */
    SBX_MOUNT_STICKY = 8,   /* scratch: mode 01777 instead of 0700 */
    SBX_MOUNT_COPY = 16     /* a small file of the host may be copied into the skeleton at the start: no mount of its own */
};

/* `guest`, `source` and `hide` are offsets of NUL-terminated bytes in the plan; `hide` is `hide_count` strings one
 * after the other, guest paths relative to the mount, without leading or trailing slash. Mounts are sorted by guest
 * path; mount 0 is "/". Guest paths are absolute, normal, without links below them. */
struct sbx_mount {
    uint32_t guest;
    uint32_t guest_length;
    uint32_t source;
    uint32_t hide;
    uint32_t hide_count;
    uint32_t handle;
    uint8_t kind;
    uint8_t flags;
    uint16_t reserved;
};

struct sbx_limits {       /* 0: no limit */
    uint64_t memory;
    uint64_t processes;
    uint64_t open_files;
    uint64_t file_size;
    uint64_t cpu_seconds;
    uint64_t scratch_bytes;
    uint64_t scratch_files;
};

struct sbx_publish {      /* a port of the guest at an address of the host */
    uint8_t address[16];  /* IPv4 is mapped; unspecified: all of the family */
    uint16_t port;        /* the host's */
    uint16_t guest;
};

/* The plan is this header, then the mounts, both filter programs (struct sock_filter each) and the strings. */
struct sbx_plan {
    uint32_t version;      /* SBX_VERSION */
    uint32_t size;         /* bytes of the whole plan */
    uint32_t mounts;       /* offset, of mount_count struct sbx_mount */
    uint32_t mount_count;
    uint32_t guest_filter[2]; /* offsets: [0] the listener's program (default NOTIFY), [1] the outer one (default ENOSYS) */
    uint32_t guest_filter_count[2]; /* instructions */
    uint32_t sentry_filter;
    uint32_t sentry_filter_count;
    uint32_t scratch_host; /* offset: host directory for skeleton and scratch where no tmpfs can be mounted; "" is none */
    uint32_t required;     /* walls without which no command begins: bits of 1 << enum sbx_wall */
    uint64_t tag;          /* identity of the guest: random in the high 32 bits, low 32 bits zero */
    uint32_t cgroup;       /* offset: cgroup directory already made for this guest, or "" */
    uint32_t descriptors;  /* how many descriptors the BYTES mounts use */
    uint32_t audit;        /* 1: records go to the trail; 0: counts only */
    uint32_t network;      /* enum sbx_network */
    uint32_t slice;        /* SERVED: the host addresses slice + 1 to slice + 254 are the guest's loopback; last byte 0 */
    uint32_t resolver;     /* SERVED: port at slice + 53 of what the guest has at 127.0.0.53:53 */
    uint32_t address;      /* SERVED: the guest's own beside its loopback, at slice + 253 on the host; eth0's where it has one */
    uint32_t publish_count;
    struct sbx_limits limits;
    struct sbx_publish publish[SBX_PUBLISH_MAX];
};

enum sbx_network { SBX_NETWORK_NONE, SBX_NETWORK_LOOPBACK, SBX_NETWORK_SERVED };

/* ---- walls (confine.c) --------------------------------------------------------------------------------------------------- */

enum sbx_wall {
    SBX_WALL_NONE, SBX_WALL_LANDLOCK, SBX_WALL_LANDLOCK_SCOPE, SBX_WALL_USERNS, SBX_WALL_PIDNS, SBX_WALL_NETNS,
    SBX_WALL_IPCNS, SBX_WALL_UTSNS, SBX_WALL_MOUNTNS, SBX_WALL_CGROUP, SBX_WALL_COUNT
};

/* ---- messages: AF_UNIX SOCK_SEQPACKET, one struct sbx_message each, descriptors by SCM_RIGHTS --------------------------- */

enum sbx_message_type {
    SBX_MSG_NONE,
    /* Supervisor to sentry */
    SBX_MSG_SETUP,   /* first message. fds: plan (memfd), stub, trail (memfd), pidfd of the caller; then BYTES descriptors
                        follow in SBX_MSG_FILES messages, in order */
    SBX_MSG_FILES,   /* fds: more descriptors of BYTES mounts */
    SBX_MSG_RUN,     /* number: command id. fds[0]: memfd with struct sbx_command and strings; then the command's fds
                        (more in SBX_MSG_FDS messages right after, same number) */
    SBX_MSG_FDS,
    SBX_MSG_SIGNAL,  /* number: command id, value: signal; value2: process group that gets it instead, or 0 */
    SBX_MSG_END,     /* kill the guest and exit */
    SBX_MSG_FETCH,   /* number: request id; value: enum sbx_fetch; text: guest path. Answered by FETCHED */
    SBX_MSG_REPLY,   /* number: id of the SERVE it answers; value: 0 or -errno; fds[0]: memfd with the content */
    /* sentry to Supervisor */
    SBX_MSG_READY,   /* value: walls that stand (bits); text: struct sbx_ready */
    SBX_MSG_FAULT,   /* value: errno; text: what was tried on what. The guest is dead or dying */
    SBX_MSG_STARTED, /* number: command id; value: pid as the sentry sees it; fds[0]: pidfd where it could be had */
    SBX_MSG_EXITED,  /* number: command id; value: wait status; value2: enum sbx_exceeded; text: struct sbx_usage */
    SBX_MSG_FAILED,  /* number: command id; value: errno of the exec that failed; value2: 1 where it was the working directory */
    SBX_MSG_SERVE,   /* number: request id; value: enum sbx_serve; value2: handle, or pid that asks and umask << 32 of the
                        process shown; text: name within the service; fds[0]: the kernel's own file where there is one */
    SBX_MSG_FETCHED, /* number: request id; value: 0 or -errno; fds[0]: what was asked for */
    SBX_MSG_DRAIN,   /* the trail is half full: please move records */
    SBX_MSG_COUNT
};

struct sbx_message {
    uint32_t type;     /* enum sbx_message_type */
    uint32_t length;   /* bytes of text that follow */
    uint64_t number;
    int64_t value;
    int64_t value2;
};

enum sbx_serve { SBX_SERVE_NONE, SBX_SERVE_FILE, SBX_SERVE_PROC, SBX_SERVE_NET };
enum sbx_net_op { SBX_NET_NONE, SBX_NET_SOCKET, SBX_NET_BIND, SBX_NET_CONNECT, SBX_NET_LISTEN, SBX_NET_SEND, SBX_NET_OPTION, SBX_NET_ADMIT,
                  SBX_NET_NAME };

/* The text of SERVE for the network; fds[0] is the socket but for SOCKET. ADMIT: may it stand, accepted from outside the slice?
 * NAME: which name is the guest to see where `address` is the peer? That is a relay's, at the slice's last address.
 * REPLY: value 0 or -errno; SOCKET: fds[0]; CONNECT: any text, the target is a relay; SEND: text is the address to send to; NAME: the
 * one to show. Where the network is not served, OPTION of SO_LINGER alone is. */
struct sbx_net {
    uint32_t op;           /* enum sbx_net_op */
    int32_t family;        /* of SOCKET, as the next two; LISTEN: the backlog; OPTION: SOL_SOCKET's name, its value in address;
                              NAME: 1 for the socket's own end, 0 for its peer's */
    int32_t type;
    int32_t protocol;
    uint32_t length;       /* bytes of address */
    uint8_t address[28];   /* struct sockaddr_in or sockaddr_in6 */
};
enum sbx_fetch { SBX_FETCH_NONE, SBX_FETCH_READ, SBX_FETCH_WRITE, SBX_FETCH_LIST }; /* open for reading; create or truncate
                        for writing, parents made, 0666; directory for listing. Links are resolved in the guest's view */
enum sbx_exceeded {
    SBX_EXCEEDED_NONE, SBX_EXCEEDED_MEMORY, SBX_EXCEEDED_PROCESSES, SBX_EXCEEDED_CPU, SBX_EXCEEDED_SCRATCH,
    SBX_EXCEEDED_FILE_SIZE
};

struct sbx_ready {
    int32_t wall_error[16];  /* by enum sbx_wall: 0 stands, else the errno why not (ENOSYS, EPERM, ...) */
    int32_t landlock_abi;
    int32_t borrow;          /* 1: pidfd_getfd works; 0: descriptors are passed by the guest's own thread */
};

struct sbx_usage { int64_t user_us; int64_t system_us; int64_t peak_kib; };

/* A command: this header, then argc + envc NUL-terminated strings, then the working directory and the program path. */
struct sbx_command {
    uint32_t argc;
    uint32_t envc;
    uint32_t fd_count;           /* descriptors that arrive with RUN and FDS */
    uint32_t umask;
    uint32_t flags;              /* enum sbx_command_flag */
    uint32_t program;            /* offset of the program's guest path, searched in PATH by Python already or not at all */
    uint32_t cwd;                /* offset of the working directory, a guest path */
    uint32_t strings;            /* offset of argv[0] */
    int32_t fd[SBX_COMMAND_FDS]; /* number that each descriptor gets in the command, in order of arrival */
};
enum sbx_command_flag {
    SBX_COMMAND_TERMINAL = 1,    /* descriptor 0 becomes the controlling terminal of a new session */
    SBX_COMMAND_NEW_SESSION = 2, SBX_COMMAND_SEARCH = 4 /* program is a name: the sentry searches the command's PATH */
};

/* ---- the trail (trail.c): records in shared memory ------------------------------------------------------------------------- */

enum sbx_verdict { SBX_VERDICT_NONE, SBX_VERDICT_DENIED, SBX_VERDICT_FAILED, SBX_VERDICT_DONE };
/* DENIED: the policy or a rule of ours refused. FAILED: Linux's own error. */

#define SBX_RECORD_MAGIC 0x53425832 /* one less: a record without flags, of 56 bytes */
struct sbx_record {
    uint32_t magic;
    uint32_t size;        /* bytes of the record with its path, a multiple of 8 */
    uint64_t time_ns;     /* CLOCK_REALTIME at the answer */
    uint64_t sequence;    /* of this guest, from 1, without gaps */
    uint32_t pid;         /* thread that called, as the sentry sees it */
    uint32_t nr;          /* system call number */
    int32_t error;        /* errno, 0 when done */
    uint16_t mount;       /* index of the mount that decided; 0xffff: none */
    uint8_t verdict;      /* enum sbx_verdict */
    uint8_t paths;        /* 0, 1 or 2 paths follow, each NUL-terminated, as the guest gave them */
    uint64_t duration_ns; /* from receive to answer */
    uint64_t service;     /* request id of the SERVE that was part of it, or 0 */
    uint32_t flags;       /* as the guest gave them, with those that the call implies; 0 where it has none */
    uint32_t unused;
};

#define SBX_TRAIL_ROWS 512
/* Head of the shared memory; the ring of `capacity` bytes follows at offset 64 KiB. The sentry writes head, the
 * Supervisor tail; both only grow. */
struct sbx_trail {
    uint32_t version;
    uint32_t capacity;    /* power of two */
    uint64_t head;
    uint64_t tail;
    uint64_t waiting;     /* futex word: sentry threads waiting for room */
    uint64_t count[SBX_TRAIL_ROWS][4]; /* served calls by number and enum sbx_verdict */
};
#define SBX_TRAIL_DATA 65536

/* ---- functions of the extension ------------------------------------------------------------------------------------------------ */

/* Rows sorted by number; *count gets how many. */
const struct sbx_syscall *sbx_syscalls(uint32_t *count);
/* Rules by number: the guest's, and those under which a call marked `sentry` passes the sentry's own filter. */
const struct sbx_argument_rule *sbx_argument_rules(uint32_t *count);
const struct sbx_argument_rule *sbx_sentry_rules(uint32_t *count);

/* Is this a well-formed plan? 0, or -EINVAL; `why` gets a static text. */
int sbx_plan_check(const void *plan, uint64_t size, const char **why);
/* Mount that holds the normal absolute guest path (no "..", "." or "//"), and the offset of the rest in it. Hidden
 * paths: -ENOENT. */
int sbx_plan_find(const struct sbx_plan *plan, const char *guest_path, uint32_t *rest);

/* Start the executable at `path`, a sentry or another of a guest's own, `socket` being its descriptor 3 and nothing else inherited (0, 1 and 2 are
 * /dev/null). `walls`: userns and pidns bits to try; they are dropped one after the other where the kernel refuses and
 * *walls gets what stands. Returns the pid, or -errno. *pidfd gets a pidfd. Shares memory until exec: costs no copy of
 * the caller's page tables. */
int sbx_spawn(const char *path, char *const *argv, int socket, uint32_t *walls, int *pidfd);

/* Send a message with `count` descriptors by a process of our own whose soft limit of descriptors is the hard one (sendmsg counts those in
 * flight against it). Does not wait. 0, or -errno. */
int sbx_send_beyond(int socket, const struct sbx_message *message, const void *text, const int *fds, int count);

/* Records up to `tail` have been moved out: publish it and wake the sentry threads that wait for room. */
void sbx_trail_drained(struct sbx_trail *trail, uint64_t tail);
/* The rows of `count` that count anything. How many. */
int sbx_trail_counted(const struct sbx_trail *trail, uint16_t rows[SBX_TRAIL_ROWS]);

/* Kill every process whose RLIMIT_LOCKS hard limit is tag | 0xffffffff. Returns how many were found. */
int sbx_sweep(uint64_t tag);

#endif
