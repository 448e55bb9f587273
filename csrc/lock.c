#include "directory.h"
#include "lock.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>
#include "lock_holder.h"
#include "loop.h"
#include "mounts.h"
#include "process.h"

#define LOOK_MS 20 /* how often a waiting lock is tried where nobody tells us of a release */

/* One lock to be set: tried until it stands. */
struct attempt {
    struct held file;
    pid_t leader;
    int access;          /* O_ACCMODE of the guest's descriptor */
    bool private;        /* the file is of a read-only grant */
    int command;         /* of fcntl */
    struct flock range;
    int operation;       /* of flock */
    bool waits;
    struct attempt *next; /* of those that wait for a process's lock */
    pid_t blocker;
};
static struct attempt *waiting; /* with the table held */

static int begin(const struct request *request, struct attempt *attempt) {
    *attempt = (struct attempt){.file.fd = -1};
    int error = held_borrow(request, request->fd, &attempt->file);
    if (error < 0) return error;
    if (attempt->file.path_only) return -EBADF;
    attempt->access = fcntl(attempt->file.fd, F_GETFL) & O_ACCMODE;
    int mount = attempt->file.mount;
    attempt->private = mount >= 0 ? !mounts_flag(mount, SBX_MOUNT_WRITABLE) || mounts_flag(mount, SBX_MOUNT_DEVICE) : attempt->file.foreign && attempt->access == O_RDONLY;
    attempt->leader = guest_leader(request->tid);
    return attempt->leader < 0 ? attempt->leader : 0;
}

static void leave_waiting(struct attempt *attempt) {
    struct attempt **at = &waiting;
    while (*at && *at != attempt) at = &(*at)->next;
    if (*at) *at = attempt->next;
}

/* Try until it stands, or until a signal of the guest's comes. */
static int keep_trying(struct attempt *attempt, bool wait, int (*try)(struct attempt *)) {
    int did = -EAGAIN;
    attempt->waits = wait;
    for (bool interrupted = false; did == -EAGAIN && !interrupted;) {
        if (wait && !loop_block_enter(0)) did = -ENOLCK;
        if (did == -ENOLCK) break;
        holder_lock();
        did = try(attempt);
        if (did == -EAGAIN && wait) holder_wait(LOOK_MS);
        holder_unlock();
        interrupted = !wait || loop_block_leave();
    }
    if (!wait || (did != -EAGAIN && did != -ENOLCK)) return did;
    holder_lock();
    leave_waiting(attempt);
    holder_unlock();
    return did == -EAGAIN ? -ERESTARTSYS : did;
}

/* ---- fcntl ------------------------------------------------------------------------------------------------------------------- */

static int set_on(int fd, const struct attempt *attempt) {
    struct flock range = attempt->range;
    range.l_pid = 0;
    if (fcntl(fd, F_OFD_SETLK, &range) == 0) return 0;
    return errno == EACCES ? -EAGAIN : -errno;
}

/* Does whoever stands in the way wait, in the end, for us? */
static bool deadlocks(const struct attempt *attempt, pid_t blocker) {
    for (int depth = 0; blocker > 0 && depth < 16; depth++) {
        if (blocker == attempt->leader) return true;
        const struct attempt *at = waiting;
        while (at && at->leader != blocker) at = at->next;
        blocker = at ? at->blocker : -1;
    }
    return false;
}

/* Another's lock is in the way: -EAGAIN, or -EDEADLK. Whose it is takes a while to find, and matters only while others wait:
 * who waits first looks again when they do. */
static int wait_for_blocker(struct attempt *attempt, const struct holder *holder) {
    struct flock range = attempt->range;
    range.l_pid = 0;
    attempt->blocker = -1;
    if (waiting) {
        if (fcntl(holder->bearer, F_OFD_GETLK, &range) < 0 || range.l_type == F_UNLCK) return -EAGAIN;
        attempt->blocker = holder_owner(&attempt->file, range.l_start, range.l_len);
        if (deadlocks(attempt, attempt->blocker)) return -EDEADLK;
    }
    attempt->next = waiting;
    waiting = attempt;
    return -EAGAIN;
}

static int try_process(struct attempt *attempt) {
    leave_waiting(attempt);
    bool unlock = attempt->range.l_type == F_UNLCK;
    struct holder *holder = holder_find(&attempt->file, attempt->leader, false);
    if (holder == NULL && unlock) return 0;
    bool fresh = holder == NULL;
    int error = fresh ? holder_make(&attempt->file, attempt->leader, false, &holder) : 0;
    if (error < 0) return error;
    error = set_on(holder->bearer, attempt);
    if (error == -EAGAIN && holder_prune(&attempt->file, holder)) error = set_on(holder->bearer, attempt);
    if (error == -EAGAIN && attempt->waits) error = wait_for_blocker(attempt, holder);
    bool nothing_left = unlock && attempt->range.l_start == 0 && attempt->range.l_len == 0;
    if (unlock) holder_released();
    if (nothing_left || (error < 0 && fresh)) holder_drop(holder);
    return error;
}

static int try_description(struct attempt *attempt) {
    int error = set_on(attempt->file.fd, attempt);
    if (error == -EAGAIN && holder_prune(&attempt->file, NULL)) error = set_on(attempt->file.fd, attempt);
    if (attempt->range.l_type == F_UNLCK) holder_released();
    return error;
}

/* From the file's start, so that it means the same for our description. */
static int make_absolute(struct attempt *attempt) {
    struct flock *range = &attempt->range;
    off_t from = 0;
    if (range->l_whence == SEEK_CUR) from = lseek(attempt->file.fd, 0, SEEK_CUR);
    else if (range->l_whence == SEEK_END) from = attempt->file.status.st_size;
    else if (range->l_whence != SEEK_SET) return -EINVAL;
    if (from < 0) from = 0; /* a pipe has no offset */
    if (__builtin_add_overflow(range->l_start, from, &range->l_start)) return -EOVERFLOW;
    range->l_whence = SEEK_SET;
    return range->l_start < 0 ? -EINVAL : 0;
}

static int check_type(const struct attempt *attempt) {
    switch (attempt->range.l_type) {
    case F_RDLCK: return attempt->access == O_WRONLY ? -EBADF : 0;
    case F_WRLCK: return attempt->access == O_RDONLY ? -EBADF : 0;
    case F_UNLCK: return 0;
    default: return -EINVAL;
    }
}

/* Who is in the way? */
static int get(struct attempt *attempt, bool of_description) {
    struct flock *range = &attempt->range;
    if (range->l_type != F_RDLCK && range->l_type != F_WRLCK) return -EINVAL;
    if (of_description && range->l_pid) return -EINVAL;
    if (attempt->private) {
        range->l_type = F_UNLCK;
        return 0;
    }
    range->l_pid = 0;
    holder_lock();
    struct holder *own = of_description ? NULL : holder_find(&attempt->file, attempt->leader, false);
    int error = fcntl(own ? own->bearer : attempt->file.fd, F_OFD_GETLK, range) < 0 ? -errno : 0;
    if (!error && range->l_type != F_UNLCK) {
        pid_t owner = holder_owner(&attempt->file, range->l_start, range->l_len);
        range->l_pid = owner > 0 ? owner : range->l_pid > 0 && process_is_guest(range->l_pid) ? range->l_pid : -1;
    }
    holder_unlock();
    return error;
}

struct answer lock_fcntl(struct request *request) {
    int command = (int)request->args[1];
    bool of_description = command == F_OFD_GETLK || command == F_OFD_SETLK || command == F_OFD_SETLKW;
    struct attempt attempt;
    int error = begin(request, &attempt);
    int mount = attempt.file.mount;
    if (error == 0 && guest_read(request->tid, request->args[2], &attempt.range, sizeof attempt.range) < 0) error = -EFAULT;
    if (error == 0) error = make_absolute(&attempt);
    bool only_asks = command == F_GETLK || command == F_OFD_GETLK;
    if (error == 0 && only_asks) error = get(&attempt, of_description);
    else if (error == 0) {
        bool wait = command == F_SETLKW || command == F_OFD_SETLKW;
        if ((error = check_type(&attempt)) == 0 && of_description && attempt.range.l_pid) error = -EINVAL;
        /* Of a read-only grant there are read locks only, which cannot meet in a guest. */
        if (error == 0 && !attempt.private)
            error = keep_trying(&attempt, wait && attempt.range.l_type != F_UNLCK, of_description ? try_description : try_process);
    }
    held_done(&attempt.file);
    struct answer answer = place_answer(mount, error);
    if (error == 0 && only_asks) {
        struct flock *range = (struct flock *)(void *)request->buffer;
        *range = attempt.range;
        answer.out[0] = (struct answer_out){request->args[2], range, sizeof *range};
    }
    return answer;
}

/* ---- flock ------------------------------------------------------------------------------------------------------------------- */

static int flock_now(int fd, int operation) { return flock(fd, operation | LOCK_NB) < 0 ? -errno : 0; }

static int try_private(struct attempt *attempt) {
    bool unlock = attempt->operation == LOCK_UN;
    struct holder *holder = holder_find(&attempt->file, attempt->leader, true);
    bool fresh = holder == NULL;
    if (fresh && unlock) return 0;
    int error = fresh ? holder_make(&attempt->file, attempt->leader, true, &holder) : 0;
    if (error < 0) return error;
    if (!unlock) error = flock_now(holder->bearer, attempt->operation);
    if (error == -EAGAIN && holder_prune(&attempt->file, holder)) error = flock_now(holder->bearer, attempt->operation);
    if (unlock || (error < 0 && fresh)) holder_drop(holder);
    else holder_released(); /* a weaker lock than before, perhaps */
    return error;
}

/* On the guest's own open file description, which the lock belongs to. */
static int flock_shared(const struct attempt *attempt, bool wait) {
    int error = flock_now(attempt->file.fd, attempt->operation);
    while (error == -EAGAIN && wait) {
        if (!loop_block_enter(0)) return -ENOLCK;
        error = flock(attempt->file.fd, attempt->operation) < 0 ? -errno : 0;
        bool interrupted = loop_block_leave();
        if (error != -EINTR) break;
        error = interrupted ? -ERESTARTSYS : -EAGAIN;
    }
    return error;
}

struct answer lock_flock(struct request *request) {
    struct attempt attempt;
    int operation = (int)request->value[0];
    attempt.file.fd = -1;
    bool wait = !(operation & LOCK_NB), known;
    operation &= ~LOCK_NB;
    known = operation == LOCK_SH || operation == LOCK_EX || operation == LOCK_UN;
    if (!known) return answer_error(EINVAL);
    int error = begin(request, &attempt);
    int mount = attempt.file.mount;
    attempt.operation = operation;
    if (error == 0 && S_ISDIR(attempt.file.status.st_mode)) directory_forget();
    if (error == 0 && attempt.private) error = keep_trying(&attempt, wait && operation != LOCK_UN, try_private);
    else if (error == 0) error = flock_shared(&attempt, wait);
    held_done(&attempt.file);
    return place_answer(mount, error);
}
