/* SPDX-License-Identifier: Apache-2.0 */
#include "file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "util.h"

/* NULL: what can be read without waiting. */
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

/* A FIFO would have its reader wait for the other end, and a terminal, for somebody who types. Even
 * opening a device may do something. */
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
	/* If it is another file by now, open() does not wait for that either: O_NONBLOCK. */
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
