/* with: trail.c drain.c
 *
 * The ring of audit records: it wraps, it makes writers wait, and every record comes out once, whole and in order. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include "trail.h"

#define CHECK(condition) do { \
    if (!(condition)) { printf("%s:%d: %s\n", __FILE__, __LINE__, #condition); exit(1); } } while (0)
#define CAPACITY 16384u
#define WRITERS 4
#define EACH 4000

static struct sbx_trail *trail;
static const uint8_t *ring;
static uint64_t tail, sequence;
static int asked; /* how often a drain was asked for */
static unsigned seen[WRITERS];

static void ask(void) { __atomic_add_fetch(&asked, 1, __ATOMIC_SEQ_CST); }

static int try_setup(uint32_t capacity, size_t size) {
    int fd = memfd_create("trail", MFD_CLOEXEC);
    CHECK(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
    if (capacity) CHECK(pwrite(fd, &capacity, sizeof capacity, offsetof(struct sbx_trail, capacity)) == sizeof capacity);
    int error = trail_setup(fd, 1, ask);
    close(fd);
    return error;
}

static void start(int keep) {
    int fd = memfd_create("trail", MFD_CLOEXEC);
    CHECK(fd >= 0 && ftruncate(fd, SBX_TRAIL_DATA + CAPACITY) == 0);
    if (trail) munmap(trail, SBX_TRAIL_DATA + CAPACITY);
    trail = mmap(NULL, SBX_TRAIL_DATA + CAPACITY, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(trail != MAP_FAILED);
    trail->capacity = CAPACITY;
    ring = (const uint8_t *)trail + SBX_TRAIL_DATA;
    tail = 0;
    CHECK(trail_setup(fd, keep, ask) == 0);
    close(fd);
}

/* The text that belongs to a writer's record: its length and letters follow from the number. */
static void text_of(unsigned writer, unsigned number, int which, char *text) {
    size_t length = (number * 37 + writer * 11 + (unsigned)which * 101) % (number % 50 == 0 ? 4096 : 90);
    memset(text, 'a' + (int)((number + writer) % 26), length);
    text[length] = 0;
}

static void append(unsigned writer, unsigned number) {
    char first[SBX_PATH_MAX], second[SBX_PATH_MAX];
    struct sbx_record record = {.pid = writer, .nr = number % 512, .verdict = SBX_VERDICT_DONE, .service = number};
    text_of(writer, number, 0, first);
    text_of(writer, number, 1, second);
    trail_append(&record, number % 3 > 0 ? first : NULL, number % 3 > 1 ? second : NULL);
}

static void take(uint64_t from, void *to, size_t size) {
    for (size_t i = 0; i < size; i++) ((uint8_t *)to)[i] = ring[(from + i) % CAPACITY];
}

static void check_record(const struct sbx_record *record, uint64_t from) {
    char got[2 * SBX_PATH_MAX + 16], text[SBX_PATH_MAX];
    CHECK(record->magic == SBX_RECORD_MAGIC && record->size % 8 == 0 && record->size <= sizeof *record + sizeof got);
    CHECK(record->sequence == ++sequence && record->time_ns > 0);
    CHECK(record->pid < WRITERS && record->service == seen[record->pid]);
    unsigned number = seen[record->pid]++;
    CHECK(record->paths == number % 3);
    take(from + sizeof *record, got, record->size - sizeof *record);
    char *at = got;
    for (int i = 0; i < record->paths; i++, at += strlen(at) + 1) {
        text_of(record->pid, number, i, text);
        CHECK(strcmp(at, text) == 0);
    }
    CHECK((size_t)(at - got) <= record->size - sizeof *record && record->size - sizeof *record - (size_t)(at - got) < 8);
}

/* As the Supervisor does: take all that is there, then say so. */
static size_t drain(void) {
    uint64_t head = __atomic_load_n(&trail->head, __ATOMIC_ACQUIRE);
    size_t count = 0;
    CHECK(head - tail <= CAPACITY);
    for (; tail < head; count++) {
        struct sbx_record record;
        take(tail, &record, sizeof record);
        check_record(&record, tail);
        tail += record.size;
    }
    CHECK(tail == head);
    sbx_trail_drained(trail, tail);
    return count;
}

static void test_setup(void) {
    CHECK(try_setup(0, SBX_TRAIL_DATA + 4096) == -EINVAL);
    CHECK(try_setup(3000, SBX_TRAIL_DATA + 4096) == -EINVAL);
    CHECK(try_setup(8192, SBX_TRAIL_DATA + 4096) == -EINVAL);
    CHECK(try_setup(4096, SBX_TRAIL_DATA) == -EINVAL && try_setup(4096, 64) == -EINVAL && try_setup(4096, 0) == -EINVAL);
    CHECK(try_setup(4096, SBX_TRAIL_DATA + 4096) == 0);
}

static void *write_all(void *argument) {
    for (unsigned i = 0; i < EACH; i++) append((unsigned)(uintptr_t)argument, i);
    return NULL;
}

/* Several writers, one reader, a ring that wraps hundreds of times. */
static void test_flood(void) {
    pthread_t writers[WRITERS];
    size_t count = 0;
    start(1);
    for (uintptr_t i = 0; i < WRITERS; i++) CHECK(pthread_create(&writers[i], NULL, write_all, (void *)i) == 0);
    while (count < WRITERS * EACH) count += drain();
    for (int i = 0; i < WRITERS; i++) pthread_join(writers[i], NULL);
    CHECK(count == WRITERS * EACH && drain() == 0 && trail->head > 100 * CAPACITY / 2);
    uint64_t counted = 0;
    for (int nr = 0; nr < 512; nr++) counted += trail->count[nr][SBX_VERDICT_DONE];
    CHECK(counted == WRITERS * EACH);
}

static void *write_some(void *argument) {
    (void)argument;
    for (unsigned i = 0; i < 400; i++) append(0, i);
    return NULL;
}

/* A full ring: the writer waits, asks for a drain, writes nothing over what is there, and goes on when there is room. */
static void test_full(void) {
    pthread_t writer;
    struct sbx_record first, again;
    start(1);
    memset(seen, 0, sizeof seen);
    asked = 0;
    CHECK(pthread_create(&writer, NULL, write_some, NULL) == 0);
    while (__atomic_load_n(&trail->waiting, __ATOMIC_SEQ_CST) == 0) sched_yield();
    uint64_t head = __atomic_load_n(&trail->head, __ATOMIC_ACQUIRE);
    take(0, &first, sizeof first);
    CHECK(head <= CAPACITY && head > CAPACITY / 2 && __atomic_load_n(&asked, __ATOMIC_SEQ_CST) >= 1);
    while (__atomic_load_n(&asked, __ATOMIC_SEQ_CST) < 4) sched_yield(); /* it asks again and again */
    take(0, &again, sizeof again);
    CHECK(__atomic_load_n(&trail->head, __ATOMIC_ACQUIRE) == head && memcmp(&first, &again, sizeof first) == 0);
    size_t count = 0;
    while (count < 400) count += drain();
    pthread_join(writer, NULL);
    CHECK(trail->head == tail && drain() == 0);
}

static void test_counts_only(void) {
    start(0);
    struct sbx_record record = {.nr = 2, .verdict = SBX_VERDICT_DENIED};
    for (int i = 0; i < 1000; i++) trail_append(&record, "/a", NULL);
    record = (struct sbx_record){.nr = SBX_PRIVATE_CALL, .verdict = SBX_VERDICT_FAILED};
    trail_append(&record, NULL, NULL);
    record = (struct sbx_record){.nr = UINT32_MAX, .verdict = 255}; /* neither leads outside the table */
    trail_append(&record, NULL, NULL);
    CHECK(trail->head == 0 && trail->count[2][SBX_VERDICT_DENIED] == 1000);
    CHECK(trail->count[510][SBX_VERDICT_FAILED] == 1 && trail->count[511][3] == 1);
}

int main(void) {
    test_setup();
    sequence = 0;
    test_flood();
    test_full();
    test_counts_only();
    puts("trail: ok");
    return 0;
}
