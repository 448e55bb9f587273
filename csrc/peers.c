#include "peers.h"
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "guest.h"

#define ENDS_MAX 4096 /* inodes of sockets count up: the oldest is forgotten */
#define SEVERAL (-1)

static struct end { uint32_t inode; pid_t connector, sender, thread; } ends[ENDS_MAX];
/* By the name that the kernel has, which is of one socket at a time. */
#define LISTENERS_MAX 256
static struct listener { struct sockaddr_un name; socklen_t size; pid_t process; } listeners[LISTENERS_MAX];
static size_t listener_next;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int diag = -1;
static pid_t parent;

bool peers_is_outside(pid_t pid) { return pid == 0 || pid == parent; }

void peers_setup(void) {
    parent = getppid(); /* the filter knows no such call */
    diag = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_SOCK_DIAG);
}

/* With lock held. */
static struct end *end_of(uint64_t inode) {
    struct end *end = &ends[inode % ENDS_MAX];
    if (end->inode != (uint32_t)inode) { /* one older than what stood here may have been by several */
        bool older = end->inode && (int32_t)((uint32_t)inode - end->inode) < 0;
        *end = (struct end){.inode = (uint32_t)inode, .sender = older ? SEVERAL : 0};
    }
    return end;
}

pid_t peers_connects(int socket, pid_t process) {
    struct stat status;
    if (fstat(socket, &status) < 0) return 0;
    pthread_mutex_lock(&lock);
    struct end *end = end_of(status.st_ino);
    pid_t before = end->connector;
    end->connector = process > 0 ? process : 0;
    pthread_mutex_unlock(&lock);
    return before;
}

void peers_sends(uint64_t inode, pid_t tid) {
    pthread_mutex_lock(&lock);
    bool again = end_of(inode)->thread == tid;
    pthread_mutex_unlock(&lock);
    if (again) return;
    pid_t leader = guest_leader(tid);
    pthread_mutex_lock(&lock);
    struct end *end = end_of(inode);
    end->thread = tid;
    end->sender = leader > 0 && (end->sender == 0 || end->sender == leader) ? leader : SEVERAL;
    pthread_mutex_unlock(&lock);
}

/* Which of them has the name that a call told: LISTENERS_MAX where none has, or it is no name. With lock held. */
static size_t listener_of(const struct listener *told) {
    size_t at = told->size > sizeof told->name.sun_family && told->name.sun_family == AF_UNIX ? 0 : LISTENERS_MAX;
    while (at < LISTENERS_MAX && (listeners[at].size != told->size || memcmp(&listeners[at].name, &told->name, sizeof told->name) != 0)) at++;
    return at;
}

void peers_listens(int socket, pid_t process) {
    struct listener own = {.size = sizeof own.name, .process = process};
    if (getsockname(socket, (struct sockaddr *)&own.name, &own.size) < 0 || own.size <= sizeof own.name.sun_family || process < 0) return;
    pthread_mutex_lock(&lock);
    size_t at = listener_of(&own);
    listeners[at < LISTENERS_MAX ? at : listener_next++ % LISTENERS_MAX] = own;
    pthread_mutex_unlock(&lock);
}

struct question { struct nlmsghdr head; struct unix_diag_req asked; };

/* With lock held: the kernel answers before write returns. */
static uint32_t other_end(uint32_t inode) {
    struct question question = {
        .head = {.nlmsg_len = sizeof question, .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST},
        .asked = {.sdiag_family = AF_UNIX, .udiag_states = UINT32_MAX, .udiag_ino = inode, .udiag_show = UDIAG_SHOW_PEER,
                  .udiag_cookie = {UINT32_MAX, UINT32_MAX}}};
    struct { struct nlmsghdr head; struct unix_diag_msg told; uint8_t rest[512]; } answer;
    if (write(diag, &question, sizeof question) != sizeof question) return 0;
    ssize_t got = read(diag, &answer, sizeof answer);
    if (got < (ssize_t)NLMSG_LENGTH(sizeof answer.told) || answer.head.nlmsg_type != SOCK_DIAG_BY_FAMILY || answer.told.udiag_ino != inode) return 0;
    int room = (int)(got - (ssize_t)NLMSG_LENGTH(sizeof answer.told));
    for (struct rtattr *at = (struct rtattr *)(void *)answer.rest; RTA_OK(at, room); at = RTA_NEXT(at, room)) {
        uint32_t peer;
        if (at->rta_type != UNIX_DIAG_PEER || RTA_PAYLOAD(at) != sizeof peer) continue;
        memcpy(&peer, RTA_DATA(at), sizeof peer);
        return peer;
    }
    return 0;
}

static struct end look(int socket) {
    struct stat status;
    struct end found = {0};
    if (diag < 0 || fstat(socket, &status) < 0) return found;
    pthread_mutex_lock(&lock);
    uint32_t peer = other_end((uint32_t)status.st_ino);
    if (peer && ends[peer % ENDS_MAX].inode == peer) found = ends[peer % ENDS_MAX];
    pthread_mutex_unlock(&lock);
    return found;
}

pid_t peers_connector(int socket) { return look(socket).connector; }

pid_t peers_listener(int socket) {
    struct listener peer = {.size = sizeof peer.name};
    if (getpeername(socket, (struct sockaddr *)&peer.name, &peer.size) < 0) return 0;
    pthread_mutex_lock(&lock);
    size_t at = listener_of(&peer);
    pid_t process = at < LISTENERS_MAX ? listeners[at].process : 0;
    pthread_mutex_unlock(&lock);
    return process;
}

pid_t peers_sender(int socket) {
    pid_t sender = look(socket).sender;
    return sender == SEVERAL ? 0 : sender;
}
