#include "socket_name.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "abstract.h"
#include "borrow.h"
#include "internet.h"
#include "mounts.h"
#include "socket.h"

#define BOUND_MAX 4096
#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71 /* Linux 5.14 */
#endif
#define PATH_AT offsetof(struct sockaddr_un, sun_path)

/* Which file it is: numbers come again when it is removed, the moment of birth does not. */
struct born { uint32_t major, minor; uint64_t inode; int64_t seconds; uint32_t nanoseconds; };

/* A name that a guest's socket was bound to. The oldest is forgotten where there are too many. */
struct bound {
    char kernel[sizeof ((struct sockaddr_un *)0)->sun_path + 1];
    char guest[sizeof ((struct sockaddr_un *)0)->sun_path + 1];
    struct born born;
};
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct bound *bound;
static size_t bound_count, bound_room, bound_next;
static uint64_t own_network; /* cookie of our network namespace where it is the guest's alone, else 0 */

static uint64_t network_of(int socket) {
    uint64_t cookie = 0;
    socklen_t size = sizeof cookie;
    return getsockopt(socket, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) < 0 ? 0 : cookie;
}

void socket_name_setup(bool own) {
    cleanup_close int any = own ? socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;
    if (any >= 0) own_network = network_of(any);
}

/* INVARIANT own-network: a socket that the caller handed in belongs to the host's network, whatever namespace uses it. */
bool socket_name_is_private(int socket) { return own_network && network_of(socket) == own_network; }

void socket_name_done(struct socket_name *name) { guest_close(&name->held); }

bool socket_name_may_part(int socket) {
    return socket_family(socket) == AF_UNIX || socket_name_is_private(socket) || internet_is(socket);
}

static struct bound *find_bound(const char *kernel) {
    for (size_t i = 0; i < bound_count; i++)
        if (strcmp(bound[i].kernel, kernel) == 0) return &bound[i];
    return NULL;
}

static struct bound *new_bound(void) {
    if (bound_count == bound_room && bound_room < BOUND_MAX) {
        size_t room = bound_room ? bound_room * 2 : 16;
        struct bound *grown = realloc(bound, room * sizeof *bound);
        if (grown == NULL) return NULL;
        bound = grown;
        bound_room = room;
    }
    if (bound_count < bound_room) return &bound[bound_count++];
    return &bound[bound_next++ % BOUND_MAX];
}

/* False where the file system does not tell: then a socket is nobody's. */
static bool born_read(int dir, const char *name, int flags, struct born *born) {
    struct statx status;
    memset(born, 0, sizeof *born);
    if (statx(dir, name, flags | AT_SYMLINK_NOFOLLOW, STATX_INO | STATX_BTIME, &status) < 0 || !(status.stx_mask & STATX_BTIME)) return false;
    born->major = status.stx_dev_major;
    born->minor = status.stx_dev_minor;
    born->inode = status.stx_ino;
    born->seconds = status.stx_btime.tv_sec;
    born->nanoseconds = status.stx_btime.tv_nsec;
    return true;
}

static bool is_ours(int held) {
    struct born born;
    if (!born_read(held, "", AT_EMPTY_PATH, &born)) return false;
    pthread_mutex_lock(&lock);
    bool found = false;
    for (size_t i = 0; i < bound_count && !found; i++) found = memcmp(&bound[i].born, &born, sizeof born) == 0;
    pthread_mutex_unlock(&lock);
    return found;
}

/* An address of the network is recorded as text. */
static void note_address(struct request *request, const struct socket_name *name) {
    bool six = name->address.any.sa_family == AF_INET6;
    char text[INET6_ADDRSTRLEN];
    const void *address = six ? (const void *)&name->address.in6.sin6_addr : (const void *)&name->address.in.sin_addr;
    if (name->length < (six ? offsetof(struct sockaddr_in6, sin6_scope_id) : sizeof name->address.in)) return; /* EINVAL will follow */
    inet_ntop(name->address.any.sa_family, address, text, sizeof text);
    snprintf(request->path[0], sizeof request->path[0], six ? "[%s]:%u" : "%s:%u", text, ntohs(name->address.in.sin_port));
    request->paths = 1;
}

int socket_name_read(struct request *request, uint64_t address, uint64_t length, struct socket_name *name) {
    name->held = name->mount = -1;
    name->source = 0;
    if ((int)length < 0 || length > sizeof name->address.space) return -EINVAL;
    memset(&name->address, 0, sizeof name->address);
    name->length = (socklen_t)length;
    int error = guest_read(request->tid, address, &name->address, (size_t)length);
    if (!error && (name->address.any.sa_family == AF_INET || name->address.any.sa_family == AF_INET6)) note_address(request, name);
    return error;
}

/* What is told to a group of netlink is of the kernel's own doing, and nobody's answer. */
static bool is_of_groups(const struct socket_name *name) {
    struct sockaddr_nl netlink;
    memcpy(&netlink, &name->address, sizeof netlink);
    return netlink.nl_family == AF_NETLINK && netlink.nl_groups;
}

/* The path of an address becomes path 0 of the request, as if the call had named it. 1; 0 where it has none; -errno. */
static int take_path(struct request *request, int socket, struct socket_name *name, bool *denied) {
    if (name->length < sizeof(sa_family_t)) return -EINVAL;
    if (name->address.any.sa_family != AF_UNIX) {
        bool groups = is_of_groups(name);
        *denied = groups || !socket_name_is_private(socket);
        return groups ? -EPERM : *denied ? -EINVAL : 0;
    }
    if (name->length > sizeof name->address.path) return -EINVAL;
    if (name->length == PATH_AT) return 0;
    if (name->address.path.sun_path[0] == 0) {
        if (abstract_served()) abstract_hide(&name->address.path, &name->length);
        else *denied = !socket_name_is_private(socket);
        return *denied ? -EPERM : 0;
    }
    size_t length = strnlen(name->address.path.sun_path, name->length - PATH_AT);
    memcpy(request->path[0], name->address.path.sun_path, length);
    request->path[0][length] = 0;
    request->path_null[0] = false;
    request->dirfd[0] = AT_FDCWD;
    request->paths = 1;
    return 1;
}

static void set_path(struct socket_name *name, const char *text) {
    memset(&name->address, 0, sizeof name->address);
    name->address.path.sun_family = AF_UNIX;
    size_t length = strlen(text);
    memcpy(name->address.path.sun_path, text, length);
    name->length = (socklen_t)(PATH_AT + length + (length < sizeof name->address.path.sun_path));
}

/* May a guest talk to whoever listens there? To its own sockets, and to one that was granted by itself, to be written. */
static bool reachable(int mount, int held) {
    if (place_kind(mount) != SBX_MOUNT_HOST) return true;
    if (mounts_single_file(mount) && mounts_flag(mount, SBX_MOUNT_WRITABLE)) return true;
    return is_ours(held);
}

static int find_local(struct request *request, int socket, struct socket_name *name, bool *denied) {
    int has = take_path(request, socket, name, denied);
    if (has <= 0) return has;
    PLACE(place);
    int error = place_walk(request, 0, WALK_FOLLOW, WALK_EXISTING, &place);
    if (error < 0) return error;
    name->mount = place.mount;
    struct stat status;
    if ((error = place_stat(request, &place, WALK_FOLLOW, &status)) < 0) return error;
    if (!S_ISSOCK(status.st_mode) || place.special) return -ECONNREFUSED;
    name->held = walk_open(&place, O_PATH | O_NOFOLLOW, 0);
    if (name->held < 0) return name->held;
    if (!reachable(place.mount, name->held)) {
        *denied = true;
        return -EACCES;
    }
    char text[32];
    snprintf(text, sizeof text, HELD_PATH "%d", name->held);
    set_path(name, text);
    return 0;
}

int socket_name_find(struct request *request, int socket, struct socket_name *name, bool *denied) {
    if (internet_is(socket)) return internet_destination(request, socket, name, denied);
    int error = find_local(request, socket, name, denied);
    if (error == 0) abstract_bind_sender(socket);
    return error;
}

/* The directory that the name is made in, by a number under which no other name is remembered. */
static int hold_parent(struct place *place, const char *last, char *text, size_t room) {
    char *slash = strrchr(place->name, '/');
    struct place parent = *place;
    parent.owned = parent.directory = false;
    parent.name[slash ? slash - place->name : 0] = 0;
    int fd = walk_open(&parent, O_PATH | O_DIRECTORY, 0);
    while (fd >= 0) {
        if (snprintf(text, room, HELD_PATH "%d/%s", fd, last) >= (int)room) {
            if (snprintf(text, room, "%s", last) < (int)room) break;
            close(fd);
            return -ENAMETOOLONG;
        }
        if (find_bound(text) == NULL) break;
        int other = fcntl(fd, F_DUPFD_CLOEXEC, fd + 1);
        int error = errno;
        close(fd);
        fd = other < 0 ? -error : other;
    }
    return fd;
}

static int bind_at(struct request *request, int socket, struct socket_name *name, struct place *place) {
    char text[sizeof name->address.path.sun_path + 1];
    const char *slash = strrchr(place->name, '/'), *last = slash ? slash + 1 : place->name;
    cleanup_close int parent = hold_parent(place, last, text, sizeof text);
    if (parent < 0) return parent;
    /* A long name has no room for the way to it: then from our working directory, which nothing else uses. */
    bool here = text[0] != '/';
    if (here && fchdir(parent) < 0) return -errno;
    set_path(name, text);
    struct stat status;
    if (fstat(socket, &status) < 0) return -errno;
    fchmod(socket, place_mode(request, status.st_mode & 0777)); /* the file gets the socket's own mode */
    struct timespec before;
    clock_gettime(CLOCK_REALTIME_COARSE, &before); /* the clock that dates files */
    int error = bind(socket, &name->address.any, name->length) < 0 ? -errno : 0;
    if (here && fchdir(mounts_proc()) < 0 && !error) error = -errno;
    fchmod(socket, status.st_mode & 07777);
    struct bound *entry = error ? NULL : new_bound();
    if (entry == NULL) return error;
    snprintf(entry->kernel, sizeof entry->kernel, "%s", text);
    snprintf(entry->guest, sizeof entry->guest, "%.108s", request->path[0]);
    /* An older socket may have been moved to the name meanwhile: that is somebody else's. */
    bool older = !born_read(parent, last, 0, &entry->born) || entry->born.seconds < before.tv_sec ||
                 (entry->born.seconds == before.tv_sec && (long)entry->born.nanoseconds < before.tv_nsec);
    if (older) memset(&entry->born, 0, sizeof entry->born);
    return 0;
}

int socket_name_bind(struct request *request, int socket, struct socket_name *name, bool *denied) {
    int has = take_path(request, socket, name, denied);
    if (has < 0) return has;
    if (has == 0 && name->length == PATH_AT && abstract_served()) return abstract_bind_any(socket);
    if (has == 0) return bind(socket, &name->address.any, name->length) < 0 ? -errno : 0;
    PLACE(place);
    int error = place_make(request, 0, false, &place);
    if (place.dir >= 0) name->mount = place.mount;
    if (error == 0 && place.directory) error = place_parent_stands(&place) < 0 ? place_parent_stands(&place) : -ENOENT;
    if (error < 0) return error == -EEXIST ? -EADDRINUSE : error;
    pthread_mutex_lock(&lock);
    error = bind_at(request, socket, name, &place);
    pthread_mutex_unlock(&lock);
    return error;
}

void socket_name_show(struct socket_name *name, enum socket_end end) {
    internet_show(name, end);
    if (name->length <= PATH_AT || name->address.any.sa_family != AF_UNIX) return;
    char text[sizeof name->address.path.sun_path + 1] = "";
    memcpy(text, name->address.path.sun_path, name->length - PATH_AT < sizeof text ? name->length - PATH_AT : sizeof text - 1);
    if (text[0] == 0) {
        abstract_show(&name->address.path, &name->length);
        return;
    }
    pthread_mutex_lock(&lock);
    const struct bound *entry = find_bound(text);
    bool ours = entry || strncmp(text, HELD_PATH, sizeof HELD_PATH - 1) == 0;
    if (ours) set_path(name, entry ? entry->guest : "");
    pthread_mutex_unlock(&lock);
    if (ours && entry == NULL) name->length = PATH_AT; /* forgotten: too many */
}

int socket_name_write(const struct request *request, const struct socket_name *name, uint64_t address, uint64_t length_at) {
    int room;
    if (guest_read(request->tid, length_at, &room, sizeof room) < 0) return -EFAULT;
    if (room < 0) return -EINVAL;
    /* INVARIANT still-there: whoever asks may have waited long. */
    if (!borrow_caller_is_there(request)) return -ESRCH;
    int length = (int)name->length;
    size_t copied = (size_t)(room < length ? room : length);
    if (guest_write(request->tid, address, &name->address, copied) < 0) return -EFAULT;
    return guest_write(request->tid, length_at, &length, sizeof length);
}
