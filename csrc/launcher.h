/* launcher.h: the process from which the guest's commands are made (launcher.c: trusted code, no guest byte has reached it),
 * and the commands as the sentry knows them and answers for them (launcher_commands.c). */
#ifndef SBX_LAUNCHER_H
#define SBX_LAUNCHER_H
#include "answer.h"

/* Clone the launcher: it puts on limits, tag, Landlock domain and filter, then asks for commands. A descriptor for
 * launcher_listener, or -errno. *pid gets the launcher. */
int launcher_begin(const struct sbx_plan *plan, int stub, int landlock_abi, bool own_users, pid_t *pid);
/* Wait until its filter stands: the listener's descriptor, or -errno. */
int launcher_listener(int report);

/* PRIVATE_NEXT, PRIVATE_START and PRIVATE_LOAD. */
struct answer launcher_serve(struct request *request);
/* A command from the Supervisor: memfd of struct sbx_command, its size and descriptors. Taken over. */
int launcher_run(uint64_t number, int memfd, const int *fds, int fd_count);
/* The main thread reaped a child: the number of the command that it was, or 0. */
uint64_t launcher_command_of(pid_t pid);
pid_t launcher_pid_of(uint64_t number); /* 0: not running */
#endif
