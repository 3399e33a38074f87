/* SPDX-License-Identifier: Apache-2.0 */
#include "file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "util.h"

/* Returns NULL for a file that can be read without waiting. */
static const char *odd_file(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return NULL;
	case S_IFDIR:
		return "a directory";
	case S_IFIFO:
		return "a FIFO";
	case S_IFSOCK:
		return "a socket";
	default:
		return "a device";
	}
}

/* Reading a FIFO would wait for its writer, and a terminal for somebody who types. Opening a device
 * may have effects of its own. */
int file_open(const char *path, const char **odd)
{
	struct stat st;
	int fd;

	*odd = NULL;
	if (stat(path, &st))
		return -errno;
	*odd = odd_file(st.st_mode);
	if (*odd)
		return -EINVAL;
	/* The path may name another file by now: with O_NONBLOCK open() does not wait for that
	 * either. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	return fd < 0 ? -errno : fd;
}

ssize_t file_read(int fd, char *buf, size_t size)
{
	size_t n = 0;

	while (n < size) {
		ssize_t r = read(fd, buf + n, size - n);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		if (!r)
			break;
		n += (size_t)r;
	}
	return (ssize_t)n;
}
