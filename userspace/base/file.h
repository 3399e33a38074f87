/* SPDX-License-Identifier: Apache-2.0 */
/* file.h - reads small files whose path comes from a user, and never waits for another process. */
#ifndef PINTLE_FILE_H
#define PINTLE_FILE_H

#include <stddef.h>
#include <sys/types.h>

/** Opens a regular file for reading. Returns a descriptor, which the caller closes; -EINVAL, and in
 * *odd a static text for what is there instead ("a FIFO"); or -errno, with *odd NULL. */
int file_open(const char *path, const char **odd);

/** Reads up to `size` bytes. Returns how many, fewer only at the file's end; or -errno. */
ssize_t file_read(int fd, char *buf, size_t size);

#endif
