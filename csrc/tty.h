/* tty.h: /dev/tty. */
#ifndef SBX_TTY_H
#define SBX_TTY_H
#include <sys/types.h>
/* The controlling terminal of a thread, through a descriptor of it that its process holds. A descriptor or -errno. */
int tty_open(pid_t tid, int flags);
#endif
