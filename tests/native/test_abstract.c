/* with: abstract.c
 *
 * Names come back as they were, and whatever a stranger makes of the tag stays in its bounds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <stddef.h>
#include "abstract.h"

#define CHECK(condition) do { \
    if (!(condition)) { printf("%s:%d: %s\n", __FILE__, __LINE__, #condition); exit(1); } } while (0)
#define PATH_AT offsetof(struct sockaddr_un, sun_path)

/* On the heap, so that a byte too many is seen. */
static struct sockaddr_un *make(const char *text, size_t size) {
    struct sockaddr_un *name = calloc(1, sizeof *name);
    name->sun_family = AF_UNIX;
    memcpy(name->sun_path + 1, text, size);
    return name;
}

static void there_and_back(const char *text, size_t size) {
    struct sockaddr_un *given = make(text, size), *name = make(text, size);
    socklen_t length = (socklen_t)(PATH_AT + 1 + size), before = length;
    abstract_hide(name, &length);
    CHECK(length <= sizeof *name && name->sun_path[0] == 0);
    CHECK(length != before || memcmp(name, given, length) != 0);
    abstract_show(name, &length);
    CHECK(length == before && memcmp(name, given, length) == 0);
    free(name);
    free(given);
}

int main(void) {
    char text[107];
    struct sockaddr_un *other = make("host", 4);
    socklen_t length = PATH_AT + 5;
    CHECK(abstract_setup() == 0 && abstract_served());
    abstract_show(other, &length);
    CHECK(length == PATH_AT + 5 && memcmp(other->sun_path, "\0host", 5) == 0); /* not ours */
    for (size_t size = 0; size <= sizeof text; size++)
        for (size_t zeros = 0; zeros <= size; zeros++) {
            memset(text, 'n', sizeof text);
            memset(text + size - zeros, 0, zeros);
            there_and_back(text, size);
        }
    length = PATH_AT + 1;
    abstract_hide(other, &length); /* the tag itself */
    for (unsigned zeros = 0; zeros < 256; zeros++)
        for (length = PATH_AT; length <= sizeof *other; length++) {
            struct sockaddr_un *stranger = make(other->sun_path + 1, 8);
            socklen_t shown = length;
            memset(stranger->sun_path + 9, (int)zeros, length > PATH_AT + 9 ? length - PATH_AT - 9 : 0);
            abstract_show(stranger, &shown);
            CHECK(shown <= sizeof *stranger);
            free(stranger);
        }
    free(other);
    return 0;
}
