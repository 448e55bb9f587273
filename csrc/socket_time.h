/* socket_time.h: the time that recvmmsg may take, which Linux looks at after each message. */
#ifndef SBX_SOCKET_TIME_H
#define SBX_SOCKET_TIME_H
#include <time.h>
#include "decode.h"

struct socket_time { bool given; struct timespec left, end; };
/* 0 or -errno. `given` is false where the call has none. */
int socket_time_read(const struct request *request, struct socket_time *limit);
bool socket_time_is_over(struct socket_time *limit);
/* What is left, where the guest reads it. 0 or -EFAULT. */
int socket_time_tell(const struct request *request, const struct socket_time *limit);
#endif
