#include "abstract.h"
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76 /* Linux 6.5 */
#endif
#define PATH_AT offsetof(struct sockaddr_un, sun_path)
#define NAME_MAX_SIZE (sizeof ((struct sockaddr_un *)0)->sun_path - 1) /* behind the first byte, which is 0 */

/* What the kernel is given behind the 0: the tag, how many zeros the name ends with (many bind with all of sun_path), the name without
 * them. A name that has no room so is remembered, and given by its number. */
struct hidden { char tag[8]; uint8_t zeros; char name[]; };
#define ROOM (NAME_MAX_SIZE - sizeof(struct hidden))
#define LONG 255 /* for `zeros`: the name is a number of the table's */

#define LONG_MAX_COUNT 256 /* then the oldest is forgotten, and is another name from then on */
static struct long_name { uint64_t number; socklen_t size; char text[NAME_MAX_SIZE]; } longs[LONG_MAX_COUNT];
static uint64_t long_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char tag[8];
static bool served;

int abstract_setup(void) {
    if (getrandom(tag, sizeof tag, 0) != sizeof tag) return -errno;
    for (size_t i = 0; i < sizeof tag; i++) tag[i] = (char)('a' + (uint8_t)tag[i] % 26); /* /proc/net/unix prints it as it is */
    served = true;
    return 0;
}

bool abstract_served(void) { return served; }

static uint64_t number_of(const char *text, socklen_t size) {
    pthread_mutex_lock(&lock);
    struct long_name *at = longs, *end = longs + (long_count < LONG_MAX_COUNT ? long_count : LONG_MAX_COUNT);
    while (at < end && (at->size != size || memcmp(at->text, text, size) != 0)) at++;
    if (at == end) {
        at = &longs[long_count % LONG_MAX_COUNT];
        *at = (struct long_name){.number = long_count++, .size = size};
        memcpy(at->text, text, size);
    }
    uint64_t number = at->number;
    pthread_mutex_unlock(&lock);
    return number;
}

/* The size of the text; 0 where it was forgotten. */
static socklen_t text_of(uint64_t number, char *text) {
    pthread_mutex_lock(&lock);
    const struct long_name *at = &longs[number % LONG_MAX_COUNT];
    socklen_t size = number < long_count && at->number == number ? at->size : 0;
    memcpy(text, at->text, size);
    pthread_mutex_unlock(&lock);
    return size;
}

void abstract_hide(struct sockaddr_un *name, socklen_t *size) {
    char given[NAME_MAX_SIZE];
    socklen_t length = *size - (socklen_t)PATH_AT - 1, plain = length;
    memcpy(given, name->sun_path + 1, length);
    while (plain && given[plain - 1] == 0) plain--;
    struct hidden *hidden = (void *)(name->sun_path + 1);
    memcpy(hidden->tag, tag, sizeof tag);
    hidden->zeros = (uint8_t)(length - plain);
    uint64_t number;
    const void *text = given;
    if (plain > ROOM) {
        number = number_of(given, length);
        hidden->zeros = LONG;
        text = &number;
        plain = sizeof number;
    }
    memcpy(hidden->name, text, plain);
    *size = (socklen_t)(PATH_AT + 1 + sizeof *hidden) + plain;
}

static bool is_hidden(const struct sockaddr_un *name, socklen_t size) {
    return served && size >= PATH_AT + 1 + sizeof(struct hidden) && name->sun_family == AF_UNIX && name->sun_path[0] == 0 &&
           memcmp(name->sun_path + 1, tag, sizeof tag) == 0;
}

void abstract_show(struct sockaddr_un *name, socklen_t *size) {
    if (!is_hidden(name, *size)) return;
    struct hidden *hidden = (void *)(name->sun_path + 1);
    char text[NAME_MAX_SIZE] = "";
    socklen_t length = *size - (socklen_t)(PATH_AT + 1 + sizeof *hidden);
    if (hidden->zeros == LONG) {
        uint64_t number = 0;
        memcpy(&number, hidden->name, length < sizeof number ? length : sizeof number);
        length = text_of(number, text);
    } else if (length + hidden->zeros <= sizeof text) {
        memcpy(text, hidden->name, length);
        length += hidden->zeros;
    } else return; /* made by somebody outside who has found the tag */
    memset(name->sun_path, 0, sizeof name->sun_path);
    memcpy(name->sun_path + 1, text, length);
    *size = (socklen_t)PATH_AT + (length || hidden->zeros != LONG ? 1 + length : 0);
}

static bool has_name(int socket) {
    struct sockaddr_un name;
    socklen_t size = sizeof name;
    return getsockname(socket, (struct sockaddr *)&name, &size) < 0 || size > PATH_AT;
}

int abstract_bind_any(int socket) {
    static _Atomic uint32_t next;
    if (has_name(socket)) return 0;
    for (uint32_t tries = 0; tries <= 0xfffff; tries++) { /* as many as the kernel knows */
        struct sockaddr_un name = {.sun_family = AF_UNIX};
        socklen_t size = (socklen_t)(PATH_AT + 1) + (socklen_t)snprintf(name.sun_path + 1, sizeof name.sun_path - 1, "%05x", next++ & 0xfffff);
        abstract_hide(&name, &size);
        if (bind(socket, (struct sockaddr *)&name, size) == 0) return 0;
        if (errno != EADDRINUSE) return has_name(socket) ? 0 : -errno; /* another thread's bind was first */
    }
    return -ENOSPC;
}

static bool option(int socket, int name) {
    int value = 0;
    socklen_t size = sizeof value;
    return getsockopt(socket, SOL_SOCKET, name, &value, &size) == 0 && value;
}

void abstract_bind_sender(int socket) {
    if (served && (option(socket, SO_PASSCRED) || option(socket, SO_PASSPIDFD))) abstract_bind_any(socket);
}

bool abstract_admits(int accepted) {
    struct sockaddr_un name;
    socklen_t size = sizeof name;
    if (!served) return true;
    if (getsockname(accepted, (struct sockaddr *)&name, &size) < 0) return false;
    if (!is_hidden(&name, size)) return true;
    struct ucred who = {0};
    size = sizeof who;
    return getsockopt(accepted, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0 && who.pid == getpid(); /* we connect for the guest */
}
