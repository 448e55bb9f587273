/* pts.h: terminals where no mount namespace stands, so that /dev/pts is the host's: a guest opens those only that it has made
 * or was given. */
#ifndef SBX_PTS_H
#define SBX_PTS_H
#include "fs_place.h"
/* Open `place` of the host's /dev/pts with O_* `flags` (no O_PATH). A descriptor or -errno. */
int pts_open(const struct place *place, int flags);
#endif
