/* SPDX-License-Identifier: Apache-2.0 */
/* skeleton.h - the programs and maps as they are compiled in. A file that calls pintle_bpf__open()
 * gets a copy of them, which is 3.5 MB and takes the compiler a second. */
#ifndef PINTLE_SKELETON_H
#define PINTLE_SKELETON_H

struct pintle_bpf;

/** Opens the programs and maps; pintle_bpf__destroy() frees them. Returns NULL, with errno, on
 * failure. */
struct pintle_bpf *skeleton_open(void);

#endif
