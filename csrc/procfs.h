/* procfs.h: /proc of the guest's own processes. Links and directories here, from the kernel's own; the texts of files are made
 * by the Supervisor (services/proc.py). */
#ifndef SBX_PROCFS_H
#define SBX_PROCFS_H
#include "answer.h"
#include <sys/stat.h>
#include "context.h"

enum procfs_kind { PROCFS_MISSING, PROCFS_DIRECTORY, PROCFS_FILE, PROCFS_LINK, PROCFS_MAGIC };
/* What is `name` ("" is /proc itself, else "self", "self/fd/3", "meminfo") for the thread that asks? LINK: *target gets
 * where it leads, a guest path or relative text. MAGIC: a link to an object without a path in the view (pipe, socket,
 * deleted or foreign file): *target gets the kernel's text, and walking ends there. -errno, e.g. -EACCES, -ENOENT. */
int procfs_look(const struct request *request, const char *name, enum procfs_kind *kind, char target[SBX_PATH_MAX]);

struct place;
/* Of a place in /proc. 0 or -errno; the second a descriptor. */
int procfs_stat(const struct request *request, const struct place *place, struct stat *status);
int procfs_open(struct request *request, const struct place *place, int flags);
/* May `name` be listed below the /proc directory `directory` ("" is /proc itself)? */
bool procfs_listed(const char *directory, const char *name);
#endif
