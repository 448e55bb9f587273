#include "elf.h"
#include <errno.h>
#include <linux/elf.h>
#include <string.h>
#include <unistd.h>

#define ELF_PHDRS_MAX 65536 /* bytes, as load_elf_phdrs() */
#define ELF_CHUNK 32        /* program headers read at once */
#define ELF_BEGIN 1024      /* bytes read at first: of most files all that is asked */

/* A file, and its first bytes. */
struct file { int fd; size_t known; char begin[ELF_BEGIN]; };

static int read_begin(struct file *file, int fd) {
    memset(file->begin, 0, ELF_HEAD);
    file->fd = fd;
    ssize_t got = pread(fd, file->begin, sizeof file->begin, 0);
    file->known = got < 0 ? 0 : (size_t)got;
    return got < 0 ? -errno : 0;
}

/* All `size` bytes at `offset`: 0, -EIO where the file is shorter, or pread's error. */
static int read_exactly(const struct file *file, void *to, size_t size, uint64_t offset) {
    if (offset <= file->known && size <= file->known - offset) {
        memcpy(to, file->begin + offset, size);
        return 0;
    }
    if (offset > INT64_MAX) return -EINVAL;
    ssize_t got = pread(file->fd, to, size, (off_t)offset);
    if (got < 0) return -errno;
    return (size_t)got == size ? 0 : -EIO;
}

/* The class byte is not looked at, as in Linux: a 32-bit header fails by its phentsize. */
static bool is_ours(const Elf64_Ehdr *header) {
    return memcmp(header->e_ident, ELFMAG, SELFMAG) == 0 && header->e_machine == EM_X86_64 &&
           header->e_phentsize == sizeof(Elf64_Phdr) && header->e_phnum != 0 &&
           header->e_phnum * sizeof(Elf64_Phdr) <= ELF_PHDRS_MAX;
}

/* Read every program header (a file that is too short for them is refused) and keep the first PT_INTERP. */
static int find_interpreter(const struct file *file, const Elf64_Ehdr *header, Elf64_Phdr *interpreter, bool *found) {
    *found = false;
    for (unsigned done = 0; done < header->e_phnum; done += ELF_CHUNK) {
        Elf64_Phdr chunk[ELF_CHUNK];
        unsigned count = header->e_phnum - done < ELF_CHUNK ? header->e_phnum - done : ELF_CHUNK;
        if (header->e_phoff > INT64_MAX - ELF_PHDRS_MAX) return -ENOEXEC;
        if (read_exactly(file, chunk, count * sizeof chunk[0], header->e_phoff + done * sizeof chunk[0]) != 0)
            return -ENOEXEC;
        for (unsigned i = 0; i < count && !*found; i++)
            if (chunk[i].p_type == PT_INTERP) {
                *interpreter = chunk[i];
                *found = true;
            }
    }
    return 0;
}

static int read_program(const struct file *file, const Elf64_Ehdr *header, struct elf_image *image) {
    Elf64_Phdr segment;
    if (!is_ours(header) || (header->e_type != ET_EXEC && header->e_type != ET_DYN)) return -ENOEXEC;
    int error = find_interpreter(file, header, &segment, &image->has_interpreter);
    if (error) return error;
    image->kind = ELF_PROGRAM;
    if (!image->has_interpreter) return 0;
    /* INVARIANT bounded: the name of the interpreter is at most a path. */
    if (segment.p_filesz > sizeof image->interpreter || segment.p_filesz < 2) return -ENOEXEC;
    error = read_exactly(file, image->interpreter, segment.p_filesz, segment.p_offset);
    if (error) return error;
    return image->interpreter[segment.p_filesz - 1] == '\0' ? 0 : -ENOEXEC;
}

int elf_read(int fd, struct elf_image *image) {
    struct file file;
    Elf64_Ehdr header;
    *image = (struct elf_image){0};
    int error = read_begin(&file, fd);
    if (error) return error;
    if (file.begin[0] == '#' && file.begin[1] == '!') return elf_script(file.begin, image);
    memcpy(&header, file.begin, sizeof header);
    return read_program(&file, &header, image);
}

int elf_check_interpreter(int fd) {
    struct file file;
    Elf64_Ehdr header;
    Elf64_Phdr segment;
    bool found;
    int error = read_begin(&file, fd);
    if (!error) error = read_exactly(&file, &header, sizeof header, 0);
    if (error) return error;
    if (!is_ours(&header) || find_interpreter(&file, &header, &segment, &found) != 0) return -ELIBBAD;
    return 0;
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t';
}

/* The three scanners of binfmt_script.c; `last` is looked at too. Index, or -1. */
static int find_nonblank(const char *head, int first, int last) {
    for (; first <= last; first++)
        if (!is_blank(head[first])) return first;
    return -1;
}

static int find_terminator(const char *head, int first, int last) {
    for (; first <= last; first++)
        if (is_blank(head[first]) || head[first] == '\0') return first;
    return -1;
}

static int find_newline(const char *head) {
    for (int i = 0; i < ELF_HEAD && head[i] != '\0'; i++)
        if (head[i] == '\n') return i;
    return -1;
}

/* A line without newline may be cut: its interpreter counts only where something ends it. A cut argument is accepted. */
static int find_line_end(const char *head) {
    int end = find_newline(head);
    if (end >= 0) return end;
    int name = find_nonblank(head, 2, ELF_HEAD - 1);
    if (name < 0 || find_terminator(head, name, ELF_HEAD - 1) < 0) return -1;
    return ELF_HEAD - 1;
}

static void copy_field(char *to, const char *head, int first, int end) {
    int i = first;
    for (; i < end && head[i] != '\0'; i++)
        to[i - first] = head[i];
    to[i - first] = '\0';
}

int elf_script(const char head[ELF_HEAD], struct elf_image *image) {
    int end = find_line_end(head);
    if (end < 0) return -ENOEXEC;
    while (is_blank(head[end - 1])) /* stops at the '!' */
        end--;
    int name = find_nonblank(head, 2, end);
    if (name < 0 || name == end) return -ENOEXEC;
    int separator = find_terminator(head, name, end);
    int argument = -1;
    if (separator >= 0 && head[separator] != '\0') argument = find_nonblank(head, separator, end);
    image->kind = ELF_SCRIPT;
    image->has_interpreter = true;
    image->has_argument = argument >= 0;
    copy_field(image->interpreter, head, name, image->has_argument ? separator : end);
    if (image->has_argument) copy_field(image->argument, head, argument, end);
    return 0;
}
