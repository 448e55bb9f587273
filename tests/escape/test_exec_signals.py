"""Signals whose handlers are the guest's code arrive all the time while programs are executed."""

from __future__ import annotations

from tests.escape.attack import build, every_wall, inside, native, ordinary

ATTACK = r"""
/* argv[1] is "again" for the program that is executed: it must not find the handler's mark, and run from its start */
static volatile int calls;
static char path[64];
static void handler(int signal) { /* between answer and exec: another name, another descriptor, another exec */
    calls++;
    strcpy(path, "/no/such/program");
    dup2(0, 3); dup2(0, 4);
    static char *arguments[] = {"x", "wrong", NULL}, *environment[] = {NULL};
    if (calls % 3 == 0) execve("/no/such/program", arguments, environment);
    strcpy(path, "/proc/self/exe");
}
int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "again")) return 0;
    if (argc > 1 && !strcmp(argv[1], "wrong")) return WON;
    int status, bad = 0, good = 0;
    for (int i = 0; i < 150 && !bad; i++) {
        pid_t child = fork();
        if (child == 0) {
            struct sigaction action = {.sa_handler = handler, .sa_flags = i % 2 ? SA_RESTART : 0};
            sigaction(SIGUSR1, &action, NULL);
            sigaction(SIGALRM, &action, NULL);
            struct itimerspec often = {{0, 40000}, {0, 40000}};
            struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
            timer_t timer;
            timer_create(CLOCK_MONOTONIC, &event, &timer);
            timer_settime(timer, 0, &often, NULL);
            char *arguments[] = {"x", "again", NULL}, *environment[] = {NULL};
            for (int tries = 0; tries < 20; tries++) {
                strcpy(path, "/proc/self/exe");
                execve(path, arguments, environment);
            }
            _exit(7);
        }
        waitpid(child, &status, 0);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) good++;
        else if (WIFEXITED(status) && WEXITSTATUS(status) == 7) continue;
        else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) continue; /* its path was swapped under it */
        else { bad = 1; printf("status=%d\n", status); }
    }
    printf("good=%d\n", good);
    return bad ? WON : LOST;
}
"""
NAIVE = r"""
#include <sys/ptrace.h>
#include <sys/user.h>
/* A tracer that makes a thread run a call of its choice, and does not hold back signals: a handler runs first. */
static volatile int handled;
static void handler(int signal) { handled = 1; }
int main(void) {
    int *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), status;
    pid_t child = fork();
    if (child == 0) {
        signal(SIGUSR1, handler);
        prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        syscall(SYS_getppid);
        *shared = handled ? 2 : 1; /* here the tracer's call has been made */
        _exit(0);
    }
    waitpid(child, &status, 0);
    struct user_regs_struct registers;
    ptrace(PTRACE_SYSCALL, child, 0, 0); waitpid(child, &status, 0);
    do { ptrace(PTRACE_GETREGS, child, 0, &registers); if (registers.orig_rax == SYS_getppid) break;
         ptrace(PTRACE_SYSCALL, child, 0, 0); waitpid(child, &status, 0); } while (WIFSTOPPED(status));
    ptrace(PTRACE_SYSCALL, child, 0, 0); waitpid(child, &status, 0); /* its return */
    kill(child, SIGUSR1);
    ptrace(PTRACE_GETREGS, child, 0, &registers);
    registers.rip -= 2; registers.rax = SYS_gettid;
    ptrace(PTRACE_SETREGS, child, 0, &registers);
    ptrace(PTRACE_SYSCALL, child, 0, 0); waitpid(child, &status, 0);
    int before = WIFSTOPPED(status) && WSTOPSIG(status) == SIGUSR1; /* the signal comes before the call */
    ptrace(PTRACE_CONT, child, 0, SIGUSR1);
    waitpid(child, &status, 0);
    return before && *shared == 2 ? WON : LOST;
}
"""


@ordinary
@every_wall
def test_no_handler_runs_in_between(walls: str) -> None:
    """All signals are blocked from the answer to the program's first instruction; the mask is the guest's again then."""
    outcome = inside(build(ATTACK), walls=walls, timeout=60)
    assert not outcome.won and outcome.told["good"] > 0


def test_a_handler_runs_before_the_call_otherwise() -> None:
    assert native(build(NAIVE)).won
