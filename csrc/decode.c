#include "decode.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include "answer.h"
#include "trail.h"

static int copy_path(struct request *request, uint64_t address) {
    int which = request->paths;
    if (which >= 2) return -EINVAL;
    request->path[which][0] = 0;
    request->path_null[which] = address == 0;
    if (address == 0) { /* utimensat takes it; every other handler refuses the empty path with EFAULT */
        request->paths++;
        return 0;
    }
    int length = guest_read_string(request->tid, address, request->path[which], SBX_PATH_MAX);
    if (length < 0) request->path[which][0] = 0;
    request->paths++;
    return length < 0 ? length : 0;
}

static int copy_argument(struct request *request, enum sbx_role role, uint64_t argument, int *values) {
    int length;
    switch (role) {
    case SBX_ROLE_NONE: return 0;
    case SBX_ROLE_DIRFD: if (request->paths < 2) request->dirfd[request->paths] = (int)argument; return 0;
    case SBX_ROLE_PATH: return copy_path(request, argument);
    case SBX_ROLE_FD: request->fd = (int)argument; return 0;
    case SBX_ROLE_FLAGS: request->flags |= (uint32_t)argument; return 0;
    case SBX_ROLE_MODE: request->mode = (uint32_t)argument; return 0;
    case SBX_ROLE_OUT: request->out = argument; return 0;
    case SBX_ROLE_IN: request->in = argument; return 0;
    case SBX_ROLE_SIZE: request->size = argument; return 0;
    case SBX_ROLE_NAME:
        length = guest_read_string(request->tid, argument, request->name, 256);
        return length == -ENAMETOOLONG ? -ERANGE : length < 0 ? length : length == 0 ? -ERANGE : 0;
    case SBX_ROLE_TEXT:
        length = guest_read_string(request->tid, argument, request->name, SBX_PATH_MAX);
        return length < 0 ? length : 0;
    case SBX_ROLE_VALUE: request->value[(*values)++] = argument; return 0;
    case SBX_ROLE_PID: request->pid = (pid_t)argument; return 0;
    }
    return -ENOSYS;
}

int decode(const struct seccomp_notif *notification, struct request *request) {
    memset(request, 0, offsetof(struct request, path)); /* the long members are written before they are read */
    request->name[0] = 0;
    request->path_null[0] = request->path_null[1] = false;
    request->fd = -1;
    request->flags = request->mode = 0;
    request->out = request->in = request->size = 0;
    memset(request->value, 0, sizeof request->value);
    request->pid = 0;
    request->careful = false;
    request->id = notification->id;
    request->tid = (pid_t)notification->pid;
    request->nr = (uint32_t)notification->data.nr;
    for (int i = 0; i < 6; i++) request->args[i] = notification->data.args[i];
    request->began_ns = trail_keeps() ? answer_now() : 0;
    request->dirfd[0] = request->dirfd[1] = AT_FDCWD;
    request->row = syscalls_row(request->nr);
    if (request->row == NULL) return -ENOSYS; /* INVARIANT zero-refuses */
    request->flags = request->row->preset;
    int error = 0, values = 0;
    for (int i = 0; i < 6; i++) {
        int failed = copy_argument(request, (enum sbx_role)request->row->role[i], request->args[i], &values);
        if (failed && !error) error = failed;
    }
    return error;
}
