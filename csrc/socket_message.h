/* socket_message.h: the messages of sendmsg, recvmsg and their kin: header, parts and payload are copied, and what is sent or received
 * in the guest's place is the copy, on its own socket. */
#ifndef SBX_SOCKET_MESSAGE_H
#define SBX_SOCKET_MESSAGE_H
#include <sys/uio.h>
#include "socket_name.h"

#define PARTS_MAX 1024             /* UIO_MAXIOV */
#define BYTES_MAX 0x7ffff000u      /* MAX_RW_COUNT: of one message, as Linux has it */
#define PAYLOAD_MAX (8u << 20)     /* of one that goes as a whole, and of what is received at once */
#define HELD_MAX (32u << 20)       /* of all calls of the guest's together */
#define WAITS_WITH 4096            /* what any call may hold while it waits */
#define CONTROL_MAX 16384
#define PASSED_MAX 253             /* SCM_MAX_FD */

/* struct user_msghdr. */
struct guest_message {
    uint64_t name;
    int32_t name_length;
    uint32_t padding;
    uint64_t parts, part_count, control, control_length;
    int32_t flags;
    uint32_t padding2;
};
_Static_assert(sizeof(struct guest_message) == sizeof(struct msghdr), "as the kernel has it");

/* A call, and one message of it on its way. */
struct socket_message {
    int socket;
    uint64_t inode;
    int flags;
    bool denied;               /* an address, by us */
    struct guest_message head;
    uint64_t at;               /* of head in the guest; 0: sendto, recvfrom */
    struct iovec parts[PARTS_MAX];
    size_t total;
    uint8_t *payload;          /* request->buffer, or mapped where it is too small */
    size_t mapped, held;       /* bytes; the second counts in HELD_MAX */
    struct socket_name name;
    int passed[PASSED_MAX];
    int passed_count;
    _Alignas(struct cmsghdr) uint8_t control[CONTROL_MAX];
    size_t control_length;
};

/* May the call wait? */
bool socket_message_waits(const struct socket_message *message);
/* Copy what the header says of the parts. 0 or -errno. */
int socket_message_parts(const struct request *request, struct socket_message *message);
/* Room for `size` bytes of payload, in place of what there was. 0 or -errno. */
int socket_message_room(struct request *request, struct socket_message *message, size_t size);
/* `size` bytes of the room will be held while the call waits. 0 or -ENOBUFS. */
int socket_message_hold(struct socket_message *message, size_t size);
void socket_message_release(struct socket_message *message);
/* Payload between our copy and the guest's parts; `size` bytes of it, behind the first `done` of the parts. 0 or -errno. */
enum socket_message_way { FROM_GUEST, TO_GUEST };
int socket_message_move(const struct request *request, const struct socket_message *message, size_t done, size_t size, enum socket_message_way way);

/* Sends or receives one message whose header has been read: how many bytes, or -errno. */
typedef int64_t socket_message_one(struct request *request, struct socket_message *message);
/* sendto and recvfrom as a message of one part. */
void socket_message_plain(struct socket_message *message, uint64_t buffer, uint64_t size, uint64_t name, int32_t name_length);
/* The whole call: `one` for each message with a header, else `plain`, which makes it. */
struct answer socket_message_serve(struct request *request, socket_message_one *plain, socket_message_one *one);
#endif
