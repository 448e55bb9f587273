/* decode.h: a notification becomes a request. Hostile bytes are data after this file: paths and names have been copied
 * once and end in NUL, numbers are typed. INVARIANT read-once, bounded. */
#ifndef SBX_DECODE_H
#define SBX_DECODE_H
#include "guest.h"
#include "syscalls.h"

struct request {
    uint64_t id;                   /* of the notification */
    pid_t tid;
    uint32_t nr;
    uint64_t args[6];
    const struct sbx_syscall *row; /* NULL: not in the table */
    uint64_t began_ns;             /* 0 where no records are kept */
    uint64_t service;              /* id of a SERVE that was part of it */
    int paths;                     /* paths copied: 0, 1 or 2 */
    int dirfd[2];                  /* AT_FDCWD unless given */
    char path[2][SBX_PATH_MAX];
    char name[SBX_PATH_MAX];       /* SBX_ROLE_NAME or SBX_ROLE_TEXT */
    bool path_null[2];             /* the pointer was NULL (utimensat) */
    int fd;
    uint32_t flags;
    uint32_t mode;
    uint64_t out, in, size;
    uint64_t value[6];
    pid_t pid;
    bool careful;                  /* second try after ELOOP: walk link by link (walk.h) */
    uint8_t buffer[65536];         /* a handler's own: what it writes to the guest lives here until it is sent */
};

/* 0, or the -errno that answers the call. */
int decode(const struct seccomp_notif *notification, struct request *request);
#endif
