/* One message past the soft limit of the caller's process. Part of the Python extension, not of the sentry. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "core.h"

struct sending {
    int socket;
    const struct msghdr *header;
    int error; /* written by the child, which shares our memory */
};

static int child(void *argument) {
    struct sending *sending = argument;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    sending->error = sendmsg(sending->socket, sending->header, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? errno : 0;
    _exit(0);
}

/* The limit is one of a process (not of a thread), and our process is the caller's, who may rely on it. So a process of its own sends,
 * with our memory and descriptors and its own limits; it ends with no signal, and no wait of the caller's sees it. */
int sbx_send_beyond(int socket, const struct sbx_message *message, const void *text, const int *fds, int count) {
    static __thread uint8_t stack[16384] __attribute__((aligned(16)));
    union { struct cmsghdr header; char space[CMSG_SPACE(sizeof(int) * SBX_MESSAGE_FDS)]; } rights;
    if (count < 1 || count > SBX_MESSAGE_FDS) return -EINVAL;
    memset(&rights, 0, sizeof rights);
    rights.header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int) * (size_t)count), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(&rights.header), fds, sizeof(int) * (size_t)count);
    struct iovec parts[2] = {{(void *)message, sizeof *message}, {(void *)text, message->length}};
    struct msghdr header = {.msg_iov = parts, .msg_iovlen = 2, .msg_control = &rights, .msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)count)};
    struct sending sending = {socket, &header, EAGAIN};
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* no handler of the caller runs in the child that shares its memory */
    int pid = clone(child, stack + sizeof stack, CLONE_VM | CLONE_VFORK | CLONE_FILES, &sending);
    int error = pid < 0 ? ETOOMANYREFS : sending.error; /* no process to be had: it is as it was */
    while (pid >= 0 && waitpid(pid, NULL, __WCLONE) < 0 && errno == EINTR) continue;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -error;
}
