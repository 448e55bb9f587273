#include "trail.h"
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static struct sbx_trail *trail;
static uint8_t *ring;
static bool keep;
static void (*ask_drain)(void);
static uint64_t drain_asked; /* head at the last request: one request a half ring */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

int trail_setup(int memfd, int keep_records, void (*drain)(void)) {
    struct stat status;
    if (fstat(memfd, &status) < 0) return -errno;
    if (status.st_size <= SBX_TRAIL_DATA) return -EINVAL;
    void *memory = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
    if (memory == MAP_FAILED) return -errno;
    madvise(memory, (size_t)status.st_size, MADV_DONTFORK); /* no child of ours may forge history */
    trail = memory;
    ring = (uint8_t *)memory + SBX_TRAIL_DATA;
    keep = keep_records != 0;
    ask_drain = drain;
    if (trail->capacity == 0 || (trail->capacity & (trail->capacity - 1)) != 0 ||
        trail->capacity > (uint64_t)status.st_size - SBX_TRAIL_DATA) return -EINVAL;
    return 0;
}

static void put(uint64_t at, const void *from, size_t size) {
    if (size == 0) return; /* then `from` may be NULL, which memcpy may not be given */
    size_t offset = at & (trail->capacity - 1);
    size_t first = trail->capacity - offset < size ? trail->capacity - offset : size;
    memcpy(ring + offset, from, first);
    memcpy(ring, (const uint8_t *)from + first, size - first);
}

/* The Supervisor moves `tail` and wakes `waiting`; a time-out guards against a wake-up that was missed. */
static void wait_for_room(uint32_t size) {
    while (trail->capacity - (trail->head - __atomic_load_n(&trail->tail, __ATOMIC_ACQUIRE)) < size) {
        uint32_t seen = (uint32_t)__atomic_add_fetch(&trail->waiting, 1, __ATOMIC_SEQ_CST);
        ask_drain();
        struct timespec wait = {.tv_nsec = 20000000};
        syscall(SYS_futex, &trail->waiting, FUTEX_WAIT, seen, &wait, NULL, 0);
    }
}

bool trail_keeps(void) { return keep; }

void trail_count(uint32_t nr, enum sbx_verdict verdict) {
    if (trail == NULL) return;
    uint32_t row = nr == SBX_PRIVATE_CALL ? SBX_TRAIL_ROWS - 2 : nr < SBX_TRAIL_ROWS ? nr : SBX_TRAIL_ROWS - 1;
    __atomic_add_fetch(&trail->count[row][verdict & 3], 1, __ATOMIC_RELAXED);
}

void trail_append(struct sbx_record *record, const char *first, const char *second) {
    if (!keep) return trail_count(record->nr, record->verdict);
    size_t lengths[2] = {first ? strlen(first) + 1 : 0, second ? strlen(second) + 1 : 0};
    uint32_t size = (uint32_t)((sizeof *record + lengths[0] + lengths[1] + 7) & ~(size_t)7);
    struct timespec now;
    pthread_mutex_lock(&lock);
    trail_count(record->nr, record->verdict);
    wait_for_room(size);
    static uint64_t sequence;
    clock_gettime(CLOCK_REALTIME, &now);
    record->magic = SBX_RECORD_MAGIC;
    record->size = size;
    record->time_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    record->sequence = ++sequence;
    record->paths = (uint8_t)((first != NULL) + (second != NULL));
    uint64_t at = trail->head;
    put(at, record, sizeof *record);
    put(at + sizeof *record, first, lengths[0]);
    put(at + sizeof *record + lengths[0], second, lengths[1]);
    static const uint8_t zero[8];
    size_t used = sizeof *record + lengths[0] + lengths[1];
    put(at + used, zero, size - used);
    __atomic_store_n(&trail->head, at + size, __ATOMIC_RELEASE);
    bool half = at + size - __atomic_load_n(&trail->tail, __ATOMIC_RELAXED) > trail->capacity / 2 &&
                at + size - drain_asked > trail->capacity / 2;
    if (half) drain_asked = at + size;
    pthread_mutex_unlock(&lock);
    if (half) ask_drain();
}
