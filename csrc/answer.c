#include "answer.h"
#include "borrow.h"
#include "burst.h"
#include "loop.h"
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

uint64_t answer_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int giving; /* threads with a descriptor that the guest may have by now */

bool answer_gives(void) { return __atomic_load_n(&giving, __ATOMIC_ACQUIRE) > 0; }

static int write_out(const struct request *request, const struct answer *answer) {
    for (size_t i = 0; i < sizeof answer->out / sizeof *answer->out; i++) {
        const struct answer_out *out = &answer->out[i];
        if (out->size == 0) continue;
        if (guest_write(request->tid, out->address, out->data, out->size) < 0) return EFAULT;
    }
    return 0;
}

static void record(const struct request *request, const struct answer *answer, int error) {
    enum sbx_verdict verdict = answer->denied ? SBX_VERDICT_DENIED : error ? SBX_VERDICT_FAILED : SBX_VERDICT_DONE;
    if (!trail_keeps()) return trail_count(request->nr, verdict);
    if (error == ERESTARTSYS) error = EINTR;
    struct sbx_record entry = {
        .pid = (uint32_t)request->tid, .nr = request->nr, .error = error,
        .mount = answer->mount < 0 ? 0xffff : (uint16_t)answer->mount,
        .verdict = verdict,
        .duration_ns = answer_now() - request->began_ns, .service = request->service, .flags = request->flags,
    };
    trail_append(&entry, request->paths > 0 ? request->path[0] : NULL, request->paths > 1 ? request->path[1] : NULL);
}

void answer_record(const struct request *request, const struct answer *answer) { record(request, answer, answer->error); }

/* INVARIANT one-exit: every answer and every record leaves here. */
void answer_send(struct request *request, struct answer *answer) {
    int error = answer->kind == ANSWER_NONE ? ENOSYS : answer->error;
    if (answer->kind == ANSWER_NONE) answer->denied = true;
    if (!error && (error = write_out(request, answer))) answer->kind = answer->kind == ANSWER_FD ? ANSWER_FD : ANSWER_VALUE;
    /* Recorded first: a guest that has its answer finds its call in the trail. */
    if (!answer->silent) record(request, answer, error);
    if (borrow_stands()) {
        bool path_only = answer->kind == ANSWER_FD && !error && (fcntl(answer->fd, F_GETFL) & O_PATH);
        if (path_only) answer->value = borrow_give_path(request->id, request->tid, answer->fd, answer->fd_flags & O_CLOEXEC);
        else if (answer->kind == ANSWER_FD && !error) answer->value = borrow_inject(answer->fd, answer->fd_flags & O_CLOEXEC);
        if (answer->kind == ANSWER_FD) close(answer->fd);
        borrow_finish(request, error ? -error : answer->value);
        return;
    }
    if (answer->kind == ANSWER_FD && !error) {
        struct seccomp_notif_addfd add = {.id = request->id, .flags = answer->alone ? 0 : SECCOMP_ADDFD_FLAG_SEND,
                                          .srcfd = (uint32_t)answer->fd, .newfd_flags = answer->fd_flags & O_CLOEXEC};
        __atomic_add_fetch(&giving, 1, __ATOMIC_ACQ_REL);
        int sent = guest_notify(SECCOMP_IOCTL_NOTIF_ADDFD, &add);
        error = sent < 0 ? errno : 0;
        burst_given(request->tid);
        if (error == EBADF) { /* an O_PATH descriptor */
            int number = borrow_give_path(request->id, request->tid, answer->fd, answer->fd_flags & O_CLOEXEC);
            error = number < 0 ? -number : 0;
            answer->value = number;
        }
        close(answer->fd);
        __atomic_sub_fetch(&giving, 1, __ATOMIC_ACQ_REL);
        if (borrow_stands()) {
            borrow_finish(request, error ? -error : answer->value);
            return;
        }
        if ((!error && !answer->alone) || error == ENOENT) return; /* ENOENT: the caller is gone */
        answer->value = sent;
    } else if (answer->kind == ANSWER_FD) {
        close(answer->fd);
    }
    struct seccomp_notif_resp response = {.id = request->id};
    if (error) response.error = -error;
    else if (answer->kind == ANSWER_CONTINUE) response.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    else response.val = answer->value;
    guest_notify(SECCOMP_IOCTL_NOTIF_SEND, &response);
}
