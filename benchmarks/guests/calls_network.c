/* calls_network.c: what a guest does with TCP and UDP of its own loopback, and a name that its resolver knows. */
#include "calls.h"
#include <arpa/inet.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHUNK 65536

static int stream[2] = {-1, -1}, taker = -1, sender = -1, resolver = -1;
static struct sockaddr_in taking;

static int bound(int type, struct sockaddr_in *name) {
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    socklen_t size = sizeof *name;
    *name = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    MUST(fd >= 0 && bind(fd, (struct sockaddr *)name, size) == 0 && getsockname(fd, (struct sockaddr *)name, &size) == 0);
    return fd;
}

static void have_stream(void) {
    if (stream[0] >= 0) return;
    struct sockaddr_in there;
    int listening = bound(SOCK_STREAM, &there);
    MUST(listen(listening, 1) == 0);
    stream[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    MUST(connect(stream[0], (struct sockaddr *)&there, sizeof there) == 0);
    MUST((stream[1] = accept(listening, NULL, NULL)) >= 0);
    close(listening);
}

static void have_datagrams(void) {
    if (taker >= 0) return;
    struct sockaddr_in own;
    taker = bound(SOCK_DGRAM, &taking);
    sender = bound(SOCK_DGRAM, &own);
}

/* The header of a question with number 7, and one name and type. */
static const char question[] = "\0\7\1\0\0\1\0\0\0\0\0\0\5bench\4test\0\0\1\0\1";

/* Where nobody answers for names, a child does the least that could be called an answer, and ends with its parent. */
static void answer_names(void) {
    struct sockaddr_in here, asker;
    char text[512];
    int fd = bound(SOCK_DGRAM, &here);
    pid_t pid = fork();
    MUST(pid >= 0);
    if (pid > 0) {
        close(fd);
        MUST(connect(resolver, (struct sockaddr *)&here, sizeof here) == 0);
        return;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    socklen_t size = sizeof asker;
    ssize_t got = recvfrom(fd, text, sizeof text, 0, (struct sockaddr *)&asker, &size);
    if (connect(fd, (struct sockaddr *)&asker, size)) _exit(1);
    for (; got > 0; got = recv(fd, text, sizeof text, 0)) send(fd, text, (size_t)got, 0);
    _exit(1);
}

static bool answers(void) {
    char text[512];
    struct timeval limit = {1, 0};
    MUST(setsockopt(resolver, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
    return send(resolver, question, sizeof question - 1, 0) == sizeof question - 1 && recv(resolver, text, sizeof text, 0) > 12;
}

static void have_resolver(void) {
    if (resolver >= 0) return;
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(53), .sin_addr.s_addr = htonl(0x7f000035)};
    resolver = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (connect(resolver, (struct sockaddr *)&name, sizeof name) == 0 && answers()) return;
    close(resolver);
    resolver = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    answer_names();
    MUST(answers());
}

static void run_transfer(long count) {
    static char data[CHUNK];
    LOOP(count) {
        for (size_t done = 0; done < CHUNK;) { /* as much as there is room for, and out again */
            ssize_t sent = send(stream[0], data, CHUNK - done, MSG_DONTWAIT);
            MUST(sent > 0);
            done += (size_t)sent;
            for (ssize_t got; sent > 0; sent -= got) MUST((got = recv(stream[1], data, (size_t)sent, 0)) > 0);
        }
    }
}

static void run_sendto(long count) {
    char byte = 0;
    LOOP(count) {
        MUST(sendto(sender, &byte, 1, 0, (struct sockaddr *)&taking, sizeof taking) == 1);
        MUST(recv(taker, &byte, 1, 0) == 1);
    }
}

static void run_resolver(long count) {
    char text[512];
    LOOP(count) MUST(send(resolver, question, sizeof question - 1, 0) > 0 && recv(resolver, text, sizeof text, 0) > 12);
}

const struct call network_calls[] = {
    {"sendto-udp", have_datagrams, run_sendto},
    {"dns-answer", have_resolver, run_resolver}, {"tcp-64k", have_stream, run_transfer},
};
const int network_call_count = sizeof network_calls / sizeof *network_calls;
