/* with: rpc.c flight.c
 *
 * The control socket: whole messages or none, descriptors that do not leak, and answers that reach who asked. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "rpc.h"

uint64_t answer_now(void) { return 1; }

#define CHECK(condition) do { \
    if (!(condition)) { printf("%s:%d: %s\n", __FILE__, __LINE__, #condition); exit(1); } } while (0)

static int ours, theirs;
static struct sbx_message message;
static char text[SBX_MESSAGE_MAX];
static int fds[SBX_MESSAGE_FDS], count;

static void start(void) {
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    ours = pair[0];
    theirs = pair[1];
    rpc_setup(ours);
}

static void end(void) {
    close(ours);
    if (theirs >= 0) close(theirs);
}

static int free_fd(void) {
    int fd = dup(0);
    close(fd);
    return fd;
}

static void put(const void *data, size_t size, int descriptors) {
    union { struct cmsghdr header; char space[CMSG_SPACE(sizeof(int) * 32)]; } rights = {0};
    struct iovec part = {(void *)data, size};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    if (descriptors) {
        header.msg_control = &rights;
        header.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)descriptors);
        *CMSG_FIRSTHDR(&header) = (struct cmsghdr){CMSG_LEN(sizeof(int) * (size_t)descriptors), SOL_SOCKET, SCM_RIGHTS};
        for (int i = 0; i < descriptors; i++) memcpy(CMSG_DATA(CMSG_FIRSTHDR(&header)) + sizeof(int) * (size_t)i, &theirs, sizeof(int));
    }
    CHECK(sendmsg(theirs, &header, 0) == (ssize_t)size);
}

static int get(void) { return rpc_receive(&message, text, fds, &count, MSG_DONTWAIT); }

static void drop(void) {
    for (int i = 0; i < count; i++) close(fds[i]);
}

static void put_message(enum sbx_message_type type, const char *words, uint32_t claimed, int descriptors) {
    static char packet[3 * SBX_MESSAGE_MAX];
    struct sbx_message head = {.type = type, .length = claimed, .number = 7, .value = -2, .value2 = 3};
    memcpy(packet, &head, sizeof head);
    memcpy(packet + sizeof head, words, strlen(words));
    put(packet, sizeof head + strlen(words), descriptors);
}

static void test_receive(void) {
    int before = free_fd();
    CHECK(get() == -EAGAIN && count == 0);
    put_message(SBX_MSG_FETCH, "/a", 2, 0);
    CHECK(get() == 1 && message.type == SBX_MSG_FETCH && message.number == 7 && message.value == -2 && count == 0);
    CHECK(memcmp(text, "/a", 2) == 0);
    put_message(SBX_MSG_RUN, "", 0, 16);
    CHECK(get() == 1 && count == 16 && (fcntl(fds[15], F_GETFD) & FD_CLOEXEC));
    drop();
    for (uint32_t wrong = 0; wrong < 5; wrong++) {
        if (wrong == 3) continue;
        put_message(SBX_MSG_FETCH, "abc", wrong == 4 ? UINT32_MAX : wrong, 1);
        CHECK(get() == -EPROTO);
        drop();
    }
    put("short", 5, 2);
    CHECK(get() == -EPROTO && count == 2);
    drop();
    put_message(SBX_MSG_RUN, "", 0, 17); /* one is cut off */
    CHECK(get() == -EPROTO);
    drop();
    put_message(SBX_MSG_REPLY, "", 0, 17);
    CHECK(get() == 1 && count <= SBX_MESSAGE_FDS);
    drop();
    char longest[SBX_MESSAGE_MAX + 1 - sizeof message];
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = 0;
    put_message(SBX_MSG_FETCH, longest, sizeof longest - 1, 0);
    CHECK(get() == 1 && message.length == SBX_MESSAGE_MAX - sizeof message);
    static char too_long[2 * SBX_MESSAGE_MAX];
    memset(too_long, 'x', sizeof too_long - sizeof message - 1);
    put_message(SBX_MSG_FETCH, too_long, SBX_MESSAGE_MAX - sizeof message, 0); /* claims only what fits */
    CHECK(get() == -EPROTO);
    CHECK(free_fd() == before);
    close(theirs);
    theirs = -1;
    CHECK(get() == 0);
}

static void test_send(void) {
    struct sbx_message got;
    CHECK(rpc_send(SBX_MSG_FAULT, 1, 2, 3, text, SBX_MESSAGE_MAX - sizeof got + 1, -1) == -EMSGSIZE);
    CHECK(rpc_send(SBX_MSG_DRAIN, 1, -2, 3, NULL, 0, -1) == 0);
    CHECK(recv(theirs, &got, sizeof got, MSG_TRUNC) == sizeof got);
    CHECK(got.type == SBX_MSG_DRAIN && got.number == 1 && got.value == -2 && got.value2 == 3 && got.length == 0);
    close(theirs);
    theirs = -1;
    CHECK(rpc_send(SBX_MSG_DRAIN, 0, 0, 0, NULL, 0, -1) == -EPIPE); /* and no SIGPIPE */
}

#define ASKERS 8
static int results[ASKERS];
static uint64_t numbers[ASKERS];

static void *ask(void *argument) {
    uintptr_t i = (uintptr_t)argument;
    char name[16];
    snprintf(name, sizeof name, "%d", (int)i);
    results[i] = rpc_serve(SBX_SERVE_PROC, 5, name, -1, &numbers[i]);
    return NULL;
}

/* Replies in the other order, twice, and to numbers that nobody has; some are errors, some lack their descriptor. */
static void test_serve(void) {
    pthread_t threads[ASKERS];
    uint64_t asked[ASKERS];
    int before = free_fd();
    for (uintptr_t i = 0; i < ASKERS; i++) CHECK(pthread_create(&threads[i], NULL, ask, (void *)i) == 0);
    for (int i = 0; i < ASKERS; i++) {
        struct { struct sbx_message head; char name[64]; } got = {0};
        CHECK(recv(theirs, &got, sizeof got, 0) == (ssize_t)sizeof got.head + 1);
        CHECK(got.head.type == SBX_MSG_SERVE && got.head.value == SBX_SERVE_PROC && got.head.value2 == 5);
        asked[got.name[0] - '0'] = got.head.number;
    }
    rpc_reply(9999, 0, dup(0), "", 0);
    for (int i = ASKERS - 1; i >= 0; i--) {
        int value = i % 4 == 1 ? -ENOENT : 0;
        rpc_reply(asked[i], value, i % 4 == 2 ? -1 : dup(0), "", 0);
        rpc_reply(asked[i], 0, dup(0), "", 0);
    }
    for (int i = 0; i < ASKERS; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < ASKERS; i++) {
        CHECK(numbers[i] == asked[i]);
        if (i % 4 == 1) CHECK(results[i] == -ENOENT);
        else if (i % 4 == 2) CHECK(results[i] == -EIO);
        else CHECK(results[i] >= 0 && close(results[i]) == 0);
    }
    CHECK(free_fd() == before);
    uint64_t number;
    close(theirs);
    theirs = -1;
    CHECK(rpc_serve(SBX_SERVE_FILE, 1, "", -1, &number) == -EPIPE);
}

int main(void) {
    void (*tests[])(void) = {test_receive, test_send, test_serve};
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        start();
        tests[i]();
        end();
    }
    puts("rpc: ok");
    return 0;
}
