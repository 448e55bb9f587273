/* mounts_table.h: one row for each mount of the plan, filled in by mounts.c and mounts_in_place.c, looked up by
 * mounts_table.c. Only the files of mounts include it: the rest of the sentry asks mounts.h. */
#ifndef SBX_MOUNTS_TABLE_H
#define SBX_MOUNTS_TABLE_H
#include "mounts.h"

struct mounted {
    int fd;           /* as mounts_fd tells */
    int copied;       /* a small file of the host, open to be copied into the skeleton; else -1 */
    int holder;       /* mount of the directory that holds the mount point; -1 for "/" */
    bool single;
    bool has_below;   /* another mount's point lies below it */
    bool in_skeleton; /* a BYTES row, or a copied file: a file of the skeleton `holder`: no mount of its own */
    char *host;       /* how the kernel shows it: /m/3, or its host path; "" for the host's root, NULL where it has none */
    size_t host_length;
};

struct mount_table {
    const struct sbx_plan *plan;
    struct mounted *rows;
    bool whole;
    int proc, scratch, multiplexer;
    char failed[SBX_PATH_MAX + 64];
};
extern struct mount_table mount_table;

/* Rows of which nothing is open yet. 0 or -ENOMEM. */
int mount_table_setup(const struct sbx_plan *plan);
enum sbx_mount_kind mount_table_kind(int mount); /* NONE of -1 */
/* For whoever asked for the mounts: what could not be done, and on what. Gives the error back. */
int mount_table_fail(int error, const char *what, const char *on);
int mount_table_fail_at(int error, const char *what, uint32_t mount);
/* The kernel shows the mount by this name. 0 or -ENOMEM. */
int mount_table_name(uint32_t mount, const char *host);
#endif
