/* fetch.h: descriptors of the guest's files for its caller (Sandbox.read, write, list, export). */
#ifndef SBX_FETCH_H
#define SBX_FETCH_H
#include "core.h"
/* Resolve `path` as the guest would and send FETCHED with a descriptor. In a thread of its own: opening may block. */
void fetch_start(uint64_t number, enum sbx_fetch how, const char *path);
#endif
