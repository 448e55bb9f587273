/* old_landlock ABI COMMAND...: COMMAND on a kernel with an older Landlock. The first process below it that asks for the
 * version of Landlock is told ABI, and let go; rulesets of a newer form than ABI are refused to everyone by a filter. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define CREATE_RULESET 444
#define OPTIONS (PTRACE_O_TRACESECCOMP | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE)

static int install(int abi) {
    /* With the flag VERSION: ask the tracer. Else: no larger struct than this ABI knows. */
    unsigned size = abi >= 6 ? 24 : abi >= 4 ? 16 : 8;
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, CREATE_RULESET, 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 1, 3, 0),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, size, 2, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | E2BIG),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return -1;
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
}

/* The stopped process is to get `value` from the call that it is about to make, which is left out. */
static void answer(pid_t pid, int value) {
    struct user_regs_struct registers;
    if (ptrace(PTRACE_GETREGS, pid, 0, &registers) < 0) return;
    registers.orig_rax = (unsigned long long)-1;
    registers.rax = (unsigned long long)value;
    ptrace(PTRACE_SETREGS, pid, 0, &registers);
}

int main(int argc, char **argv) {
    if (argc < 3) return 125;
    int abi = atoi(argv[1]);
    pid_t first = fork();
    if (first == 0) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        if (install(abi) < 0) _exit(125);
        execvp(argv[2], argv + 2);
        _exit(127);
    }
    int status, result = 125;
    if (waitpid(first, &status, 0) != first) return 125;
    ptrace(PTRACE_SETOPTIONS, first, 0, OPTIONS);
    ptrace(PTRACE_CONT, first, 0, 0);
    pid_t pid;
    while ((pid = waitpid(-1, &status, __WALL)) > 0) {
        if (!WIFSTOPPED(status)) {
            if (pid == first) result = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            continue;
        }
        int signal = WSTOPSIG(status), event = status >> 16;
        if (event == PTRACE_EVENT_SECCOMP) {
            answer(pid, abi);
            ptrace(PTRACE_DETACH, pid, 0, 0); /* before it makes the launcher: guests are traced by the sentry alone */
            continue;
        }
        if (event || signal == SIGTRAP || signal == SIGSTOP) signal = 0;
        ptrace(PTRACE_CONT, pid, 0, signal);
    }
    return result;
}
