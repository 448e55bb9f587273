/* with: procfs.c procfs_descriptor.c handed.c process.c walk.c walk_text.c walk_careful.c walk_open.c walk_descriptor.c directory.c mounts.c mounts_in_place.c mounts_points.c mounts_table.c plan.c context.c guest.c wrap: guest_context guest_set_context openat readlinkat fstatat
 *
 * Names below /proc, as they are and by way of a walk, while another thread of the guest puts other descriptors behind the
 * numbers. What must hold: only this process, and of the rest only what procfs.h lists; no host path in any link; nothing
 * that the caller handed in is opened with more than its descriptor has. */
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include "procfs.h"
#include "tree.h"

#define FIRST 20 /* the guest's descriptors: FIRST .. FIRST + GIVEN */
enum { OF_HOST, OF_HOST_DIRECTORY, OF_HOST_FIFO, OF_MEMFD, OF_PIPE, OF_INNER, OF_REMOVED, OF_SOCKET, OF_NULL, GIVEN };
static int given[GIVEN]; /* where they are kept; the numbers from FIRST on are put anew for each input */
static struct { dev_t device; ino_t inode; } host[3];
static struct input race;   /* changes at any moments */
static bool racing;
static int moment, one_at;  /* how many moments there were; the one at which a single change is made, or -1 */
static uint8_t one[2];      /* that change */
static char pid_text[16], stranger_text[16];

static void change(void) {
    int number = FIRST + input_byte(&race) % GIVEN;
    dup2(given[input_byte(&race) % GIVEN], number);
}

/* The guest does something else between any two looks of ours. */
static void between(void) {
    if (moment++ == one_at) dup2(given[one[0] % GIVEN], FIRST + one[1] % GIVEN);
    if (racing && race.left && input_byte(&race) & 1) change();
}

int __real_openat(int directory, const char *name, int flags, ...);
int __wrap_openat(int directory, const char *name, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = flags & (O_CREAT | 020000000) ? va_arg(list, mode_t) : 0;
    va_end(list);
    between();
    return __real_openat(directory, name, flags, mode);
}
ssize_t __real_readlinkat(int directory, const char *name, char *to, size_t size);
ssize_t __wrap_readlinkat(int directory, const char *name, char *to, size_t size) {
    between();
    return __real_readlinkat(directory, name, to, size);
}
int __real_fstatat(int directory, const char *name, struct stat *status, int flags);
int __wrap_fstatat(int directory, const char *name, struct stat *status, int flags) {
    between();
    return __real_fstatat(directory, name, status, flags);
}

static int keep(int fd) {
    int high = fcntl(fd, F_DUPFD_CLOEXEC, 200);
    CHECK(fd >= 0 && high >= 0);
    close(fd);
    return high;
}

static int open_host(const char *name, int flags, int which) {
    char path[256];
    struct stat status;
    snprintf(path, sizeof path, "%s/%s", tree_top, name);
    int fd = open(path, flags | O_CLOEXEC);
    CHECK(fd >= 0 && fstat(fd, &status) == 0);
    host[which].device = status.st_dev;
    host[which].inode = status.st_ino;
    return fd;
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    int pair[2];
    char fifo[256];
    tree_setup();
    snprintf(fifo, sizeof fifo, "%s/data-outside/fifo", tree_top);
    CHECK(mkfifo(fifo, 0600) == 0);
    given[OF_HOST] = keep(open_host("data-outside/a", O_RDONLY, 0));
    given[OF_HOST_DIRECTORY] = keep(open_host("data-outside", O_RDONLY | O_DIRECTORY, 1));
    given[OF_HOST_FIFO] = keep(open_host("data-outside/fifo", O_RDONLY | O_NONBLOCK, 2));
    given[OF_MEMFD] = keep(memfd_create("guest", MFD_CLOEXEC));
    CHECK(pipe2(pair, O_CLOEXEC | O_NONBLOCK) == 0);
    given[OF_PIPE] = keep(pair[0]);
    keep(pair[1]);
    given[OF_INNER] = keep(tree_file("inner/a", "guest"));
    given[OF_REMOVED] = keep(tree_file("inner/b", "guest"));
    CHECK(unlinkat(mounts_fd(INNER), "b", 0) == 0);
    given[OF_SOCKET] = keep(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    given[OF_NULL] = keep(open("/dev/null", O_RDWR | O_CLOEXEC));
    static struct context wanted = {.cwd = -1, .cwd_path = "/data", .exe = "/data/a"};
    CHECK(context_enter(tree_pid, &wanted) == 0);
    snprintf(pid_text, sizeof pid_text, "%d", tree_pid);
    snprintf(stranger_text, sizeof stranger_text, "%d", getppid());
    return 0;
}

/* Bytes below 32 stand for the words that names are made of. */
static void make_name(struct input *input, char *name, size_t size) {
    static const char *const words[] = {
        "", "self", "thread-self", pid_text, stranger_text, "1", "fd", "fdinfo", "task", "net", "sys", "kernel", "cwd",
        "root", "exe", "20", "21", "22", "23", "26", "maps", "status", "mem", "environ", "..", ".", "kcore", "hostname",
        "random", "uuid", "tcp", "mounts",
    };
    size_t used = 0;
    name[0] = 0;
    for (uint8_t byte; (byte = input_byte(input)) != 0 && used + 24 < size;) {
        if (byte < 32) used += (size_t)snprintf(name + used, size - used, "%s", words[byte]);
        else name[used++] = (char)byte;
        name[used] = 0;
    }
}

/* What a name that is not refused can look like: components of letters, digits, "_" and "-"; this process and no other. */
static bool may_exist(const char *name) {
    bool process = name[0] >= '0' && name[0] <= '9';
    size_t own = strlen(pid_text);
    if (process && (strncmp(name, pid_text, own) != 0 || (name[own] && name[own] != '/'))) return false;
    for (const char *at = name; *at;) {
        size_t length = strspn(at, "abcdefghijklmnopqrstuvwxyz0123456789_-");
        if (length == 0 || (at[length] && at[length] != '/') || (at[length] == '/' && at[length + 1] == 0)) return false;
        at += length + (at[length] == '/');
    }
    return strstr(name, "/mem") == NULL || strstr(name, "/meminfo"); /* never the memory */
}

static bool shows_host(const char *target) { return strstr(target, tree_top) != NULL; }

static void look(const struct request *request, const char *name) {
    char *target = malloc(SBX_PATH_MAX), directory[SBX_PATH_MAX];
    enum procfs_kind kind = PROCFS_MISSING;
    memset(target, 0x41, SBX_PATH_MAX);
    int error = procfs_look(request, name, &kind, target);
    CHECK(error <= 0);
    if (error == 0) {
        CHECK(kind > PROCFS_MISSING && kind <= PROCFS_MAGIC);
        CHECK(may_exist(name));
        bool link = kind == PROCFS_LINK || kind == PROCFS_MAGIC;
        if (link) CHECK(strnlen(target, SBX_PATH_MAX) < SBX_PATH_MAX && !shows_host(target));
        if (kind == PROCFS_LINK && target[0] == '/' && target[1]) CHECK(!strstr(target, "//") && !strstr(target, "/../"));
    }
    snprintf(directory, sizeof directory, "%s", name);
    char *slash = strrchr(directory, '/');
    const char *last = slash ? slash + 1 : name;
    if (slash) *slash = 0;
    bool listed = procfs_listed(slash ? directory : "", last);
    if (error == 0 && name[0] && !racing && one_at < 0) CHECK(listed); /* what can be looked up is listed */
    free(target);
}

static bool is_host(int fd) {
    struct stat status;
    CHECK(fstat(fd, &status) == 0);
    for (int i = 0; i < 3; i++)
        if (host[i].device == status.st_dev && host[i].inode == status.st_ino) return true;
    return false;
}

static void open_it(struct request *request, const struct place *place, uint8_t how) {
    static const int kinds[] = {O_RDONLY, O_PATH, O_WRONLY, O_RDWR, O_RDONLY | O_TRUNC, O_RDWR | O_CREAT, O_ACCMODE, O_RDONLY | O_DIRECTORY};
    struct stat status;
    CHECK(may_exist(place->name));
    procfs_stat(request, place, &status);
    int fd = procfs_open(request, place, kinds[how & 7] | O_NONBLOCK);
    if (fd < 0) return;
    int got = fcntl(fd, F_GETFL);
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    if (kinds[how & 7] & O_PATH) CHECK(got & O_PATH); /* a name and no more */
    if (is_host(fd)) CHECK(got & O_PATH || (got & O_ACCMODE) == O_RDONLY); /* no more than was handed in */
    close(fd);
}

static void run(struct request *request, const char *name, uint8_t how, uint8_t flags) {
    char path[SBX_PATH_MAX + 8];
    struct place *place = malloc(sizeof *place);
    for (int i = 0; i < GIVEN; i++) CHECK(dup2(given[i], FIRST + i) >= 0);
    int floor_fd = lowest_free();
    moment = 0;
    racing = how & 1;
    look(request, name);
    snprintf(path, sizeof path, "/proc/%s", name);
    if (strlen(path) < SBX_PATH_MAX && walk_absolute(request, path, how & 8 ? WALK_NOFOLLOW : WALK_FOLLOW, WALK_EXISTING, place) == 0) {
        if (place->special) open_it(request, place, flags);
        walk_done(place);
    }
    racing = false;
    directory_forget();
    CHECK(lowest_free() == floor_fd);
    free(place);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct request request;
    struct input input = {data, size};
    char *name = malloc(SBX_PATH_MAX);
    uint8_t how = input_byte(&input), flags = input_byte(&input);
    size_t changes = how & 1 ? input.left / 4 : 0;
    race = (struct input){input.at, changes};
    input.at += changes;
    input.left -= changes;
    if (how & 16) input_bytes(&input, one, sizeof one);
    memset(request.path, 0, sizeof request.path);
    request.tid = tree_pid;
    request.flags = how & 2 ? AT_SYMLINK_NOFOLLOW : 0;
    make_name(&input, name, how & 4 ? SBX_PATH_MAX : 256);
    one_at = -1;
    run(&request, name, how, flags);
    int moments = how & 16 ? moment : 0;
    for (one_at = 0; one_at < moments && one_at < 64; one_at++) run(&request, name, how, flags); /* a change at each in turn */
    free(name);
    return 0;
}
