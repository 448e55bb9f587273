/* borrow.h: descriptors of a guest thread where pidfd_getfd is refused, as in ordinary containers. The thread that waits
 * for our answer is answered and held (trace.h), and made to send its descriptor itself; what its call returns is set when
 * the request ends. One request of a sentry thread at a time. */
#ifndef SBX_BORROW_H
#define SBX_BORROW_H
#include "answer.h"

int borrow_setup(void); /* once, before the sentry's own filter stands: makes the channel. 0 or -errno */
/* For guest_borrow_fd: descriptor `fd` of thread `tid`, which waits for the answer to notification `id`. -errno. */
int borrow_fd(uint64_t id, pid_t tid, int fd);
/* Is the calling sentry thread's request held in this way? Then its notification is answered already. */
bool borrow_stands(void);
/* INVARIANT still-there: is the caller there, after a wait too? Its notification stands, or it is held. */
bool borrow_caller_is_there(const struct request *request);
/* Put a descriptor into the held thread: its number there, or -errno. */
int borrow_inject(int fd, bool close_on_exec);
/* Put an O_PATH descriptor into the thread that waits for the answer to notification `id`, which is held from then on: the
 * kernel's own way (ADDFD) does not take one, a message does. Its number there, or -errno. */
int borrow_give_path(uint64_t id, pid_t tid, int fd, bool close_on_exec);
/* Let the held thread go on, its call having returned `result` (-512: again after signals). */
void borrow_finish(const struct request *request, int64_t result);
/* Calls that a held thread makes for us. ANSWER_NONE: not one of them. Any sentry thread. */
struct answer borrow_expected(const struct request *request);
#endif
