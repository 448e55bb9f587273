#include "image.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "answer.h"
#include "elf.h"
#include "mounts.h"
#include "procfs.h"
#include "walk.h"

#ifndef AT_EXECVE_CHECK
#define AT_EXECVE_CHECK 0x10000 /* Linux 6.14 */
#endif
#define DEPTH_MAX 5 /* files looked into after the first, as exec_binprm() */

/* One exec being resolved. */
struct search {
    struct request *request;
    struct image *image;
    const char *cwd;        /* where a relative interpreter starts; NULL: at the process's own */
    bool by_descriptor;     /* fexecve: the task is named after the file, not after the path */
    bool unreachable;       /* the path names a close-on-exec descriptor: a script could not be opened by it */
    char *prefix;           /* first string of the script prefix, filled from the end */
};

void image_done(struct image *image) {
    guest_close(&image->program);
    guest_close(&image->interpreter);
}

enum writers { WRITERS_NONE, WRITERS_POSSIBLE };

static int ask_kernel(int fd) {
    char *const empty[] = {NULL};
    return syscall(SYS_execveat, fd, "", empty, empty, AT_EMPTY_PATH | AT_EXECVE_CHECK) < 0 ? -errno : 0;
}

/* May the file be executed, as far as the kernel can be asked? AT_EXECVE_CHECK also knows of writers (ETXTBSY), which is
 * worth its time where the guest may write. A writer may be ourselves: the guest has the descriptor that we have not closed
 * yet, and may have closed its own. Where the kernel does not know the question the permission bits alone are asked. */
static int check_executable(int fd, enum writers writers) {
    int error = writers == WRITERS_POSSIBLE ? ask_kernel(fd) : -ENOSYS;
    for (int look = 0; error == -ETXTBSY && look < 50; look++) {
        if (answer_gives()) poll(NULL, 0, 1);
        else look = 50; /* and once more */
        error = ask_kernel(fd);
    }
    if (error == 0 || error == -ETXTBSY) return error;
    return faccessat(fd, "", X_OK, AT_EMPTY_PATH | AT_EACCESS) < 0 ? -errno : 0;
}

static int check_opened(int fd, enum writers writers) {
    struct stat status;
    if (fstat(fd, &status) < 0) return -errno;
    return S_ISREG(status.st_mode) ? check_executable(fd, writers) : -EACCES;
}

/* A link of /proc whose object has no path in the view: a memfd, a deleted file. Other files there cannot be executed. */
static int open_special(struct request *request, const struct place *place) {
    enum procfs_kind kind = PROCFS_MISSING;
    char target[SBX_PATH_MAX];
    if (plan_mount(mounts_plan(), (uint32_t)place->mount)->kind != SBX_MOUNT_PROC) return -EACCES;
    int error = procfs_look(request, place->name, &kind, target);
    if (error < 0) return error;
    if (place->directory && kind != PROCFS_DIRECTORY) return -ENOTDIR;
    if (kind == PROCFS_LINK) return -ELOOP;
    return kind == PROCFS_MAGIC ? procfs_open(request, place, O_RDONLY | O_NONBLOCK) : -EACCES;
}

/* Nothing but a regular file is opened: opening a FIFO or a device is an act in itself. */
static int open_plain(const struct place *place) {
    struct stat status;
    if (fstatat(place->dir, place->name, &status, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0) return -errno;
    if (S_ISLNK(status.st_mode)) return -ELOOP;
    if (place->directory && !S_ISDIR(status.st_mode)) return -ENOTDIR;
    if (!S_ISREG(status.st_mode)) return -EACCES;
    return walk_open(place, O_RDONLY | O_NONBLOCK, 0);
}

/* The place as a program: a descriptor, or -errno. Its guest path becomes the image's. */
static int open_place(struct search *search, const struct place *place) {
    struct image *image = search->image;
    image->mount = place->mount;
    cleanup_close int fd = place->special ? open_special(search->request, place) : open_plain(place);
    if (fd < 0) return fd;
    image->denied = !place->special && !mounts_flag(place->mount, SBX_MOUNT_EXEC);
    if (image->denied) return -EACCES;
    bool writable = place->special || mounts_flag(place->mount, SBX_MOUNT_WRITABLE);
    int error = check_opened(fd, writable ? WRITERS_POSSIBLE : WRITERS_NONE);
    if (error < 0) return error;
    strcpy(image->exe, place->guest);
    return take(&fd);
}

static int open_again(struct search *search) {
    PLACE(place);
    int error = walk(search->request, 1, WALK_FOLLOW, WALK_EXISTING, &place);
    return error < 0 ? error : open_place(search, &place);
}

/* An interpreter, of a script or of a program: an exec path of its own. path[1] is free in an exec and is not recorded. */
static int open_interpreter(struct search *search, const char *path) {
    struct request *request = search->request;
    char joined[2 * SBX_PATH_MAX];
    if (path[0] != '/' && path[0] != '\0' && search->cwd) {
        snprintf(joined, sizeof joined, "%s/%s", search->cwd, path);
        path = joined;
    }
    if (path[0] == '\0') return -EACCES; /* what Linux says: "" is the working directory */
    if (strlen(path) >= SBX_PATH_MAX) return -ENAMETOOLONG;
    strcpy(request->path[1], path);
    request->dirfd[1] = AT_FDCWD;
    request->path_null[1] = false;
    bool careful = request->careful;
    int fd = open_again(search);
    if (fd == -ELOOP && !careful) { /* a link, which most loaders are: link by link, and what was found already stays found */
        request->careful = true;
        fd = open_again(search);
        request->careful = careful;
    }
    return fd;
}

/* Our own descriptor of a file that no mount holds. A memfd is opened anew, once we know by a descriptor of ours that it
 * is one. Anything else was handed in by the caller: only the guest's own descriptor says what it may do with it. */
static int reach_foreign(pid_t tid, int guest_fd, bool *is_memfd) {
    char link[48], name[16] = "";
    snprintf(link, sizeof link, "%d/fd/%d", tid, guest_fd);
    cleanup_close int held = openat(guest_proc(), link, O_PATH | O_CLOEXEC);
    if (held < 0) return -EBADF;
    snprintf(link, sizeof link, "self/fd/%d", held);
    *is_memfd = readlinkat(mounts_proc(), link, name, sizeof name) > 7 && memcmp(name, "/memfd:", 7) == 0;
    if (!*is_memfd) return guest_borrow_fd(tid, guest_fd);
    int fd = openat(mounts_proc(), link, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int open_foreign(struct search *search, int guest_fd) {
    char link[48], name[SBX_PATH_MAX], byte;
    bool is_memfd;
    cleanup_close int fd = reach_foreign(search->request->tid, guest_fd, &is_memfd);
    if (fd < 0) return fd;
    int error = check_opened(fd, WRITERS_POSSIBLE);
    if (error < 0) return error;
    if (pread(fd, &byte, 1, 0) < 0) return -EACCES; /* the caller gave it for writing, or as a name */
    snprintf(link, sizeof link, "self/fd/%d", fd);
    ssize_t length = is_memfd ? readlinkat(mounts_proc(), link, name, sizeof name - 1) : -1;
    name[length > 0 ? length : 0] = '\0';
    strcpy(search->image->exe, is_memfd ? name : "host:[file]"); /* the host's name is not the guest's to know */
    return take(&fd);
}

static int open_descriptor(struct search *search, int guest_fd) {
    PLACE(place);
    int error = walk_descriptor(search->request->tid, guest_fd, &place);
    if (error == -EXDEV) return open_foreign(search, guest_fd);
    if (error < 0) return error;
    return place.special ? -EACCES : open_place(search, &place);
}

static bool closes_on_exec(pid_t tid, int fd) {
    char name[48], text[256];
    snprintf(name, sizeof name, "%d/fdinfo/%d", tid, fd);
    guest_text(guest_proc(), name, text, sizeof text);
    const char *flags = strstr(text, "flags:");
    return flags == NULL || (strtoul(flags + 6, NULL, 8) & O_CLOEXEC);
}

static const char *last_component(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Put one string before those that are there. */
static int push(struct search *search, const char *string) {
    struct private_load *load = &search->image->load;
    size_t size = strlen(string) + 1;
    if ((size_t)(search->prefix - load->prefix) < size) return -E2BIG;
    search->prefix -= size;
    memcpy(search->prefix, string, size);
    load->prefix_length += (uint32_t)size;
    load->prefix_count++;
    return 0;
}

static int push_line(struct search *search, const struct elf_image *line) {
    struct private_load *load = &search->image->load;
    int error = load->script ? 0 : push(search, load->execfn);
    load->script = 1;
    if (!error && line->has_argument) error = push(search, line->argument);
    return error ? error : push(search, line->interpreter);
}

/* From the file that was named to the ELF program that is to run. */
static int follow_lines(struct search *search, struct elf_image *head) {
    for (int depth = 0; depth <= DEPTH_MAX; depth++) {
        int error = elf_read(search->image->program, head);
        if (error < 0 || head->kind == ELF_PROGRAM) return error;
        if (search->unreachable) return -ENOENT;
        error = push_line(search, head);
        if (error < 0) return error;
        int fd = open_interpreter(search, head->interpreter);
        if (fd < 0) return fd;
        guest_close(&search->image->program);
        search->image->program = fd;
    }
    return -ELOOP;
}

static int finish(struct search *search) {
    struct image *image = search->image;
    struct private_load *load = &image->load;
    struct elf_image head;
    char exe[SBX_PATH_MAX];
    int mount = image->mount;
    search->prefix = load->prefix + sizeof load->prefix;
    int error = follow_lines(search, &head);
    if (error < 0) return error;
    memmove(load->prefix, search->prefix, load->prefix_length);
    strcpy(exe, image->exe);
    if (head.has_interpreter) {
        image->interpreter = open_interpreter(search, head.interpreter);
        if (image->interpreter < 0) return image->interpreter;
        error = elf_check_interpreter(image->interpreter);
        if (error < 0) return error;
    }
    strcpy(image->exe, exe);
    image->mount = mount;
    const char *name = last_component(search->by_descriptor ? exe : load->execfn);
    size_t length = strlen(name);
    if (search->by_descriptor && length > 10 && strcmp(name + length - 10, " (deleted)") == 0) length -= 10; /* memfds */
    memcpy(load->comm, name, length < sizeof load->comm ? length : sizeof load->comm - 1);
    return 0;
}

/* What Linux calls bprm->filename: a path below a descriptor is named by /dev/fd. */
static void name_file(struct search *search) {
    const struct request *request = search->request;
    char *name = search->image->load.execfn;
    if (request->path[0][0] == '/' || request->dirfd[0] == AT_FDCWD) {
        strcpy(name, request->path[0]);
        return;
    }
    bool itself = request->path[0][0] == '\0';
    snprintf(name, SBX_PATH_MAX, "/dev/fd/%d%s%.4000s", request->dirfd[0], itself ? "" : "/", request->path[0]);
    search->by_descriptor = itself;
    search->unreachable = closes_on_exec(request->tid, request->dirfd[0]);
}

static void start(struct image *image) {
    image->program = image->interpreter = image->mount = -1;
    image->denied = image->table_full = false;
    image->exe[0] = '\0';
    memset(&image->load, 0, offsetof(struct private_load, execfn));
}

int image_find(struct request *request, struct image *image) {
    PLACE(place);
    struct search search = {.request = request, .image = image};
    bool itself = request->path[0][0] == '\0';
    start(image);
    if (request->path_null[0]) return -EFAULT;
    if (itself && !(request->flags & AT_EMPTY_PATH)) return -ENOENT;
    if (request->flags & ~(uint32_t)(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW | AT_EXECVE_CHECK)) return -EINVAL;
    if (itself && request->dirfd[0] == AT_FDCWD) return -EACCES; /* the working directory */
    if (itself) {
        image->program = open_descriptor(&search, request->dirfd[0]);
    } else {
        enum walk_last last = request->flags & AT_SYMLINK_NOFOLLOW ? WALK_NOFOLLOW : WALK_FOLLOW;
        int error = walk(request, 0, last, WALK_EXISTING, &place);
        image->program = error < 0 ? error : open_place(&search, &place);
    }
    return image->program < 0 ? image->program : 0;
}

int image_follow(struct request *request, struct image *image) {
    struct search search = {.request = request, .image = image};
    name_file(&search);
    return finish(&search);
}

int image_find_path(struct request *request, const char *path, const char *cwd, struct image *image) {
    struct search search = {.request = request, .image = image, .cwd = cwd};
    start(image);
    image->program = open_interpreter(&search, path);
    strcpy(image->load.execfn, path);
    return image->program < 0 ? image->program : finish(&search);
}
