/* special.h: places that are served otherwise than from a directory (place->special): /proc, /dev/tty, files that a service makes. */
#ifndef SBX_SPECIAL_H
#define SBX_SPECIAL_H
#include <sys/stat.h>
#include "walk.h"
int special_stat(const struct request *request, const struct place *place, struct stat *status);
int special_open(struct request *request, const struct place *place, int flags); /* descriptor or -errno */
#endif
