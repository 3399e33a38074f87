/* SPDX-License-Identifier: Apache-2.0 */
/* build.c - compiled twice: for the library without a commit, and for the programs that users run
 * with it. So a new commit compiles this file and links those programs, and leaves all else as it
 * is. */
#include "build.h"

#ifdef PINTLE_COMMIT
const char build_commit[] = PINTLE_COMMIT;
const char build_version[] = PINTLE_VERSION " (" PINTLE_COMMIT ")";
#else
const char build_commit[] = "";
const char build_version[] = PINTLE_VERSION;
#endif
