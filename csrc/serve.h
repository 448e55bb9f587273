/* serve.h: one call of the guest's, from its notification to its answer. */
#ifndef SBX_SERVE_H
#define SBX_SERVE_H
#include <linux/seccomp.h>
#include "decode.h"

void serve(struct request *request, const struct seccomp_notif *notification);
#endif
