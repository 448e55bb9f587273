#include "interface.h"
#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "guest.h"

#define NAME "eth0"
#define NUMBER 16 /* below it are tunnels that some kernels put into every namespace */
#define PREFIX 24
#define MASK 0xffffff00u
#define GATEWAY 2 /* host number of who would be there: a default route is what some programs look for */

static const uint8_t hardware[6] = {2, 0, 0, 0, 0, NUMBER};
static bool own;

/* As an ioctl lists them. The last is there where it could be made, with the plan's address. */
static struct row { const char *name; int number, flags, mtu, type; uint32_t address, mask, broadcast; } rows[] = {
    {"lo", 1, IFF_UP | IFF_RUNNING | IFF_LOOPBACK, 65536, ARPHRD_LOOPBACK, INADDR_LOOPBACK, IN_CLASSA_NET, 0},
    {"lo:2", 1, IFF_UP | IFF_RUNNING | IFF_LOOPBACK, 65536, ARPHRD_LOOPBACK, INADDR_LOOPBACK + 1, IN_CLASSA_NET, 0}, /* confine.c */
    {NAME, NUMBER, IFF_UP | IFF_RUNNING | IFF_BROADCAST | IFF_NOARP, 1500, ARPHRD_ETHER, 0, MASK, 0},
};
#define ROWS (sizeof rows / sizeof *rows)
static size_t row_count = ROWS - 1;

/* ---- eth0: one message of several requests ---------------------------------------------------------------------------------- */

struct batch { size_t size; struct nlmsghdr *last; _Alignas(struct nlmsghdr) char data[1024]; };

static void ask(struct batch *to, int type, int flags, const void *body, size_t size) {
    to->last = (struct nlmsghdr *)(void *)(to->data + to->size);
    *to->last = (struct nlmsghdr){NLMSG_LENGTH(size), (uint16_t)type, (uint16_t)(NLM_F_REQUEST | flags), .nlmsg_seq = (uint32_t)type};
    memcpy(NLMSG_DATA(to->last), body, size);
    to->size += NLMSG_LENGTH(size);
}

static struct rtattr *add(struct batch *to, int type, const void *data, size_t size) {
    struct rtattr *at = (struct rtattr *)(void *)(to->data + to->size);
    *at = (struct rtattr){(uint16_t)RTA_LENGTH(size), (uint16_t)type};
    if (size) memcpy(RTA_DATA(at), data, size);
    to->size += RTA_SPACE(size);
    to->last->nlmsg_len += RTA_SPACE(size);
    return at;
}

/* `outer` holds what was added since. */
static void close_over(const struct batch *to, struct rtattr *outer) { outer->rta_len = (uint16_t)(to->data + to->size - (char *)outer); }

static void add_link(struct batch *to, const char *kind) {
    struct ifinfomsg link = {.ifi_index = NUMBER};
    ask(to, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &link, sizeof link);
    add(to, IFLA_IFNAME, NAME, sizeof NAME);
    add(to, IFLA_ADDRESS, hardware, sizeof hardware);
    struct rtattr *info = add(to, IFLA_LINKINFO, NULL, 0);
    add(to, IFLA_INFO_KIND, kind, strlen(kind) + 1);
    close_over(to, info);
    ask(to, RTM_SETLINK, 0, &link, sizeof link); /* no IPv6 address by itself */
    struct rtattr *families = add(to, IFLA_AF_SPEC, NULL, 0), *six = add(to, AF_INET6, NULL, 0);
    add(to, IFLA_INET6_ADDR_GEN_MODE, &(uint8_t){IN6_ADDR_GEN_MODE_NONE}, 1);
    close_over(to, six);
    close_over(to, families);
    link.ifi_flags = link.ifi_change = IFF_UP;
    ask(to, RTM_SETLINK, 0, &link, sizeof link);
}

static void add_address(struct batch *to, const struct row *row) {
    struct ifaddrmsg four = {.ifa_family = AF_INET, .ifa_prefixlen = PREFIX, .ifa_index = NUMBER};
    struct rtmsg route = {.rtm_family = AF_INET, .rtm_table = RT_TABLE_MAIN, .rtm_protocol = RTPROT_BOOT, .rtm_scope = RT_SCOPE_UNIVERSE,
                          .rtm_type = RTN_UNICAST};
    uint32_t address = htonl(row->address), all = htonl(row->broadcast), gateway = htonl((row->address & MASK) + GATEWAY);
    ask(to, RTM_NEWADDR, NLM_F_CREATE | NLM_F_ACK, &four, sizeof four);
    add(to, IFA_LOCAL, &address, sizeof address);
    add(to, IFA_BROADCAST, &all, sizeof all);
    ask(to, RTM_NEWROUTE, NLM_F_CREATE, &route, sizeof route);
    add(to, RTA_GATEWAY, &gateway, sizeof gateway);
    add(to, RTA_OIF, &(int){NUMBER}, sizeof(int));
}

/* Has the address been taken? The kernel has answered when the message is sent: what failed, and what was to be acknowledged. */
static bool taken(int netlink) {
    struct { struct nlmsghdr head; struct nlmsgerr error; char rest[1024]; } answer;
    while (recv(netlink, &answer, sizeof answer, MSG_DONTWAIT) > 0)
        if (answer.head.nlmsg_seq == RTM_NEWADDR) return answer.head.nlmsg_type == NLMSG_ERROR && answer.error.error == 0;
    return false;
}

static bool make(const char *kind, const struct row *row) {
    cleanup_close int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    struct batch batch = {0};
    add_link(&batch, kind);
    add_address(&batch, row);
    return netlink >= 0 && send(netlink, batch.data, batch.size, 0) >= 0 && taken(netlink);
}

/* A kind that there is not would have the kernel start modprobe, on the host. */
static bool is_there(const char *module) {
    return access("/proc/sys/kernel/modprobe", F_OK) < 0 || access(module, F_OK) == 0;
}

/* Kinds that send nothing anywhere, the cheaper first. (A bridge takes three times as long, and more to end.) */
static const struct { const char *name, *module; } kinds[] = {{"dummy", "/sys/module/dummy"}, {"ifb", "/sys/module/ifb"}};

void interface_setup(uint32_t address) {
    struct row *row = &rows[ROWS - 1];
    own = true;
    row->address = address;
    row->broadcast = address | ~MASK;
    for (size_t i = 0; address && row_count < ROWS && i < sizeof kinds / sizeof *kinds; i++)
        if (is_there(kinds[i].module) && make(kinds[i].name, row)) row_count = ROWS;
}

bool interface_is_own(void) { return own; }

/* ---- ioctl: netdevice(7) ------------------------------------------------------------------------------------------------------ */

static void tell_name(const struct row *row, struct ifreq *to) { strncpy(to->ifr_name, row->name, IFNAMSIZ); }
static void tell_number(const struct row *row, struct ifreq *to) { to->ifr_ifindex = row->number; }
static void tell_flags(const struct row *row, struct ifreq *to) { to->ifr_flags = (short)row->flags; }
static void tell_mtu(const struct row *row, struct ifreq *to) { to->ifr_mtu = row->mtu; }

static void tell_hardware(const struct row *row, struct ifreq *to) {
    memset(&to->ifr_hwaddr, 0, sizeof to->ifr_hwaddr);
    to->ifr_hwaddr.sa_family = (sa_family_t)row->type;
    if (row->type == ARPHRD_ETHER) memcpy(to->ifr_hwaddr.sa_data, hardware, sizeof hardware);
}

static void tell_four(uint32_t number, struct ifreq *to) {
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(number)};
    memcpy(&to->ifr_addr, &four, sizeof four);
}
static void tell_address(const struct row *row, struct ifreq *to) { tell_four(row->address, to); }
static void tell_mask(const struct row *row, struct ifreq *to) { tell_four(row->mask, to); }
static void tell_broadcast(const struct row *row, struct ifreq *to) { tell_four(row->broadcast, to); }

static const struct { uint32_t number; void (*tell)(const struct row *, struct ifreq *); } asked[] = {
    {SIOCGIFCONF, tell_address}, /* of each, with its name */
    {SIOCGIFNAME, tell_name}, {SIOCGIFINDEX, tell_number}, {SIOCGIFFLAGS, tell_flags}, {SIOCGIFMTU, tell_mtu}, {SIOCGIFHWADDR, tell_hardware},
    {SIOCGIFADDR, tell_address}, {SIOCGIFDSTADDR, tell_address}, {SIOCGIFNETMASK, tell_mask}, {SIOCGIFBRDADDR, tell_broadcast},
};
#define ASKED (sizeof asked / sizeof *asked)

static size_t which(uint32_t number) {
    size_t at = 0;
    while (at < ASKED && asked[at].number != number) at++;
    return at;
}

bool interface_asks(uint32_t number) { return which(number) < ASKED; }

static const struct row *find(uint32_t number, const struct ifreq *by) {
    for (size_t i = 0; i < row_count; i++)
        if (number == SIOCGIFNAME ? rows[i].number == by->ifr_ifindex : strncmp(rows[i].name, by->ifr_name, IFNAMSIZ) == 0) return &rows[i];
    return NULL;
}

/* As far as there is room; without a place to write to, how much is needed. */
static struct answer list(struct request *request) {
    struct ifconf *head = (struct ifconf *)(void *)request->buffer;
    struct ifreq *all = (struct ifreq *)(void *)(head + 1);
    if (guest_read(request->tid, request->args[2], head, sizeof *head) < 0) return answer_error(EFAULT);
    uint64_t to = (uint64_t)head->ifc_buf;
    size_t room = to && head->ifc_len >= 0 ? (size_t)head->ifc_len / sizeof *all : to ? 0 : row_count, count = room < row_count ? room : row_count;
    memset(all, 0, count * sizeof *all);
    for (size_t i = 0; i < count; i++) {
        tell_name(&rows[i], &all[i]);
        tell_address(&rows[i], &all[i]);
    }
    head->ifc_len = (int)(count * sizeof *all);
    struct answer answer = answer_value(0);
    answer.out[0] = (struct answer_out){request->args[2], head, sizeof *head};
    if (to) answer.out[1] = (struct answer_out){to, all, count * sizeof *all};
    return answer;
}

struct answer interface_answer(struct request *request) {
    uint32_t number = (uint32_t)request->args[1];
    struct ifreq *one = (struct ifreq *)(void *)request->buffer;
    if (number == SIOCGIFCONF) return list(request);
    if (guest_read(request->tid, request->args[2], one, sizeof *one) < 0) return answer_error(EFAULT);
    const struct row *row = find(number, one);
    if (row == NULL) return answer_error(ENODEV);
    asked[which(number)].tell(row, one);
    struct answer answer = answer_value(0);
    answer.out[0] = (struct answer_out){request->args[2], one, sizeof *one};
    return answer;
}
