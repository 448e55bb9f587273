/* with: walk.c walk_text.c walk_careful.c walk_open.c walk_descriptor.c directory.c mounts.c mounts_in_place.c mounts_points.c mounts_table.c plan.c context.c guest.c procfs.c procfs_descriptor.c handed.c process.c wrap: syscall openat readlinkat guest_context guest_set_context mounts_whole
 *
 * A random tree of directories, files and links below several mounts, and walks in it, while names are moved and swapped
 * for links between any two steps. What must hold: every descriptor that openat2 gives, and every one that walk_open
 * gives, is of an object of the mount that it is said to be in, known by its inode; nothing from a read-only mount can be
 * written; nothing hidden is opened. */
#include <linux/openat2.h>
#include <stdarg.h>
#include "tree.h"

#define OBJECTS_MAX 2048
static struct object { ino_t inode; int mount; bool hidden; } objects[OBJECTS_MAX];
static int object_count;
static int top[TREE_MOUNTS]; /* descriptors to build with; -1: nothing is built there */
static dev_t device;
static bool racing, creating, whole;
static bool moved; /* names have changed since the tree was made: what was hidden need not be */
static struct input race;

static const char *const names[] = {"a", "b", "c", "sub", "secret", "inner", "a (deleted)", "x y"};
static const char *const targets[] = {
    "a", "b", "..", "../..", "../../data-outside/a", "/", "/data", "/data/inner/a", "/file", "sub/../b", "a/", "secret",
    "/proc/self/cwd", "/proc/self/root", "/proc/self/fd/3", "/proc/self/fd/4", "/link", ".", "c", "//data//./b", "missing",
    "../data/secret", "/proc/self/exe", "inner", "sub", "../../../../../etc/passwd", "/data/a/b/c", "HOST",
};

bool __wrap_mounts_whole(void) { return whole; }

static void note(int directory, const char *name, int mount, bool hidden) {
    struct stat status;
    CHECK(object_count < OBJECTS_MAX);
    if (fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) < 0) return;
    objects[object_count++] = (struct object){status.st_ino, mount, hidden};
}

static const struct object *object_of(int fd) {
    struct stat status;
    CHECK(fstat(fd, &status) == 0);
    if (status.st_dev != device) return NULL;
    for (int i = 0; i < object_count; i++)
        if (objects[i].inode == status.st_ino) return &objects[i];
    return NULL;
}

/* Below the mount's own directory by the kernel's name: for what a walk has just created. */
static bool created_in(int fd, int mount) {
    char link[32], name[SBX_PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, name, sizeof name);
    size_t start = strlen(tree_source[mount]);
    return creating && length > (ssize_t)start && memcmp(name, tree_source[mount], start) == 0 && name[start] == '/';
}

static void change(struct input *input);
static int swapped = -1; /* a descriptor that the guest puts other files behind */

static void swap(void) {
    if (!racing || swapped < 0 || race.left == 0 || !(input_byte(&race) & 1)) return;
    dup2(mounts_fd((int[]){DATA, INNER, SCRATCH, FILE_}[input_byte(&race) % 4]), swapped);
}

int __real_openat(int directory, const char *name, int flags, ...);
int __wrap_openat(int directory, const char *name, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = flags & (O_CREAT | 020000000) ? va_arg(list, mode_t) : 0;
    va_end(list);
    swap();
    return __real_openat(directory, name, flags, mode);
}
ssize_t __real_readlinkat(int directory, const char *name, char *to, size_t size);
ssize_t __wrap_readlinkat(int directory, const char *name, char *to, size_t size) {
    swap();
    return __real_readlinkat(directory, name, to, size);
}

static long (*real_syscall)(long number, ...);
long __real_syscall(long number, ...);

/* Takes six arguments however many there are. */
__attribute__((no_sanitize("address"))) long __wrap_syscall(long number, ...) {
    long argument[6];
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++) argument[i] = va_arg(list, long);
    va_end(list);
    if (number != SYS_openat2)
        return real_syscall(number, argument[0], argument[1], argument[2], argument[3], argument[4], argument[5]);
    const struct open_how *how = (const struct open_how *)argument[2];
    CHECK((how->resolve & (RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS)) ==
          (RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS));
    CHECK(how->flags & O_CLOEXEC);
    const struct object *below = object_of((int)argument[0]);
    CHECK(below != NULL);
    int mount = below->mount; /* objects move when the tree changes */
    while (racing && race.left && input_byte(&race) & 1) change(&race);
    long fd = real_syscall(number, argument[0], argument[1], argument[2], argument[3]);
    int error = errno;
    if (fd >= 0) {
        const struct object *opened = object_of((int)fd);
        CHECK(opened ? opened->mount == mount : created_in((int)fd, mount)); /* INVARIANT below-root */
        if (opened == NULL) note((int)fd, "", mount, false);
    }
    errno = error;
    return fd;
}

/* ---- the tree ---- */

static void pick(struct input *input, char *path, size_t size) { /* one to three names */
    size_t used = 0;
    for (int depth = input_byte(input) % 3; depth >= 0; depth--)
        used += (size_t)snprintf(path + used, size - used, "%s%s", names[input_byte(input) % 8], depth ? "/" : "");
}

static bool is_hidden(int mount, const char *path) {
    return mount == DATA && (strcmp(path, "secret") == 0 || strcmp(path, "sub/secret") == 0 ||
                             strncmp(path, "secret/", 7) == 0 || strncmp(path, "sub/secret/", 11) == 0);
}

/* Its parents may be links that the host (or the guest) has made: then it would be made elsewhere. */
static int parent_of(int mount, char *path, const char **last) {
    char *slash = strrchr(path, '/');
    struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
    *last = slash ? slash + 1 : path;
    if (slash) *slash = 0;
    int fd = (int)real_syscall(SYS_openat2, top[mount], slash ? path : ".", &how, sizeof how);
    return fd;
}

static void make(struct input *input, int mount) {
    char path[64];
    const char *last;
    pick(input, path, sizeof path);
    uint8_t what = input_byte(input);
    bool hidden = is_hidden(mount, path);
    int parent = parent_of(mount, path, &last), made = -1;
    if (parent < 0) return;
    if (what % 3 == 0) made = mkdirat(parent, last, 0700);
    if (what % 3 == 1) {
        int fd = openat(parent, last, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd >= 0) made = close(fd);
    }
    if (what % 3 == 2) {
        const char *target = targets[input_byte(input) % (sizeof targets / sizeof *targets)];
        char host[128];
        snprintf(host, sizeof host, "%s/data-outside/%s", tree_top, what & 128 ? "a" : "sub");
        made = symlinkat(strcmp(target, "HOST") == 0 ? host : target, parent, last);
    }
    if (made == 0) note(parent, last, mount, hidden);
    close(parent);
}

/* What a guest, or the host, does to a tree while it is walked. */
static void change(struct input *input) {
    int mount = (int[]){DATA, INNER, SCRATCH}[input_byte(input) % 3];
    char from[64], to[64];
    const char *old, *new;
    uint8_t what = input_byte(input);
    if (what % 4 == 3) return make(input, mount);
    moved = true;
    pick(input, from, sizeof from);
    pick(input, to, sizeof to);
    int one = parent_of(mount, from, &old), two = parent_of(mount, to, &new);
    if (one >= 0 && two >= 0 && what % 4 < 2) real_syscall(SYS_renameat2, one, old, two, new, what % 4 ? 2 /* EXCHANGE */ : 0);
    else if (one >= 0) unlinkat(one, old, what & 4 ? AT_REMOVEDIR : 0);
    if (one >= 0) close(one);
    if (two >= 0) close(two);
}

static void start_tree(void) {
    object_count = 0;
    moved = false;
    for (int mount = 0; mount < TREE_MOUNTS; mount++) {
        if (top[mount] >= 0 && mount != ROOT) tree_empty(top[mount]);
        if (mounts_fd(mount) >= 0) note(mounts_fd(mount), "", mount, false);
    }
    for (int i = DATA; i <= SCRATCH; i++) note(mounts_fd(ROOT), &plan_text(mounts_plan(), plan_mount(mounts_plan(), (uint32_t)i)->guest)[1], ROOT, false);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    struct stat status;
    (void)argc, (void)argv;
    real_syscall = __real_syscall;
    tree_setup();
    for (int mount = 0; mount < TREE_MOUNTS; mount++) top[mount] = mount == DATA || mount == INNER || mount == SCRATCH ? mounts_fd(mount) : -1;
    snprintf(tree_source[SCRATCH], sizeof tree_source[0], "%s/scratch_host/scratch/%d", tree_top, SCRATCH);
    CHECK(fstat(mounts_fd(DATA), &status) == 0);
    device = status.st_dev;
    return 0;
}

/* ---- the walks ---- */

static bool is_normal(const char *path, bool absolute) {
    if (absolute && *path++ != '/') return false;
    while (*path) {
        size_t length = strcspn(path, "/");
        if (length == 0 || (path[0] == '.' && (length == 1 || (length == 2 && path[1] == '.')))) return false;
        path += length;
        if (*path == '/' && *++path == 0) return false;
    }
    return true;
}

static void open_place(const struct place *place, uint8_t how) {
    static const int kinds[] = {O_RDONLY, O_PATH, O_WRONLY, O_RDWR | O_TRUNC, O_RDWR | O_CREAT, O_RDONLY | O_CREAT | O_EXCL,
                                O_RDWR | O_TMPFILE, O_RDONLY | O_DIRECTORY, O_RDONLY | O_TRUNC, O_ACCMODE, O_WRONLY | O_APPEND};
    int flags = kinds[how % (sizeof kinds / sizeof *kinds)] | O_NONBLOCK;
    creating = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;
    int fd = walk_open(place, flags, 0600);
    if (fd >= 0) {
        const struct object *opened = object_of(fd);
        CHECK(opened ? opened->mount == place->mount : created_in(fd, place->mount));
        CHECK(moved || !opened || !opened->hidden);
        int got = fcntl(fd, F_GETFL);
        if (!mounts_flag(place->mount, SBX_MOUNT_WRITABLE)) CHECK(got & O_PATH || (got & O_ACCMODE) == O_RDONLY);
        CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        close(fd);
    }
    creating = false;
}

static void check_place(const struct place *place, uint8_t how) {
    uint32_t rest;
    CHECK(place->mount >= 0 && place->mount < TREE_MOUNTS);
    CHECK(is_normal(place->guest, true) && strnlen(place->guest, SBX_PATH_MAX) < SBX_PATH_MAX);
    CHECK(is_normal(place->name, false));
    bool held = place->owned || place->context || place->kept;
    /* A directory that is held may lie below another mount's point by now: it stays its own mount's. */
    if (!held || place->special) CHECK(mounts_find(place->guest, &rest) == place->mount);
    if (place->special) return;
    if (held) CHECK(object_of(place->dir) && object_of(place->dir)->mount == place->mount);
    else CHECK(place->dir == mounts_fd(place->mount));
    open_place(place, how);
}

static void check_descriptor(const struct place *place) {
    CHECK(place->owned && is_normal(place->guest, true));
    if (place->special) return;
    const struct object *held = object_of(place->dir);
    CHECK(held && held->mount == place->mount);
}

static int some_descriptor(struct input *input) {
    char path[64];
    const char *last;
    uint8_t what = input_byte(input);
    pick(input, path, sizeof path);
    int mount = (int[]){DATA, INNER, SCRATCH}[what % 3], parent = parent_of(mount, path, &last), fd = -1;
    if (what & 64) fd = dup(mounts_fd(mount));
    else if (what & 128) {
        char host[128];
        snprintf(host, sizeof host, "%s/%s", tree_top, (const char *[]){"data-outside", "data (deleted)", "single", ""}[what & 3]);
        fd = open(host, O_PATH | O_CLOEXEC);
    } else if (parent >= 0) fd = openat(parent, last, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (parent >= 0) close(parent);
    if (fd >= 0 && what & 32) change(input); /* perhaps it is moved or removed */
    return fd;
}

static void enter(struct input *input) {
    int fd = some_descriptor(input);
    struct place *place = malloc(sizeof *place);
    if (fd >= 0 && walk_descriptor(tree_pid, fd, place) == 0 && !place->special) {
        static struct context wanted;
        wanted = (struct context){.umask = 022, .cwd = place->dir, .cwd_mount = place->mount, .exe = "/data/a"};
        snprintf(wanted.cwd_path, sizeof wanted.cwd_path, "%s", place->guest);
        CHECK(object_of(fd) && object_of(fd)->mount == place->mount);
        context_enter(tree_pid, &wanted);
        walk_done(place);
    }
    if (fd >= 0) close(fd);
    free(place);
}

static void walk_once(struct input *input) {
    static struct request request;
    struct place *place = malloc(sizeof *place);
    uint8_t how = input_byte(input), flags = input_byte(input);
    memset(place, 0x41, sizeof *place);
    request.tid = tree_pid;
    request.dirfd[0] = how & 1 ? some_descriptor(input) : AT_FDCWD;
    request.careful = how & 2;
    whole = how & 4;
    racing = how & 8;
    input_text(input, request.path[0], SBX_PATH_MAX);
    swapped = request.dirfd[0];
    int error = how & 64 ? walk_descriptor(tree_pid, swapped, place) : walk(&request, 0, how & 16 ? WALK_NOFOLLOW : WALK_FOLLOW, how & 32 ? WALK_MAY_CREATE : WALK_EXISTING, place);
    CHECK(error <= 0 && error > -4096);
    swapped = -1;
    if (error == 0 && how & 64) check_descriptor(place);
    else if (error == 0) check_place(place, flags);
    else CHECK(!place->owned && !place->context && !place->kept);
    walk_done(place);
    directory_forget();
    if (request.dirfd[0] >= 0) close(request.dirfd[0]);
    racing = false;
    free(place);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input input = {data, size};
    whole = racing = false;
    tree_context = NO_CONTEXT;
    start_tree();
    int floor_fd = -1;
    for (int i = input_byte(&input) % 24; i > 0; i--) make(&input, (int[]){DATA, INNER, SCRATCH}[input_byte(&input) % 3]);
    size_t changes = input.left / 4;
    race = (struct input){input.at, changes};
    input.at += changes;
    input.left -= changes;
    if (input_byte(&input) & 1) enter(&input);
    for (int i = 0; i < 8 && input.left; i++) {
        floor_fd = lowest_free();
        walk_once(&input);
        CHECK(lowest_free() == floor_fd);
    }
    return 0;
}
