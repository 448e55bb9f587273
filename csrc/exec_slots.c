#include "exec_slots.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>

#define SLOTS 256                    /* execs at once */
#define DANCES_MAX 64                /* of these, traced: each takes a thread of ours */
#define DEFERRED_MAX 4096            /* execs that wait; beyond, EAGAIN */

/* An exec is DANCING while its thread is traced, PENDING from the exec stop to the LOAD, LOADING while that is served. */
enum state { FREE, DANCING, PENDING, LOADING };
struct slot { enum state state; pid_t tgid, tid; bool armed; uint64_t args[6]; };

static struct slot slots[SLOTS];
static struct image images[SLOTS]; /* apart, so that a search through the slots stays small */
static struct { struct seccomp_notif notification; pid_t tgid; } deferred[DEFERRED_MAX]; /* in order of arrival */
static int deferred_count, dancing;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int find(pid_t tgid, enum state state) { /* with lock held, as all below that does not take it */
    for (int i = 0; i < SLOTS; i++)
        if (slots[i].state == state && slots[i].tgid == tgid) return i;
    return -1;
}

static int find_armed(pid_t tid) {
    for (int i = 0; i < SLOTS; i++)
        if (slots[i].state == DANCING && slots[i].armed && slots[i].tid == tid) return i;
    return -1;
}

static void release(int slot) {
    if (slots[slot].state == DANCING) dancing--;
    else image_done(&images[slot]);
    slots[slot] = (struct slot){0};
}

/* A process that was killed before its LOAD leaves its slot behind: freed for want of others. */
static int find_free(void) {
    for (int i = 0; i < SLOTS; i++)
        if (slots[i].state == FREE) return i;
    for (int i = 0; i < SLOTS; i++)
        if (slots[i].state == PENDING && kill(slots[i].tgid, 0) < 0 && errno == ESRCH) {
            release(i);
            return i;
        }
    return -1;
}

static int take_slot(const struct request *request, pid_t tgid) {
    if (dancing >= DANCES_MAX || find(tgid, DANCING) >= 0) return -EAGAIN;
    int slot = find(tgid, PENDING);
    if (slot >= 0) {
        /* Left by another process of this number; or a sibling's exec has just ended this very thread. */
        if (!guest_alive(request->id)) return -ESRCH;
        release(slot);
    }
    slot = find_free();
    if (slot < 0) return -EAGAIN;
    slots[slot] = (struct slot){.state = DANCING, .tgid = tgid, .tid = request->tid};
    dancing++;
    return slot;
}

static bool defer(const struct request *request, pid_t tgid) {
    if (deferred_count == DEFERRED_MAX) return false;
    struct seccomp_notif *kept = &deferred[deferred_count].notification;
    *kept = (struct seccomp_notif){.id = request->id, .pid = (uint32_t)request->tid, .data.nr = (int)request->nr};
    for (int i = 0; i < 6; i++) kept->data.args[i] = request->args[i];
    deferred[deferred_count].tgid = tgid;
    __atomic_store_n(&deferred_count, deferred_count + 1, __ATOMIC_RELEASE);
    return true;
}

int slots_take(const struct request *request, pid_t tgid) {
    pthread_mutex_lock(&lock);
    int slot = take_slot(request, tgid);
    pthread_mutex_unlock(&lock);
    return slot;
}

int slots_take_or_defer(const struct request *request, pid_t tgid) {
    pthread_mutex_lock(&lock);
    int slot = take_slot(request, tgid);
    if (slot == -EAGAIN && defer(request, tgid)) slot = -EBUSY;
    pthread_mutex_unlock(&lock);
    return slot;
}

/* The first look needs no lock: what was put off while our own slot stood is seen by us, who released it. */
bool slots_deferred(struct seccomp_notif *notification) {
    if (__atomic_load_n(&deferred_count, __ATOMIC_ACQUIRE) == 0) return false;
    bool found = false;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < deferred_count && dancing < DANCES_MAX && find_free() >= 0 && !found; i++) {
        if (find(deferred[i].tgid, DANCING) >= 0) continue;
        *notification = deferred[i].notification;
        memmove(&deferred[i], &deferred[i + 1], (size_t)(deferred_count - 1 - i) * sizeof deferred[0]);
        __atomic_store_n(&deferred_count, deferred_count - 1, __ATOMIC_RELEASE);
        found = true;
    }
    pthread_mutex_unlock(&lock);
    return found;
}

void slots_release(int slot) {
    pthread_mutex_lock(&lock);
    release(slot);
    pthread_mutex_unlock(&lock);
}

void slots_arm(int slot, const uint64_t args[6]) {
    pthread_mutex_lock(&lock);
    memcpy(slots[slot].args, args, sizeof slots[slot].args);
    slots[slot].armed = true;
    pthread_mutex_unlock(&lock);
}

void slots_disarm(int slot) {
    pthread_mutex_lock(&lock);
    slots[slot].armed = false;
    pthread_mutex_unlock(&lock);
}

bool slots_expects(const struct request *request) {
    pthread_mutex_lock(&lock);
    int slot = find_armed(request->tid);
    bool expected = slot >= 0 && request->nr == SYS_execveat && request->path[0][0] == '\0' &&
                    memcmp(request->args, slots[slot].args, sizeof slots[slot].args) == 0;
    pthread_mutex_unlock(&lock);
    return expected;
}

pid_t slots_group_of(pid_t tid) {
    pthread_mutex_lock(&lock);
    int slot = find_armed(tid);
    pid_t tgid = slot < 0 ? 0 : slots[slot].tgid;
    pthread_mutex_unlock(&lock);
    return tgid;
}

void slots_keep(int slot, const struct image *image) {
    pthread_mutex_lock(&lock);
    images[slot] = *image;
    slots[slot].state = PENDING;
    dancing--;
    pthread_mutex_unlock(&lock);
}

void slots_program_of(pid_t tgid, char exe[SBX_PATH_MAX]) {
    pthread_mutex_lock(&lock);
    int slot = find(tgid, PENDING);
    strcpy(exe, slot < 0 ? "" : images[slot].exe);
    pthread_mutex_unlock(&lock);
}

int slots_load(pid_t tgid) {
    pthread_mutex_lock(&lock);
    int slot = find(tgid, PENDING);
    if (slot >= 0) slots[slot].state = LOADING;
    pthread_mutex_unlock(&lock);
    return slot;
}

void slots_load_again(int slot) {
    pthread_mutex_lock(&lock);
    slots[slot].state = PENDING;
    pthread_mutex_unlock(&lock);
}

struct image *slots_image(int slot) { return &images[slot]; }
