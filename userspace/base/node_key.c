/* SPDX-License-Identifier: Apache-2.0 */
#include "node_key.h"

#include <stdarg.h>
#include <sys/stat.h>

#include "file.h"
#include "util.h"

#define KEY_SIZE 16

/* A file that is there keeps its mode, so it is made anew. */
#define MAKE_IT "make it by: rm -f %s; (umask 077; head -c %d /dev/urandom > %s)"

static int node_key_say(int err, char says[NODE_KEY_SAYS_SIZE], const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int node_key_say(int err, char says[NODE_KEY_SAYS_SIZE], const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(says, NODE_KEY_SAYS_SIZE, fmt, ap);
	va_end(ap);
	return err;
}

static int say_size(const char *path, ssize_t n, char says[NODE_KEY_SAYS_SIZE])
{
	return node_key_say(-EINVAL, says, "node.keyFile %s has %s than %d bytes; " MAKE_IT, path,
			    n < KEY_SIZE ? "fewer" : "more", KEY_SIZE, path, KEY_SIZE, path);
}

static int say_open(const char *path, int err, const char *odd, char says[NODE_KEY_SAYS_SIZE])
{
	if (odd)
		return node_key_say(err, says,
				    "node.keyFile %s is %s; write the path of a file of %d bytes",
				    path, odd, KEY_SIZE);
	if (err == -ENOENT)
		return node_key_say(err, says, "failed to read node.keyFile %s: %s; " MAKE_IT, path,
				    strerror(-err), path, KEY_SIZE, path);
	return node_key_say(err, says, "failed to read node.keyFile %s: %s", path, strerror(-err));
}

int node_key_read(const char *path, __u64 key[2], char says[NODE_KEY_SAYS_SIZE])
{
	char text[KEY_SIZE + 1];
	const char *odd;
	_cleanup_close_ int fd = file_open(path, &odd);
	struct stat st;
	ssize_t n;

	says[0] = '\0';
	if (fd < 0)
		return say_open(path, fd, odd, says);
	n = file_read(fd, text, sizeof(text));
	if (n == KEY_SIZE)
		memcpy(key, text, KEY_SIZE);
	explicit_bzero(text, sizeof(text));
	if (n < 0)
		return say_open(path, (int)n, NULL, says);
	if (n != KEY_SIZE)
		return say_size(path, n, says);
	if (!fstat(fd, &st) && st.st_mode & (S_IROTH | S_IWOTH))
		node_key_say(
			0, says,
			"node.keyFile %s may be read or written by everybody, and whoever knows the key can "
			"name others' sessions; " MAKE_IT,
			path, path, KEY_SIZE, path);
	return 0;
}
