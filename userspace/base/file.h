/* SPDX-License-Identifier: Apache-2.0 */
/* file.h - small files that somebody else names: read without waiting for anybody. */
#ifndef PINTLE_FILE_H
#define PINTLE_FILE_H

#include <stddef.h>
#include <sys/types.h>

/** Opens a regular file for reading. Returns a descriptor, the caller's; -EINVAL and *odd, static
 * words for what stands there instead ("a FIFO"); or -errno, with *odd NULL. */
int file_open(const char *path, const char **odd);

/** Reads up to `size` bytes of it. Returns how many, fewer only at the file's end, or -errno. */
ssize_t file_read(int fd, char *buf, size_t size);

#endif
