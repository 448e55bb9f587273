/* Attributes of files, changed by descriptor only: Landlock does not hold them, so the sentry's filter lets no path
 * through. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>
#include "borrow.h"
#include "fs_change.h"
#include "fs_place.h"

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452 /* Linux 6.6 */
#endif
#ifndef UTIME_NOW
#define UTIME_NOW ((1l << 30) - 1l)
#define UTIME_OMIT ((1l << 30) - 2l)
#endif
#define FLAGS (AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)

static enum walk_last last_of(const struct request *request) {
    return request->flags & AT_SYMLINK_NOFOLLOW ? WALK_NOFOLLOW : WALK_FOLLOW;
}

static struct answer denied(int mount, int error) {
    struct answer answer = answer_denied(error);
    answer.mount = mount;
    return answer;
}

struct answer fs_chmod(struct request *request) {
    if (request->flags & ~(unsigned)FLAGS) return answer_error(EINVAL);
    struct held held cleanup_held;
    int error = held_change(request, last_of(request), &held);
    if (error < 0) return place_answer(held.mount, error);
    mode_t mode = request->mode & 07777;
    bool set_id = S_ISREG(held.status.st_mode) && (mode & (S_ISUID | S_ISGID));
    /* The host would honour it, with the caller's identity for whoever runs it there. */
    if (set_id && held.mount >= 0 && place_kind(held.mount) == SBX_MOUNT_HOST) return denied(held.mount, EPERM);
    long did = held.path_only ? syscall(SYS_fchmodat2, held.fd, "", mode, AT_EMPTY_PATH) : fchmod(held.fd, mode);
    if (did < 0 && errno == ENOSYS) return denied(held.mount, EPERM); /* before 6.6 only what can be opened */
    return place_answer(held.mount, did < 0 ? -errno : 0);
}

struct answer fs_chown(struct request *request) {
    if (request->flags & ~(unsigned)FLAGS) return answer_error(EINVAL);
    struct held held cleanup_held;
    int error = held_change(request, last_of(request), &held);
    if (error < 0) return place_answer(held.mount, error);
    uid_t user = (uid_t)request->value[0];
    gid_t group = (gid_t)request->value[1];
    int did = held.path_only ? fchownat(held.fd, "", user, group, AT_EMPTY_PATH) : fchown(held.fd, user, group);
    /* In a user namespace ids of others are not even numbers. */
    return place_answer(held.mount, did == 0 ? 0 : errno == EINVAL ? -EPERM : -errno);
}

/* The two times of a call in the form that it takes them in. *count 0: now. */
static int read_times(const struct request *request, struct timespec times[2], bool *given) {
    *given = request->in != 0;
    if (!*given) return 0;
    int64_t raw[4];
    bool seconds = request->nr == SYS_utime, micro = request->nr == SYS_utimes || request->nr == SYS_futimesat;
    if (guest_read(request->tid, request->in, raw, seconds ? 16 : 32) < 0) return -EFAULT;
    for (int i = 0; i < 2; i++) {
        if (seconds) {
            times[i] = (struct timespec){.tv_sec = raw[i]};
            continue;
        }
        times[i] = (struct timespec){.tv_sec = raw[2 * i], .tv_nsec = raw[2 * i + 1]};
        if (micro && (times[i].tv_nsec < 0 || times[i].tv_nsec >= 1000000)) return -EINVAL;
        if (micro) times[i].tv_nsec *= 1000;
    }
    return 0;
}

static bool time_valid(const struct timespec *time) {
    return time->tv_nsec == UTIME_NOW || time->tv_nsec == UTIME_OMIT || (time->tv_nsec >= 0 && time->tv_nsec < 1000000000);
}

struct answer fs_utimes(struct request *request) {
    struct timespec times[2];
    bool given;
    int error = read_times(request, times, &given);
    if (error < 0) return answer_error(-error);
    if (given && times[0].tv_nsec == UTIME_OMIT && times[1].tv_nsec == UTIME_OMIT) return answer_value(0);
    if (given && (!time_valid(&times[0]) || !time_valid(&times[1]))) return answer_error(EINVAL);
    struct held held cleanup_held;
    held.fd = -1;
    bool by_descriptor = request->path_null[0] && request->dirfd[0] != AT_FDCWD && (request->nr == SYS_utimensat || request->nr == SYS_futimesat);
    if (request->flags & ~(unsigned)(by_descriptor ? 0 : FLAGS)) return answer_error(EINVAL);
    if (by_descriptor) { /* futimens */
        request->fd = request->dirfd[0];
        request->paths = 0;
    } else if (request->path_null[0]) return answer_error(EFAULT);
    error = held_change(request, last_of(request), &held);
    if (error < 0) return place_answer(held.mount, error);
    long did = syscall(SYS_utimensat, held.fd, held.path_only ? "" : NULL, given ? times : NULL, held.path_only ? AT_EMPTY_PATH : 0);
    return place_answer(held.mount, did < 0 ? -errno : 0);
}

/* The guest's limit, since the kernel would ask for ours. */
static bool too_large(const struct request *request, off_t now, off_t wanted) {
    struct rlimit64 limit;
    if (wanted <= now || syscall(SYS_prlimit64, request->tid, RLIMIT_FSIZE, NULL, &limit) < 0) return false;
    if (limit.rlim_cur == RLIM64_INFINITY || (uint64_t)wanted <= limit.rlim_cur) return false;
    pid_t leader = guest_leader(request->tid);
    /* INVARIANT still-there: else both numbers may be others' by now. */
    if (leader > 0 && borrow_caller_is_there(request)) syscall(SYS_tgkill, leader, request->tid, SIGXFSZ);
    return true;
}

struct answer fs_truncate(struct request *request) {
    off_t length = (off_t)request->value[0];
    if (length < 0) return answer_error(EINVAL);
    PLACE(place);
    int error = place_walk(request, 0, WALK_FOLLOW, WALK_EXISTING, &place);
    if (error < 0) return answer_error(-error);
    struct stat status;
    if ((error = place_stat(request, &place, WALK_FOLLOW, &status)) < 0) return place_answer(place.mount, error);
    if (S_ISDIR(status.st_mode)) return place_answer(place.mount, -EISDIR);
    if (!S_ISREG(status.st_mode)) return place_answer(place.mount, -EINVAL);
    if (place.special || place_read_only(&place)) { /* rights are asked before the mount */
        int flags;
        const char *name = place_at(&place, WALK_NOFOLLOW, &flags);
        bool refused = !place.special && syscall(SYS_faccessat2, place.dir, name, W_OK, flags | AT_EACCESS) < 0 && errno == EACCES;
        return place_answer(place.mount, refused ? -EACCES : -EROFS);
    }
    cleanup_close int fd = walk_open(&place, O_WRONLY | O_NONBLOCK | O_NOFOLLOW, 0);
    if (fd < 0) return place_answer(place.mount, fd);
    if (too_large(request, status.st_size, length)) return place_answer(place.mount, -EFBIG);
    return place_answer(place.mount, ftruncate(fd, length) < 0 ? -errno : 0);
}
