/* SPDX-License-Identifier: Apache-2.0 */
/* build.h - which sources a program was built from. */
#ifndef PINTLE_BUILD_H
#define PINTLE_BUILD_H

/* The commit, with "-dirty" behind it where files differed from it; "": not known, as in a build
 * from an archive that names none, and always in tests. */
extern const char build_commit[];

/* What --version prints behind a program's name: the version, and the commit in brackets. */
extern const char build_version[];

#endif
