/* image.h: what an exec would run, found in the guest's view and checked as Linux checks it: the program behind links and
 * `#!` lines, its PT_INTERP, and what it is to be told about itself. Looks; changes nothing. */
#ifndef SBX_IMAGE_H
#define SBX_IMAGE_H
#include "decode.h"
#include "private.h"

struct image {
    int program, interpreter;    /* open for reading; interpreter -1 where there is none */
    int mount;                   /* of the file that was looked at last, or -1 */
    bool denied;                 /* an error is the policy's (noexec) */
    bool table_full;             /* exec.c's: no descriptor fits under the guest's limit */
    char exe[SBX_PATH_MAX];      /* guest path of the program, /proc/PID/exe */
    struct private_load load;    /* all but its descriptors */
};

/* The file that an execve or execveat names, and then what it leads to; the latter not for AT_EXECVE_CHECK, which asks for the file
 * alone. 0, or -errno as Linux. image_done in any case. */
int image_find(struct request *request, struct image *image);
int image_follow(struct request *request, struct image *image);
/* Both of an absolute guest path, by name, with the working directory that a relative `#!` interpreter starts at. */
int image_find_path(struct request *request, const char *path, const char *cwd, struct image *image);
void image_done(struct image *image);
#endif
