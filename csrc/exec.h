/* exec.h: no exec of a guest reaches the kernel as it was asked. The thread is made to execute the stub instead, which then
 * asks (PRIVATE_LOAD) for the program that was resolved here. INVARIANT no-continue: the one call that goes on in the
 * kernel, execveat of the stub, is compared before (exec_expected) and its outcome is checked (the exec stop). */
#ifndef SBX_EXEC_H
#define SBX_EXEC_H
#include "answer.h"

/* `stub`: descriptor of the stub, kept. 0 or -errno. */
int exec_setup(int stub);
/* execve and execveat. */
struct answer exec_serve(struct request *request);
/* Is this the execveat of the stub that a thread was just made to call? Answer ANSWER_CONTINUE then. */
bool exec_expected(const struct request *request);
/* An exec that had to wait for others and may be served now: to be asked before the next notification is received. */
bool exec_deferred(struct seccomp_notif *notification);
/* PRIVATE_LOAD: ENOSYS but once after each exec. */
struct answer exec_private_load(struct request *request);

/* The launcher's child is about to execute the stub by itself: what its LOAD shall get. `path` is absolute; a script's
 * relative interpreter starts at `cwd`. 0 or -errno as execve. */
int exec_prepare(struct request *request, const char *path, const char *cwd, int *mount);
/* Guest path of the program that waits to be loaded by this process, "" where there is none. */
void exec_program_of(pid_t pid, char exe[SBX_PATH_MAX]);
#endif
