#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "fs_change.h"
#include "fs_place.h"

#define VALUE_MAX 65536 /* XATTR_SIZE_MAX and XATTR_LIST_MAX */
_Static_assert(sizeof((struct request *)0)->buffer >= VALUE_MAX, "a value fits into the buffer");

static enum walk_last last_of(const struct request *request) {
    return request->flags & AT_SYMLINK_NOFOLLOW ? WALK_NOFOLLOW : WALK_FOLLOW;
}
static bool starts(const char *name, const char *prefix) { return strncmp(name, prefix, strlen(prefix)) == 0; }

/* Names that give rights or labels: the kernel asks for privilege, and where it would not, we do. */
static bool privileged(const char *name) { return starts(name, "security.") || starts(name, "trusted."); }

/* The object for a call that only looks. Attributes go by the link of its descriptor (held_path), which needs no right to open
 * it, as on Linux. */
static int look(struct request *request, struct held *held) {
    *held = (struct held){.fd = -1, .mount = -1};
    if (request->paths == 0) {
        int error = held_borrow(request, request->fd, held);
        return error < 0 ? error : held->path_only ? -EBADF : 0;
    }
    PLACE(place);
    int error = place_walk(request, 0, last_of(request), WALK_EXISTING, &place);
    if (error < 0) return error;
    held->mount = place.mount;
    struct stat status;
    if ((error = place_stat(request, &place, last_of(request), &status)) < 0) return error;
    if (place.special) return -EOPNOTSUPP;
    held->fd = walk_open(&place, O_PATH | O_NOFOLLOW, 0);
    return held->fd < 0 ? held->fd : 0;
}

static struct answer with_value(int mount, ssize_t got, const struct request *request) {
    struct answer answer = place_answer(mount, got);
    if (got > 0 && request->size) answer.out[0] = (struct answer_out){request->out, request->buffer, (size_t)got};
    return answer;
}

struct answer fs_getxattr(struct request *request) {
    struct held held cleanup_held;
    int error = look(request, &held);
    if (error < 0) return place_answer(held.mount, error);
    size_t size = request->size < VALUE_MAX ? (size_t)request->size : VALUE_MAX;
    char path[40];
    held_path(held.fd, path);
    ssize_t got = getxattr(path, request->name, size ? request->buffer : NULL, size);
    return with_value(held.mount, got < 0 ? -errno : got, request);
}

struct answer fs_listxattr(struct request *request) {
    struct held held cleanup_held;
    int error = look(request, &held);
    if (error < 0) return place_answer(held.mount, error == -EOPNOTSUPP ? 0 : error);
    size_t size = request->size < VALUE_MAX ? (size_t)request->size : VALUE_MAX;
    char path[40];
    held_path(held.fd, path);
    ssize_t got = listxattr(path, size ? (char *)request->buffer : NULL, size);
    return with_value(held.mount, got < 0 ? -errno : got, request);
}

/* Find what is to be changed; `name` may be. */
static int change(struct request *request, struct held *held) {
    int error = held_change(request, last_of(request), held);
    return error < 0 ? error : privileged(request->name) ? -EPERM : 0;
}

struct answer fs_setxattr(struct request *request) {
    int flags = (int)request->args[4];
    if (flags & ~(XATTR_CREATE | XATTR_REPLACE)) return answer_error(EINVAL);
    if (request->size > VALUE_MAX) return answer_error(E2BIG);
    if (guest_read(request->tid, request->in, request->buffer, (size_t)request->size) < 0) return answer_error(EFAULT);
    request->flags = request->row->preset;
    struct held held cleanup_held;
    int error = change(request, &held);
    char path[40];
    held_path(held.fd, path);
    if (error == 0 && setxattr(path, request->name, request->buffer, (size_t)request->size, flags) < 0) error = -errno;
    return place_answer(held.mount, error);
}

struct answer fs_removexattr(struct request *request) {
    struct held held cleanup_held;
    int error = change(request, &held);
    char path[40];
    held_path(held.fd, path);
    if (error == 0 && removexattr(path, request->name) < 0) error = -errno;
    return place_answer(held.mount, error);
}
