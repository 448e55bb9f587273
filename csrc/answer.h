/* answer.h: the one exit. INVARIANT one-exit: answer_send alone answers a notification, and every call that a guest makes
 * has exactly one audit record, written here. */
#ifndef SBX_ANSWER_H
#define SBX_ANSWER_H
#include <fcntl.h>
#include "decode.h"
#include "trail.h"

enum answer_kind {
    ANSWER_NONE,     /* zero refuses: sent as ENOSYS */
    ANSWER_VALUE,    /* value, or error where it is not 0 */
    ANSWER_FD,       /* fd is given to the guest, then closed here */
    ANSWER_CONTINUE, /* the kernel goes on with the call: our own execveat and borrow.c's sendmsg only */
    ANSWER_SENT      /* the handler has called answer_send itself */
};
struct answer_out { uint64_t address; const void *data; size_t size; };
struct answer {
    enum answer_kind kind;
    int error;                    /* errno, positive */
    bool denied;                  /* the error is our refusal, not Linux's */
    int64_t value;
    int fd;
    uint32_t fd_flags;            /* O_CLOEXEC or 0 */
    bool silent;                  /* of our own making, or recorded when its outcome is known (exec.c): no record */
    bool alone;                   /* fd is closed here before the guest goes on: its close must be the last */
    int mount;                    /* that decided, or -1 */
    struct answer_out out[3];     /* written to the guest before the answer; EFAULT where that fails */
};

static inline struct answer answer_value(int64_t value) { return (struct answer){ANSWER_VALUE, .value = value, .mount = -1}; }
static inline struct answer answer_error(int error) { return (struct answer){ANSWER_VALUE, .error = error, .mount = -1}; }
static inline struct answer answer_denied(int error) { return (struct answer){ANSWER_VALUE, .error = error, .denied = true, .mount = -1}; }
static inline struct answer answer_result(int64_t result) { return result < 0 ? answer_error((int)-result) : answer_value(result); }
static inline struct answer answer_fd(int fd, uint32_t flags) { return (struct answer){ANSWER_FD, .fd = fd, .fd_flags = flags, .mount = -1}; }

void answer_send(struct request *request, struct answer *answer);
/* The record of a call whose answers were silent. */
void answer_record(const struct request *request, const struct answer *answer);
bool answer_gives(void);     /* is a descriptor given to the guest and not yet closed here? */
uint64_t answer_now(void);  /* CLOCK_MONOTONIC, nanoseconds */
#endif
