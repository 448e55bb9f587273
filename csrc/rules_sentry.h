/* Rules of rules.c for the sentry's own filter, sorted by call: what a broken sentry may ask of the kernel. */
IOCTL(SECCOMP_IOCTL_NOTIF_RECV), IOCTL(SECCOMP_IOCTL_NOTIF_SEND), IOCTL(SECCOMP_IOCTL_NOTIF_ID_VALID),
IOCTL(SECCOMP_IOCTL_NOTIF_ADDFD), IOCTL(NOTIF_SET_FLAGS), IOCTL(TCGETS), IOCTL(TIOCGPTN), IOCTL(TIOCGPTPEER),
RULE(sendmsg, 0, WITHOUT(2, MSG_FASTOPEN)), /* a connect that Landlock does not see */
RULE(clone, 0, BITS(0, CLONE_FORBIDDEN | THREAD_FLAGS, THREAD_FLAGS)),
FCNTL(F_DUPFD), FCNTL(F_DUPFD_CLOEXEC), FCNTL(F_GETFD), FCNTL(F_SETFD), FCNTL(F_GETFL),
RULE(fcntl, 0, IS(1, F_SETFL), WITHOUT(2, O_ASYNC)),
FCNTL(F_GETLK), FCNTL(F_SETLK), FCNTL(F_SETLKW), FCNTL(F_OFD_GETLK), FCNTL(F_OFD_SETLK), FCNTL(F_OFD_SETLKW),
FCNTL(F_ADD_SEALS), FCNTL(F_GET_SEALS),
/* Landlock does not hold metadata, so it is changed by descriptor only (extended attributes by /proc/self/fd/N). (The kernel does read the path beside
 * AT_EMPTY_PATH; a filter cannot.) */
RULE(fchownat, 0, IS(4, AT_EMPTY_PATH)),
RULE(utimensat, 0, NULLED(1)),
RULE(utimensat, 0, IS(3, AT_EMPTY_PATH)),
RULE(execveat, 0, IS(4, AT_EMPTY_PATH | AT_EXECVE_CHECK)), /* only asks */
RULE(fchmodat2, 0, IS(3, AT_EMPTY_PATH)),
