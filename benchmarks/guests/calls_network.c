/* calls_network.c: what a guest does with TCP and UDP of its own loopback, and a name that its resolver knows. */
#include "calls.h"
#include <arpa/inet.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHUNK 65536

static int stream[2] = {-1, -1}, taker = -1, sender = -1, resolver = -1, poured = -1;
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

static bool all(ssize_t (*move)(int, void *, size_t, int), int fd, void *data, size_t size) {
    for (size_t done = 0; done < size;) {
        ssize_t got = move(fd, (char *)data + done, size - done, 0);
        if (got <= 0) return false;
        done += (size_t)got;
    }
    return true;
}

static ssize_t give(int fd, void *data, size_t size, int flags) { return send(fd, data, size, flags | MSG_NOSIGNAL); }

/* Another process takes what is poured: a number of chunks, then these. It says when it has them all, and a sum of their ends. */
static void take_all(int fd) {
    static char data[CHUNK];
    for (uint64_t count, sum = 0; all(recv, fd, &count, sizeof count); sum = 0) {
        for (; count > 0 && all(recv, fd, data, CHUNK); count--) sum += (unsigned char)data[0] + (unsigned char)data[CHUNK - 1];
        if (count > 0 || !all(give, fd, &sum, sizeof sum)) _exit(1);
    }
    _exit(0);
}

static void have_pouring(void) {
    if (poured >= 0) return;
    struct sockaddr_in there;
    int listening = bound(SOCK_STREAM, &there);
    poured = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    MUST(listen(listening, 1) == 0 && connect(poured, (struct sockaddr *)&there, sizeof there) == 0);
    pid_t pid = fork();
    MUST(pid >= 0);
    if (pid == 0) {
        close(poured);
        take_all(accept(listening, NULL, NULL));
    }
    close(listening);
}

static void run_pouring(long count) {
    static char data[CHUNK];
    uint64_t chunks = (uint64_t)count, sum = 0, wanted = 0;
    MUST(all(give, poured, &chunks, sizeof chunks));
    LOOP(count) {
        data[0] = (char)turn;
        data[CHUNK - 1] = (char)(turn >> 8);
        wanted += (unsigned char)data[0] + (unsigned char)data[CHUNK - 1];
        MUST(all(give, poured, data, CHUNK));
    }
    MUST(all(recv, poured, &sum, sizeof sum) && sum == wanted);
}

static void have_datagrams(void) {
    if (taker >= 0) return;
    struct sockaddr_in own;
    taker = bound(SOCK_DGRAM, &taking);
    sender = bound(SOCK_DGRAM, &own);
}

/* The header of a question with number 7, and one name and type. */
static const char of_policy[] = "\0\7\1\0\0\1\0\0\0\0\0\0\5bench\4test\0\0\1\0\1";
static const char of_cache[] = "\0\7\1\0\0\1\0\0\0\0\0\0\6cached\4test\0\0\1\0\1";

static void end(int number) { (void)number, _exit(0); } /* some runners give the status of whoever ends last */

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
    signal(SIGTERM, end);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    socklen_t size = sizeof asker;
    ssize_t got = recvfrom(fd, text, sizeof text, 0, (struct sockaddr *)&asker, &size);
    if (connect(fd, (struct sockaddr *)&asker, size)) _exit(1);
    for (; got > 0; got = recv(fd, text, sizeof text, 0)) send(fd, text, (size_t)got, 0);
    _exit(1);
}

/* The question again, or an answer to it that has a record: no refusal. */
static bool answers(const char *question, size_t size) {
    char text[512];
    if (send(resolver, question, size, 0) != (ssize_t)size) return false;
    ssize_t got = recv(resolver, text, sizeof text, 0);
    if (got < (ssize_t)size || text[0] != question[0] || text[1] != question[1]) return false;
    return (text[2] & 0x80) == 0 || ((text[3] & 15) == 0 && text[7] > 0);
}

/* The floor's other process answers at the port that it names. Else it is the guest's resolver, if there is one. */
static void have_resolver(void) {
    if (resolver >= 0) return;
    const char *port = getenv("BENCHMARK_RESOLVER");
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(53), .sin_addr.s_addr = htonl(0x7f000035)};
    struct timeval limit = {5, 0};
    if (port) name.sin_port = htons((uint16_t)atoi(port)), name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    resolver = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    MUST(setsockopt(resolver, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
    if (connect(resolver, (struct sockaddr *)&name, sizeof name) == 0 && answers(of_policy, sizeof of_policy - 1)) return;
    MUST(port == NULL);
    close(resolver);
    resolver = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    answer_names();
    MUST(answers(of_policy, sizeof of_policy - 1));
}

static void have_cached(void) { /* the first answer comes from elsewhere */
    have_resolver();
    MUST(answers(of_cache, sizeof of_cache - 1));
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
    LOOP(count) {
        char byte = (char)turn, back = (char)~byte;
        MUST(sendto(sender, &byte, 1, 0, (struct sockaddr *)&taking, sizeof taking) == 1);
        MUST(recv(taker, &back, 1, 0) == 1 && back == byte);
    }
}

static void run_resolver(long count) { LOOP(count) MUST(answers(of_policy, sizeof of_policy - 1)); }
static void run_cached(long count) { LOOP(count) MUST(answers(of_cache, sizeof of_cache - 1)); }

const struct call network_calls[] = {
    {"sendto-udp", have_datagrams, run_sendto, NULL}, {"dns-answer", have_resolver, run_resolver, NULL},
    {"dns-cached", have_cached, run_cached, NULL}, {"tcp-64k", have_stream, run_transfer, NULL},
    {"tcp-two-processes", have_pouring, run_pouring, NULL},
};
const int network_call_count = sizeof network_calls / sizeof *network_calls;
