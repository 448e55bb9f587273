/* with: rpc.c flight.c
 *
 * Packets on the control socket, with up to 20 descriptors, as a broken Supervisor (or whoever got its socket) could send
 * them. What must hold: what is taken is one whole message, no more descriptors come than the caller has room for, all
 * are close-on-exec, and none stays open that was not handed over. */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include "fuzz.h"
#include "rpc.h"

uint64_t answer_now(void) { return 1; }

#define FDS_MAX 20

static int ours = -1, theirs = -1, floor_fd;

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    int pair[2];
    (void)argc, (void)argv;
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    ours = pair[0];
    theirs = pair[1];
    rpc_setup(ours);
    return 0;
}

static void send_packet(const void *data, size_t size, int count) {
    struct iovec part = {(void *)data, size};
    union { struct cmsghdr header; char space[CMSG_SPACE(sizeof(int) * FDS_MAX)]; } rights = {0};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    if (count) {
        header.msg_control = &rights;
        header.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)count);
        *CMSG_FIRSTHDR(&header) = (struct cmsghdr){CMSG_LEN(sizeof(int) * (size_t)count), SOL_SOCKET, SCM_RIGHTS};
        for (int i = 0; i < count; i++) memcpy(CMSG_DATA(CMSG_FIRSTHDR(&header)) + sizeof(int) * (size_t)i, &theirs, sizeof(int));
    }
    CHECK(sendmsg(theirs, &header, MSG_NOSIGNAL) == (ssize_t)size);
}

static int take_first(int *fds, int *count) {
    int fd = fds[0];
    memmove(fds, fds + 1, (size_t)--*count * sizeof *fds);
    return fd;
}

static void receive(size_t sent, int sent_fds) {
    char *text = malloc(SBX_MESSAGE_MAX); /* exactly what rpc.h asks for */
    struct sbx_message *message = malloc(sizeof *message);
    int *fds = malloc(SBX_MESSAGE_FDS * sizeof *fds), count = -1;
    int got = rpc_receive(message, text, fds, &count, MSG_DONTWAIT);
    CHECK(got == 1 || got == 0 || got == -EPROTO);
    CHECK(count >= 0 && count <= SBX_MESSAGE_FDS);
    for (int i = 0; i < count; i++) CHECK(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
    if (got == 0) CHECK(sent == 0);
    if (got == 1) {
        CHECK(sent == sizeof *message + message->length && sent <= SBX_MESSAGE_MAX);
        CHECK(count == sent_fds || (message->type == SBX_MSG_REPLY && sent_fds > SBX_MESSAGE_FDS));
        text[message->length] = 0; /* as the sentry does */
    }
    if (got == 1 && message->type == SBX_MSG_REPLY && count) rpc_reply(message->number, message->value, take_first(fds, &count), text, message->length);
    for (int i = 0; i < count; i++) close(fds[i]);
    CHECK(lowest_free() == floor_fd);
    free(fds);
    free(message);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char packet[SBX_MESSAGE_MAX + 4096];
    struct input input = {data, size};
    floor_fd = lowest_free();
    for (int packets = 0; packets < 4 && input.left; packets++) {
        uint8_t how = input_byte(&input);
        int count = input_byte(&input) % (FDS_MAX + 1);
        size_t length = (size_t)input_number(&input, 2) % sizeof packet;
        memset(packet, 'x', length);
        input_bytes(&input, packet, length);
        struct sbx_message *head = (struct sbx_message *)(void *)packet;
        if (how & 1 && length >= sizeof *head) {
            head->length = (uint32_t)(length - sizeof *head);
            head->type %= SBX_MSG_COUNT + 1;
        }
        if (how & 2 && length > SBX_MESSAGE_MAX) head->length = SBX_MESSAGE_MAX - sizeof *head; /* what fits, not what came */
        send_packet(packet, length, count);
        receive(length, count);
    }
    return 0;
}
