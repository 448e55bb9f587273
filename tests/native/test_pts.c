/* with: pts.c
 *
 * While the guest's descriptors are looked through for a terminal, others are served. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "loop.h"
#include "mounts.h"
#include "process.h"
#include "procfs_descriptor.h"
#include "pts.h"

static bool left, may_leave;
static int walks;

bool loop_leave(void) { return left = may_leave; }
void process_each(bool (*visit)(pid_t leader, int process, void *data), void *data) {
    (void)visit, (void)data;
    assert(left);
    walks++;
}
DIR *process_list(int process, const char *name) { (void)process, (void)name; return NULL; }
int procfs_descriptor_hold(int process, const char *name, unsigned *flags) { (void)process, (void)name, (void)flags; return -ENOENT; }
int guest_proc(void) { return -1; }
void guest_close(int *fd) { if (*fd >= 0) close(*fd); }
int mounts_multiplexer(void) { return -1; }
void held_link(int fd, char link[32]) { (void)fd, link[0] = 0; }
int mounts_proc(void) { return -1; }
int walk_open(const struct place *place, int flags, mode_t mode) { (void)place, (void)flags, (void)mode; return -EIO; }

int main(void) {
    static struct place place;
    assert((place.dir = open("/dev", O_PATH | O_DIRECTORY)) >= 0);
    strcpy(place.name, "null"); /* a device that nobody has */
    assert(pts_open(&place, O_RDWR) == -ENOMEM && walks == 0);
    may_leave = true;
    assert(pts_open(&place, O_RDWR) == -EACCES && walks == 1);
    puts("pts: ok");
    return 0;
}
