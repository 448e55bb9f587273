/* abstract.h: abstract names of AF_UNIX where the guest has no network namespace and the kernel's names are everybody's. A guest's
 * `name` is TAG `name` to the kernel, with a tag of this guest alone that nobody outside is told. */
#ifndef SBX_ABSTRACT_H
#define SBX_ABSTRACT_H
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

int abstract_setup(void); /* before the sentry's own filter stands. 0 or -errno */
bool abstract_served(void);
/* What the guest calls it becomes what the kernel does, and back (another's name stays as it is). `size` as in bind. */
void abstract_hide(struct sockaddr_un *name, socklen_t *size);
void abstract_show(struct sockaddr_un *name, socklen_t *size);
/* Give a socket without a name one that nobody has, as the kernel does for a bind without a name. 0 or -errno. */
int abstract_bind_any(int socket);
/* The same before it connects or sends, where the kernel would since its receiver's credentials are wanted. */
void abstract_bind_sender(int socket);
/* Did a process of this guest make the connection that was accepted at such a name? True for other names. */
bool abstract_admits(int accepted);
#endif
