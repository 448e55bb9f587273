#include "fetch.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "mounts.h"
#include "rpc.h"
#include "walk.h"
#include "thread.h"

struct fetch {
    uint64_t number;
    enum sbx_fetch how;
    struct request request; /* what walk() needs of one: an absolute path, no thread of the guest */
};

static int make_parents(struct request *request, const char *path) {
    char part[SBX_PATH_MAX];
    snprintf(part, sizeof part, "%s", path);
    for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        PLACE(place);
        int error = walk_absolute(request, part, WALK_FOLLOW, WALK_MAY_CREATE, &place);
        if (error < 0) return error;
        if (!place.special && place.name[0] && mounts_flag(place.mount, SBX_MOUNT_WRITABLE)) mkdirat(place.dir, place.name, 0755);
        *slash = '/';
    }
    return 0;
}

static int open_for(struct fetch *fetch) {
    static const int flags[] = {[SBX_FETCH_READ] = O_RDONLY | O_NONBLOCK, [SBX_FETCH_WRITE] = O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK,
                                [SBX_FETCH_LIST] = O_RDONLY | O_DIRECTORY};
    const char *path = fetch->request.path[0];
    if (fetch->how < SBX_FETCH_READ || fetch->how > SBX_FETCH_LIST) return -EINVAL;
    bool writes = fetch->how == SBX_FETCH_WRITE;
    int error = writes ? make_parents(&fetch->request, path) : 0;
    if (error < 0) return error;
    PLACE(place);
    error = walk_absolute(&fetch->request, path, WALK_FOLLOW, writes ? WALK_MAY_CREATE : WALK_EXISTING, &place);
    if (error < 0) return error;
    if (place.special) return -EACCES;
    return walk_open(&place, flags[fetch->how], 0666 & ~022);
}

static void *fetch_run(void *argument) {
    struct fetch *fetch = argument;
    int fd = open_for(fetch);
    if (fd == -ELOOP && !fetch->request.careful) {
        fetch->request.careful = true;
        fd = open_for(fetch);
    }
    int error = rpc_send(SBX_MSG_FETCHED, fetch->number, fd < 0 ? fd : 0, 0, NULL, 0, fd);
    if (error == -ENOMEM) rpc_send(SBX_MSG_FETCHED, fetch->number, error, 0, NULL, 0, -1);
    if (fd >= 0) close(fd);
    free(fetch);
    return NULL;
}

void fetch_start(uint64_t number, enum sbx_fetch how, const char *path) {
    struct fetch *fetch = calloc(1, sizeof *fetch);
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 256 * 1024);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    if (fetch == NULL || strlen(path) >= SBX_PATH_MAX) {
        rpc_send(SBX_MSG_FETCHED, number, fetch ? -ENAMETOOLONG : -ENOMEM, 0, NULL, 0, -1);
        free(fetch);
        return;
    }
    fetch->number = number;
    fetch->how = how;
    strcpy(fetch->request.path[0], path);
    int error = thread_create(&thread, &attributes, fetch_run, fetch);
    pthread_attr_destroy(&attributes);
    if (error) {
        rpc_send(SBX_MSG_FETCHED, number, -error, 0, NULL, 0, -1);
        free(fetch);
    }
}
