#include "serve.h"
#include <errno.h>
#include <sys/syscall.h>
#include "answer.h"
#include "borrow.h"
#include "context.h"
#include "exec.h"
#include "fs.h"
#include "fs_change.h"
#include "guest.h"
#include "launcher.h"
#include "lock.h"
#include "misc.h"
#include "private.h"
#include "sockets.h"

/* An execveat of our own making goes on in the kernel: the launcher's child starting the stub, or a dance's second
 * call (exec.c). INVARIANT no-continue: these, and the sendmsg of borrow.c, are all that ever does. */
static struct answer serve_exec(struct request *request) {
    struct answer go_on = {ANSWER_CONTINUE, .silent = true, .mount = -1};
    if (exec_expected(request)) return go_on;
    bool launching = guest_context(request->tid) == CONTEXT_LAUNCHER;
    if (launching && request->nr == SYS_execveat && (int)request->args[0] == PRIVATE_STUB_FD) return go_on;
    return launching ? answer_denied(EPERM) : exec_serve(request);
}

typedef struct answer (*handler)(struct request *);
static const handler handlers[SBX_OP_COUNT] = {
#define ROW(op, function) [SBX_OP_##op] = function
    ROW(DENY, misc_deny), ROW(OPEN, fs_open), ROW(STAT, fs_stat), ROW(STATX, fs_statx), ROW(ACCESS, fs_access),
    ROW(READLINK, fs_readlink), ROW(GETDENTS, fs_getdents), ROW(STATFS, fs_statfs), ROW(CHDIR, fs_chdir),
    ROW(FCHDIR, fs_fchdir), ROW(GETCWD, fs_getcwd), ROW(UMASK, fs_umask), ROW(MKDIR, fs_mkdir),
    ROW(UNLINK, fs_unlink), ROW(RENAME, fs_rename), ROW(LINK, fs_link), ROW(SYMLINK, fs_symlink),
    ROW(MKNOD, fs_mknod), ROW(CHMOD, fs_chmod), ROW(FCHMOD, fs_chmod), ROW(CHOWN, fs_chown), ROW(FCHOWN, fs_chown),
    ROW(TRUNCATE, fs_truncate), ROW(UTIMES, fs_utimes), ROW(GETXATTR, fs_getxattr), ROW(SETXATTR, fs_setxattr),
    ROW(LISTXATTR, fs_listxattr), ROW(REMOVEXATTR, fs_removexattr), ROW(INOTIFY_ADD, fs_inotify_add),
    ROW(FLOCK, lock_flock), ROW(LOCK, lock_fcntl), ROW(SOCKET, sockets_socket), ROW(BIND, sockets_bind),
    ROW(CONNECT, sockets_connect), ROW(SENDMSG, sockets_send), ROW(RECVMSG, sockets_receive), ROW(SOCKNAME, sockets_name),
    ROW(ACCEPT, sockets_accept), ROW(LISTEN, sockets_listen), ROW(SOCKOPT, sockets_option), ROW(KILL, misc_kill), ROW(PRLIMIT, misc_prlimit),
    ROW(PRIORITY, misc_priority), ROW(SCHED, misc_sched), ROW(GETPGID, misc_getpgid), ROW(PIDFD_OPEN, misc_pidfd_open),
    ROW(CLOCK, misc_clock), ROW(SETID, misc_setid), ROW(PRCTL, misc_prctl), ROW(FCNTL, misc_fcntl),
    ROW(IOCTL, misc_ioctl), ROW(CAPGET, misc_capget), ROW(EXEC, serve_exec), ROW(PRIVATE, launcher_serve),
#undef ROW
};

void serve(struct request *request, const struct seccomp_notif *notification) {
    int error = decode(notification, request);
    if (!guest_check(request->tid, request->id)) { /* INVARIANT still-there: killed meanwhile; nothing was done */
        guest_forget();
        return;
    }
    struct answer expected = borrow_expected(request);
    if (expected.kind != ANSWER_NONE) {
        answer_send(request, &expected);
        guest_forget();
        return;
    }
    handler handle = request->row ? handlers[syscalls_op(request->row, request->args)] : NULL;
    struct answer answer = {0};
    if (error) answer = answer_error(-error);
    else if (handle) answer = handle(request);
    if (answer.kind == ANSWER_VALUE && answer.error == ELOOP && !request->careful) {
        request->careful = true; /* the kernel met a link: nothing was done; now link by link */
        answer = handle(request);
    }
    if (answer.kind != ANSWER_SENT) answer_send(request, &answer);
    guest_forget();
}
