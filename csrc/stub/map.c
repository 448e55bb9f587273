/* map.c: ELF segments into memory, as elf_load() in Linux's binfmt_elf.c. */
#include <asm/stat.h>
#include "stub.h"

#define HEADERS_MAX 65536 /* bytes of program headers */

struct extent { uint64_t low, high, align; };

static uint64_t page_down(uint64_t address) { return address & ~(STUB_PAGE - 1); }
static uint64_t page_up(uint64_t address) { return (address + STUB_PAGE - 1) & ~(STUB_PAGE - 1); }

/* Not AT_RANDOM: its bytes are the program's secrets (stack protector), which an address would give away. */
uint64_t stub_random(void) {
    uint64_t number;
    if (stub_call(__NR_getrandom, (long)&number, sizeof number, 0, 0, 0, 0) == sizeof number) return number;
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (((uint64_t)high << 32 | low) * 0x9e3779b97f4a7c15ul) >> 16;
}

static void read_exactly(int fd, void *to, uint64_t size, uint64_t offset) {
    if (stub_call(__NR_pread64, fd, (long)to, (long)size, (long)offset, 0, 0) != (long)size) stub_die();
}

static uint64_t map_at(uint64_t address, uint64_t size, int prot, int flags, int fd, uint64_t offset) {
    long got = stub_call(__NR_mmap, (long)address, (long)size, prot, flags, fd, (long)offset);
    return got < 0 && got > -4096 ? 0 : (uint64_t)got;
}

static int protection(const Elf64_Phdr *segment) {
    return (segment->p_flags & PF_R ? PROT_READ : 0) | (segment->p_flags & PF_W ? PROT_WRITE : 0) |
           (segment->p_flags & PF_X ? PROT_EXEC : 0);
}

static struct extent measure(const Elf64_Phdr *segment, unsigned count) {
    struct extent extent = {UINT64_MAX, 0, STUB_PAGE};
    for (; count > 0; count--, segment++) {
        if (segment->p_type != PT_LOAD) continue;
        uint64_t end = segment->p_vaddr + segment->p_memsz;
        if (end < segment->p_vaddr || segment->p_filesz > segment->p_memsz) stub_die();
        if (page_down(segment->p_vaddr) < extent.low) extent.low = page_down(segment->p_vaddr);
        if (page_up(end) > extent.high) extent.high = page_up(end);
        if (segment->p_align > extent.align && (segment->p_align & (segment->p_align - 1)) == 0)
            extent.align = segment->p_align;
    }
    if (extent.low >= extent.high) stub_die();
    return extent;
}

/* Keep `size` aligned bytes of address space free of everything else. A program goes where Linux puts programs, so
 * that its heap has room behind it; if something is there already, and for interpreters, the kernel chooses. */
static uint64_t reserve(const struct extent *extent, enum stub_part part) {
    uint64_t size = extent->high - extent->low, got = 0;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    if (part == STUB_PROGRAM) {
        uint64_t wanted = STUB_PIE_BASE + stub_random() % STUB_PIE_RANDOM * STUB_PAGE;
        wanted &= ~(extent->align - 1);
        got = map_at(wanted, size, PROT_NONE, flags | MAP_FIXED_NOREPLACE, -1, 0);
        if (got == wanted) return got;
    }
    uint64_t slack = extent->align > STUB_PAGE ? extent->align : 0;
    got = map_at(0, size + slack, PROT_NONE, flags, -1, 0);
    if (!got) stub_die();
    uint64_t start = (got + extent->align - 1) & ~(extent->align - 1);
    if (start > got) stub_call(__NR_munmap, (long)got, (long)(start - got), 0, 0, 0, 0);
    if (start + size < got + size + slack)
        stub_call(__NR_munmap, (long)(start + size), (long)(got + slack - start), 0, 0, 0, 0);
    return start;
}

/* Linux fails to write zeros where the file has no page; a store of ours would be a bus error. */
static void check_edge(int fd, const Elf64_Phdr *segment) {
    struct stat status;
    if (stub_call(__NR_fstat, fd, (long)&status, 0, 0, 0, 0) < 0) stub_die();
    uint64_t edge = segment->p_offset + segment->p_filesz;
    if (edge % STUB_PAGE && page_down(edge) >= (uint64_t)status.st_size) stub_die();
}

/* What lies behind the file's bytes is zero: the rest of the last page by hand, whole pages as new memory. */
static void map_zeros(int fd, const Elf64_Phdr *segment, uint64_t address) {
    uint64_t from = address + segment->p_filesz, to = address + segment->p_memsz;
    if (segment->p_filesz && segment->p_flags & PF_W) {
        uint64_t edge = page_up(from);
        check_edge(fd, segment);
        stub_zero((void *)from, edge - from);
    }
    from = segment->p_filesz ? page_up(from) : page_down(from);
    to = page_up(to);
    if (from >= to) return;
    int prot = PROT_READ | PROT_WRITE | (segment->p_flags & PF_X ? PROT_EXEC : 0);
    if (!map_at(from, to - from, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)) stub_die();
}

static void map_segment(int fd, const Elf64_Phdr *segment, uint64_t bias, int fixed) {
    uint64_t address = bias + segment->p_vaddr, inside = address & (STUB_PAGE - 1);
    if (segment->p_filesz) {
        uint64_t got = map_at(address - inside, page_up(segment->p_filesz + inside), protection(segment),
                              MAP_PRIVATE | fixed, fd, segment->p_offset - inside);
        if (got != address - inside) stub_die();
    }
    if (segment->p_memsz > segment->p_filesz) map_zeros(fd, segment, address);
}

/* INTO the image: what the kernel's accounting and the auxiliary vector want to know of one segment. */
static void note(const Elf64_Phdr *segment, const Elf64_Ehdr *header, struct stub_image *image) {
    uint64_t start = image->bias + segment->p_vaddr, filled = start + segment->p_filesz;
    if (segment->p_flags & PF_X && start < image->code_start) image->code_start = start;
    if (segment->p_flags & PF_X && filled > image->code_end) image->code_end = filled;
    if (start > image->data_start) image->data_start = start;
    if (filled > image->data_end) image->data_end = filled;
    if (page_up(start + segment->p_memsz) > image->end) image->end = page_up(start + segment->p_memsz);
    if (segment->p_offset <= header->e_phoff && header->e_phoff < segment->p_offset + segment->p_filesz)
        image->headers = start + header->e_phoff - segment->p_offset;
}

/* Holes between the segments of a reserved image are nobody's, as after Linux's own exec. */
static void unmap_hole(uint64_t from, uint64_t to) {
    if (from && from < to) stub_call(__NR_munmap, (long)from, (long)(to - from), 0, 0, 0, 0);
}

void stub_map(int fd, enum stub_part part, struct stub_image *image) {
    Elf64_Ehdr header;
    read_exactly(fd, &header, sizeof header, 0);
    uint64_t size = header.e_phnum * sizeof(Elf64_Phdr);
    if (size == 0 || size > HEADERS_MAX) stub_die();
    Elf64_Phdr *segment = __builtin_alloca(size);
    read_exactly(fd, segment, size, header.e_phoff);
    struct extent extent = measure(segment, header.e_phnum);
    bool fixed_address = header.e_type == ET_EXEC;
    *image = (struct stub_image){.code_start = UINT64_MAX, .header_count = header.e_phnum};
    if (!fixed_address) image->bias = reserve(&extent, part) - extent.low;
    /* The first segment of a fixed program must not fall on the stub or the stack. */
    int flag = fixed_address ? MAP_FIXED_NOREPLACE : MAP_FIXED;
    uint64_t mapped = 0;
    for (unsigned i = 0; i < header.e_phnum; i++) {
        if (segment[i].p_type == PT_GNU_STACK) image->executable_stack = segment[i].p_flags & PF_X;
        if (segment[i].p_type != PT_LOAD) continue;
        map_segment(fd, &segment[i], image->bias, flag);
        note(&segment[i], &header, image);
        if (!fixed_address) unmap_hole(mapped, page_down(image->bias + segment[i].p_vaddr));
        mapped = page_up(image->bias + segment[i].p_vaddr + segment[i].p_memsz);
        flag = MAP_FIXED;
    }
    image->entry = image->bias + header.e_entry;
}
