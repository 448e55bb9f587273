#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "fs.h"
#include "fs_place.h"
#include "mounts.h"

static bool searchable(int directory) { return syscall(SYS_faccessat2, directory, "", X_OK, AT_EMPTY_PATH | AT_EACCESS) == 0; }

/* Give the process the working directory at `fd`, or one of a service where fd is -1. */
static int enter(const struct request *request, int fd, int mount, const char *guest) {
    struct context *now = context_of(request->tid);
    if (now == NULL) return -ESRCH;
    struct context wanted = *now;
    context_put(now);
    wanted.cwd = fd;
    wanted.cwd_mount = mount;
    snprintf(wanted.cwd_path, sizeof wanted.cwd_path, "%s", guest);
    return context_enter(request->tid, &wanted);
}

struct answer fs_chdir(struct request *request) {
    PLACE(place);
    int error = place_walk(request, 0, WALK_FOLLOW, WALK_EXISTING, &place);
    if (error < 0) return answer_error(-error);
    struct stat status;
    error = place_stat(request, &place, WALK_FOLLOW, &status);
    if (error == 0 && !S_ISDIR(status.st_mode)) error = -ENOTDIR;
    if (error < 0) return place_answer(place.mount, error);
    if (place.special) return place_answer(place.mount, enter(request, -1, place.mount, place.guest));
    cleanup_close int fd = walk_open(&place, O_PATH | O_DIRECTORY, 0);
    if (fd < 0) return place_answer(place.mount, fd);
    if (!searchable(fd)) return place_answer(place.mount, -EACCES);
    return place_answer(place.mount, enter(request, fd, place.mount, place.guest));
}

struct answer fs_fchdir(struct request *request) {
    cleanup_close int borrowed = guest_borrow_fd(request->tid, request->fd);
    if (borrowed < 0) return answer_error(-borrowed);
    struct stat status;
    if (fstat(borrowed, &status) < 0) return answer_error(errno);
    if (!S_ISDIR(status.st_mode)) return answer_error(ENOTDIR);
    PLACE(place);
    int error = walk_descriptor(gettid(), borrowed, &place);
    if (error < 0) return answer_denied(EACCES); /* a directory that no mount holds */
    if (place.special) return place_answer(place.mount, enter(request, -1, place.mount, place.guest));
    if (!searchable(borrowed)) return place_answer(place.mount, -EACCES);
    cleanup_close int fd = openat(borrowed, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return place_answer(place.mount, fd < 0 ? -errno : enter(request, fd, place.mount, place.guest));
}

struct answer fs_getcwd(struct request *request) {
    struct context *context = context_of(request->tid);
    if (context == NULL) return answer_error(ESRCH);
    char *path = (char *)request->buffer;
    int error = walk_cwd(context, path);
    int mount = context->cwd_mount;
    context_put(context);
    if (error < 0) return answer_error(-error);
    size_t size = strlen(path) + 1;
    if (size > request->size) return answer_error(ERANGE);
    struct answer answer = place_answer(mount, (int64_t)size);
    answer.out[0] = (struct answer_out){request->out, path, size};
    return answer;
}

struct answer fs_umask(struct request *request) {
    struct context *now = context_of(request->tid);
    if (now == NULL) return answer_error(ESRCH);
    struct context wanted = *now;
    context_put(now);
    mode_t had = wanted.umask;
    wanted.umask = request->mode & 0777;
    int error = wanted.umask == had ? 0 : context_enter(request->tid, &wanted);
    return error < 0 ? answer_error(-error) : answer_value(had);
}

/* A watched directory tells the names in it: none may be hidden. */
static bool tells_hidden(const struct place *place) {
    const struct sbx_mount *mount = plan_mount(mounts_plan(), (uint32_t)place->mount);
    return mount->hide_count && place_shelters(place);
}

struct answer fs_inotify_add(struct request *request) {
    uint32_t mask = request->flags;
    if (!(mask & (IN_ALL_EVENTS | IN_UNMOUNT | IN_Q_OVERFLOW | IN_IGNORED | IN_ONLYDIR | IN_DONT_FOLLOW | IN_EXCL_UNLINK | IN_MASK_ADD |
                  IN_MASK_CREATE | IN_ISDIR | IN_ONESHOT))) return answer_error(EINVAL);
    cleanup_close int watcher = guest_borrow_fd(request->tid, request->fd);
    if (watcher < 0) return answer_error(-watcher);
    if ((mask & IN_MASK_ADD) && (mask & IN_MASK_CREATE)) return answer_error(EINVAL);
    enum walk_last last = mask & IN_DONT_FOLLOW ? WALK_NOFOLLOW : WALK_FOLLOW;
    PLACE(place);
    int error = place_walk(request, 0, last, WALK_EXISTING, &place);
    if (error < 0) return answer_error(-error);
    struct stat status;
    if ((error = place_stat(request, &place, last, &status)) < 0) return place_answer(place.mount, error);
    if ((mask & IN_ONLYDIR) && !S_ISDIR(status.st_mode)) return place_answer(place.mount, -ENOTDIR);
    if (place.special || tells_hidden(&place)) {
        struct answer answer = answer_denied(EACCES);
        answer.mount = place.mount;
        return answer;
    }
    cleanup_close int fd = walk_open(&place, O_PATH | O_NOFOLLOW, 0);
    if (fd < 0) return place_answer(place.mount, fd);
    char path[40]; /* there is no call that takes a descriptor */
    held_path(fd, path);
    int watch = inotify_add_watch(watcher, path, mask & ~(uint32_t)(IN_DONT_FOLLOW | IN_ONLYDIR));
    return place_answer(place.mount, watch < 0 ? -errno : watch);
}
